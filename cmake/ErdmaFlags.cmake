# SPDX-License-Identifier: GPL-2.0-or-later
#
# Compiler settings of the user-space parts.
#
#   ERDMA_WERROR     warnings are errors
#   ERDMA_SANITIZE   sanitizers for core and unit tests: "address,undefined" or "thread"
#   ERDMA_COVERAGE   count executed lines of core and unit tests
#
#   erdma_flags(target)        warnings
#   erdma_instrument(target)   sanitizers and coverage

option(ERDMA_WERROR "Treat compiler warnings as errors" OFF)
option(ERDMA_COVERAGE "Measure line coverage" OFF)
set(ERDMA_SANITIZE "" CACHE STRING "Sanitizers for core and unit tests, for example address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    if(ERDMA_COVERAGE)
        set(CMAKE_BUILD_TYPE Debug CACHE STRING "Build type" FORCE)
    else()
        set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
    endif()
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Assertions stay in optimised builds: QEMU's headers insist on it.
function(erdma_flags target)
    target_compile_options(${target} PRIVATE -UNDEBUG -Wall -Wextra $<$<COMPILE_LANGUAGE:CXX>:-Wconversion>
        $<$<BOOL:${ERDMA_WERROR}>:-Werror>)
endfunction()

function(erdma_instrument target)
    if(ERDMA_SANITIZE)
        target_compile_options(${target} PUBLIC -fsanitize=${ERDMA_SANITIZE} -fno-sanitize-recover=all
            -fno-omit-frame-pointer)
        target_link_options(${target} PUBLIC -fsanitize=${ERDMA_SANITIZE})
    endif()
    if(ERDMA_COVERAGE)
        target_compile_options(${target} PUBLIC --coverage)
        target_link_options(${target} PUBLIC --coverage)
    endif()
endfunction()

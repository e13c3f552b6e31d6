# SPDX-License-Identifier: GPL-2.0-or-later
#
# Compiler settings of the user-space parts.
#
#   ERDMA_WERROR     warnings are errors
#   ERDMA_SANITIZE   sanitizers for libraries and unit tests: "address,undefined" or "thread"
#
#   erdma_flags(target)            warnings
#   erdma_instrument(target)       ERDMA_SANITIZE
#   erdma_checked(target source...)
#                                  the same objects once more, as <target>_checked: under ASan and UBSan, counting the
#                                  lines that run.  Built only for the programs that erdma_checked_tests() makes.
#   erdma_checked_tests(target objects library...)
#                                  the tests in the object library, linked with the checked twins of the libraries

option(ERDMA_WERROR "Treat compiler warnings as errors" OFF)
set(ERDMA_SANITIZE "" CACHE STRING "Sanitizers for libraries and unit tests, for example address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
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
endfunction()

function(erdma_checked target)
    add_library(${target}_checked OBJECT EXCLUDE_FROM_ALL ${ARGN})
    # What its users need to compile is what it needs itself.
    target_link_libraries(${target}_checked PRIVATE ${target})
    target_compile_options(${target}_checked PRIVATE -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all
        -fno-omit-frame-pointer --coverage)
    erdma_flags(${target}_checked)
    foreach(property IN ITEMS UNITY_BUILD UNITY_BUILD_BATCH_SIZE)
        get_target_property(value ${target} ${property})
        if(value)
            set_target_properties(${target}_checked PROPERTIES ${property} ${value})
        endif()
    endforeach()
endfunction()

# The checked objects come first: of an inline function that the tests have as well, theirs is taken.
function(erdma_checked_tests target tests)
    list(TRANSFORM ARGN REPLACE "(.+)" "$<TARGET_OBJECTS:\\1_checked>" OUTPUT_VARIABLE checked)
    add_executable(${target} EXCLUDE_FROM_ALL ${checked} $<TARGET_OBJECTS:${tests}>)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined --coverage)
    # For the libraries that these need; there is nothing left to take from themselves.
    target_link_libraries(${target} PRIVATE ${ARGN} GTest::gtest GTest::gtest_main)
endfunction()

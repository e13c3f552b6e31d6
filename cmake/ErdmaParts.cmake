# SPDX-License-Identifier: GPL-2.0-or-later
#
# Parts of the project that can be built, skipped or demanded.
#
#   erdma_part_option(ERDMA_X "description")
#       cache variable ERDMA_X: AUTO, ON or OFF
#   erdma_part_check(ERDMA_X result "missing thing" ...)
#       result is true when the part is to be built.  Every argument behind it
#       is a sentence about something that is missing; none: all is there.
#   erdma_parts_summary()
#       one line for each part
#   erdma_find_program(result name)
#       find_program() whose answer is not kept: each configuration looks anew

function(erdma_part_option name description)
    set(${name} AUTO CACHE STRING "Build ${description}: AUTO (if possible), ON (or fail), OFF")
    set_property(CACHE ${name} PROPERTY STRINGS AUTO ON OFF)
    set_property(GLOBAL APPEND PROPERTY ERDMA_PARTS ${name})
    set_property(GLOBAL PROPERTY ${name}_DESCRIPTION "${description}")
    string(TOUPPER "${${name}}" value)
    if(NOT value MATCHES "^(AUTO|ON|OFF|TRUE|FALSE|YES|NO|1|0)$")
        message(FATAL_ERROR "${name} is '${${name}}'; write AUTO, ON or OFF")
    endif()
endfunction()

function(erdma_part_check name result)
    string(TOUPPER "${${name}}" value)
    get_property(description GLOBAL PROPERTY ${name}_DESCRIPTION)
    list(JOIN ARGN "; " missing)
    # The sentences have semicolons of their own, which made them look like lists.
    string(REPLACE ";  " "; " missing "${missing}")
    if(NOT value STREQUAL "AUTO" AND NOT ${name})
        set(state "left out (${name}=OFF)")
        set(build FALSE)
    elseif(missing STREQUAL "")
        set(state "is built")
        set(build TRUE)
    elseif(value STREQUAL "AUTO")
        set(state "SKIPPED: ${missing}")
        set(build FALSE)
    else()
        message(FATAL_ERROR "${description} cannot be built (${name}=ON): ${missing}")
    endif()
    set_property(GLOBAL PROPERTY ${name}_STATE "${state}")
    set(${result} ${build} PARENT_SCOPE)
endfunction()

function(erdma_find_program result name)
    unset(erdma_found_program CACHE)
    find_program(erdma_found_program "${name}")
    set(${result} "${erdma_found_program}" PARENT_SCOPE)
    unset(erdma_found_program CACHE)
endfunction()

function(erdma_parts_summary)
    get_property(parts GLOBAL PROPERTY ERDMA_PARTS)
    foreach(name IN LISTS parts)
        get_property(description GLOBAL PROPERTY ${name}_DESCRIPTION)
        get_property(state GLOBAL PROPERTY ${name}_STATE)
        message(STATUS "erdma: ${description}: ${state}")
    endforeach()
endfunction()

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The trace events.  The generated code would register itself from a
 * constructor, in whatever program the object is loaded into; entry.c calls
 * it instead when the time has come.
 */
#include "shim.h"

#undef trace_init
#define trace_init(function)                                                                                           \
    void erdma_register_trace_events(void)                                                                             \
    {                                                                                                                  \
        function();                                                                                                    \
    }

#include "trace-erdma.c"

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In C++ static_assert() is a word of the language, in C it is here. */
#include <assert.h>

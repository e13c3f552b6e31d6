/* SPDX-License-Identifier: GPL-2.0-or-later */
/* static_assert() is a word of the language here. */

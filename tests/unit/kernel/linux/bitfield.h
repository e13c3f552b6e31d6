/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tests have functions of their own for fields. */

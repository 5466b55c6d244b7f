/* SPDX-License-Identifier: GPL-2.0-or-later */
/* why: the sentence for people that goes with an error. */
#ifndef BASE_WHY_H
#define BASE_WHY_H

/*
 * Puts the sentence in *why, which is NULL or an older one (freed; it may be among what is printed); NULL when there is no memory for
 * it: the error says enough.  why NULL: nobody asks.  Gives err.
 */
int __attribute__((format(printf, 3, 4))) why_fail(char **why, int err, const char *format, ...);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rdiff_old: the old file of the target rdiff. */
#ifndef TESTS_FUZZ_RDIFF_OLD_H
#define TESTS_FUZZ_RDIFF_OLD_H

#include <stddef.h>

#define RDIFF_OLD 20000

static inline unsigned char rdiff_old_byte(size_t at)
{
	return (unsigned char)(at * 7 + (at >> 8) * 13 + 1);
}

#endif

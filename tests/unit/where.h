/* SPDX-License-Identifier: GPL-2.0-or-later */
/* where: where a test that makes and removes hundreds of trees keeps them. */
#ifndef TESTS_WHERE_H
#define TESTS_WHERE_H

#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* In memory, if there is room: a disk takes minutes for that.  Programs on a disk are what tests/nfs and tests/faults have. */
static inline const char *test_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	struct statvfs fs;

	if (!statvfs("/dev/shm", &fs) && fs.f_bavail * fs.f_frsize > 1u << 30 && !access("/dev/shm", W_OK))
		return "/dev/shm";
	return tmp ? tmp : "/tmp";
}

#endif

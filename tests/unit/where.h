/* SPDX-License-Identifier: GPL-2.0-or-later */
/* where: where tests keep their trees and caches. */
#ifndef TESTS_WHERE_H
#define TESTS_WHERE_H

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* On a disk, most likely; at most 30 bytes. */
static inline const char *test_disk_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	return tmp && strlen(tmp) < 30 ? tmp : "/tmp";
}

/*
 * For those that make and remove hundreds: in memory, if there is room.  A disk takes minutes for that.  Programs on a disk are what
 * tests/nfs and tests/faults have.
 */
static inline const char *test_dir(void)
{
	struct statvfs fs;

	if (!statvfs("/dev/shm", &fs) && fs.f_bavail * fs.f_frsize > 1u << 30 && !access("/dev/shm", W_OK))
		return "/dev/shm";
	return test_disk_dir();
}

#endif

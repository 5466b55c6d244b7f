/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define LOOK_EVERY_US (100 * US_PER_MS)

struct reserve {
	int dirfd;
	const char *whose, *path;
	uint64_t bytes;
	pthread_mutex_t lock;
	/* under lock */
	int fd;
	bool is_tight;
	uint64_t look_at_us;
};

static void empty(struct reserve *reserve)
{
	/* Where that fails, some room is missing to others: nothing can be done about it. */
	if (ftruncate(reserve->fd, 0) < 0)
		log_debug(LOG_CACHE, "the reserve could not be given up: %s", strerror(errno));
}

static void say_tight(const struct reserve *reserve)
{
	log_warn("%s: the disk is full, nothing can be added until there is room: dir=%s", reserve->whose, reserve->path);
}

/* One that is there from before is found again here, full disk or not. */
static bool is_there(const struct reserve *reserve)
{
	struct stat st;

	return fstat(reserve->fd, &st) == 0 && (uint64_t)st.st_size >= reserve->bytes && (uint64_t)st.st_blocks * 512 >= reserve->bytes;
}

/* Under the lock. */
static bool fill(struct reserve *reserve)
{
	struct statvfs st;

	/* Twice as much as it takes, lest it comes and goes. */
	if (fstatvfs(reserve->dirfd, &st) < 0 ||
	    (uint64_t)st.f_bavail * st.f_frsize < 2 * reserve->bytes)
		return false;
	if (posix_fallocate(reserve->fd, 0, reserve->bytes) == 0)
		return true;
	empty(reserve);
	return false;
}

int reserve_open(int dirfd, const char *whose, const char *path, struct reserve **ret)
{
	struct reserve *reserve;
	struct statvfs st;

	reserve = calloc(1, sizeof(*reserve));
	if (!reserve)
		return -ENOMEM;
	(void)pthread_mutex_init(&reserve->lock, NULL);	/* cannot fail with default attributes */
	reserve->dirfd = dirfd;
	reserve->whose = whose;
	reserve->path = path;
	reserve->fd = openat(dirfd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (reserve->fd < 0 || fstatvfs(dirfd, &st) < 0) {
		int err = -errno;

		reserve_close(reserve);
		return err;
	}
	reserve->bytes = MIN(RESERVE_MAX, (uint64_t)st.f_blocks * st.f_frsize / 32);
	reserve->is_tight = reserve->bytes && !is_there(reserve) && !fill(reserve);
	if (reserve->is_tight) {
		empty(reserve);
		say_tight(reserve);
	}
	*ret = reserve;
	return 0;
}

void reserve_close(struct reserve *reserve)
{
	if (!reserve)
		return;
	mem_close_fd(&reserve->fd);	/* nothing was written to it */
	pthread_mutex_destroy(&reserve->lock);
	free(reserve);
}

bool reserve_give_up(struct reserve *reserve)
{
	bool is_new;

	if (!reserve)
		return false;
	pthread_mutex_lock(&reserve->lock);
	is_new = !reserve->is_tight && ftruncate(reserve->fd, 0) == 0;
	if (is_new) {
		reserve->is_tight = true;
		say_tight(reserve);
	}
	pthread_mutex_unlock(&reserve->lock);
	return is_new;
}

/* Under the lock. */
static void look(struct reserve *reserve)
{
	if (!reserve->is_tight)
		return;
	reserve->look_at_us = clock_us() + LOOK_EVERY_US;
	if (!fill(reserve))
		return;
	reserve->is_tight = false;
	log_info("%s: there is room on the disk again: dir=%s", reserve->whose, reserve->path);
}

bool reserve_is_tight(struct reserve *reserve)
{
	bool is_tight;

	pthread_mutex_lock(&reserve->lock);
	if (reserve->is_tight && clock_us() >= reserve->look_at_us)
		look(reserve);
	is_tight = reserve->is_tight;
	pthread_mutex_unlock(&reserve->lock);
	return is_tight;
}

void reserve_fill(struct reserve *reserve)
{
	pthread_mutex_lock(&reserve->lock);
	look(reserve);
	pthread_mutex_unlock(&reserve->lock);
}

bool reserve_has_room(struct reserve *reserve, uint64_t bytes)
{
	bool has;

	pthread_mutex_lock(&reserve->lock);
	has = reserve->is_tight && posix_fallocate(reserve->fd, 0, (off_t)MIN(bytes, reserve->bytes)) == 0;
	if (reserve->is_tight)
		empty(reserve);
	pthread_mutex_unlock(&reserve->lock);
	return has;
}

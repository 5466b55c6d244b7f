/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/internal.h"

#define LOOK_EVERY_US (100 * US_PER_MS)

struct reserve {
	pthread_mutex_t lock;
	/* under lock */
	int fd;
	uint64_t bytes;
	bool is_tight;
	uint64_t look_at_us;
};

static void empty(struct reserve *reserve)
{
	/* Where that fails, some room is missing to others: nothing can be done about it. */
	if (ftruncate(reserve->fd, 0) < 0)
		log_debug(LOG_CACHE, "the reserve could not be given up: %s", strerror(errno));
}

/* Under the lock. */
static bool fill(struct cache *cache, struct reserve *reserve, uint64_t spare)
{
	struct statvfs st;

	if (fstatvfs(cache->dirfd, &st) < 0 ||
	    (uint64_t)st.f_bavail * st.f_frsize < reserve->bytes + spare)
		return false;
	if (posix_fallocate(reserve->fd, 0, reserve->bytes) == 0)
		return true;
	empty(reserve);
	return false;
}

int reserve_open(struct cache *cache)
{
	struct reserve *reserve;
	struct statvfs st;

	reserve = calloc(1, sizeof(*reserve));
	if (!reserve)
		return -ENOMEM;
	reserve->fd =
		openat(cache->dirfd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (reserve->fd < 0 || fstatvfs(cache->dirfd, &st) < 0) {
		int err = -errno;

		mem_close_fd(&reserve->fd);
		free(reserve);
		return err;
	}
	(void)pthread_mutex_init(&reserve->lock, NULL);	/* cannot fail with default attributes */
	reserve->bytes = MIN(RESERVE_MAX, (uint64_t)st.f_blocks * st.f_frsize / 32);
	/* One that is there from before is found again here, full disk or not. */
	reserve->is_tight = reserve->bytes && posix_fallocate(reserve->fd, 0, reserve->bytes) != 0;
	if (reserve->is_tight) {
		empty(reserve);
		log_warn(
			"cache: the disk is full, nothing can be added until there is room: dir=%s",
			cache->dir);
	}
	cache->reserve = reserve;
	return 0;
}

void reserve_close(struct cache *cache)
{
	struct reserve *reserve = cache->reserve;

	if (!reserve)
		return;
	(void)close(reserve->fd);	/* nothing was written to it */
	pthread_mutex_destroy(&reserve->lock);
	free(reserve);
	cache->reserve = NULL;
}

bool reserve_give_up(struct cache *cache)
{
	struct reserve *reserve = cache->reserve;
	bool is_new;

	if (!reserve)
		return false;
	pthread_mutex_lock(&reserve->lock);
	is_new = !reserve->is_tight && ftruncate(reserve->fd, 0) == 0;
	if (is_new) {
		reserve->is_tight = true;
		log_warn(
			"cache: the disk is full, nothing can be added until there is room: dir=%s",
			cache->dir);
	}
	pthread_mutex_unlock(&reserve->lock);
	return is_new;
}

bool reserve_is_tight(struct cache *cache)
{
	struct reserve *reserve = cache->reserve;
	bool is_tight;

	pthread_mutex_lock(&reserve->lock);
	if (reserve->is_tight && clock_us() >= reserve->look_at_us) {
		reserve->look_at_us = clock_us() + LOOK_EVERY_US;
		/* Twice as much as it takes, lest it comes and goes. */
		if (fill(cache, reserve, reserve->bytes)) {
			reserve->is_tight = false;
			log_info("cache: there is room on the disk again: dir=%s", cache->dir);
		}
	}
	is_tight = reserve->is_tight;
	pthread_mutex_unlock(&reserve->lock);
	return is_tight;
}

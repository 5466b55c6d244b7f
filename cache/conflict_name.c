/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/conflict_name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "cache/cml_state.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/writer.h"

#define TRIES_MAX 100000	/* for a name that is free */

int conflict_name(struct slice name, const char *host, int64_t time_s, unsigned n,
		  char ret_name[256])
{
	char suffix[KML_HOST_MAX + 64], date[32];
	time_t sec = time_s;
	size_t keep, len;
	struct tm tm;
	int got;

	if (!gmtime_r(&sec, &tm) || !strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm))
		(void)snprintf(date, sizeof(date), "00000000-000000");
	got = snprintf(suffix, sizeof(suffix), ".conflict-%.*s-%s", KML_HOST_MAX,
		       *host ? host : "unknown", date);
	if (got > 0 && n > 1)
		got += snprintf(suffix + got, sizeof(suffix) - got, "-%u", n);
	if (got <= 0 || (size_t)got >= sizeof(suffix))
		return -ENAMETOOLONG;
	len = got;
	for (char *s = suffix; *s; s++) {
		if (*s == '/' || (unsigned char)*s < ' ' || *s == 0x7f)
			*s = '_';	/* a host calls itself what it likes */
	}
	keep = MIN(name.len, CACHE_NAME_MAX - len);
	/* Not in the middle of a character, if it is UTF-8. */
	for (size_t back = 0; keep < name.len && back < 3 && keep > 1 &&
	     ((const unsigned char *)name.data)[keep] >> 6 == 2; back++)
		keep--;
	memcpy(ret_name, name.data, keep);
	memcpy(ret_name + keep, suffix, len + 1);
	return 0;
}

int conflict_free_name(struct change *change, uint64_t dir, struct slice name, int64_t time_s,
		       char ret_name[256])
{
	struct cache *cache = change->cache;
	char host[sizeof(cache->cml->host)];
	struct name_info info;
	int got;

	pthread_mutex_lock(&cache->lock);
	memcpy(host, cache->cml->host, sizeof(host));
	pthread_mutex_unlock(&cache->lock);
	for (unsigned n = 1; n < TRIES_MAX; n++) {
		got = conflict_name(name, host, time_s, n, ret_name);
		if (got)
			return got;
		pthread_mutex_lock(&cache->lock);
		got = name_get(cache, dir, (struct slice){ ret_name, strlen(ret_name) }, &info);
		pthread_mutex_unlock(&cache->lock);
		if (got <= 0)
			return got;
	}
	return -EEXIST;
}

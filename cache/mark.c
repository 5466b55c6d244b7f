/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/mark.h"

#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/internal.h"
#include "cache/writer.h"

int mark_get(struct change *change, uint64_t dir, struct slice name, uint64_t *ret_seq)
{
	struct cache *cache = change->cache;
	struct name_info info;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, &info);
	pthread_mutex_unlock(&cache->lock);
	*ret_seq = got > 0 ? info.seq : 0;
	return MIN(got, 0);
}

int mark_alive(struct change *change, uint64_t seq, uint64_t *ret_seq)
{
	sqlite3_stmt *stmt;
	int got;

	*ret_seq = 0;
	if (!seq)
		return 0;
	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE seq = ?1", "i", (int64_t)seq);
	if (got <= 0)
		return got;
	db_done(stmt);
	*ret_seq = seq;
	return 0;
}

int mark_put(struct change *change, uint64_t dir, struct slice name, uint64_t seq)
{
	struct cache *cache = change->cache;
	struct name_info info;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = name_get(cache, dir, name, &info);
	pthread_mutex_unlock(&cache->lock);
	if (got <= 0)
		return got;
	return info.ino ? name_mark(change, dir, name, seq) : name_unbind(change, dir, name, seq);
}

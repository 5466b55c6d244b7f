/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/forward.h"

#include <errno.h>
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/record.h"
#include "cache/writer.h"

static void wake(struct cache *cache, void *arg)
{
	struct cml *cml = cache->cml;

	(void)arg;
	pthread_mutex_lock(&cache->lock);
	if (cml->wakeup)
		cml->wakeup(cml->wakeup_arg);
	pthread_mutex_unlock(&cache->lock);
}

int forward_note(struct change *change, uint64_t dir)
{
	int err = db_run(writer_db(change->cache), "INSERT OR IGNORE INTO forward (dir) VALUES (?1)", "i", (int64_t)dir);

	return err ? err : writer_after_commit(change, wake, NULL);
}

int forward_waits(struct change *change, uint64_t dir)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT 1 FROM forward WHERE dir = ?1 UNION ALL SELECT 1 FROM cml WHERE ino = ?1 AND op = ?2 LIMIT 1", "ii",
		       (int64_t)dir, (int64_t)KML_SETATTR);
	if (got > 0)
		db_done(stmt);
	return got;
}

static int append(struct change *change, uint64_t ino)
{
	struct kml_record record = { .body.op = KML_SETATTR };
	struct kml_setattr *setattr = &record.body.kml_body_u.setattr;
	struct inode_edit *dir;
	uint64_t seq;
	int err;

	dir = inode_edit(change, ino, &err);
	if (!dir)
		return err == -ESTALE ? 0 : err;	/* it is gone by now */
	setattr->oid = dir->v.oid;
	setattr->set = KML_SET_FORWARD;
	setattr->mtime = cml_time(dir->v.mtime);
	setattr->attr_base = dir->v.attr_version;
	return cml_append(change, ino, &record, NULL, &seq);
}

int forward_append(struct change *change, unsigned most)
{
	struct db *db = writer_db(change->cache);
	unsigned n = 0;

	while (n < most) {
		sqlite3_stmt *stmt;
		uint64_t dir;
		int err, got;

		got = db_query(db, &stmt, "SELECT dir FROM forward LIMIT 1", "");
		if (got <= 0)
			return got ? got : (int)n;
		dir = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
		err = append(change, dir);
		if (!err)
			err = db_run(db, "DELETE FROM forward WHERE dir = ?1", "i", (int64_t)dir);
		if (err)
			return err;
		n++;
	}
	return (int)n;
}

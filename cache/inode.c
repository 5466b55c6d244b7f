/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/inode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/acl.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/object.h"
#include "cache/writer.h"

#define DIRECTORY_SIZE 4096	/* shown for every directory: there is no true one */
#define SWEEP 16		/* inodes looked at for one that comes */

static void inode_free(struct inode *inode)
{
	inode_work_free(inode);
	extent_release(&inode->present);
	free(inode->target);
	free((void *)inode->v.acls);
	free(inode);
}

/* Out of memory, be it because it is gone or to make room. */
static void inode_forget(struct cache *cache, struct inode *inode)
{
	object_leave(cache, inode);
	hash_remove(&cache->inodes, &inode->by_ino);
	cache->n_inodes--;
	inode_free(inode);
}

/*
 * Room for one more.  The sweep goes round the table: what has not been used since it came by the last time is
 * evicted.  That keeps what is in use nearly as well as a list by time of use, at a bit for each in place of two
 * pointers, and what is read once, as by find(1), is the first to go.
 */
static bool inode_swept(struct hash_node *node, void *arg)
{
	struct inode *inode = container_of(node, struct inode, by_ino);
	struct cache *cache = arg;

	if (inode->is_recent)
		inode->is_recent = false;
	else if (inode_is_idle(inode))
		inode_forget(cache, inode);
	return cache->n_inodes >= cache->max_inodes;
}

static void inode_shrink(struct cache *cache)
{
	if (cache->n_inodes >= cache->max_inodes)
		hash_sweep(&cache->inodes, &cache->inode_hand, SWEEP, inode_swept, cache);
}

struct inode *inode_find(struct cache *cache, uint64_t ino)
{
	for (struct hash_node *n = hash_first(&cache->inodes, hash_u64(ino)); n; n = hash_next(n)) {
		struct inode *inode = container_of(n, struct inode, by_ino);

		if (inode->ino == ino)
			return inode;
	}
	return NULL;
}

int inode_hash_add(struct cache *cache, uint64_t ino, struct inode **ret_inode)
{
	struct inode *inode;

	inode_shrink(cache);
	inode = calloc(1, sizeof(*inode));
	if (!inode)
		return -ENOMEM;
	inode->ino = ino;
	inode_work_init(inode);
	hash_insert(&cache->inodes, &inode->by_ino, hash_u64(ino));
	cache->n_inodes++;
	*ret_inode = inode;
	return 0;
}

/* ---- loading ---- */

static const char load_sql[] =
	"SELECT oid_origin, oid_number, type, mode, uid, gid, major, minor, nlink, links_up,"
	" parent, size, atime, mtime, ctime, data_version, attr_version, data_seq, attr_seq,"
	" is_stale, is_listed, listed_at, is_dirty, gen, keep_size,"
	" present, dirty, dirty_next, target, verifier, acl FROM inode WHERE ino = ?1";

static void load_values(sqlite3_stmt *stmt, struct inode_values *v)
{
	int i = 0;

	v->oid.origin = sqlite3_column_int64(stmt, i++);
	v->oid.number = sqlite3_column_int64(stmt, i++);
	v->type = sqlite3_column_int(stmt, i++);
	v->mode = sqlite3_column_int64(stmt, i++);
	v->uid = sqlite3_column_int64(stmt, i++);
	v->gid = sqlite3_column_int64(stmt, i++);
	v->major = sqlite3_column_int64(stmt, i++);
	v->minor = sqlite3_column_int64(stmt, i++);
	v->nlink = sqlite3_column_int64(stmt, i++);
	v->links_up = sqlite3_column_int64(stmt, i++);
	v->parent = sqlite3_column_int64(stmt, i++);
	v->size = sqlite3_column_int64(stmt, i++);
	v->atime = sqlite3_column_int64(stmt, i++);
	v->mtime = sqlite3_column_int64(stmt, i++);
	v->ctime = sqlite3_column_int64(stmt, i++);
	v->data_version = sqlite3_column_int64(stmt, i++);
	v->attr_version = sqlite3_column_int64(stmt, i++);
	v->data_seq = sqlite3_column_int64(stmt, i++);
	v->attr_seq = sqlite3_column_int64(stmt, i++);
	v->is_stale = sqlite3_column_int(stmt, i++);
	v->is_listed = sqlite3_column_int(stmt, i++);
	v->listed_at = sqlite3_column_int64(stmt, i++);
	v->is_dirty = sqlite3_column_int(stmt, i++);
	v->gen = sqlite3_column_int64(stmt, i++);
	v->keep_size = sqlite3_column_int64(stmt, i++);
	assert(i == 25);
}

/* Columns of the row whose place is in work, of which most inodes have none. */
static int load_work(struct cache *cache, sqlite3_stmt *stmt, struct inode *inode)
{
	struct slice dirty = db_column(stmt, 26), dirty_next = db_column(stmt, 27), verifier = db_column(stmt, 29);
	struct inode_work *work;
	int err;

	if (dirty.len || dirty_next.len || verifier.len) {
		err = inode_wake(cache, inode);
		if (err)
			return err;
	} else if (!inode_is_awake(inode)) {
		return 0;
	}
	work = inode->work;
	err = extent_decode(&work->dirty, dirty);
	if (!err)
		err = extent_decode(&work->dirty_next, dirty_next);
	work->has_verifier = verifier.len == sizeof(work->verifier);
	if (work->has_verifier)
		memcpy(work->verifier, verifier.data, verifier.len);
	return err;
}

static int load_rest(struct cache *cache, sqlite3_stmt *stmt, struct inode *inode)
{
	struct slice target = db_column(stmt, 28);
	struct acls *acls = NULL;
	char *text = NULL;
	int err;

	if (target.len) {
		text = malloc(target.len + 1);
		if (!text)
			return -ENOMEM;
		memcpy(text, target.data, target.len);
		text[target.len] = '\0';
	}
	err = extent_decode(&inode->present, db_column(stmt, 25));
	if (!err)
		err = load_work(cache, stmt, inode);
	if (!err)
		err = acls_decode(db_column(stmt, 30), &acls);
	if (err) {
		free(text);
		return err;
	}
	free(inode->target);
	inode->target = text;
	free((void *)inode->v.acls);
	inode->v.acls = acls;
	return 0;
}

/* The last STORE of the file that was taken: it is frozen. */
static int load_taken(struct cache *cache, struct inode *inode)
{
	uint64_t taken_seq = 0;
	sqlite3_stmt *stmt;
	int got;

	if (inode->v.data_seq && inode->v.type == TYPE_REG) {
		got = db_query(cache->read_db, &stmt,
			       "SELECT max(seq) FROM cml WHERE ino = ?1 AND op = ?2 AND seq <= ?3", "iii",
			       (int64_t)inode->ino, (int64_t)KML_STORE, (int64_t)cml_frozen_seq(cache));
		if (got < 0)
			return got;
		if (got) {
			taken_seq = sqlite3_column_int64(stmt, 0);
			db_done(stmt);
		}
	}
	got = taken_seq ? inode_wake(cache, inode) : 0;
	if (!got && inode_is_awake(inode))
		inode->work->taken_seq = taken_seq;
	return got;
}

int inode_load(struct cache *cache, struct inode *inode)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(cache->read_db, &stmt, load_sql, "i", (int64_t)inode->ino);
	if (got <= 0)
		return got;
	load_values(stmt, &inode->v);
	inode->has_names = inode->v.is_listed;
	got = load_rest(cache, stmt, inode);
	db_done(stmt);
	if (!got)
		got = load_taken(cache, inode);
	return got ? got : 1;
}

struct inode *inode_get(struct cache *cache, uint64_t ino, int *ret_err)
{
	struct inode *inode;
	int got;

	inode = inode_find(cache, ino);
	if (inode && inode->is_gone) {
		*ret_err = -ESTALE;
		return NULL;
	}
	if (inode) {
		inode->is_recent = true;
		inode->refs++;
		return inode;
	}
	if (!ino || ino > INT64_MAX) {
		*ret_err = -ESTALE;
		return NULL;
	}
	got = inode_hash_add(cache, ino, &inode);
	if (got) {
		*ret_err = got;
		return NULL;
	}
	got = inode_load(cache, inode);
	if (got <= 0) {
		inode_forget(cache, inode);
		if (got && got != -ENOMEM) {
			log_error("cache: inode %llu cannot be read from the database: %s",
				  (unsigned long long)ino, strerror(-got));
			got = -EIO;
		}
		*ret_err = got ? got : -ESTALE;
		return NULL;
	}
	inode->refs++;
	return inode;
}

void inode_put(struct cache *cache, struct inode *inode)
{
	if (!inode)
		return;
	assert(inode->refs > 0);
	inode->refs--;
	if (inode->refs)
		return;
	if (inode->is_gone && !inode->pins)
		inode_forget(cache, inode);
	else
		inode_rest(cache, inode);
}

uint64_t inode_find_oid(struct cache *cache, const struct kml_oid *oid)
{
	struct db *db = writer_db_or_read(cache);
	sqlite3_stmt *stmt;
	uint64_t ino;

	if (db_query(db, &stmt, "SELECT ino FROM inode WHERE oid_origin = ?1 AND oid_number = ?2",
		     "ii", (int64_t)oid->origin, (int64_t)oid->number) <= 0)
		return 0;
	ino = sqlite3_column_int64(stmt, 0);
	db_done(stmt);
	return ino;
}

static struct timespec time_of(int64_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	return t;
}

void inode_values_attr(const struct inode *inode, const struct inode_values *v, struct attr *ret)
{
	*ret = (struct attr){
		.ino = inode->ino,
		.type = v->type,
		.mode = v->mode & 07777,
		.nlink = v->nlink ? v->nlink : 1,	/* a client takes 0 for a broken server */
		.uid = v->uid,
		.gid = v->gid,
		.major = v->major,
		.minor = v->minor,
		.size = v->size,
		.atime = time_of(v->atime),
		.mtime = time_of(v->mtime),
		.ctime = time_of(v->ctime),
	};
	if (v->type == TYPE_DIR)
		ret->size = ret->used = DIRECTORY_SIZE;
	else if (v->type != TYPE_REG)
		ret->used = 0;
	/*
	 * Programs take a file with few blocks for one with holes, and one with none for nothing
	 * but holes.  So what is not here counts in full.
	 */
	else if (inode->used && v->gen == inode->v.gen)
		ret->used = inode->used;
	else
		ret->used = (v->size + 511) & ~511ull;
}

void inode_attr(const struct inode *inode, struct attr *ret)
{
	inode_values_attr(inode, &inode->v, ret);
}

bool inode_data_is_clean(const struct inode *inode)
{
	return !inode->v.data_seq && !inode->v.is_dirty && !inode->work->has_uncommitted &&
	       !inode->work->dirty.n && !inode->work->dirty_next.n && !inode->work->n_writing;
}

bool inode_attr_is_clean(const struct inode *inode)
{
	return !inode->v.attr_seq;
}

static void inode_drain(struct hash_node *node, void *arg)
{
	struct inode *inode = container_of(node, struct inode, by_ino);

	(void)arg;
	inode_free(inode);
}

void inode_cache_release(struct cache *cache)
{
	hash_drain(&cache->inodes, inode_drain, NULL);
	hash_release(&cache->inodes);
	cache->n_inodes = 0;
}

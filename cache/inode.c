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

static void inode_free(struct inode *inode)
{
	extent_release(&inode->present);
	extent_release(&inode->dirty);
	extent_release(&inode->dirty_next);
	free(inode->target);
	free((void *)inode->v.acls);
	free(inode);
}

/* Out of memory, be it because it is gone or to make room. */
static void inode_forget(struct cache *cache, struct inode *inode)
{
	object_leave(cache, inode);
	list_del(&inode->quiet);
	list_del(&inode->lru);
	hash_remove(&cache->inodes, &inode->by_ino);
	cache->n_inodes--;
	inode_free(inode);
}

/* May what memory knows of it be read again from its row? */
static bool inode_is_idle(const struct inode *inode)
{
	return !inode->refs && !inode->pins && !inode->n_writing && !inode->is_held &&
	       !inode->has_uncommitted && !inode->has_fetched && !list_is_linked(&inode->quiet);
}

static void inode_shrink(struct cache *cache)
{
	struct inode *inode, *next;
	unsigned tries = 0;

	if (cache->n_inodes <= cache->max_inodes)
		return;
	list_each_safe(inode, next, &cache->inode_lru, lru) {
		if (cache->n_inodes <= cache->max_inodes || ++tries > 16)
			return;
		if (inode_is_idle(inode)) {
			inode_forget(cache, inode);
			continue;
		}
		/* Not now: look at others first the next time. */
		list_del(&inode->lru);
		list_append(&cache->inode_lru, &inode->lru);
	}
}

static struct inode *inode_find(struct cache *cache, uint64_t ino)
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
	list_init(&inode->held);
	hash_insert(&cache->inodes, &inode->by_ino, hash_u64(ino));
	list_append(&cache->inode_lru, &inode->lru);
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

static int load_rest(sqlite3_stmt *stmt, struct inode *inode)
{
	struct slice target = db_column(stmt, 28), verifier = db_column(stmt, 29);
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
		err = extent_decode(&inode->dirty, db_column(stmt, 26));
	if (!err)
		err = extent_decode(&inode->dirty_next, db_column(stmt, 27));
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
	inode->has_verifier = verifier.len == sizeof(inode->verifier);
	if (inode->has_verifier)
		memcpy(inode->verifier, verifier.data, verifier.len);
	return 0;
}

/* The last STORE of the file that was taken, or found at start: it is frozen. */
static int load_taken(struct cache *cache, struct inode *inode)
{
	sqlite3_stmt *stmt;
	int got;

	inode->taken_seq = 0;
	if (!inode->v.data_seq || inode->v.type != TYPE_REG)
		return 0;
	got = db_query(cache->read_db, &stmt,
		       "SELECT max(seq) FROM cml WHERE ino = ?1 AND op = ?2 AND seq <= ?3", "iii",
		       (int64_t)inode->ino, (int64_t)KML_STORE, (int64_t)cml_frozen_seq(cache));
	if (got < 0)
		return got;
	if (got) {
		inode->taken_seq = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	return 0;
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
	got = load_rest(stmt, inode);
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
		list_del(&inode->lru);
		list_append(&cache->inode_lru, &inode->lru);
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
	if (inode->is_gone && !inode->refs && !inode->pins)
		inode_forget(cache, inode);
}

uint64_t inode_find_oid(struct cache *cache, const struct kml_oid *oid)
{
	struct db *db = writer_is_self(cache) ? cache->write_db : cache->read_db;
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
	return !inode->v.data_seq && !inode->v.is_dirty && !inode->has_uncommitted &&
	       !inode->dirty.n && !inode->dirty_next.n && !inode->n_writing;
}

bool inode_attr_is_clean(const struct inode *inode)
{
	return !inode->v.attr_seq;
}

/* ---- content, while it is written ---- */

bool inode_write_begin(struct cache *cache, struct inode *inode)
{
	(void)cache;
	if (inode->is_held)
		return false;
	inode->n_writing++;
	return true;
}

void inode_write_end(struct cache *cache, struct inode *inode, bool has_changed)
{
	assert(inode->n_writing > 0);
	inode->n_writing--;
	if (has_changed)
		inode->write_gen++;
	if (!inode->n_writing && inode->is_held)
		pthread_cond_broadcast(&cache->content_idle);
}

void inode_write_wait(struct cache *cache, struct inode *inode)
{
	while (!inode_write_begin(cache, inode))
		pthread_cond_wait(&cache->content_idle, &cache->lock);
}

void inode_hold(struct cache *cache, struct inode *inode)
{
	while (inode->is_held)
		pthread_cond_wait(&cache->content_idle, &cache->lock);
	inode->is_held = true;
	while (inode->n_writing)
		pthread_cond_wait(&cache->content_idle, &cache->lock);
}

void inode_hold_end(struct cache *cache, struct inode *inode)
{
	struct cache_op *op, *next;

	inode->is_held = false;
	pthread_cond_broadcast(&cache->content_idle);
	list_each_safe(op, next, &inode->held, priv.node) {
		list_del(&op->priv.node);
		cache_op_again(op);
	}
}

static void inode_drain(struct hash_node *node, void *arg)
{
	struct inode *inode = container_of(node, struct inode, by_ino);

	(void)arg;
	list_del(&inode->quiet);
	inode_free(inode);
}

void inode_cache_release(struct cache *cache)
{
	hash_drain(&cache->inodes, inode_drain, NULL);
	hash_release(&cache->inodes);
	cache->n_inodes = 0;
}

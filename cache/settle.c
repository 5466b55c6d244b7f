/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/settle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/why.h"
#include "cache/acl.h"
#include "cache/base.h"
#include "cache/call.h"
#include "cache/cml_state.h"
#include "cache/conflict_note.h"
#include "cache/conflict_where.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/detach.h"
#include "cache/internal.h"
#include "cache/kept.h"
#include "cache/stale.h"
#include "cache/writer.h"

/* One decision. */
struct settle {
	struct cache *cache;
	struct conflict_side side;
	struct call call;
	char *why;			/* owned */
};

/* A name of an object. */
struct place {
	uint64_t dir;
	uint8_t len;
	char name[CACHE_NAME_MAX + 1];
};

static struct slice disputed(const struct settle *s)
{
	return (struct slice){ s->side.name, s->side.len };
}

static struct slice name_of(const struct place *place)
{
	return (struct slice){ place->name, place->len };
}

/* 1; 0: it has none any more; -errno. */
static int place_of(struct cache *cache, uint64_t ino, struct place *ret)
{
	sqlite3_stmt *stmt;
	struct slice name;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 AND ino > 0 LIMIT 1", "i", (int64_t)ino);
	if (got > 0) {
		ret->dir = sqlite3_column_int64(stmt, 0);
		name = db_column(stmt, 1);
		ret->len = MIN(name.len, CACHE_NAME_MAX);
		memcpy(ret->name, name.data, ret->len);
		ret->name[ret->len] = '\0';
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

/* The object that the record is about, as it is known now; 0: it is not here. */
static uint64_t object_of(struct settle *s)
{
	struct kml_oid oid = cml_oid_of(&s->side.record);
	uint64_t ino;

	pthread_mutex_lock(&s->cache->lock);
	ino = inode_find_oid(s->cache, &oid);
	pthread_mutex_unlock(&s->cache->lock);
	return ino;
}

/* ---- what loses is kept ---- */

static const char *failure_of(int err)
{
	return err == -EIO ? "its content is not here, and cannot be had now: go --online and wait for the link, then try again" :
			     strerror(-err);
}

static int keep(struct settle *s, uint64_t ino, struct slice name, const char *whose)
{
	AUTO_FREE char *path = malloc(CML_PATH_MAX), *about = NULL;
	AUTO_CLOSE int fd = -1;
	char file[CACHE_NAME_MAX + 1], dir[32];
	struct attr was;
	int err;

	if (!path)
		return -ENOMEM;
	(void)snprintf(file, sizeof(file), "%.*s", (int)name.len, (const char *)name.data);
	pthread_mutex_lock(&s->cache->lock);
	name_path(s->cache, ino, path, CML_PATH_MAX);
	pthread_mutex_unlock(&s->cache->lock);
	err = call_getattr(&s->call, ino);
	if (err)
		return err;
	was = s->call.op.attr;
	fd = kept_begin(s->cache->dirfd, s->side.id, dir);
	if (fd < 0)
		return why_fail(&s->why, fd, "what loses cannot be kept in %s/conflicts: %s", s->cache->dir, strerror(-fd));
	err = call_copy_out(&s->call, ino, fd, strcmp(file, "about") ? file : "about_");
	if (!err && asprintf(&about, "%s: %s", path, whose) < 0)
		err = -ENOMEM;
	if (!err)
		err = kept_end(s->cache->dirfd, fd, dir, about);
	if (!err)
		err = call_getattr(&s->call, ino);
	if (err)
		return why_fail(&s->why, err, "%s: %s", path, failure_of(err));
	/* Not ctime: that is this cache's, which may just have learned something of it. */
	if (was.size != s->call.op.attr.size || was.mtime.tv_sec != s->call.op.attr.mtime.tv_sec ||
	    was.mtime.tv_nsec != s->call.op.attr.mtime.tv_nsec)
		return why_fail(&s->why, -EAGAIN, "%s was changed just now; look at it, and try again", path);
	return 0;
}

static int keep_and_remove(struct settle *s, uint64_t ino, const struct place *place, const char *whose)
{
	int err = keep(s, ino, name_of(place), whose);

	return err ? err : call_remove_all(&s->call, place->dir, name_of(place));
}

/* ---- ours stands beside theirs ---- */

static int copy_mine(struct settle *s)
{
	struct place ours;
	uint64_t theirs;
	bool is_dir;
	int err, got;

	got = place_of(s->cache, s->side.ours, &ours);
	if (got <= 0)
		return got ? got : why_fail(&s->why, -ENOENT, "our version is not there any more: --keep theirs settles it");
	if (ours.dir == s->side.dir && ours.len == s->side.len && !memcmp(ours.name, s->side.name, ours.len))
		return 0;
	err = call_getattr(&s->call, s->side.ours);
	if (err)
		return err;
	is_dir = s->call.op.attr.type == TYPE_DIR;
	err = call_lookup(&s->call, s->side.dir, disputed(s));
	if (err == -ESTALE || err == -ENOTDIR)
		return why_fail(&s->why, err, "the directory it was in is gone: move %s to where it is wanted, then --keep both", ours.name);
	if (err && err != -ENOENT)
		return err;
	if (!err) {
		theirs = s->call.op.ino;
		is_dir |= s->call.op.attr.type == TYPE_DIR;
		err = keep(s, theirs, disputed(s), "the server's version");
		if (!err && is_dir)
			err = call_remove_all(&s->call, s->side.dir, disputed(s));
		if (err)
			return err;
	}
	return call_rename(&s->call, ours.dir, name_of(&ours), s->side.dir, disputed(s));
}

/* Ours goes. */
static int ours_goes(struct settle *s)
{
	struct place ours;
	int got;

	got = place_of(s->cache, s->side.ours, &ours);
	if (got <= 0)
		return got;	/* it has gone before */
	return keep_and_remove(s, s->side.ours, &ours, "our version");
}

/* ---- what was not done ---- */

/* That object, by the name that it had, or has now; nothing else that has its name. */
static int remove_again(struct settle *s)
{
	struct place place = { .dir = s->side.dir, .len = s->side.len };
	uint64_t ino;
	int err;

	memcpy(place.name, s->side.name, place.len);
	if (conflict_is_elsewhere(s->cache, &s->side, &ino)) {
		err = place_of(s->cache, ino, &place);
		if (err <= 0)
			return err;
	} else if (!ino) {
		return 0;
	}
	err = call_lookup(&s->call, place.dir, name_of(&place));
	if (err)
		return err == -ENOENT || err == -ESTALE ? 0 : err;
	return keep_and_remove(s, s->call.op.ino, &place, "the server's version, removed");
}

static int name_again(struct settle *s, uint64_t ino, bool is_link)
{
	struct place from;
	int got;

	got = call_lookup(&s->call, s->side.dir, disputed(s));
	if (!got && s->call.op.ino == ino)
		return 0;
	if (!got)
		return why_fail(&s->why, -EEXIST, "something has the name %.*s by now: move that first", s->side.len, s->side.name);
	if (got != -ENOENT)
		return got;
	if (is_link)
		return call_link(&s->call, ino, s->side.dir, disputed(s));
	got = place_of(s->cache, ino, &from);
	if (got <= 0)
		return got ? got : -ENOENT;
	return call_rename(&s->call, from.dir, name_of(&from), s->side.dir, disputed(s));
}

static struct timespec timespec_of(struct kml_time time)
{
	return (struct timespec){ .tv_sec = time.sec, .tv_nsec = time.nsec };
}

static int setattr_again(struct settle *s, uint64_t ino)
{
	const struct kml_setattr *was = &s->side.record.body.kml_body_u.setattr;
	struct attr_change change = {
		.mode = was->mode, .uid = was->uid, .gid = was->gid,
		.atime = timespec_of(was->atime), .mtime = timespec_of(was->mtime),
	};

	change.set = (was->set & KML_SET_MODE ? SET_MODE : 0u) | (was->set & KML_SET_UID ? SET_UID : 0u) |
		     (was->set & KML_SET_GID ? SET_GID : 0u) | (was->set & KML_SET_ATIME ? SET_ATIME : 0u) |
		     (was->set & KML_SET_MTIME ? SET_MTIME : 0u);
	return call_setattr(&s->call, ino, &change);
}

static int setacl_again(struct settle *s, uint64_t ino)
{
	const struct kml_setacl *was = &s->side.record.body.kml_body_u.setacl;
	struct acls *kept = NULL, *shown = NULL;
	unsigned set = ACL_SET_ACCESS;
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = kml_acls_encode(&buf, &was->acls);
	if (!err)
		err = acls_decode((struct slice){ buf.data, buf.len }, &kept);
	buf_release(&buf);
	if (!err)
		err = acls_show(kept, was->mode, &shown);
	if (!err)
		err = call_getattr(&s->call, ino);
	if (!err) {
		set |= s->call.op.attr.type == TYPE_DIR ? ACL_SET_DEFAULT : 0u;
		err = call_setacl(&s->call, ino, set, shown);
	}
	free(kept);
	free(shown);
	return err;
}

static int do_again(struct settle *s)
{
	enum kml_op op = s->side.record.body.op;
	uint64_t ino;

	if (op == KML_REMOVE || op == KML_RMDIR)
		return remove_again(s);
	ino = object_of(s);
	if (!ino)
		return why_fail(&s->why, -ENOENT, "what it was done to is not there any more: --keep theirs settles it");
	switch (op) {
	case KML_RENAME:
	case KML_LINK:
		return name_again(s, ino, op == KML_LINK);
	case KML_SETATTR:
		return setattr_again(s, ino);
	case KML_SETACL:
		return setacl_again(s, ino);
	default:
		return 0;
	}
}

/* ---- what is here only ---- */

/* The content that was refused is given up for upstream's. */
static int discard_run(struct change *change)
{
	uint64_t ino = *(const uint64_t *)change->arg, seq;
	struct inode_edit *edit;
	int err, got;

	edit = inode_edit(change, ino, &err);
	if (!edit)
		return err;
	got = cml_last_of(change, ino, KML_STORE, &seq);
	if (got)
		return got < 0 ? got : -EBUSY;
	err = EDIT_MAPS(edit);
	if (err)
		return err;
	extent_release(&edit->present);
	extent_release(&edit->dirty);
	extent_release(&edit->dirty_next);
	edit->is_committed = true;
	EDIT(edit, gen, edit->v.gen + 1);
	EDIT(edit, data_seq, 0);
	EDIT(edit, data_version, 0);
	inode_edit_touch(change, edit);
	err = detach_forget(change, ino);
	return err ? err : stale_ask(change, ino);
}

static int discard(struct settle *s)
{
	struct place ours;
	int err, got;

	got = place_of(s->cache, s->side.ours, &ours);
	if (got <= 0)
		return got;
	err = keep(s, s->side.ours, name_of(&ours), "our version, refused by the server");
	if (err)
		return err;
	err = writer_call(s->cache, discard_run, &s->side.ours);
	return err == -EBUSY ? why_fail(&s->why, err, "it was written to since, and that waits to be sent: wait for how that ends") : err;
}

static int send_again(struct settle *s)
{
	struct place ours;
	int err, got;

	got = place_of(s->cache, s->side.ours, &ours);
	if (got <= 0)
		return got;
	if (s->side.record.body.op == KML_STORE)
		return call_touch_content(&s->call, s->side.ours);
	err = call_make_anew(&s->call, s->side.ours, ours.dir, name_of(&ours));
	return err == -EISDIR ? why_fail(&s->why, err, "rename it: that makes it anew at the server") : err;
}

/* ---- all of it ---- */

static int decide(struct settle *s, enum settle_keep whose)
{
	if (whose == SETTLE_BOTH)
		return 0;
	switch (s->side.kind) {
	case CONFLICT_COPY:
		return whose == SETTLE_MINE ? copy_mine(s) : ours_goes(s);
	case CONFLICT_NEW:
		return whose == SETTLE_MINE ? 0 : ours_goes(s);
	case CONFLICT_UNDONE:
		return whose == SETTLE_MINE ? do_again(s) : 0;
	case CONFLICT_HERE:
		if (whose == SETTLE_MINE)
			return send_again(s);
		return s->side.record.body.op == KML_STORE ? discard(s) : ours_goes(s);
	}
	return -EUCLEAN;
}

static int begin(struct settle *s, struct cache *cache, uint64_t id)
{
	int got;

	*s = (struct settle){ .cache = cache };
	got = conflict_side_get(cache, id, &s->side);
	if (got <= 0)
		return got ? got : -ENOENT;
	return call_init(&s->call, cache);
}

static void end(struct settle *s, int err, char **ret_why)
{
	if (err && !s->why)
		(void)why_fail(&s->why, err, "%s", failure_of(err));
	*ret_why = err ? s->why : NULL;
	if (!err)
		free(s->why);
	kml_record_release(&s->side.record);
	call_release(&s->call);
}

static const char *const keep_names[] = { [SETTLE_MINE] = "mine", [SETTLE_THEIRS] = "theirs", [SETTLE_BOTH] = "both" };

int settle_conflict(struct cache *cache, uint64_t id, enum settle_keep whose, char **ret_why)
{
	struct settle s;
	int err;

	err = begin(&s, cache, id);
	/* From before there was more than a sentence of it on record: all that can be said is that it is settled. */
	if (err == -ENOENT && whose == SETTLE_BOTH)
		err = 0;
	else if (!err)
		err = decide(&s, whose);
	else if (err == -ENOENT)
		err = why_fail(&s.why, err, "it is on record by a sentence only: settle it by hand, then --keep both");
	if (!err)
		err = conflict_side_done(cache, id);
	if (!err)
		log_info("conflict: settled: id=%llu keep=%s", (unsigned long long)id, keep_names[whose]);
	end(&s, err, ret_why);
	return err;
}

/* The next one after that id that is not about a refusal: 1, 0, -errno. */
static int next_id(struct cache *cache, uint64_t after, uint64_t *ret_id)
{
	sqlite3_stmt *stmt;
	int got;

	pthread_mutex_lock(&cache->lock);
	got = db_query(cache->read_db, &stmt, "SELECT id FROM conflict_side WHERE id > ?1 AND status <> ?2 ORDER BY id LIMIT 1", "ii",
		       (int64_t)after, (int64_t)KML_REFUSED);
	if (got > 0) {
		*ret_id = sqlite3_column_int64(stmt, 0);
		db_done(stmt);
	}
	pthread_mutex_unlock(&cache->lock);
	return got;
}

int settle_all(struct cache *cache, enum settle_policy policy, bool (*leaves)(void *arg, uint64_t id), void *arg)
{
	uint64_t id = 0;
	int got = 0;

	while (policy != POLICY_KEEP_BOTH && (got = next_id(cache, id, &id)) > 0) {
		AUTO_FREE char *why = NULL;
		int err;

		if (leaves && leaves(arg, id))
			continue;
		err = settle_conflict(cache, id, policy == POLICY_SERVER_WINS ? SETTLE_THEIRS : SETTLE_MINE, &why);
		if (err)
			log_debug(LOG_CACHE, "conflict: not settled: id=%llu: %s", (unsigned long long)id, why ? why : strerror(-err));
	}
	return MIN(got, 0);
}

int settle_paths(struct cache *cache, uint64_t id, struct settle_paths *ret)
{
	struct conflict_side side;
	size_t len;
	int got;

	ret->ours[0] = ret->name[0] = '\0';
	got = conflict_side_get(cache, id, &side);
	if (got <= 0)
		return got;
	pthread_mutex_lock(&cache->lock);
	if (side.ours)
		name_path(cache, side.ours, ret->ours, sizeof(ret->ours));
	if (side.dir) {
		name_path(cache, side.dir, ret->name, sizeof(ret->name));
		len = side.dir == CACHE_ROOT ? 0 : strlen(ret->name);
		(void)snprintf(ret->name + len, sizeof(ret->name) - len, "/%.*s", side.len, side.name);
	}
	pthread_mutex_unlock(&cache->lock);
	kml_record_release(&side.record);
	return 0;
}

static int copy_sides(struct settle *s, char **ret_dir)
{
	AUTO_CLOSE int fd = -1;
	char name[32];
	int err;

	if (s->side.kind != CONFLICT_COPY)
		return why_fail(&s->why, -ENODATA, s->side.kind == CONFLICT_UNDONE ? "it is about what was done, not about contents" :
									   "there is nothing of the server's to compare it with");
	err = call_lookup(&s->call, s->side.dir, disputed(s));
	if (err == -ENOENT || err == -ESTALE)
		return why_fail(&s->why, -ENODATA, "nothing has the name %.*s any more: all there is is ours", s->side.len, s->side.name);
	if (err)
		return err;
	fd = kept_begin(s->cache->dirfd, s->side.id, name);
	if (fd < 0)
		return fd;
	if (asprintf(ret_dir, "%s/conflicts/%s", s->cache->dir, name) < 0)
		return -ENOMEM;
	err = call_copy_out(&s->call, s->call.op.ino, fd, "theirs");
	if (!err)
		err = call_copy_out(&s->call, s->side.ours, fd, "mine");
	if (!err)
		err = MIN(base_copy_out(s->cache, s->side.id, fd, "base"), 0);
	if (err) {	/* what is there is removed by the next kept_begin(), or kept_forget() */
		free(*ret_dir);
		*ret_dir = NULL;
	}
	return err == -ESTALE ? why_fail(&s->why, -ENODATA, "our version is not there any more") : err;
}

int settle_sides(struct cache *cache, uint64_t id, char **ret_dir, char **ret_why)
{
	struct settle s;
	int err;

	*ret_dir = NULL;
	err = begin(&s, cache, id);
	if (!err)
		err = copy_sides(&s, ret_dir);
	else if (err == -ENOENT)
		err = why_fail(&s.why, err, "it is on record by a sentence only");
	end(&s, err, ret_why);
	return err;
}

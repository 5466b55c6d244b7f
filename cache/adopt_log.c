/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of a cache that goes on with another upstream.
 *
 * What was made or written here is sent as new objects, directories first: CREATE and the like are certified by their names alone, which
 * is all that can be said of an upstream that nothing else is known of.  The other records of the old log were about objects of the
 * old upstream; they are not done, and go on record as conflicts where what is there now is not as they would have left it. From there
 * izo-nfsd --resolve does them after all.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "cache/acl.h"
#include "cache/adopt_state.h"
#include "cache/cml.h"
#include "cache/cml_state.h"
#include "cache/conflict_note.h"
#include "cache/db.h"
#include "cache/internal.h"

#define NAME_ROOM 64

/* ---- what was in it ---- */

/* As cml_find_oid(), with the connection that there is by now. */
static int find_logged(struct adopt *a, struct kml_oid oid, uint64_t *ret_ino)
{
	char key[8 + KML_OID_TEXT] = "merged ", text[KML_OID_TEXT];
	struct slice value;
	sqlite3_stmt *stmt;
	int got;

	got = adopt_find_oid(a, oid, ret_ino);
	if (got || *ret_ino)
		return got;
	kml_oid_print(oid, key + strlen(key));
	got = db_query(a->db, &stmt, "SELECT value FROM meta WHERE key = ?1", "t", key);
	if (got <= 0)
		return got;
	value = db_column(stmt, 0);
	(void)snprintf(text, sizeof(text), "%.*s", (int)value.len, (const char *)value.data);
	db_done(stmt);
	return kml_oid_parse(text, &oid) ? 0 : adopt_find_oid(a, oid, ret_ino);
}

static int note_undone(struct adopt *a, uint64_t ino, const struct kml_record *record, struct slice bytes)
{
	struct cml_place places[2];
	unsigned n = cml_places_of(record, places);
	uint64_t dirs[2] = { 0, 0 };
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = find_logged(a, places[i].dir, &dirs[i]);
	return err ? err : db_run(a->db, "INSERT INTO temp.adopt_undone (seq, ino, record, from_dir, dir) VALUES (?1, ?2, ?3, ?4, ?5)",
				  "iibii", (int64_t)record->seq, (int64_t)ino, bytes, (int64_t)dirs[0], (int64_t)dirs[n ? n - 1 : 0]);
}

int adopt_log_read(struct adopt *a)
{
	struct kml_record record;
	uint64_t seq = 0;
	int err = 0, got;

	for (;;) {
		sqlite3_stmt *stmt;
		struct slice text;
		struct buf bytes;
		uint64_t ino;

		got = db_query(a->db, &stmt,
			       "SELECT seq, ino, record FROM cml WHERE seq > ?1 AND op IN (5, 6, 7, 8, 9, 11)"
			       " AND NOT EXISTS (SELECT 1 FROM temp.adopt_ino AS k WHERE k.ino = cml.ino AND k.kind = 1) ORDER BY seq LIMIT 1", "i", (int64_t)seq);
		if (got <= 0)
			return got;
		seq = (uint64_t)sqlite3_column_int64(stmt, 0);
		ino = (uint64_t)sqlite3_column_int64(stmt, 1);
		text = db_column(stmt, 2);
		buf_init(&bytes, 0);
		err = buf_append(&bytes, text.data, text.len);
		db_done(stmt);
		if (!err)
			err = kml_record_decode(bytes.data, bytes.len, &record);
		/* FORWARD is about names that came and went. */
		if (!err) {
			if (record.body.op != KML_SETATTR || record.body.kml_body_u.setattr.set != KML_SET_FORWARD)
				err = note_undone(a, ino, &record, (struct slice){ bytes.data, bytes.len });
			kml_record_release(&record);
		} else if (err != -ENOMEM) {
			log_warn("cache: a record that is not known is not sent to the adopted upstream: seq=%" PRIu64, seq);
			err = 0;
		}
		buf_release(&bytes);
		if (err)
			return err;
	}
}

/* ---- a new record ---- */

static kml_name name_of(struct slice name)
{
	return (kml_name){ .kml_name_val = (char *)name.data, .kml_name_len = (u_int)name.len };
}

static int append(struct adopt *a, const struct adopt_inode *inode, struct kml_record *record, uint64_t *ret_seq)
{
	struct buf buf;
	int err;

	record->format = KML_VERSION;
	record->seq = a->next_seq;
	record->time = cml_time(a->now);
	record->uid = inode->uid;
	buf_init(&buf, 0);
	err = kml_record_encode(&buf, record);
	if (!err)
		err = db_run(a->db, "INSERT INTO cml (seq, op, ino, time, record) VALUES (?1, ?2, ?3, ?4, ?5)", "iiiib",
			     (int64_t)record->seq, (int64_t)record->body.op, (int64_t)inode->ino, a->now,
			     (struct slice){ buf.data, buf.len });
	buf_release(&buf);
	if (err)
		return err;
	*ret_seq = a->next_seq++;
	a->sent++;
	return 0;
}

static int log_acl(struct adopt *a, const struct adopt_inode *inode, const struct acls *acls)
{
	struct kml_record record = { .body.op = KML_SETACL };
	struct kml_setacl *setacl = &record.body.kml_body_u.setacl;
	uint64_t seq;
	int err;

	setacl->oid = inode->oid;
	setacl->mode = inode->mode;
	setacl->acls = acls_to_kml(acls);
	err = append(a, inode, &record, &seq);
	return err ? err : db_run(a->db, "UPDATE inode SET attr_seq = ?2 WHERE ino = ?1", "ii", (int64_t)inode->ino, (int64_t)seq);
}

/* The oid of a directory. */
static int oid_of(struct adopt *a, uint64_t ino, struct kml_oid *ret)
{
	sqlite3_stmt *stmt;
	int got = db_query(a->db, &stmt, "SELECT oid_origin, oid_number FROM inode WHERE ino = ?1", "i", (int64_t)ino);

	if (got <= 0)
		return got ? got : -EUCLEAN;
	ret->origin = (uint64_t)sqlite3_column_int64(stmt, 0);
	ret->number = (uint64_t)sqlite3_column_int64(stmt, 1);
	db_done(stmt);
	return 0;
}

static int mark_name(struct adopt *a, uint64_t dir, struct slice name, uint64_t seq)
{
	return db_run(a->db, "UPDATE name SET seq = ?3 WHERE dir = ?1 AND name = ?2", "ibi", (int64_t)dir, name, (int64_t)seq);
}

static int log_make(struct adopt *a, const struct adopt_inode *inode, uint64_t dir, struct slice name)
{
	struct kml_record record = { 0 };
	struct kml_make make = { .oid = inode->oid, .uid = inode->uid, .gid = inode->gid, .name = name_of(name) };
	struct acls *acls = NULL;
	uint64_t seq;
	int err;

	make.atime = cml_time(inode->atime);
	make.mtime = cml_time(inode->mtime);
	err = oid_of(a, dir, &make.parent);
	if (!err)
		err = acls_decode((struct slice){ inode->acl.data, inode->acl.len }, &acls);
	if (err)
		return err;
	make.mode = acls_narrow_mode(acls, inode->mode);
	switch (inode->type) {
	case TYPE_REG:
	case TYPE_DIR:
		record.body.op = inode->type == TYPE_REG ? KML_CREATE : KML_MKDIR;
		record.body.kml_body_u.make = make;
		break;
	case TYPE_LNK:
		record.body.op = KML_SYMLINK;
		record.body.kml_body_u.symlink.make = make;
		record.body.kml_body_u.symlink.target = (kml_target){
			.kml_target_val = (char *)inode->target.data, .kml_target_len = (u_int)inode->target.len,
		};
		break;
	default:
		record.body.op = KML_MKNOD;
		record.body.kml_body_u.mknod.make = make;
		record.body.kml_body_u.mknod.type = (enum kml_type)inode->type;
		record.body.kml_body_u.mknod.major = inode->major;
		record.body.kml_body_u.mknod.minor = inode->minor;
	}
	err = append(a, inode, &record, &seq);
	if (!err)
		err = mark_name(a, dir, name, seq);
	if (!err)
		err = db_run(a->db, "UPDATE inode SET data_seq = ?2, attr_seq = ?2 WHERE ino = ?1", "ii", (int64_t)inode->ino, (int64_t)seq);
	if (!err && acls)
		err = log_acl(a, inode, acls);
	free(acls);
	return err;
}

static int log_link(struct adopt *a, const struct adopt_inode *inode, uint64_t dir, struct slice name)
{
	struct kml_record record = { .body.op = KML_LINK };
	struct kml_link *link = &record.body.kml_body_u.link;
	uint64_t seq;
	int err = oid_of(a, dir, &link->parent);

	link->oid = inode->oid;
	link->name = name_of(name);
	if (!err)
		err = append(a, inode, &record, &seq);
	return err ? err : mark_name(a, dir, name, seq);
}

/* ---- content ---- */

/* What was never here of a file that is to be sent whole is zeros, as in any conflict copy (conflict.c). */
static int fill_gaps(struct adopt *a, const struct adopt_inode *inode, uint32_t gen)
{
	AUTO_CLOSE int fd = -1;
	char name[NAME_ROOM];
	struct extent gap;
	struct stat st;
	uint64_t at = 0;

	(void)snprintf(name, sizeof(name), "%02x/%" PRIu64 ".%" PRIu32, (unsigned)(inode->ino % 256), inode->ino, gen);
	fd = openat(a->cache->objects_dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* A fetch that broke off may have left bytes there. */
	while (extent_first_gap(&inode->present, at, inode->size, &gap)) {
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)gap.start, (off_t)(gap.end - gap.start)) < 0)
			return -errno;
		at = gap.end;
	}
	if (((uint64_t)st.st_size < inode->size && ftruncate(fd, (off_t)inode->size) < 0) || fsync(fd) < 0)
		return -errno;
	return 0;
}

static int log_store(struct adopt *a, const struct adopt_inode *inode)
{
	struct kml_record record = { .body.op = KML_STORE };
	struct extent_map whole = { 0 };
	uint32_t gen = MAX(inode->gen, 1u);
	struct buf map;
	uint64_t seq;
	int err = 0;

	if (!inode->size)
		return db_run(a->db, "UPDATE inode SET present = NULL, dirty = NULL, dirty_next = NULL, is_dirty = 0, keep_size = 0"
				     " WHERE ino = ?1", "i", (int64_t)inode->ino);
	if (!adopt_is_whole(inode) || !inode->gen)
		err = fill_gaps(a, inode, gen);
	record.body.kml_body_u.store.oid = inode->oid;
	record.body.kml_body_u.store.keep_size = CML_NOT_TAKEN;
	if (!err)
		err = append(a, inode, &record, &seq);
	buf_init(&map, 0);
	if (!err)
		err = extent_add(&whole, 0, inode->size);
	if (!err)
		err = extent_encode(&map, &whole);
	if (!err)
		err = db_run(a->db, "UPDATE inode SET present = ?2, dirty = ?2, dirty_next = NULL, is_dirty = 0, keep_size = 0, gen = ?3,"
				    " data_seq = ?4 WHERE ino = ?1", "ibii", (int64_t)inode->ino, (struct slice){ map.data, map.len },
			     (int64_t)gen, (int64_t)seq);
	buf_release(&map);
	extent_release(&whole);
	return err;
}

/* ---- all that is ours ---- */

/* Each of its names; the first one makes it. */
static int log_names(struct adopt *a, const struct adopt_inode *inode)
{
	char room[CACHE_NAME_MAX];
	struct slice name = { room, 0 };
	uint64_t dir = 0;
	bool is_made = false;
	int err = 0, got;

	for (;;) {
		sqlite3_stmt *stmt;
		struct slice found;

		got = db_query(a->db, &stmt, "SELECT dir, name FROM name WHERE ino = ?1 AND ino > 0 AND (dir, name) > (?2, ?3)"
					     " AND NOT " ADOPT_IS_LOCAL " ORDER BY dir, name LIMIT 1", "iib", (int64_t)inode->ino,
			       (int64_t)dir, name);
		if (got <= 0)
			return got;
		dir = (uint64_t)sqlite3_column_int64(stmt, 0);
		found = db_column(stmt, 1);
		name.len = MIN(found.len, sizeof(room));
		memcpy(room, found.data, name.len);
		db_done(stmt);
		err = is_made ? log_link(a, inode, dir, name) : log_make(a, inode, dir, name);
		if (err)
			return err;
		is_made = true;
	}
}

static int log_inode(struct adopt *a, uint64_t ino)
{
	struct adopt_inode inode;
	int err, got = adopt_inode_get(a, ino, &inode);

	if (got <= 0)
		return got;
	err = log_names(a, &inode);
	if (!err && inode.type == TYPE_REG)
		err = log_store(a, &inode);
	adopt_inode_release(&inode);
	return err;
}

int adopt_log_write(struct adopt *a)
{
	struct buf inos;
	sqlite3_stmt *stmt;
	int err = 0, got;

	buf_init(&inos, 0);
	/* Directories from the top down; then the rest, in the order in which it was made. */
	got = db_query(a->db, &stmt,
		       "WITH RECURSIVE below (ino, depth) AS (SELECT 2, 0 UNION ALL SELECT name.ino, depth + 1 FROM name, below, inode"
		       " WHERE name.dir = below.ino AND name.ino > 0 AND inode.ino = name.ino AND inode.type = 2)"
		       " SELECT ino, depth FROM (SELECT ino, depth FROM below UNION ALL SELECT ino, 1000000000 FROM inode WHERE type <> 2)"
		       " WHERE ino IN (SELECT ino FROM temp.adopt_ino WHERE kind = 1) ORDER BY depth, ino", "");
	while (got > 0 && !err) {
		uint64_t ino = (uint64_t)sqlite3_column_int64(stmt, 0);

		err = buf_append(&inos, &ino, sizeof(ino));
		got = db_next(stmt);
	}
	if (!err)
		err = MIN(got, 0);
	for (size_t at = 0; !err && at < inos.len; at += sizeof(uint64_t)) {
		uint64_t ino;

		memcpy(&ino, inos.data + at, sizeof(ino));
		err = log_inode(a, ino);
	}
	buf_release(&inos);
	return err;
}

/* ---- what is not done ---- */

struct undone {
	uint64_t ino, from_dir, dir;
	struct kml_record record;
	struct cml_place places[2];
	unsigned n_places;
};

static int put_on_record(struct adopt *a, const struct undone *u, uint64_t ours, const char *what)
{
	struct slice name = u->n_places ? u->places[u->n_places - 1].name : (struct slice){ NULL, 0 };
	char path[4096] = "/";
	struct buf buf;
	int err;

	if (u->n_places)
		err = adopt_path(a, u->dir, name, path + 1, sizeof(path) - 1);
	else
		err = adopt_path(a, ours, (struct slice){ "", 0 }, path + 1, sizeof(path) - 1);
	if (err && err != -ENAMETOOLONG)
		return err;
	if (!u->n_places && strlen(path) > 1)
		path[strlen(path) - 1] = '\0';		/* the slash behind a directory, in front of no name */
	buf_init(&buf, 0);
	err = kml_record_encode(&buf, &u->record);
	if (!err)
		err = db_run(a->db, "INSERT INTO conflict (at, path, what) VALUES (?1, ?2, ?3)", "ibt", a->now / 1000000000,
			     (struct slice){ path, strlen(path) }, what);
	if (!err)
		err = db_run(a->db, "INSERT INTO conflict_side (id, kind, status, ours, dir, name, record)"
				    " VALUES (last_insert_rowid(), ?1, ?2, ?3, ?4, ?5, ?6)", "iiiibb", (int64_t)CONFLICT_UNDONE,
			     (int64_t)KML_CONFLICT, (int64_t)ours, (int64_t)(u->n_places ? u->dir : 0), name,
			     (struct slice){ buf.data, buf.len });
	buf_release(&buf);
	a->undone += !err;
	return err;
}

/* The object that the upstream has under the name; 0: none, or something of ours. */
static int taken_at(struct adopt *a, uint64_t dir, struct slice name, uint64_t *ret_ino)
{
	struct adopt_inode inode;
	int got, err = adopt_find_name(a, dir, name, ret_ino);

	if (err || !*ret_ino)
		return err;
	got = adopt_inode_get(a, *ret_ino, &inode);
	if (got <= 0 || inode.kind != ADOPT_TAKEN)
		*ret_ino = 0;
	if (got > 0)
		adopt_inode_release(&inode);
	return MIN(got, 0);
}

static int removal(struct adopt *a, struct undone *u)
{
	struct kml_unlink *unlink = &u->record.body.kml_body_u.unlink;
	uint64_t there;
	int err = taken_at(a, u->dir, u->places[0].name, &there);

	if (err || !there)
		return err;
	err = oid_of(a, there, &unlink->oid);
	if (!err)
		err = oid_of(a, u->dir, &unlink->parent);
	return err ? err : put_on_record(a, u, there, "its removal was not sent: the upstream that was accepted since has it, maybe another version");
}

static int renaming(struct adopt *a, struct undone *u)
{
	struct kml_rename *rename = &u->record.body.kml_body_u.rename;
	uint64_t there, now;
	int err = taken_at(a, u->from_dir, u->places[0].name, &there);

	if (!err && there)
		err = adopt_find_name(a, u->dir, u->places[1].name, &now);
	if (err || !there || now == there)
		return err;
	err = oid_of(a, there, &rename->oid);
	return err ? err : put_on_record(a, u, there, "a rename to this name was not sent: the upstream that was accepted since has it under the old one");
}

static int linking(struct adopt *a, struct undone *u, const struct adopt_inode *inode)
{
	uint64_t now;
	int err = adopt_find_name(a, u->dir, u->places[0].name, &now);

	if (err || now == inode->ino)
		return err;
	u->record.body.kml_body_u.link.oid = inode->oid;
	return put_on_record(a, u, inode->ino, "a link of this name was not sent: the upstream that was accepted since does not have it");
}

static bool has_attributes(const struct adopt_inode *inode, const struct kml_setattr *s)
{
	return (!(s->set & KML_SET_MODE) || (s->mode & 07777) == inode->mode) && (!(s->set & KML_SET_UID) || s->uid == inode->uid) &&
	       (!(s->set & KML_SET_GID) || s->gid == inode->gid) &&
	       (!(s->set & KML_SET_MTIME) || cml_time_ns(s->mtime) == inode->mtime);
}

static int attributes(struct adopt *a, struct undone *u, const struct adopt_inode *inode)
{
	if (u->record.body.op == KML_SETATTR) {
		if (has_attributes(inode, &u->record.body.kml_body_u.setattr))
			return 0;
		u->record.body.kml_body_u.setattr.oid = inode->oid;
		return put_on_record(a, u, inode->ino, "a change of its attributes was not sent: the upstream that was accepted since has others");
	}
	u->record.body.kml_body_u.setacl.oid = inode->oid;
	return put_on_record(a, u, inode->ino, "a change of its access control list was not sent to the upstream that was accepted since");
}

static int undone_one(struct adopt *a, struct undone *u)
{
	struct adopt_inode inode;
	int err = 0, got;

	u->n_places = cml_places_of(&u->record, u->places);
	switch (u->record.body.op) {
	case KML_REMOVE:
	case KML_RMDIR:
		return removal(a, u);
	case KML_RENAME:
		return renaming(a, u);
	default:
		break;
	}
	got = adopt_inode_get(a, u->ino, &inode);
	if (got <= 0)
		return got;
	if (inode.kind == ADOPT_TAKEN)
		err = u->record.body.op == KML_LINK ? linking(a, u, &inode) : attributes(a, u, &inode);
	adopt_inode_release(&inode);
	return err;
}

int adopt_log_undone(struct adopt *a)
{
	uint64_t seq = 0;
	int err, got;

	for (;;) {
		struct undone u = { 0 };
		sqlite3_stmt *stmt;
		struct slice text;

		got = db_query(a->db, &stmt, "SELECT seq, ino, from_dir, dir, record FROM temp.adopt_undone WHERE seq > ?1 ORDER BY seq LIMIT 1",
			       "i", (int64_t)seq);
		if (got <= 0)
			return got;
		seq = (uint64_t)sqlite3_column_int64(stmt, 0);
		u.ino = (uint64_t)sqlite3_column_int64(stmt, 1);
		u.from_dir = (uint64_t)sqlite3_column_int64(stmt, 2);
		u.dir = (uint64_t)sqlite3_column_int64(stmt, 3);
		text = db_column(stmt, 4);
		err = kml_record_decode(text.data, text.len, &u.record);
		db_done(stmt);
		if (!err) {
			err = undone_one(a, &u);
			kml_record_release(&u.record);
		}
		if (err)
			return err;
	}
}

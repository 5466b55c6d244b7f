/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits to the disk: one UPDATE of what was set. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cache/acl.h"
#include "cache/base.h"
#include "cache/db.h"
#include "cache/digest.h"
#include "cache/inode.h"
#include "cache/internal.h"
#include "cache/writer.h"

/* What an UPDATE may set besides the fields of struct inode_values. */
enum { COLUMN_MAPS = INODE_FIELDS, COLUMN_TARGET, COLUMN_VERIFIER, COLUMN_ACL, COLUMNS };

static const char *const column_names[COLUMNS] = {
	[FIELD_oid] = "oid_origin = ?, oid_number = ?",
	[FIELD_type] = "type = ?",
	[FIELD_mode] = "mode = ?",
	[FIELD_uid] = "uid = ?",
	[FIELD_gid] = "gid = ?",
	[FIELD_major] = "major = ?",
	[FIELD_minor] = "minor = ?",
	[FIELD_nlink] = "nlink = ?",
	[FIELD_links_up] = "links_up = ?",
	[FIELD_parent] = "parent = ?",
	[FIELD_size] = "size = ?",
	[FIELD_atime] = "atime = ?",
	[FIELD_mtime] = "mtime = ?",
	[FIELD_ctime] = "ctime = ?",
	[FIELD_data_version] = "data_version = ?",
	[FIELD_attr_version] = "attr_version = ?",
	[FIELD_data_seq] = "data_seq = ?",
	[FIELD_attr_seq] = "attr_seq = ?",
	[FIELD_is_stale] = "is_stale = ?",
	[FIELD_is_listed] = "is_listed = ?",
	[FIELD_is_dirty] = "is_dirty = ?",
	[FIELD_listed_at] = "listed_at = ?",
	[FIELD_gen] = "gen = ?",
	[FIELD_keep_size] = "keep_size = ?",
	[COLUMN_MAPS] = "present = ?, dirty = ?, dirty_next = ?",
	[COLUMN_TARGET] = "target = ?",
	[COLUMN_VERIFIER] = "verifier = ?",
	[COLUMN_ACL] = "acl = ?",
};
_Static_assert(COLUMNS <= 32, "a bit for each column");

static int64_t field_value(const struct inode_values *v, unsigned field)
{
	switch ((enum inode_field)field) {
	case FIELD_oid:		return v->oid.origin;	/* and the number, see bind_edit() */
	case FIELD_type:	return v->type;
	case FIELD_mode:	return v->mode;
	case FIELD_uid:		return v->uid;
	case FIELD_gid:		return v->gid;
	case FIELD_major:	return v->major;
	case FIELD_minor:	return v->minor;
	case FIELD_nlink:	return v->nlink;
	case FIELD_links_up:	return v->links_up;
	case FIELD_parent:	return v->parent;
	case FIELD_size:	return v->size;
	case FIELD_atime:	return v->atime;
	case FIELD_mtime:	return v->mtime;
	case FIELD_ctime:	return v->ctime;
	case FIELD_data_version: return v->data_version;
	case FIELD_attr_version: return v->attr_version;
	case FIELD_data_seq:	return v->data_seq;
	case FIELD_attr_seq:	return v->attr_seq;
	case FIELD_is_stale:	return v->is_stale;
	case FIELD_is_listed:	return v->is_listed;
	case FIELD_is_dirty:	return v->is_dirty;
	case FIELD_listed_at:	return v->listed_at;
	case FIELD_gen:		return v->gen;
	case FIELD_keep_size:	return v->keep_size;
	case INODE_FIELDS:	break;
	}
	abort();
}

/* One statement for each set of columns that has come up. */
struct inode_sql {
	struct inode_sql *next;
	uint32_t set;
	char text[];
};

static const char *update_sql(struct cache *cache, uint32_t set)
{
	struct inode_sql *sql;
	struct buf buf;
	bool first = true;

	for (sql = cache->inode_sql; sql; sql = sql->next) {
		if (sql->set == set)
			return sql->text;
	}
	buf_init(&buf, 0);
	(void)buf_printf(&buf, "UPDATE inode SET ");	/* errors stick */
	for (unsigned i = 0; i < COLUMNS; i++) {
		if (!(set & (1u << i)))
			continue;
		(void)buf_printf(&buf, "%s%s", first ? "" : ", ", column_names[i]);
		first = false;
	}
	(void)buf_printf(&buf, " WHERE ino = ?");
	sql = buf_error(&buf) ? NULL : malloc(sizeof(*sql) + buf.len + 1);
	if (sql) {
		sql->set = set;
		memcpy(sql->text, buf.data, buf.len);
		sql->text[buf.len] = '\0';
		sql->next = cache->inode_sql;
		cache->inode_sql = sql;
	}
	buf_release(&buf);
	return sql ? sql->text : NULL;
}

void inode_sql_release(struct cache *cache)
{
	while (cache->inode_sql) {
		struct inode_sql *sql = cache->inode_sql;

		cache->inode_sql = sql->next;
		free(sql);
	}
}

/* An empty map is NULL. */
static int bind_map(sqlite3_stmt *stmt, int i, const struct extent_map *map, struct buf *buf)
{
	int err;

	if (!map->n)
		return 0;
	buf_reset(buf);
	err = extent_encode(buf, map);
	if (err)
		return err;
	return db_errno(sqlite3_bind_blob64(stmt, i, buf->data, buf->len, SQLITE_TRANSIENT));
}

static int bind_maps(sqlite3_stmt *stmt, int *i, const struct inode_edit *edit)
{
	struct buf buf;
	int err;

	buf_init(&buf, 0);
	err = bind_map(stmt, (*i)++, &edit->present, &buf);
	if (!err)
		err = bind_map(stmt, (*i)++, &edit->dirty, &buf);
	if (!err)
		err = bind_map(stmt, (*i)++, &edit->dirty_next, &buf);
	buf_release(&buf);
	return err;
}

/* None is NULL. */
static int bind_acls(sqlite3_stmt *stmt, int i, const struct acls *acls)
{
	struct buf buf;
	int err;

	if (!acls)
		return db_errno(sqlite3_bind_null(stmt, i));
	buf_init(&buf, 0);
	err = acls_encode(&buf, acls);
	if (!err)
		err = db_errno(sqlite3_bind_blob64(stmt, i, buf.data, buf.len, SQLITE_TRANSIENT));
	buf_release(&buf);
	return err;
}

static int bind_edit(sqlite3_stmt *stmt, const struct inode_edit *edit, uint32_t set)
{
	int i = 1, rc = SQLITE_OK, err;

	for (unsigned field = 0; field < COLUMN_MAPS && rc == SQLITE_OK; field++) {
		if (!(set & (1u << field)))
			continue;
		rc = sqlite3_bind_int64(stmt, i++, field_value(&edit->v, field));
		if (field == FIELD_oid && rc == SQLITE_OK)
			rc = sqlite3_bind_int64(stmt, i++, edit->v.oid.number);
	}
	if (rc == SQLITE_OK && edit->has_maps) {
		err = bind_maps(stmt, &i, edit);
		if (err)
			return err;
	}
	if (rc == SQLITE_OK && edit->target)
		rc = sqlite3_bind_blob(stmt, i++, edit->target, strlen(edit->target),
				       SQLITE_STATIC);
	if (rc == SQLITE_OK && edit->set_verifier)
		rc = edit->has_verifier ? sqlite3_bind_blob(stmt, i++, edit->verifier, sizeof(edit->verifier),
							    SQLITE_STATIC)
					: sqlite3_bind_null(stmt, i++);
	if (rc == SQLITE_OK && edit->set_acls) {
		err = bind_acls(stmt, i++, edit->acls);
		if (err)
			return err;
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(stmt, i, edit->inode->ino);
	return db_errno(rc);
}

static int edit_flush(struct change *change, struct inode_edit *edit)
{
	struct db *db = writer_db(change->cache);
	uint32_t set = edit->set;
	sqlite3_stmt *stmt;
	const char *sql;
	int err, rc;

	if (edit->is_removed) {
		err = db_run(db, "DELETE FROM inode WHERE ino = ?1", "i", (int64_t)edit->inode->ino);
		return err ? err : base_forget(change, edit->inode->ino);
	}
	set |= edit->has_maps ? 1u << COLUMN_MAPS : 0;
	set |= edit->target ? 1u << COLUMN_TARGET : 0;
	set |= edit->set_verifier ? 1u << COLUMN_VERIFIER : 0;
	set |= edit->set_acls ? 1u << COLUMN_ACL : 0;
	if (!set)
		return 0;
	sql = update_sql(change->cache, set);
	if (!sql)
		return -ENOMEM;
	err = db_prepare(db, sql, &stmt);
	if (!err)
		err = bind_edit(stmt, edit, set);
	if (err)
		return err;
	rc = sqlite3_step(stmt);
	err = db_error(db, rc);
	(void)sqlite3_reset(stmt);	/* repeats the error of the step */
	return err;
}

int inode_edits_flush(struct change *change)
{
	struct inode_edit *edit;
	int err;

	list_each(edit, &change->edits, node) {
		err = edit_flush(change, edit);
		if (!err)
			err = digest_edit(change, edit);
		if (err)
			return err;
	}
	return 0;
}

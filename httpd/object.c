/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                    \
	"o.id, o.origin, o.number, o.type, o.mode, o.uid, o.gid, o.nlink, o.major, o.minor, "      \
	"o.size, "                                                                                 \
	"o.atime, o.mtime, o.data_version, o.attr_version, o.data_by, o.attr_by, o.gone, "         \
	"o.was_dir, "                                                                              \
	"o.ino, o.btime, o.ctime, o.file_nlink, o.is_racy, o.acl IS NOT NULL"
#define NAME_COLUMNS "dir, name, object, by, wanted"

void name_set(struct name *name, struct slice value)
{
	name->len = MIN(value.len, KML_NAME_MAX);
	if (name->len)
		memcpy(name->text, value.data, name->len);
	name->text[name->len] = '\0';
}

bool name_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && !memcmp(a->text, b->text, a->len);
}

/* ---- objects ---- */

static void read_object(sqlite3_stmt *stmt, struct object *to)
{
	int c = 0;

	memset(to, 0, sizeof(*to));
	to->id = sqlite3_column_int64(stmt, c++);
	to->oid.origin = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->oid.number = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->attr.type = sqlite3_column_int(stmt, c++);
	to->attr.mode = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.uid = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.gid = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.nlink = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.major = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.minor = (unsigned)sqlite3_column_int64(stmt, c++);
	to->attr.size = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->attr.atime = file_time(sqlite3_column_int64(stmt, c++));
	to->attr.mtime = file_time(sqlite3_column_int64(stmt, c++));
	to->data_version = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->attr_version = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->data_by = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->attr_by = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->gone = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->was_dir = sqlite3_column_int64(stmt, c++);
	to->file.ino = (uint64_t)sqlite3_column_int64(stmt, c++);
	to->file.btime = sqlite3_column_int64(stmt, c++);
	to->ctime = sqlite3_column_int64(stmt, c++);
	to->file_nlink = (uint32_t)sqlite3_column_int64(stmt, c++);
	to->is_racy = sqlite3_column_int(stmt, c++) != 0;
	to->has_acls = sqlite3_column_int(stmt, c++) != 0;
}

static int found(int got, sqlite3_stmt *stmt, struct object *ret_object)
{
	if (got > 0) {
		read_object(stmt, ret_object);
		sql_done(stmt);
	}
	return got;
}

int object_by_id(struct sql *sql, int64_t id, struct object *ret_object)
{
	sqlite3_stmt *stmt;
	int got =
		sql_query(sql, &stmt, "SELECT " COLUMNS " FROM object o WHERE o.id = ?1", "i", id);

	return found(got, stmt, ret_object);
}

int object_by_oid(struct sql *sql, struct kml_oid oid, struct object *ret_object)
{
	sqlite3_stmt *stmt;
	int got;

	got = sql_query(sql, &stmt,
			"SELECT " COLUMNS " FROM object o WHERE o.origin = ?1 AND o.number = ?2",
			"ii", (int64_t)oid.origin, (int64_t)oid.number);
	if (got)
		return found(got, stmt, ret_object);
	got = sql_query(sql, &stmt,
			"SELECT " COLUMNS " FROM alias a JOIN object o ON o.id = a.object "
			"WHERE a.origin = ?1 AND a.number = ?2",
			"ii", (int64_t)oid.origin, (int64_t)oid.number);
	return found(got, stmt, ret_object);
}

int object_by_file(struct sql *sql, struct file_id id, struct object *ret_object)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt,
			    "SELECT " COLUMNS
			    " FROM object o WHERE o.ino = ?1 AND o.gone = 0 AND o.btime = ?2",
			    "ii", (int64_t)id.ino, id.btime);

	return found(got, stmt, ret_object);
}

int object_insert(struct sql *sql, struct object *o, struct slice target)
{
	const struct slice null = { NULL, 0 };
	int err;

	/* id NULL: the next number that no row ever had. */
	err = sql_run(sql,
		      "INSERT INTO object (id, origin, number, type, mode, uid, gid, nlink, major, "
		      "minor, size, atime, "
		      "mtime, data_version, attr_version, data_by, attr_by, gone, was_dir, ino, "
		      "btime, ctime, "
		      "file_nlink, is_racy, target) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
		      "?10, ?11, ?12, ?13, "
		      "?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
		      "biiiiiiiiiiiiiiiiiiiiiiib", null, (int64_t)o->oid.origin,
		      (int64_t)o->oid.number, (int64_t)o->attr.type, (int64_t)o->attr.mode,
		      (int64_t)o->attr.uid, (int64_t)o->attr.gid, (int64_t)o->attr.nlink,
		      (int64_t)o->attr.major, (int64_t)o->attr.minor, (int64_t)o->attr.size,
		      file_ns(o->attr.atime), file_ns(o->attr.mtime), (int64_t)o->data_version,
		      (int64_t)o->attr_version, (int64_t)o->data_by, (int64_t)o->attr_by,
		      (int64_t)o->gone, o->was_dir, (int64_t)o->file.ino, o->file.btime, o->ctime,
		      (int64_t)o->file_nlink, (int64_t)o->is_racy, target.len ? target : null);
	if (err)
		return err;
	o->id = sql_last_id(sql);
	if (!kml_oid_is_none(o->oid))
		return 0;
	o->oid = (struct kml_oid){ 0, (uint64_t)o->id };
	return sql_run(sql, "UPDATE object SET number = id WHERE id = ?1", "i", o->id);
}

int object_update(struct sql *sql, const struct object *o)
{
	return sql_run(sql,
		       "UPDATE object SET mode = ?2, uid = ?3, gid = ?4, nlink = ?5, size = ?6, "
		       "atime = ?7, mtime = ?8, "
		       "data_version = ?9, attr_version = ?10, data_by = ?11, attr_by = ?12, gone "
		       "= ?13, ino = ?14, "
		       "btime = ?15, ctime = ?16, file_nlink = ?17, is_racy = ?18 WHERE id = ?1",
		       "iiiiiiiiiiiiiiiiii", o->id, (int64_t)o->attr.mode, (int64_t)o->attr.uid,
		       (int64_t)o->attr.gid, (int64_t)o->attr.nlink, (int64_t)o->attr.size,
		       file_ns(o->attr.atime), file_ns(o->attr.mtime), (int64_t)o->data_version,
		       (int64_t)o->attr_version, (int64_t)o->data_by, (int64_t)o->attr_by,
		       (int64_t)o->gone, (int64_t)o->file.ino, o->file.btime, o->ctime,
		       (int64_t)o->file_nlink, (int64_t)o->is_racy);
}

/* A column of the object's row: 1, then sql_done(); or -errno. */
static int query_column(struct sql *sql, const char *text, int64_t id, sqlite3_stmt **ret_stmt)
{
	int got = sql_query(sql, ret_stmt, text, "i", id);

	return got ? got : -EUCLEAN;
}

int object_acls(struct sql *sql, const struct object *object, struct buf *buf)
{
	struct slice acls;
	sqlite3_stmt *stmt;
	int got;

	if (!object->has_acls)
		return 0;
	got = query_column(sql, "SELECT acl FROM object WHERE id = ?1", object->id, &stmt);
	if (got < 0)
		return got;
	acls = sql_column(stmt, 0);
	got = buf_append(buf, acls.data, acls.len);
	sql_done(stmt);
	return got;
}

int object_set_acls(struct sql *sql, struct object *object, struct slice acls)
{
	const struct slice null = { NULL, 0 };

	object->has_acls = acls.len > 0;
	return sql_run(sql, "UPDATE object SET acl = ?2 WHERE id = ?1", "ib", object->id,
		       acls.len ? acls : null);
}

int object_set_was(struct sql *sql, int64_t id, int64_t dir, struct slice name)
{
	return sql_run(sql, "UPDATE object SET was_dir = ?2, was_name = ?3 WHERE id = ?1", "iib",
		       id, dir, name);
}

int object_was_name(struct sql *sql, int64_t id, struct name *ret_name)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt,
			    "SELECT was_name FROM object WHERE id = ?1 AND was_name IS NOT NULL",
			    "i", id);

	if (got > 0) {
		name_set(ret_name, sql_column(stmt, 0));
		sql_done(stmt);
	}
	return got;
}

int object_alias(struct sql *sql, struct kml_oid oid, int64_t id)
{
	return sql_run(sql,
		       "INSERT OR REPLACE INTO alias (origin, number, object) VALUES (?1, ?2, ?3)",
		       "iii", (int64_t)oid.origin, (int64_t)oid.number, id);
}

int object_to_kml(struct sql *sql, const struct object *object, struct kml_object *ret_kml)
{
	struct kml_object kml = {
		.oid = object->oid,
		.attr = object->attr,
		.data_version = object->data_version,
		.attr_version = object->attr_version,
	};
	sqlite3_stmt *stmt;
	int got;

	if (object->gone)
		kml.attr.nlink = 0;
	if (object->attr.type == KML_LNK || object->has_acls) {
		got = query_column(sql,
				   object->attr.type == KML_LNK ?
					   "SELECT target FROM object WHERE id = ?1" :
					   "SELECT acl FROM object WHERE id = ?1",
				   object->id, &stmt);
		if (got < 0)
			return got;
		got = kml_extra_set(&kml.extra, sql_column(stmt, 0));
		sql_done(stmt);
		if (got)
			return got;
	}
	*ret_kml = kml;
	return 0;
}

/* ---- names ---- */

static void read_name(sqlite3_stmt *stmt, struct name_row *to)
{
	to->dir = sqlite3_column_int64(stmt, 0);
	name_set(&to->name, sql_column(stmt, 1));
	to->object = sqlite3_column_int64(stmt, 2);
	to->by = (uint64_t)sqlite3_column_int64(stmt, 3);
	name_set(&to->wanted, sql_column(stmt, 4));
}

static int found_name(int got, sqlite3_stmt *stmt, struct name_row *ret_row)
{
	if (got > 0) {
		read_name(stmt, ret_row);
		sql_done(stmt);
	}
	return got;
}

int name_get(struct sql *sql, int64_t dir, struct slice name, struct name_row *ret_row)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt,
			    "SELECT " NAME_COLUMNS " FROM name WHERE dir = ?1 AND name = ?2", "ib",
			    dir, name);

	return found_name(got, stmt, ret_row);
}

int name_get_wanted(struct sql *sql, int64_t dir, struct slice wanted, int64_t object, uint64_t by,
		    struct name_row *ret_row)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt,
			    "SELECT " NAME_COLUMNS
			    " FROM name WHERE object = ?1 AND dir = ?2 AND wanted = ?3 "
			    "AND by = ?4",
			    "iibi", object, dir, wanted, (int64_t)by);

	return found_name(got, stmt, ret_row);
}

int name_insert(struct sql *sql, int64_t dir, struct slice name, int64_t object, uint64_t by,
		struct slice wanted)
{
	if (!wanted.len)
		wanted.data = NULL;
	return sql_run(
		sql, "INSERT INTO name (dir, name, object, by, wanted) VALUES (?1, ?2, ?3, ?4, ?5)",
		"ibiib", dir, name, object, (int64_t)by, wanted);
}

int name_delete(struct sql *sql, int64_t dir, struct slice name)
{
	return sql_run(sql, "DELETE FROM name WHERE dir = ?1 AND name = ?2", "ib", dir, name);
}

int name_of(struct sql *sql, int64_t object, struct name_row *ret_row)
{
	sqlite3_stmt *stmt;
	int got =
		sql_query(sql, &stmt, "SELECT " NAME_COLUMNS " FROM name WHERE object = ?1 LIMIT 1",
			  "i", object);

	return found_name(got, stmt, ret_row);
}

int names_of(struct sql *sql, int64_t object, struct name_row **ret_rows, size_t *ret_n)
{
	struct name_row *rows = NULL, *more;
	size_t n = 0, cap = 0;
	sqlite3_stmt *stmt;
	int got;

	got = sql_query(sql, &stmt, "SELECT " NAME_COLUMNS " FROM name WHERE object = ?1", "i",
			object);
	for (; got > 0; got = sql_next(stmt)) {
		if (n == cap) {
			cap = cap ? 2 * cap : 1;
			more = realloc(rows, cap * sizeof(*rows));
			if (!more) {
				sql_done(stmt);
				free(rows);
				return -ENOMEM;
			}
			rows = more;
		}
		read_name(stmt, &rows[n++]);
	}
	if (got < 0) {
		free(rows);
		return got;
	}
	*ret_rows = rows;
	*ret_n = n;
	return 0;
}

int names_after(struct sql *sql, int64_t dir, struct slice after, struct name_row *rows, size_t max,
		size_t *ret_n)
{
	sqlite3_stmt *stmt;
	size_t n = 0;
	int got;

	got = sql_query(sql, &stmt,
			"SELECT " NAME_COLUMNS
			" FROM name WHERE dir = ?1 AND name > ?2 ORDER BY name "
			"LIMIT ?3",
			"ibi", dir, after.len ? after : (struct slice){ "", 0 }, (int64_t)max);
	for (; got > 0; got = sql_next(stmt))
		read_name(stmt, &rows[n++]);
	if (got < 0)
		return got;
	*ret_n = n;
	return 0;
}

int names_any_in(struct sql *sql, int64_t dir)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt, "SELECT 1 FROM name WHERE dir = ?1 LIMIT 1", "i", dir);

	if (got > 0)
		sql_done(stmt);
	return got;
}

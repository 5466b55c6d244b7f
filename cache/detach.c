/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/detach.h"

#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/internal.h"
#include "cache/writer.h"

int detach_note(struct change *change, const struct inode_edit *edit, uint64_t was, const struct inode_edit *dir, struct slice name)
{
	struct kml_oid oid = edit->v.oid, parent = dir->v.oid;
	int err = detach_forget(change, was);

	/* Nobody upstream has met it. */
	if (err || !edit->v.data_version)
		return err;
	return db_run(writer_db(change->cache),
		      "INSERT OR REPLACE INTO detach (ino, origin, number, parent_origin, parent_number, name, data_base)"
		      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", "iiiiibi", (int64_t)edit->inode->ino, (int64_t)oid.origin, (int64_t)oid.number,
		      (int64_t)parent.origin, (int64_t)parent.number, name, (int64_t)edit->v.data_version);
}

int detach_renamed(struct change *change, uint64_t ino, const struct inode_edit *dir, struct slice name)
{
	return db_run(writer_db(change->cache), "UPDATE detach SET parent_origin = ?2, parent_number = ?3, name = ?4 WHERE ino = ?1", "iiib",
		      (int64_t)ino, (int64_t)dir->v.oid.origin, (int64_t)dir->v.oid.number, name);
}

int detach_forget(struct change *change, uint64_t ino)
{
	return db_run(writer_db(change->cache), "DELETE FROM detach WHERE ino = ?1", "i", (int64_t)ino);
}

int detach_sweep(struct change *change)
{
	return db_run(writer_db(change->cache), "DELETE FROM detach WHERE ino NOT IN (SELECT ino FROM inode)", "");
}

static int row_read(sqlite3_stmt *stmt, const struct kml_record *record, struct kml_record *ret_detach)
{
	struct kml_detach detach = {
		.oid = { (uint64_t)sqlite3_column_int64(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1) },
		.parent = { (uint64_t)sqlite3_column_int64(stmt, 2), (uint64_t)sqlite3_column_int64(stmt, 3) },
		.data_base = (uint64_t)sqlite3_column_int64(stmt, 5),
	};
	int err;

	if (!kml_oid_equal(detach.oid, cml_oid_of(record)))
		return 0;
	if (record->body.op == KML_STORE && record->body.kml_body_u.store.keep_size != CML_NOT_TAKEN)
		detach.data_base = record->body.kml_body_u.store.data_base;
	err = kml_name_set(&detach.name, db_column(stmt, 4));
	if (err)
		return err;
	*ret_detach = (struct kml_record){ .format = KML_VERSION, .seq = record->seq - 1, .time = record->time, .uid = record->uid };
	ret_detach->body.op = KML_DETACH;
	ret_detach->body.kml_body_u.detach = detach;
	return 1;
}

int detach_before(struct db *db, uint64_t ino, uint64_t after, const struct kml_record *record, struct kml_record *ret_detach)
{
	sqlite3_stmt *stmt;
	int got;

	if (!cml_may_detach(record->body.op) || record->seq <= after + 1)
		return 0;
	got = db_query(db, &stmt, "SELECT origin, number, parent_origin, parent_number, name, data_base FROM detach WHERE ino = ?1", "i",
		       (int64_t)ino);
	if (got <= 0)
		return got;
	got = row_read(stmt, record, ret_detach);
	db_done(stmt);
	return got;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folding of directories that the log has made, and made something in. */
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/fold_rules.h"
#include "cache/forward.h"
#include "cache/inode.h"
#include "cache/mark.h"
#include "cache/writer.h"

#define RENAMES_MAX 64		/* looked at, so that a long log costs no more than a short one */

int fold_has_dir_moved(struct change *change, uint64_t seq)
{
	unsigned n = 0;
	sqlite3_stmt *stmt;
	bool is_dir = false;
	int got;

	/* Of what is gone by now nobody knows what it was. */
	got = db_query(writer_db(change->cache), &stmt,
		       "SELECT coalesce(inode.type, ?2) FROM cml LEFT JOIN inode ON inode.ino = cml.ino WHERE cml.op = 8 AND cml.seq > ?1",
		       "ii", (int64_t)seq, (int64_t)TYPE_DIR);
	while (got > 0) {
		is_dir = sqlite3_column_int(stmt, 0) == TYPE_DIR || ++n >= RENAMES_MAX;
		if (is_dir) {
			db_done(stmt);
			return 1;
		}
		got = db_next(stmt);
	}
	return got;
}

static int was_made_after(struct change *change, uint64_t dir, uint64_t seq)
{
	sqlite3_stmt *stmt;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT 1 FROM cml WHERE ino = ?1 AND op = ?2 AND seq > ?3 LIMIT 1", "iii",
		       (int64_t)dir, (int64_t)KML_MKDIR, (int64_t)seq);
	if (got > 0)
		db_done(stmt);
	return got;
}

/* Could it have been made there?  The name was free already, and its directory there; and that was no place below itself. */
static int could_be_made(struct change *change, const struct fold_move *move, uint64_t seq, uint64_t *ret_mark)
{
	int got = mark_get(change, move->to_dir->inode->ino, move->to, ret_mark);

	if (got || *ret_mark > seq)
		return got;
	got = was_made_after(change, move->to_dir->inode->ino, seq);
	if (!got)
		got = fold_has_dir_moved(change, seq);
	return got < 0 ? got : !got;
}

/*
 * What was made in it, or moved there, stands behind its MKDIR; so that stays where it is and gets the other name.  Records that are about
 * the directory, or something in it, do not see that: they name it by its oid.
 */
int fold_move_dir(struct history *h, const struct fold_move *move, uint64_t *ret_from, uint64_t *ret_to)
{
	struct change *change = h->change;
	struct kml_record record = *h->make;
	struct kml_make *make = &record.body.kml_body_u.make;
	uint64_t mark, was;
	int got;

	if (h->n_spots != 1 || h->spots[0].seq != record.seq)
		return 0;	/* it was renamed before, when that could not be done: a chain */
	got = could_be_made(change, move, record.seq, &mark);
	if (got <= 0)
		return got;
	make->parent = move->to_dir->v.oid;
	make->name = (kml_name){ .kml_name_val = (char *)move->to.data, .kml_name_len = move->to.len };	/* borrowed */
	got = cml_row_replace(change, &record, mark);
	if (!got)
		got = mark_alive(change, h->spots[0].was, &was);
	/* Both have changed later than the record says. */
	if (!got)
		got = forward_note(change, move->from_dir->inode->ino);
	if (!got)
		got = forward_note(change, move->to_dir->inode->ino);
	if (got)
		return got;
	*ret_from = was;
	*ret_to = record.seq;
	return 1;
}

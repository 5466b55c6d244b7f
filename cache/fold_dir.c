/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folding of directories: of those that the log has made, and made something in; and of those that it has removed, with all that was in
 * them, and makes anew.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include "cache/cml_state.h"
#include "cache/db.h"
#include "cache/dentry.h"
#include "cache/fold_removed.h"
#include "cache/fold_rules.h"
#include "cache/forward.h"
#include "cache/internal.h"
#include "cache/mark.h"
#include "cache/merge.h"
#include "cache/record.h"
#include "cache/setacl.h"
#include "cache/setattr.h"
#include "cache/writer.h"

#define RENAMES_MAX 64		/* looked at, so that a long log costs no more than a short one */
#define NAMES_MAX 32768		/* bytes of names in a directory that is removed: a thousand or two */

/* ---- a directory that the log has made is renamed ---- */

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

/* ---- removed, and made anew ---- */

/*
 * With its inode go the names in it that are marked, for nobody can look them up.  If it is made anew, they must be known again: the
 * upstream still has them.  Noted is (gone_names) the directory's listed_at, and of each name its mark, its length, itself; numbers are
 * of 64 bits, little-endian, the length is a byte.
 */
struct names {
	struct buf buf;
	bool is_too_much;
};

static void put_u64(struct buf *buf, uint64_t value)
{
	value = htole64(value);
	(void)buf_append(buf, &value, sizeof(value));	/* the error sticks */
}

static int names_add(void *arg, struct slice name, const struct name_info *info)
{
	struct names *names = arg;
	uint8_t len = (uint8_t)name.len;

	put_u64(&names->buf, info->seq);
	(void)buf_append(&names->buf, &len, 1);
	(void)buf_append(&names->buf, name.data, name.len);
	names->is_too_much = names->buf.len > NAMES_MAX;
	return buf_error(&names->buf) ? buf_error(&names->buf) : names->is_too_much;
}

static int note_names(struct change *change, const struct names *names, uint64_t seq)
{
	return db_run(writer_db(change->cache), "UPDATE cml SET gone_names = ?1 WHERE seq = ?2", "bi",
		      (struct slice){ names->buf.data, names->buf.len }, (int64_t)seq);
}

int fold_note_removed_dir(struct change *change, const struct inode_edit *edit, uint64_t seq)
{
	struct names names = { .is_too_much = false };
	const struct inode_values *v = &edit->v;
	int got;

	if (v->attr_seq || v->data_seq || v->is_stale || !v->is_listed)
		return 0;
	got = old_object_is_out(change, edit->inode->ino);
	if (got)
		return MIN(got, 0);
	buf_init(&names.buf, 0);
	put_u64(&names.buf, v->listed_at);
	got = name_each_in(change->cache, edit->inode->ino, names_add, &names);
	if (!got) {
		got = old_object_note(change, edit, seq);
		if (!got)
			got = note_names(change, &names, seq);
	}
	buf_release(&names.buf);
	return MIN(got, 0);
}

/* One after the other from what was noted: 1, 0: no more, or it is damaged. */
static int names_next(struct slice *io_rest, uint64_t *ret_seq, struct slice *ret_name)
{
	const unsigned char *at = io_rest->data;

	if (io_rest->len < sizeof(*ret_seq) + 1 || !at[sizeof(*ret_seq)] || io_rest->len < sizeof(*ret_seq) + 1 + at[sizeof(*ret_seq)])
		return 0;
	memcpy(ret_seq, at, sizeof(*ret_seq));
	*ret_seq = le64toh(*ret_seq);
	*ret_name = (struct slice){ at + sizeof(*ret_seq) + 1, at[sizeof(*ret_seq)] };
	*io_rest = (struct slice){ (const char *)ret_name->data + ret_name->len, io_rest->len - sizeof(*ret_seq) - 1 - ret_name->len };
	return 1;
}

/* Do all of their records still wait as they did?  1, 0, -errno. */
static int names_wait(struct change *change, struct slice rest)
{
	struct slice name;
	uint64_t seq, alive;

	while (names_next(&rest, &seq, &name)) {
		int err = seq > change->cache->cml->frozen_seq ? mark_alive(change, seq, &alive) : 0;

		if (err || seq <= change->cache->cml->frozen_seq || !alive)
			return err;
	}
	return !rest.len;
}

static int names_put(struct change *change, uint64_t dir, struct slice rest)
{
	struct slice name;
	uint64_t seq;
	int err = 0;

	while (!err && names_next(&rest, &seq, &name))
		err = name_unbind(change, dir, name, seq);
	return err;
}

/* The new inode is the old directory, which has lost nothing but what the log says. */
static int become(struct change *change, struct inode_edit *edit, const struct old_object *old, uint64_t listed_at)
{
	const struct inode_values *v = &edit->v;
	unsigned set = 0;
	int err;

	set |= v->mode != old->mode ? SET_MODE : 0;
	set |= v->uid != old->uid ? SET_UID : 0;
	set |= v->gid != old->gid ? SET_GID : 0;
	err = db_run(writer_db(change->cache), "UPDATE cml SET ino = ?1 WHERE ino = ?2", "ii", (int64_t)edit->inode->ino, (int64_t)old->ino);
	if (!err)
		err = inode_set_oid(change, edit, old->oid);
	if (err)
		return err;
	EDIT(edit, data_version, old->data_version);
	EDIT(edit, attr_version, old->attr_version);
	EDIT(edit, listed_at, listed_at);
	merge_own_moved(change->cache, old->ino, edit->inode->ino);
	err = setattr_log(change, edit, set);
	return !err && v->acls ? setacl_log(change, edit) : err;
}

static int make_dir(struct change *change, struct inode_edit *edit, const struct old_object *old, struct slice noted)
{
	uint64_t listed_at;
	int got;

	if (noted.len < sizeof(listed_at))
		return 0;
	memcpy(&listed_at, noted.data, sizeof(listed_at));
	noted = (struct slice){ (const char *)noted.data + sizeof(listed_at), noted.len - sizeof(listed_at) };
	got = names_wait(change, noted);
	if (got <= 0)
		return got;
	got = become(change, edit, old, le64toh(listed_at));
	if (!got)
		got = names_put(change, edit->inode->ino, noted);
	if (!got)
		got = forward_note(change, edit->inode->ino);
	return got ? got : 1;
}

/* What was noted of its names, copied: 1, 0, -errno. */
static int read_noted(struct change *change, uint64_t seq, struct buf *ret_noted)
{
	sqlite3_stmt *stmt;
	struct slice noted;
	int got;

	got = db_query(writer_db(change->cache), &stmt, "SELECT gone_names FROM cml WHERE seq = ?1", "i", (int64_t)seq);
	if (got <= 0)
		return got;
	noted = db_column(stmt, 0);
	got = buf_append(ret_noted, noted.data, noted.len);
	db_done(stmt);
	return got ? got : 1;
}

int fold_make_dir(struct change *change, struct inode_edit *edit, uint64_t dir, struct slice name, uint64_t *ret_mark)
{
	struct old_object old;
	uint64_t seq, was;
	struct buf noted;
	int got;

	got = old_object_removed(change, dir, name, TYPE_DIR, &old, &seq, &was);
	if (got <= 0 || old.is_stale)
		return MIN(got, 0);	/* stale: what the upstream told meanwhile may have been about names in it */
	buf_init(&noted, 0);
	got = read_noted(change, seq, &noted);
	if (got > 0)
		got = make_dir(change, edit, &old, (struct slice){ noted.data, noted.len });
	buf_release(&noted);
	if (got <= 0)
		return got;
	got = cml_drop(change, seq);
	if (!got)
		got = mark_alive(change, was, ret_mark);
	if (!got)
		got = forward_note(change, dir);
	return got ? got : 1;
}

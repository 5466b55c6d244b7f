/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/journal.h"

#include <errno.h>
#include <string.h>

int journal_append(struct tree *tree, uint64_t client, const struct kml_record *record,
		   const int64_t *objects, size_t n)
{
	struct kml_object after[KML_AFTER_MAX];
	struct kml_entry entry = { .position = tree->position + 1,
				   .client = client,
				   .record = *record };
	struct object object;
	struct buf buf;
	unsigned n_after = 0;
	int err = 0;

	if (record->body.op == KML_STORE)
		memset(&entry.record.body.kml_body_u.store.content, 0, sizeof(struct kml_content));
	for (size_t i = 0; i < n && n_after < KML_AFTER_MAX; i++) {
		size_t j;

		for (j = 0; j < i && objects[j] != objects[i]; j++)
			;
		if (!objects[i] || j < i)
			continue;
		err = object_by_id(tree->sql, objects[i], &object);
		if (err > 0)
			err = object_to_kml(tree->sql, &object, &after[n_after]);
		else if (!err)
			err = -EUCLEAN;
		if (err)
			break;
		n_after++;
	}
	entry.after.after_val = after;
	entry.after.after_len = n_after;
	buf_init(&buf, 0);
	if (!err)
		err = kml_entry_encode(&buf, &entry);
	if (!err)
		err = sql_run(tree->sql, "INSERT INTO journal (position, entry) VALUES (?1, ?2)",
			      "ib", (int64_t)entry.position, (struct slice){ buf.data, buf.len });
	if (!err)
		tree->position++;
	buf_release(&buf);
	while (n_after)
		kml_object_release(&after[--n_after]);
	return err;
}

int journal_read(struct sql *sql, uint64_t from, unsigned max, struct buf *buf, uint64_t *ret_last)
{
	uint64_t last = from;
	sqlite3_stmt *stmt;
	int got;

	got = sql_query(sql, &stmt,
			"SELECT position, entry FROM journal WHERE position > ?1 ORDER BY position "
			"LIMIT ?2",
			"ii", (int64_t)from, (int64_t)max);
	for (; got > 0; got = sql_next(stmt)) {
		struct slice entry = sql_column(stmt, 1);
		size_t mark = kml_frame_begin(buf);

		buf_append(buf, entry.data, entry.len);
		kml_frame_end(buf, mark);
		last = (uint64_t)sqlite3_column_int64(stmt, 0);
		if (buf->len >= JOURNAL_BYTES || buf_error(buf)) {
			sql_done(stmt);
			got = buf_error(buf);
			break;
		}
	}
	if (!got)
		*ret_last = last;
	return got;
}

int journal_mark(struct sql *sql, uint64_t position, struct kml_mark *ret_mark)
{
	sqlite3_stmt *stmt;
	int got = sql_query(sql, &stmt, "SELECT entry FROM journal WHERE position = ?1", "i", (int64_t)position);

	if (got <= 0)
		return got;
	*ret_mark = (struct kml_mark){ position, kml_entry_mark(sql_column(stmt, 0)) };
	sql_done(stmt);
	return 1;
}

int journal_prune(struct tree *tree, uint64_t keep)
{
	uint64_t oldest;
	int err;

	if (tree->position <= keep || tree_oldest(tree) > tree->position - keep)
		return 0;
	oldest = tree->position - keep + 1;
	err = tree_begin(tree);
	if (err)
		return err;
	err = sql_run(tree->sql, "DELETE FROM journal WHERE position < ?1", "i", (int64_t)oldest);
	if (err) {
		tree_rollback(tree);
		return err;
	}
	err = tree_commit(tree);
	if (err)
		return err;
	pthread_mutex_lock(&tree->publish_lock);
	tree->oldest = oldest;
	pthread_mutex_unlock(&tree->publish_lock);
	return 0;
}

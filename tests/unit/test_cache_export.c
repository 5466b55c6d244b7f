/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log for a file: what was exported is fixed, contents are looked after, and a directory gives what its cache would. */
#include "tests/unit/cml_upstream.h"

#include <sys/wait.h>
#include "cache/cml_export.h"
#include "cache/counter.h"
#include "rpcgen/kml_file.h"

enum { MOST = 64 };

struct all {
	struct cml_exported v[MOST];
	size_t n;
	bool has_skipped;
};

static uint64_t export_all(struct fixture *f, struct all *all)
{
	struct cml_export_head head;
	uint64_t after, last;

	memset(all, 0, sizeof(*all));
	assert_int_equal(cml_export_begin(f->cache, &head), 0);
	last = head.last_seq;
	cml_export_head_release(&head);
	assert_int_equal(cml_export_next(f->cache, 0, last, MOST, all->v, &all->n, &after, &all->has_skipped), 0);
	return last;
}

static void release(struct all *all)
{
	for (size_t i = 0; i < all->n; i++)
		cml_exported_release(&all->v[i]);
	all->n = 0;
}

static const struct kml_store *store_of(const struct all *all, size_t i)
{
	assert_true(i < all->n);
	assert_int_equal(all->v[i].saved.record.body.op, KML_STORE);
	return &all->v[i].saved.record.body.kml_body_u.store;
}

static void assert_ops(const struct all *all, const char *want)
{
	char got[1000] = "";
	size_t at = 0;

	for (size_t i = 0; i < all->n; i++)
		at += snprintf(got + at, sizeof(got) - at, "%s ", kml_op_name(all->v[i].saved.record.body.op));
	assert_string_equal(got, want);
}

static void records_and_places(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), last;
	struct all all;

	(void)made(f, dir, "a", "hello");
	last = export_all(f, &all);
	assert_ops(&all, "MKDIR CREATE STORE ");
	assert_int_equal(all.v[2].saved.record.seq, last);
	assert_string_equal(all.v[0].saved.path, "/d");
	assert_string_equal(all.v[2].saved.path, "/d/a");
	assert_int_equal(kml_saved_bytes(&all.v[2].saved), 5);
	assert_non_null(all.v[2].saved.about);
	assert_memory_equal(all.v[2].saved.about->name.kml_name_val, "a", 1);
	assert_true(kml_oid_equal(all.v[2].saved.about->parent, all.v[0].saved.record.body.kml_body_u.make.oid));
	assert_int_equal(all.v[2].saved.about->object.attr.mode, 0644);
	release(&all);
}

/* Somebody else may have sent it: what is written from then on must have a seq of its own, though nothing was taken. */
static void is_fixed(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "hello");
	struct all all, then;

	(void)export_all(f, &all);
	assert_int_equal(f_write(f, ino, 5, " world"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	assert_int_equal(f_chmod(f, ino, 0600), 0);
	(void)export_all(f, &then);
	assert_ops(&then, "CREATE STORE STORE SETATTR ");
	assert_int_equal(then.v[1].saved.record.seq, all.v[1].saved.record.seq);
	release(&then);
	/* And a SETATTR that was exported does not go into a later one. */
	assert_int_equal(f_chmod(f, ino, 0640), 0);
	(void)export_all(f, &then);
	assert_ops(&then, "CREATE STORE STORE SETATTR SETATTR ");
	/* All that the second store has is sent, also when the first one has been done already. */
	assert_int_equal(store_of(&then, 2)->size, 11);
	assert_true(kml_saved_bytes(&then.v[2].saved) >= 6);
	release(&then);
	release(&all);
}

static void is_fixed_over_a_restart(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "hello");
	struct all all;

	(void)export_all(f, &all);
	release(&all);
	f_reopen(f);
	assert_int_equal(f_write(f, ino, 5, " world"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	(void)export_all(f, &all);
	assert_ops(&all, "CREATE STORE STORE ");
	release(&all);
}

/* What no COMMIT has followed is in it. */
static void has_what_was_not_committed(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", NULL);
	struct all all;

	assert_int_equal(f_write(f, ino, 0, "hello"), 0);
	(void)export_all(f, &all);
	assert_ops(&all, "CREATE STORE ");
	assert_int_equal(kml_saved_bytes(&all.v[1].saved), 5);
	release(&all);
}

static void writes_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "hello");
	struct all all;

	(void)export_all(f, &all);
	assert_false(cml_export_look(f->cache, ino, all.v[1].write_gen));
	assert_int_equal(f_write(f, ino, 1, "E"), 0);
	assert_true(cml_export_look(f->cache, ino, all.v[1].write_gen));
	release(&all);
	(void)export_all(f, &all);
	assert_false(cml_export_look(f->cache, ino, all.v[1].write_gen));
	release(&all);
}

/* Its REMOVE, which came later, is asked for by has_skipped. */
static void removed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct cml_export_head head;
	struct all all = { 0 };
	uint64_t after;

	(void)made(f, ROOT, "a", "hello");
	assert_int_equal(cml_export_begin(f->cache, &head), 0);
	assert_int_equal(f_remove(f, ROOT, "a"), 0);
	assert_int_equal(cml_export_next(f->cache, 0, head.last_seq, MOST, all.v, &all.n, &after, &all.has_skipped), 0);
	assert_ops(&all, "CREATE ");
	assert_true(all.has_skipped);
	release(&all);
	assert_true(cml_export_last(f->cache) > head.last_seq);
	assert_int_equal(cml_export_next(f->cache, after, cml_export_last(f->cache), MOST, all.v, &all.n, &after, &all.has_skipped), 0);
	assert_ops(&all, "REMOVE ");
	release(&all);
	cml_export_head_release(&head);
}

/* What was read and not changed goes along, for the case of a conflict; no byte twice. */
static void the_rest_of_a_file(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "0123456789");
	AUTO_FREE struct upstream *up = up_new();
	struct all all;

	up_drain(up, f->cache);
	assert_int_equal(f_write(f, ino, 3, "DE"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	(void)export_all(f, &all);
	assert_ops(&all, "STORE ");
	assert_int_equal(store_of(&all, 0)->ranges.ranges_len, 1);
	assert_int_equal(store_of(&all, 0)->ranges.ranges_val[0].offset, 3);
	assert_int_equal(kml_saved_bytes(&all.v[0].saved), 2);
	assert_int_equal(all.v[0].saved.rest.rest_len, 2);
	assert_int_equal(kml_saved_rest_bytes(&all.v[0].saved), 8);
	assert_int_equal(all.v[0].saved.rest.rest_val[1].offset, 5);
	release(&all);
}

/* ---- of a directory ---- */

static void read_dead(struct fixture *f, struct all *all, char *ret_content, size_t size)
{
	struct cml_dead *dead;
	bool is_missing;
	char *why;
	int got;

	memset(all, 0, sizeof(*all));
	assert_int_equal(cml_dead_open(f->dir, &dead, &why), 0);
	while ((got = cml_dead_next(dead, &all->v[all->n])) > 0) {
		if (all->v[all->n].saved.record.body.op == KML_STORE && ret_content)
			assert_int_equal(cml_dead_read(dead, &all->v[all->n], ret_content, size, 0, &is_missing), 0);
		all->n++;
	}
	assert_int_equal(got, 0);
	cml_dead_close(dead);
}

static void as_its_cache_would(void **state)
{
	struct fixture *f = *state;
	uint64_t dir = made_dir(f, ROOT, "d"), ino = made(f, dir, "a", "0123456789");
	struct all live, dead;

	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_write(f, ino, 2, "xy"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	(void)export_all(f, &live);
	f_close(f);
	read_dead(f, &dead, NULL, 0);
	f_open(f);
	assert_int_equal(live.n, dead.n);
	for (size_t i = 0; i < live.n; i++) {
		struct buf a, b;

		buf_init(&a, 0);
		buf_init(&b, 0);
		assert_int_equal(kml_saved_encode(&a, &live.v[i].saved), 0);
		assert_int_equal(kml_saved_encode(&b, &dead.v[i].saved), 0);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.data, b.data, a.len);
		assert_int_equal(live.v[i].gen, dead.v[i].gen);
		buf_release(&a);
		buf_release(&b);
	}
	release(&live);
	release(&dead);
}

static void crash(struct fixture *f, void (*before)(struct fixture *f))
{
	int status;
	pid_t child;

	f_close(f);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		f_open(f);
		before(f);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void write_and_commit(struct fixture *f)
{
	(void)made(f, ROOT, "small", "in the log of contents");
}

/* The content files were never synced: after a power cut they have nothing, and cache.db has the bytes. */
static void content_in_the_database(void **state)
{
	struct fixture *f = *state;
	char content[23] = "";
	struct all all;

	f->config.no_sync = false;
	crash(f, write_and_commit);
	assert_int_equal(f_content_files(f, true), 1);
	read_dead(f, &all, content, 22);
	assert_ops(&all, "CREATE STORE ");
	assert_string_equal(content, "in the log of contents");
	release(&all);
	f_open(f);
}

static void write_only(struct fixture *f)
{
	uint64_t ino = found(f, ROOT, "a");

	assert_int_equal(f_write(f, ino, 1, "E"), 0);
}

/* Written, with no record: it gets one, with a seq that the cache does not give to anything else afterwards. */
static void content_without_a_record(void **state)
{
	struct fixture *f = *state;
	AUTO_FREE struct upstream *up = up_new();
	char content[6] = "";
	struct all all, again, live;
	uint64_t seq;

	(void)made(f, ROOT, "a", "hello");
	up_drain(up, f->cache);
	/* Closed properly: nothing of it is in the log of contents any more. */
	crash(f, write_only);
	read_dead(f, &all, content, 5);
	assert_ops(&all, "STORE ");
	assert_string_equal(content, "hEllo");
	seq = all.v[0].saved.record.seq;
	assert_int_equal(seq, query(f, "SELECT value FROM meta WHERE key = 'next_seq'"));
	read_dead(f, &again, NULL, 0);
	assert_int_equal(again.v[0].saved.record.seq, seq);
	f_open(f);
	(void)export_all(f, &live);
	assert_ops(&live, "STORE ");
	assert_true(live.v[0].saved.record.seq >= seq + COUNTER_SEQS_ASIDE);
	release(&live);
	release(&again);
	release(&all);
}

/* Somebody else may have sent it by the time that a daemon is started. */
static void is_fixed_in_a_directory(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = made(f, ROOT, "a", "hello");
	struct cml_exported exported;
	struct cml_totals totals;
	struct cml_dead *dead;
	struct all all;
	char *why;
	uint64_t last = 0;

	f_close(f);
	assert_int_equal(cml_dead_open(f->dir, &dead, &why), 0);
	while (cml_dead_next(dead, &exported) > 0) {
		last = exported.saved.record.seq;
		cml_exported_release(&exported);
	}
	assert_int_equal(cml_dead_mark(dead), 0);
	cml_dead_close(dead);
	f_open(f);
	cml_totals(f->cache, &totals);
	assert_int_equal(totals.frozen_seq, last);
	assert_int_equal(f_write(f, ino, 5, " world"), 0);
	assert_int_equal(f_commit(f, ino), 0);
	(void)export_all(f, &all);
	assert_ops(&all, "CREATE STORE STORE ");
	release(&all);
}

static void damaged(struct fixture *f, const char *sql)
{
	sqlite3 *db = open_db(f);

	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* One record cannot be read: it is said, and those behind it come. */
static void a_damaged_record(void **state)
{
	struct fixture *f = *state;
	struct cml_exported exported;
	struct cml_dead *dead;
	char *why;

	(void)made_dir(f, ROOT, "a");
	(void)made_dir(f, ROOT, "b");
	f_close(f);
	damaged(f, "UPDATE cml SET record = x'00' WHERE seq = (SELECT min(seq) FROM cml)");
	assert_int_equal(cml_dead_open(f->dir, &dead, &why), 0);
	assert_int_equal(cml_dead_next(dead, &exported), -EBADMSG);
	assert_int_equal(cml_dead_next(dead, &exported), 1);
	assert_string_equal(exported.saved.path, "/b");
	cml_exported_release(&exported);
	assert_int_equal(cml_dead_next(dead, &exported), 0);
	cml_dead_close(dead);
}

static void not_its_own(void **state)
{
	struct fixture *f = *state;
	struct cml_dead *dead;
	char *why;

	assert_int_equal(cml_dead_open(f->dir, &dead, &why), -EBUSY);
	assert_non_null(why);
	free(why);
	f_close(f);
	damaged(f, "PRAGMA user_version = 1000");
	assert_int_equal(cml_dead_open(f->dir, &dead, &why), -EPROTO);
	assert_non_null(strstr(why, "newer"));
	free(why);
	assert_int_equal(cml_dead_open("/nowhere", &dead, &why), -ENOENT);
	free(why);
}

#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(records_and_places),
		T(is_fixed),
		T(is_fixed_over_a_restart),
		T(has_what_was_not_committed),
		T(writes_meanwhile),
		T(removed_meanwhile),
		T(the_rest_of_a_file),
		T(as_its_cache_would),
		T(content_in_the_database),
		T(content_without_a_record),
		T(is_fixed_in_a_directory),
		T(a_damaged_record),
		T(not_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

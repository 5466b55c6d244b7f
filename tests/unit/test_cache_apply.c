/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from upstream: journal entries, objects, reset; around what waits in the log. */
#include "tests/unit/apply_model.h"

#include "cache/cml.h"
#include "cache/inode.h"
#include "tests/unit/often.h"

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's */
	bool has_link;
	uint64_t list_ino, data_version, data_offset;
	unsigned n_lists, n_data, stop_at_data;
};

static bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	struct test *t = arg;

	(void)dir;
	t->list_ino = ino;
	t->n_lists++;
}

static void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	struct test *t = arg;

	(void)ino;
	(void)oid;
	(void)len;
	t->data_version = version;
	t->data_offset = offset;
	if (++t->n_data == t->stop_at_data)
		loop_stop(t->f.loop);
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

/* First contact, and the root listed. */
static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	f_init(&t->f);
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	m_free(t->m);
	return f_teardown(state);
}

static void reopen(struct test *t)
{
	f_reopen(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static int64_t count(struct fixture *f, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(f, sql);
}

/* All records are answered with "done", as of this position. */
static void retire(struct test *t, uint64_t version)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, ARRAY_SIZE(answers), UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	for (size_t i = 0; i < batch->n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .made_version = version };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
}

/* Bytes of a file, as they come from upstream. */
static void give(struct test *t, uint64_t ino, uint64_t version, const char *data)
{
	assert_int_equal(apply_content(t->f.cache, ino, version, 0, data, strlen(data)), 0);
	apply_content_end(t->f.cache, ino, version, 0, 0);
}

/* A file of upstream's, pulled, with content that has come. */
static uint64_t filled(struct test *t, struct kml_oid dir, const char *name, const char *data)
{
	struct kml_oid oid = m_file(t->m, dir, name);

	m_store(t->m, OTHERS, oid, strlen(data));
	m_pull(t->m, &t->f);
	give(t, ino_of(&t->f, oid), t->m->position, data);
	return ino_of(&t->f, oid);
}

static void no_stale(struct test *t)
{
	assert_int_equal(count(&t->f, "inode WHERE is_stale"), 0);
}

static int64_t mtime_of(struct test *t, uint64_t ino)
{
	assert_int_equal(f_getattr(&t->f, ino), 0);
	return (int64_t)t->f.op.attr.mtime.tv_sec * 1000000000 + t->f.op.attr.mtime.tv_nsec;
}

/* ---- contact ---- */

static void contact(void **state)
{
	struct test *t = *state;
	struct kml_object *root = &t->m->objects[0];

	assert_int_equal(f_getattr(&t->f, ROOT), 0);
	assert_int_equal(t->f.op.attr.mode, 0751);
	assert_int_equal(t->f.op.attr.uid, 5);
	assert_int_equal(apply_position(t->f.cache), 1);
	assert_int_equal(apply_upstream(t->f.cache, "another", 100, root), -EXDEV);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), 0);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), -ESTALE);
	reopen(t);
	assert_int_equal(apply_position(t->f.cache), 2);
	assert_int_equal(apply_upstream(t->f.cache, "another", 100, root), -EXDEV);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 1, root), -ESTALE);
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", 2, root), 0);
}

static void assert_mark(struct test *t, uint64_t position, uint64_t value)
{
	struct kml_mark mark;

	apply_mark(t->f.cache, &mark);
	assert_int_equal(mark.position, position);
	assert_int_equal(mark.value, value);
}

/* The last entry's goes with the position. */
static void mark_of_the_last(void **state)
{
	struct test *t = *state;

	assert_mark(t, 0, 0);
	apply_next_mark(t->f.cache, &(struct kml_mark){ 2, 0xfedcba9876543210 });
	assert_mark(t, 0, 0);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_mark(t, 2, 0xfedcba9876543210);
	/* Nobody has said one: the older one is as true as it was. */
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_mark(t, 2, 0xfedcba9876543210);
	reopen(t);
	assert_mark(t, 2, 0xfedcba9876543210);
	m_file(t->m, KML_ROOT, "h");
	apply_next_mark(t->f.cache, &(struct kml_mark){ t->m->position, 5 });
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_mark(t, 4, 5);
	reopen(t);
	assert_mark(t, 4, 5);
}

static void contact_refuses(void **state)
{
	struct fixture *f = *state;
	struct kml_object root = { .oid = KML_ROOT, .attr = { .type = KML_DIR, .nlink = 2 } };
	struct kml_object other = { .oid = { 0, 2 }, .attr = { .type = KML_DIR, .nlink = 2 } };

	assert_int_equal(apply_upstream(f->cache, "", 1, &root), -EINVAL);
	assert_int_equal(apply_upstream(f->cache, "x", 1, &other), -EINVAL);
	assert_int_equal(apply_upstream(f->cache, "0123456789012345678901234567890123456789", 1, &root), -EINVAL);
	/* Nothing has ever happened there: so the root is known to be empty. */
	assert_int_equal(apply_upstream(f->cache, "x", 0, &root), 0);
	assert_int_equal(f_lookup(f, ROOT, "nothing"), -ENOENT);
}

/* ---- entries ---- */

static void kinds(void **state)
{
	struct test *t = *state;
	struct kml_oid dir;
	char target[CACHE_TARGET_MAX];
	uint64_t ino;

	m_file(t->m, KML_ROOT, "file");
	dir = m_dir(t->m, KML_ROOT, "dir");
	m_make(t->m, OTHERS, KML_LNK, KML_ROOT, "link", KML_NO_OID);
	m_make(t->m, 0, KML_FIFO, KML_ROOT, "fifo", KML_NO_OID);
	m_make(t->m, 0, KML_DIR, dir, "below", KML_NO_OID);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* A directory that is made is known to be empty. */
	assert_int_equal(f_lookup(&t->f, ino_of(&t->f, dir), "nothing"), -ENOENT);
	ino = found(&t->f, ROOT, "link");
	assert_int_equal(f_wait(&t->f, cache_readlink(t->f.cache, f_begin(&t->f), ino, target)), 0);
	assert_int_equal(t->f.op.count, 10);
	assert_memory_equal(target, "some/where", 10);
	reopen(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(&t->f, "cml"), 0);
	no_stale(t);
}

static void removing(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");

	m_file(t->m, dir, "g");
	m_pull(t->m, &t->f);
	assert_content(&t->f, ino, "hello");
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_remove(t->m, OTHERS, dir, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ino), -ESTALE);
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(count(&t->f, "name"), 0);
	no_stale(t);
}

static void renaming(void **state)
{
	struct test *t = *state;
	struct kml_oid a = m_dir(t->m, KML_ROOT, "a"), b = m_dir(t->m, KML_ROOT, "b"), sub;
	uint64_t ino, over, sub_ino;

	sub = m_dir(t->m, a, "sub");
	m_file(t->m, sub, "deep");
	over = filled(t, b, "there", "old");
	ino = filled(t, a, "f", "hello");
	sub_ino = ino_of(&t->f, sub);
	m_rename(t->m, OTHERS, a, "f", a, "g");
	m_rename(t->m, OTHERS, a, "g", b, "there");
	m_rename(t->m, OTHERS, a, "sub", b, "sub2");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "there"), ino);
	assert_content(&t->f, ino, "hello");
	assert_int_equal(f_getattr(&t->f, over), -ESTALE);
	assert_int_equal(f_lookup(&t->f, sub_ino, ".."), 0);
	assert_int_equal(t->f.op.ino, ino_of(&t->f, b));
	/* A directory over an empty one. */
	m_dir(t->m, KML_ROOT, "empty");
	m_rename(t->m, 0, b, "sub2", KML_ROOT, "empty");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ROOT, "empty"), sub_ino);
	no_stale(t);
}

static void linking(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino_of(&t->f, oid), "links_up"), 2);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino_of(&t->f, oid), "links_up"), 1);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 1);
	no_stale(t);
}

static void attributes(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct timespec ctime, later;

	assert_int_equal(f_getattr(&t->f, ino), 0);
	ctime = t->f.op.attr.ctime;
	m_chmod(t->m, OTHERS, m_oid(t->m, KML_ROOT, "f"), 0600);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	later = t->f.op.attr.ctime;
	assert_true(later.tv_sec > ctime.tv_sec || (later.tv_sec == ctime.tv_sec && later.tv_nsec > ctime.tv_nsec));
	assert_content(&t->f, ino, "hello");
	/* The same once more changes nothing. */
	assert_int_equal(apply_entries(t->f.cache, t->m->entries, t->m->position, t->m->position), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_memory_equal(&t->f.op.attr.ctime, &later, sizeof(later));
}

static void storing(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), version = t->m->position;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");
	int64_t gen = inode_column(&t->f, ino, "gen");
	char data[10];

	assert_true(gen > 0);
	m_store(t->m, OTHERS, oid, 3);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino, "gen"), gen + 1);
	assert_int_equal(inode_column(&t->f, ino, "keep_size"), 3);
	/* Not here, and no link. */
	assert_int_equal(f_read(&t->f, ino, 0, data, sizeof(data)), -EIO);
	assert_int_equal(apply_content(t->f.cache, ino, version, 0, "old", 3), -ESTALE);
	give(t, ino, t->m->position, "new");
	assert_content(&t->f, ino, "new");
	/* Ours on top of it knows on what. */
	assert_int_equal(f_write(&t->f, ino, 3, "er"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_content(&t->f, ino, "newer");
	assert_int_equal(count(&t->f, "cml"), 1);
}

/* Somebody waits for content while it changes: the new version is fetched. */
static void storing_while_read(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	char data[10] = "";
	uint64_t ino, old;

	m_store(t->m, OTHERS, oid, 5);
	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	old = t->m->position;
	t->has_link = true;
	assert_int_equal(cache_read(t->f.cache, f_begin(&t->f), ino, 0, data, sizeof(data)), CACHE_WAITS);
	assert_int_equal(t->n_data, 1);
	assert_int_equal(t->data_version, old);
	m_store(t->m, OTHERS, oid, 3);
	t->stop_at_data = 2;
	m_pull(t->m, &t->f);
	while (t->n_data < 2) {
		assert_int_equal(loop_run(t->f.loop), 0);
		assert_false(t->f.is_done);
	}
	assert_int_equal(t->data_version, t->m->position);
	assert_int_equal(apply_content(t->f.cache, ino, old, 0, "hello", 5), -ESTALE);
	apply_content_end(t->f.cache, ino, old, 0, -ESTALE);
	give(t, ino, t->m->position, "new");
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	assert_int_equal(t->f.op.count, 3);
	assert_memory_equal(data, "new", 3);
}

static void own_entries_skipped(void **state)
{
	struct test *t = *state;
	uint64_t client = cml_client_id(t->f.cache), ino = made(&t->f, ROOT, "mine", NULL), dir;
	struct kml_oid oid = { inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };

	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	m_make(t->m, client, KML_REG, KML_ROOT, "mine", oid);
	m_pull(t->m, &t->f);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0600);
	no_stale(t);
	/* Nor does one come back that has been removed here since. */
	dir = made_dir(&t->f, ROOT, "d");
	oid = (struct kml_oid){ inode_column(&t->f, dir, "oid_origin"), inode_column(&t->f, dir, "oid_number") };
	assert_int_equal(f_rmdir(&t->f, ROOT, "d"), 0);
	m_make(t->m, client, KML_DIR, KML_ROOT, "d", oid);
	m_pull(t->m, &t->f);
	assert_int_equal(f_lookup(&t->f, ROOT, "d"), -ENOENT);
	no_stale(t);
}

/* Others gave it a name before we took one away, but we learn of that after. */
static void own_entry_tells_nlink(void **state)
{
	struct test *t = *state;
	uint64_t client = cml_client_id(t->f.cache);
	struct kml_oid oid;

	filled(t, KML_ROOT, "f", "x");
	oid = m_oid(t->m, KML_ROOT, "f");
	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	assert_int_equal(f_remove(&t->f, ROOT, "f"), 0);
	t->m->now += 3600 * 1000000000ll;
	m_remove(t->m, client, KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, ROOT), 0);
	assert_int_equal(t->f.op.attr.mtime.tv_sec, t->m->objects[0].attr.mtime.sec);
	no_stale(t);
}

/* The records are taken, carried out there, and answered: each has the next of these entries. */
static void retire_each(struct test *t, size_t n, uint64_t first)
{
	struct kml_answer answers[8] = { 0 };
	struct cml_batch *batch;

	assert_true(n <= ARRAY_SIZE(answers));
	assert_int_equal(cml_take(t->f.cache, n, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, n);
	for (size_t i = 0; i < n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq, .made_version = first + i };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, n), 0);
}

/* A file of upstream's with one name, and two more that we gave it; *ret_first: the entry of the first of these. */
static uint64_t linked(struct test *t, uint64_t *ret_first)
{
	uint64_t ino = filled(t, KML_ROOT, "f", "x"), client = cml_client_id(t->f.cache);
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_link(&t->f, ino, ROOT, "g"), 0);
	assert_int_equal(f_link(&t->f, ino, ROOT, "h"), 0);
	*ret_first = t->m->position + 1;
	m_link(t->m, client, oid, KML_ROOT, "g");
	m_link(t->m, client, oid, KML_ROOT, "h");
	retire_each(t, 2, *ret_first);
	return ino;
}

/* Both records are answered, and the state of after the first one comes. */
static void nlink_of_between_our_records(void **state)
{
	struct test *t = *state;
	uint64_t first, ino = linked(t, &first);

	m_pull_to(t->m, &t->f, first);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	no_stale(t);
	m_link(t->m, OTHERS, m_oid(t->m, KML_ROOT, "f"), KML_ROOT, "i");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 4);
	no_stale(t);
}

/* The same over a restart, which forgets about what they were. */
static void nlink_of_between_and_a_restart(void **state)
{
	struct test *t = *state;
	uint64_t first, ino = linked(t, &first);

	reopen(t);
	m_pull_to(t->m, &t->f, first);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	assert_false(m_answer(t->m, &t->f));
	m_pull(t->m, &t->f);
	assert_true(m_answer(t->m, &t->f));
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	no_stale(t);
}

/* An answer that was on its way for longer than what it says was so. */
static void nlink_of_before(void **state)
{
	struct test *t = *state;
	struct kml_object before;
	struct kml_oid oid;
	uint64_t ino, was;

	ino = filled(t, KML_ROOT, "f", "x");
	oid = m_oid(t->m, KML_ROOT, "f");
	before = *m_object_of(t->m, oid);
	was = t->m->position;
	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_object(t->f.cache, &oid, &before, was), 0);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	/* It is asked for again, for it may be that the entry did not say it. */
	assert_true(m_answer(t->m, &t->f));
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	no_stale(t);
}

/* A RENAME of ours takes a name from it, which is not a record about it. */
static void nlink_of_before_a_name_was_replaced(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "x"), at;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	filled(t, KML_ROOT, "new", "y");
	assert_int_equal(f_rename(&t->f, ROOT, "new", ROOT, "g"), 0);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	m_chmod(t->m, OTHERS, oid, 0600);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	at = t->m->position;
	m_chmod(t->m, OTHERS, oid, 0640);
	m_rename(t->m, cml_client_id(t->f.cache), KML_ROOT, "new", KML_ROOT, "g");
	retire_each(t, 1, t->m->position);
	m_pull_to(t->m, &t->f, at + 1);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
	assert_int_equal(count(&t->f, "inode WHERE attr_seq <> 0"), 0);
}

/* A name that only the kernel's client knows counts too. */
static void local_names_count(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "x");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	m_link(t->m, OTHERS, oid, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, ".nfs0123456789abcdef01234567"), 0);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 2);
	m_link(t->m, OTHERS, oid, KML_ROOT, "h");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 3);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 2);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "h");
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "nlink"), 1);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 0);
	assert_content(&t->f, ino, "x");
	no_stale(t);
}

static void unknown_objects(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), hidden, in_hidden, known;
	uint64_t ino, known_ino;

	/* A directory that is not listed here: moved in from where nothing is known. */
	hidden = m_dir(t->m, dir, "hidden");
	in_hidden = m_file(t->m, hidden, "in");
	known = m_file(t->m, dir, "known");
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	/* Taken in at first contact with it; nothing of 'dir' but itself is known. */
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	assert_int_equal(count(&t->f, "inode"), 2);
	m_chmod(t->m, OTHERS, in_hidden, 0600);
	m_store(t->m, OTHERS, in_hidden, 10);
	m_file(t->m, hidden, "more");
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 2);
	/* One comes to where it can be seen. */
	m_rename(t->m, OTHERS, dir, "known", KML_ROOT, "seen");
	m_rename(t->m, OTHERS, dir, "hidden", KML_ROOT, "hidden");
	m_pull(t->m, &t->f);
	known_ino = found(&t->f, ROOT, "seen");
	assert_int_equal(known_ino, ino_of(&t->f, known));
	ino = found(&t->f, ROOT, "hidden");
	assert_int_equal(ino, ino_of(&t->f, hidden));
	/* Its names are not. */
	assert_int_equal(f_lookup(&t->f, ino, "in"), -EIO);
	/* What is known keeps its inode where it goes out of sight, and comes back. */
	m_rename(t->m, OTHERS, KML_ROOT, "seen", hidden, "away");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "seen"), 0);
	assert_int_equal(found(&t->f, ino, "away"), known_ino);
	m_rename(t->m, OTHERS, hidden, "away", KML_ROOT, "back");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "back"), known_ino);
	assert_int_equal(m_list(t->m, &t->f, hidden, ino), 0);
	assert_int_equal(m_list(t->m, &t->f, dir, ino_of(&t->f, dir)), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
}

static void older_than_listing(void **state)
{
	struct test *t = *state;
	uint64_t was = t->m->position;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");

	m_chmod(t->m, OTHERS, oid, 0600);
	m_rename(t->m, OTHERS, KML_ROOT, "f", KML_ROOT, "g");
	m_store(t->m, OTHERS, oid, 7);
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	oid = m_file(t->m, KML_ROOT, "f");
	m_chmod(t->m, OTHERS, oid, 0640);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* What led to that is not shown once more. */
	while (was < t->m->position) {
		m_pull_to(t->m, &t->f, ++was);
		m_compare(t->m, &t->f, KML_ROOT, ROOT);
	}
	no_stale(t);
}

static void not_made_sense_of(void **state)
{
	struct test *t = *state;
	uint64_t ino, other;
	struct m_name *n;

	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	ino = found(&t->f, ROOT, "f");
	/* The entries between are lost, as from a journal that was tampered with. */
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_file(t->m, KML_ROOT, "f");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	n = m_find(t->m, KML_ROOT, "f");
	assert_int_equal(ino_of(&t->f, n->oid), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	assert_true(m_answer(t->m, &t->f));
	assert_false(m_answer(t->m, &t->f));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* A name that is taken: the new one has it. */
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	other = found(&t->f, ROOT, "g");
	m_remove(t->m, OTHERS, KML_ROOT, "g");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	m_file(t->m, KML_ROOT, "g");
	m_pull(t->m, &t->f);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_not_equal(found(&t->f, ROOT, "g"), other);
}

static void many(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	char name[20];

	for (unsigned i = 0; i < 1300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		m_file(t->m, dir, name);
	}
	m_pull(t->m, &t->f);
	assert_int_equal(count(&t->f, "inode"), 1302);
	/* It is replaced by a file, and all that is known is the listing: 1300 names go, in steps. */
	for (unsigned i = 0; i < 1300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		m_remove(t->m, 0, dir, name);
	}
	m_remove(t->m, 0, KML_ROOT, "dir");
	m_file(t->m, KML_ROOT, "dir");
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_true(m_answer(t->m, &t->f));
	assert_false(m_answer(t->m, &t->f));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(&t->f, "inode"), 2);
	assert_int_equal(count(&t->f, "name"), 1);
}

/* ---- when it goes wrong ---- */

/* The first of all tests, for a point of failure is steered by what the environment says at its first hit. */
static void failing(void **state)
{
	struct test t = { 0 };
	struct fixture *f = &t.f;
	struct kml_oid dir;

	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	assert_int_equal(setenv("IZO_FAULT", "apply.upstream:1:EIO,apply.entries:2:EIO,apply.reset:1:EIO,"
				"merge.sweep:1:EIO", 1), 0);
	f_init(f);
	f_open(f);
	t.m = m_new();
	assert_int_equal(apply_upstream(f->cache, "upstream-1", 1, &t.m->objects[0]), -EIO);
	assert_int_equal(apply_position(f->cache), 0);
	assert_int_equal(apply_upstream(f->cache, "upstream-2", 1, &t.m->objects[0]), 0);
	assert_int_equal(m_list(t.m, f, KML_ROOT, ROOT), 0);
	dir = m_dir(t.m, KML_ROOT, "dir");
	m_pull(t.m, f);
	/* Nothing of it is there, and it can be done again. */
	m_file(t.m, KML_ROOT, "f");
	m_file(t.m, dir, "g");
	assert_int_equal(apply_entries(f->cache, t.m->entries + 2, 2, 4), -EIO);
	assert_int_equal(apply_position(f->cache), 2);
	assert_int_equal(found(f, ROOT, "f"), 0);
	m_pull(t.m, f);
	m_compare(t.m, f, KML_ROOT, ROOT);
	assert_int_equal(apply_reset(f->cache, 4), -EIO);
	assert_false(m_answer(t.m, f));
	assert_int_equal(apply_reset(f->cache, 4), 0);
	while (m_answer(t.m, f))
		;
	/* A directory that is half gone when the daemon ends. */
	m_remove(t.m, OTHERS, dir, "g");
	m_remove(t.m, OTHERS, KML_ROOT, "dir");
	assert_int_equal(apply_entries(f->cache, NULL, 0, t.m->position), 0);
	assert_int_equal(m_list(t.m, f, KML_ROOT, ROOT), -EIO);
	assert_int_not_equal(found(f, ROOT, "dir"), 0);
	reopen(&t);
	while (m_answer(t.m, f))
		;
	m_compare(t.m, f, KML_ROOT, ROOT);
	assert_int_equal(count(f, "inode"), 2);
	assert_int_equal(count(f, "name"), 1);
	m_free(t.m);
	f_close(f);
	f_remove_dir(f);
	assert_int_equal(unsetenv("IZO_FAULT"), 0);
}

/* ---- what waits in the log ---- */

static void pending_names(void **state)
{
	struct test *t = *state;
	uint64_t ours, theirs, away;
	int64_t mtime;

	filled(t, KML_ROOT, "removed", "x");
	theirs = filled(t, KML_ROOT, "renamed", "x");
	away = filled(t, KML_ROOT, "both", "x");
	ours = made(&t->f, ROOT, "new", "mine");
	assert_int_equal(f_remove(&t->f, ROOT, "removed"), 0);
	assert_int_equal(f_rename(&t->f, ROOT, "renamed", ROOT, "ours"), 0);
	assert_int_equal(f_remove(&t->f, ROOT, "both"), 0);
	m_file(t->m, KML_ROOT, "new");
	m_remove(t->m, OTHERS, KML_ROOT, "removed");
	m_file(t->m, KML_ROOT, "removed");
	m_rename(t->m, OTHERS, KML_ROOT, "renamed", KML_ROOT, "theirs");
	m_remove(t->m, OTHERS, KML_ROOT, "both");
	mtime = mtime_of(t, ROOT);
	m_pull(t->m, &t->f);
	/* Ours came later, and upstream will say so too. */
	assert_int_equal(mtime_of(t, ROOT), mtime);
	assert_int_equal(found(&t->f, ROOT, "new"), ours);
	assert_content(&t->f, ours, "mine");
	assert_int_equal(found(&t->f, ROOT, "removed"), 0);
	assert_int_equal(found(&t->f, ROOT, "both"), 0);
	assert_int_equal(f_getattr(&t->f, away), -ESTALE);
	assert_int_equal(found(&t->f, ROOT, "ours"), theirs);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	/* Not while it is so. */
	assert_false(m_answer(t->m, &t->f));
	reopen(t);
	assert_false(m_answer(t->m, &t->f));
	assert_int_equal(count(&t->f, "cml"), 5);
	retire(t, 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	no_stale(t);
}

static void pending_object(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_store(t->m, OTHERS, oid, 3);
	m_chmod(t->m, OTHERS, oid, 0600);
	m_rename(t->m, OTHERS, KML_ROOT, "f", KML_ROOT, "g");
	m_pull(t->m, &t->f);
	/* Content is ours; attributes and name are nobody's here. */
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(found(&t->f, ROOT, "g"), ino);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0600);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_false(m_answer(t->m, &t->f));
	/* So is a change of attributes that waits. */
	assert_int_equal(f_chmod(&t->f, ino, 0644), 0);
	m_chmod(t->m, OTHERS, oid, 0640);
	m_pull(t->m, &t->f);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(t->f.op.attr.mode, 0644);
	assert_false(m_answer(t->m, &t->f));
	assert_int_equal(count(&t->f, "cml"), 2);
}

/* Bytes that no record speaks of yet count as well. */
static void unsynced_object(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	m_store(t->m, OTHERS, oid, 3);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_int_equal(count(&t->f, "cml"), 1);
}

/* The record that waits is of content that was made on that version, and it is what is read here. */
static void assert_made_on(struct test *t, uint64_t ino, const char *want, uint64_t version)
{
	struct cml_batch *batch;
	const struct kml_record *record;

	assert_content(&t->f, ino, want);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	record = &batch->items[batch->n - 1].record;
	assert_int_equal(record->body.op, KML_STORE);
	assert_int_equal(record->body.kml_body_u.store.data_base, version);
	cml_give_back(t->f.cache, batch);
}

/*
 * A program has cut the file, and is about to write to it: what comes between the two it has not seen, and must not be what its
 * content is said to be made on.  An empty file is cut by what is no record of its content; of one that was not empty the record
 * may be done by then.
 */
static void stored_between_cut_and_write(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	uint64_t ino, was = t->m->position;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_store(t->m, OTHERS, oid, 300);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_int_equal(f_write(&t->f, ino, 0, "ours"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_made_on(t, ino, "ours", was);
}

static void stored_between_done_cut_and_write(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), was;
	struct kml_oid oid = m_oid(t->m, KML_ROOT, "f");

	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_store(t->m, cml_client_id(t->f.cache), oid, 0);
	was = t->m->position;
	retire(t, was);
	m_store(t->m, OTHERS, oid, 300);
	m_pull(t->m, &t->f);
	assert_int_equal(f_write(&t->f, ino, 0, "ours"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	assert_made_on(t, ino, "ours", was);
}

/* It never wrote: then what came is taken, and nothing is sent. */
static void stored_after_cut(void **state)
{
	struct test *t = *state;
	struct kml_oid oid = m_file(t->m, KML_ROOT, "f");
	uint64_t ino;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, oid);
	assert_int_equal(f_truncate(&t->f, ino, 0), 0);
	m_chmod(t->m, cml_client_id(t->f.cache), oid, 0644);
	retire(t, t->m->position);
	m_store(t->m, OTHERS, oid, 3);
	m_pull(t->m, &t->f);
	assert_int_equal(inode_column(&t->f, ino, "size"), 0);
	/* As a quiet while does. */
	reopen(t);
	assert_int_equal(count(&t->f, "inode WHERE is_dirty"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	while (m_answer(t->m, &t->f))
		;
	give(t, ino, t->m->position, "new");
	assert_content(&t->f, ino, "new");
}

/*
 * Done under another name, and the answer was lost: a listing has that name before the answer comes. Then the file has the one name
 * that it has upstream, and counts one; with one too many what others remove later would go with what was written to it.
 */
static void renamed_and_listed_before_the_answer(void **state)
{
	struct test *t = *state;
	uint64_t ino = made(&t->f, ROOT, "f", "ours");
	struct kml_oid oid = { inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };
	struct kml_answer answers[2] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 2);
	(void)m_file(t->m, KML_ROOT, "f");
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, KML_ROOT, "f.beside", oid);
	answers[0] = (struct kml_answer){ .status = KML_RENAMED, .made_version = t->m->position, .name = m_text("f.beside") };
	m_store(t->m, cml_client_id(t->f.cache), oid, 4);
	answers[1].made_version = t->m->position;
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, "f.beside"), ino);
	for (size_t i = 0; i < 2; i++)
		answers[i].seq = batch->items[i].record.seq;
	assert_int_equal(cml_retire(t->f.cache, batch, answers, 2), 0);
	free(answers[0].name.kml_name_val);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(inode_column(&t->f, ino, "links_up"), 1);
	/* So what is written to it keeps its name here, and is kept beside it. */
	assert_int_equal(f_write(&t->f, ino, 0, "O"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f.beside");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "f.beside"), ino);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	answers[0] = (struct kml_answer){ .seq = batch->items[0].record.seq, .status = KML_GONE };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, 1), 0);
	assert_int_equal(count(&t->f, "name WHERE ino > 0 AND CAST(name AS TEXT) LIKE 'f.beside.conflict-%'"), 1);
}

static void removed_while_dirty(void **state)
{
	struct test *t = *state;
	uint64_t ino = filled(t, KML_ROOT, "f", "hello"), copy;
	struct kml_answer answer = { .status = KML_GONE };
	struct cml_batch *batch;
	sqlite3_stmt *stmt;
	sqlite3 *db;
	char path[128], name[300];

	assert_int_equal(f_write(&t->f, ino, 0, "J"), 0);
	assert_int_equal(f_commit(&t->f, ino), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	reopen(t);
	assert_int_equal(found(&t->f, ROOT, "f"), ino);
	assert_content(&t->f, ino, "Jello");
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	answer.seq = batch->items[0].record.seq;
	assert_int_equal(cml_retire(t->f.cache, batch, &answer, 1), 0);
	while (m_answer(t->m, &t->f))
		;
	/* Upstream's has the name, ours stands beside it. */
	assert_int_equal(found(&t->f, ROOT, "f"), ino_of(&t->f, m_oid(t->m, KML_ROOT, "f")));
	snprintf(path, sizeof(path), "%s/cache.db", t->f.dir);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT name FROM name WHERE dir = 2 AND seq", -1, &stmt, NULL), 0);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	snprintf(name, sizeof(name), "%.*s", sqlite3_column_bytes(stmt, 0), (const char *)sqlite3_column_blob(stmt, 0));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	copy = found(&t->f, ROOT, name);
	assert_int_equal(copy, ino);
	assert_content(&t->f, copy, "Jello");
}

/* A directory is removed while something was made in it: what is ours stays, with the way to it. */
static void directory_removed_around_ours(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), sub = m_dir(t->m, dir, "sub");
	uint64_t dir_ino, sub_ino, mine;

	m_file(t->m, dir, "theirs");
	m_file(t->m, sub, "theirs");
	m_pull(t->m, &t->f);
	dir_ino = ino_of(&t->f, dir);
	sub_ino = ino_of(&t->f, sub);
	mine = made(&t->f, sub_ino, "mine", "bytes");
	m_remove(t->m, OTHERS, sub, "theirs");
	m_remove(t->m, OTHERS, dir, "sub");
	m_remove(t->m, OTHERS, dir, "theirs");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ROOT, "dir"), dir_ino);
	assert_int_equal(found(&t->f, dir_ino, "sub"), sub_ino);
	assert_int_equal(found(&t->f, sub_ino, "mine"), mine);
	assert_int_equal(found(&t->f, dir_ino, "theirs"), 0);
	assert_int_equal(found(&t->f, sub_ino, "theirs"), 0);
	assert_content(&t->f, mine, "bytes");
	assert_int_equal(count(&t->f, "inode"), 4);
	/* Removed here too: then nothing holds them. */
	assert_int_equal(f_remove(&t->f, sub_ino, "mine"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	clock_advance(6 * US_PER_S);
	while (m_answer(t->m, &t->f))
		;
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(count(&t->f, "name"), 0);
}

/* A name came and went here, which is said by a record of its own, later: upstream's time is the older one till then. */
static void time_of_names_that_are_gone(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir");
	struct cml_batch *batch;
	struct timespec mtime;
	uint64_t ino;

	m_pull(t->m, &t->f);
	ino = ino_of(&t->f, dir);
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	(void)made(&t->f, ino, "temp", "bytes");
	assert_int_equal(f_remove(&t->f, ino, "temp"), 0);
	assert_int_equal(count(&t->f, "cml"), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	mtime = t->f.op.attr.mtime;
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(clock_cmp(t->f.op.attr.mtime, mtime), 0);
	assert_int_equal(cml_take(t->f.cache, 10, UINT64_MAX, &batch), 0);
	assert_int_equal(batch->n, 1);
	assert_int_equal(m_list(t->m, &t->f, dir, ino), 0);
	assert_int_equal(f_getattr(&t->f, ino), 0);
	assert_int_equal(clock_cmp(t->f.op.attr.mtime, mtime), 0);
	cml_give_back(t->f.cache, batch);
}

static void local_names_stay(void **state)
{
	struct test *t = *state;
	const char *local = ".nfs0123456789abcdef01234567";
	uint64_t ino = filled(t, KML_ROOT, "f", "hello");

	assert_int_equal(f_rename(&t->f, ROOT, "f", ROOT, local), 0);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "f");
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	m_file(t->m, KML_ROOT, local);
	m_pull(t->m, &t->f);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, local), ino);
	assert_content(&t->f, ino, "hello");
	assert_int_equal(count(&t->f, "inode"), 2);
}

/* A record is retired, its names are clean, and then comes a listing that was made before. */
static void listing_from_before_ours(void **state)
{
	struct test *t = *state;
	uint64_t ino, gone = filled(t, KML_ROOT, "old", "x");
	struct m_listing l;
	struct kml_oid oid;

	ino = made(&t->f, ROOT, "new", NULL);
	assert_int_equal(f_remove(&t->f, ROOT, "old"), 0);
	m_snapshot(t->m, KML_ROOT, &l);
	oid = (struct kml_oid){ inode_column(&t->f, ino, "oid_origin"), inode_column(&t->f, ino, "oid_number") };
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, KML_ROOT, "new", oid);
	m_remove(t->m, cml_client_id(t->f.cache), KML_ROOT, "old");
	retire(t, t->m->position);
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	assert_int_equal(found(&t->f, ROOT, "new"), ino);
	assert_int_equal(found(&t->f, ROOT, "old"), 0);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	m_pull(t->m, &t->f);
	assert_int_equal(m_list(t->m, &t->f, KML_ROOT, ROOT), 0);
	assert_int_equal(found(&t->f, ROOT, "new"), ino);
}

/* Entries come between two pieces of one listing. */
static void listing_in_pieces(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	m_file(t->m, KML_ROOT, "c");
	m_pull(t->m, &t->f);
	m_snapshot(t->m, KML_ROOT, &l);
	assert_int_equal(apply_listing_begin(t->f.cache, ROOT, l.position, false, &listing), 0);
	assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
	m_remove(t->m, OTHERS, KML_ROOT, "c");
	m_remove(t->m, OTHERS, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "d");
	m_pull(t->m, &t->f);
	assert_int_equal(apply_listing_add(listing, l.v + 2, l.n - 2), 0);
	assert_int_equal(apply_listing_end(listing, 0), -EAGAIN);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	l.position = t->m->position;
	for (size_t i = 0; i < l.n; i++)
		kml_listed_release(&l.v[i]);
	free(l.v);
}

/* ---- asking again ---- */

static void given_out_once(void **state)
{
	struct test *t = *state;
	struct kml_oid oid, got;
	uint64_t ino, asked;
	bool is_dir;

	ino = filled(t, KML_ROOT, "f", "hello");
	oid = m_oid(t->m, KML_ROOT, "f");
	assert_int_equal(f_chmod(&t->f, ino, 0600), 0);
	m_chmod(t->m, OTHERS, oid, 0640);
	m_pull(t->m, &t->f);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	retire(t, 0);
	assert_true(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	assert_int_equal(asked, ino);
	assert_true(kml_oid_equal(got, oid));
	assert_false(is_dir);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	/* Marked again while the answer is on its way: that answer may be too old. */
	assert_int_equal(f_chmod(&t->f, ino, 0601), 0);
	m_chmod(t->m, OTHERS, oid, 0641);
	m_pull(t->m, &t->f);
	retire(t, 0);
	assert_int_equal(apply_object(t->f.cache, &oid, m_object_of(t->m, oid), t->m->position), 0);
	assert_int_equal(inode_column(&t->f, ino, "is_stale"), 1);
	assert_true(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	assert_int_equal(apply_object(t->f.cache, &oid, m_object_of(t->m, oid), t->m->position), 0);
	no_stale(t);
	assert_false(apply_next_stale(t->f.cache, &asked, &got, &is_dir));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Gone there, and nobody knew. */
	assert_int_equal(apply_object(t->f.cache, &oid, NULL, t->m->position), 0);
	assert_int_equal(count(&t->f, "inode"), 1);
	assert_int_equal(apply_object(t->f.cache, &oid, NULL, t->m->position), 0);
}

static void reset(void **state)
{
	struct test *t = *state;
	struct kml_oid dir = m_dir(t->m, KML_ROOT, "dir"), oid, own;
	struct m_listing before;
	uint64_t ino, same, mine;

	ino = filled(t, dir, "changed", "hello");
	same = filled(t, dir, "same", "hello");
	filled(t, dir, "gone", "hello");
	mine = made(&t->f, ino_of(&t->f, dir), "mine", "bytes");
	oid = m_oid(t->m, dir, "changed");
	m_snapshot(t->m, dir, &before);
	m_store(t->m, OTHERS, oid, 3);
	m_remove(t->m, OTHERS, dir, "gone");
	m_file(t->m, dir, "new");
	m_dir(t->m, KML_ROOT, "more");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(apply_position(t->f.cache), t->m->position);
	/* Until it is known better, all goes on as before. */
	assert_content(&t->f, ino, "hello");
	assert_content(&t->f, same, "hello");
	assert_int_equal(m_deliver(&t->f, ino_of(&t->f, dir), &before), -EAGAIN);
	reopen(t);
	assert_int_equal(apply_position(t->f.cache), t->m->position);
	assert_true(m_answer(t->m, &t->f));
	own = (struct kml_oid){ inode_column(&t->f, mine, "oid_origin"), inode_column(&t->f, mine, "oid_number") };
	t->m->now += 3600 * 1000000000ll;
	m_make(t->m, cml_client_id(t->f.cache), KML_REG, dir, "mine", own);
	m_store(t->m, cml_client_id(t->f.cache), own, 5);
	retire(t, t->m->position);
	m_pull(t->m, &t->f);
	while (m_answer(t->m, &t->f))
		;
	assert_content(&t->f, same, "hello");
	assert_content(&t->f, mine, "bytes");
	m_object_of(t->m, own)->attr.mtime = m_time(mtime_of(t, mine));
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	give(t, ino, m_object_of(t->m, oid)->data_version, "new");
	assert_content(&t->f, ino, "new");
	no_stale(t);
}

/* ---- everything at once ---- */

struct world {
	struct test *t;
	uint64_t client;
	struct kml_oid dirs[3];		/* stay where they are */
	unsigned seed;
	struct m_listing listing;
	uint64_t listing_ino;
	unsigned n_local, n_theirs;
};

static unsigned pick(struct world *w, unsigned n)
{
	w->seed = w->seed * 1103515245 + 12345;
	return (w->seed >> 16) % n;
}

static struct kml_oid pick_dir(struct world *w)
{
	return w->dirs[pick(w, 3)];
}

static bool is_below(struct model *m, struct kml_oid oid, struct kml_oid above)
{
	while (!kml_oid_equal(oid, KML_ROOT)) {
		if (kml_oid_equal(oid, above))
			return true;
		for (unsigned i = 0; i < m->n_names; i++) {
			if (kml_oid_equal(m->names[i].oid, oid)) {
				oid = m->names[i].dir;
				break;
			}
		}
	}
	return false;
}

/* Others change names f0..f5, in the three directories and in those that they make there. */
static void theirs(struct world *w)
{
	struct model *m = w->t->m;
	struct kml_oid dir = pick_dir(w), to = pick_dir(w), oid, there;
	char name[8], to_name[8], deep[8];

	snprintf(name, sizeof(name), "f%u", pick(w, 6));
	snprintf(to_name, sizeof(to_name), "f%u", pick(w, 6));
	snprintf(deep, sizeof(deep), "f%u", pick(w, 3));
	oid = m_oid(m, to, to_name);
	if (!kml_oid_is_none(oid) && m_object_of(m, oid)->attr.type == KML_DIR && pick(w, 2))
		to = oid;	/* one level deeper */
	oid = m_oid(m, dir, name);
	there = m_oid(m, to, to_name);
	w->n_theirs++;
	if (kml_oid_is_none(oid)) {
		(void)m_make(m, OTHERS, pick(w, 3) ? KML_REG : KML_DIR, dir, name, KML_NO_OID);
		return;
	}
	switch (pick(w, 6)) {
	case 0:
		if (m_object_of(m, oid)->attr.type != KML_DIR || !m_count(m, oid))
			m_remove(m, pick(w, 2) ? OTHERS : 0, dir, name);
		break;
	case 1:
	case 2:
		if (kml_oid_equal(oid, there) || is_below(m, to, oid))
			break;
		if (!kml_oid_is_none(there) &&
		    ((m_object_of(m, there)->attr.type == KML_DIR) != (m_object_of(m, oid)->attr.type == KML_DIR) ||
		     m_count(m, there)))
			break;
		m_rename(m, OTHERS, dir, name, to, to_name);
		break;
	case 3:
		if (kml_oid_is_none(there) && m_object_of(m, oid)->attr.type == KML_REG)
			m_link(m, OTHERS, oid, to, to_name);
		break;
	case 4:
		m_chmod(m, OTHERS, oid, 0600 + pick(w, 64));
		break;
	case 5:
		if (m_object_of(m, oid)->attr.type == KML_REG)
			m_store(m, OTHERS, oid, pick(w, 1000));
		else if (kml_oid_is_none(m_oid(m, oid, deep)))
			(void)m_file(m, oid, deep);
		break;
	}
}

/* Ours are l0..l5. */
static void ours(struct world *w)
{
	struct fixture *f = &w->t->f;
	uint64_t dir = ino_of(f, pick_dir(w)), to = ino_of(f, pick_dir(w)), ino;
	char name[8], to_name[8];

	snprintf(name, sizeof(name), "l%u", pick(w, 6));
	snprintf(to_name, sizeof(to_name), "l%u", pick(w, 6));
	w->n_local++;
	ino = found(f, dir, name);
	if (!ino) {
		(void)made(f, dir, name, pick(w, 2) ? "content" : NULL);
		return;
	}
	switch (pick(w, 5)) {
	case 0:
		assert_int_equal(f_remove(f, dir, name), 0);
		break;
	case 1:
		assert_int_equal(f_rename(f, dir, name, to, to_name), 0);
		break;
	case 2:
		(void)f_link(f, ino, to, to_name);	/* it may be there */
		break;
	case 3:
		assert_int_equal(f_chmod(f, ino, 0600 + pick(w, 64)), 0);
		break;
	case 4:
		assert_int_equal(f_write(f, ino, pick(w, 100), "more"), 0);
		assert_int_equal(f_commit(f, ino), 0);
		break;
	}
}

static const char *cut(const kml_name *name)
{
	static char text_of[2][40];
	static unsigned i;

	i = !i;
	snprintf(text_of[i], sizeof(text_of[i]), "%.*s", (int)name->kml_name_len, name->kml_name_val);
	return text_of[i];
}

/* Upstream does what the record says; nothing of it meets with others' changes. */
static void replay_one(struct world *w, const struct kml_record *record)
{
	const struct kml_make *make = &record->body.kml_body_u.make;
	const struct kml_link *link = &record->body.kml_body_u.link;
	const struct kml_unlink *gone = &record->body.kml_body_u.unlink;
	const struct kml_rename *rename = &record->body.kml_body_u.rename;
	const struct kml_setattr *setattr = &record->body.kml_body_u.setattr;
	const struct kml_store *store = &record->body.kml_body_u.store;
	struct model *m = w->t->m;
	int64_t now = m->now;

	/* Its time is the record's. */
	m->now = record->time.sec * 1000000000ll + record->time.nsec - 1000;
	switch (record->body.op) {
	case KML_CREATE:
		(void)m_make(m, w->client, KML_REG, make->parent, cut(&make->name), make->oid);
		m_object_of(m, make->oid)->attr.mode = make->mode;
		break;
	case KML_LINK:
		m_link(m, w->client, link->oid, link->parent, cut(&link->name));
		break;
	case KML_REMOVE:
		m_remove(m, w->client, gone->parent, cut(&gone->name));
		break;
	case KML_RENAME:
		m_rename(m, w->client, rename->from_parent, cut(&rename->from_name), rename->to_parent,
			 cut(&rename->to_name));
		break;
	case KML_SETATTR:
		if (setattr->set == KML_SET_FORWARD) {
			m_forward(m, w->client, setattr->oid, setattr->mtime);
			break;
		}
		/* Of a file that is made anew all of these, but it is root's in any case. */
		assert_true(setattr->set == KML_SET_MODE || setattr->set == (KML_SET_MODE | KML_SET_UID | KML_SET_GID));
		assert_true(setattr->set == KML_SET_MODE || (!setattr->uid && !setattr->gid));
		m_chmod(m, w->client, setattr->oid, setattr->mode);
		break;
	case KML_STORE:
		m_store_at(m, w->client, store->oid, store->size, store->mtime);
		break;
	default:
		fail();
	}
	m->now = MAX(now, m->now);
}

static void replay(struct world *w, size_t most)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(w->t->f.cache, most, UINT64_MAX, &batch), 0);
	if (!batch)
		return;
	for (size_t i = 0; i < batch->n; i++) {
		replay_one(w, &batch->items[i].record);
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq,
						  .made_version = w->t->m->position };
	}
	/* What upstream has done may be pulled before its answer is taken in. */
	if (pick(w, 2))
		m_pull(w->t->m, &w->t->f);
	assert_int_equal(cml_retire(w->t->f.cache, batch, answers, batch->n), 0);
}

static void step(struct world *w)
{
	struct test *t = w->t;
	struct kml_oid dir;
	int err;

	switch (pick(w, 16)) {
	case 0:
		replay(w, 1 + pick(w, 10));
		break;
	case 1:
	case 2:
		if (apply_position(t->f.cache) < t->m->position)
			m_pull_to(t->m, &t->f, apply_position(t->f.cache) + 1 +
				  pick(w, t->m->position - apply_position(t->f.cache)));
		break;
	case 3:		/* a listing is made, and comes later */
		if (w->listing.n)
			break;
		dir = pick_dir(w);
		m_snapshot(t->m, dir, &w->listing);
		w->listing_ino = ino_of(&t->f, dir);
		break;
	case 4:
		if (!w->listing.n)
			break;
		err = m_deliver(&t->f, w->listing_ino, &w->listing);
		assert_true(!err || err == -EAGAIN);
		break;
	case 5:
		(void)m_answer(t->m, &t->f);
		break;
	case 6:
		if (!pick(w, 20))
			reopen(t);
		break;
	case 7:
		if (!pick(w, 40))
			assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		ours(w);
		break;
	default:
		theirs(w);
	}
}

/* What can be looked at: directories that are not listed yet. */
static void list_rest(struct world *w)
{
	struct test *t = w->t;

	for (unsigned i = 0; i < t->m->n_objects; i++) {
		const struct kml_object *o = &t->m->objects[i];
		uint64_t ino;

		if (o->attr.type != KML_DIR || !o->attr.nlink)
			continue;
		ino = ino_of(&t->f, o->oid);
		if (ino && !inode_column(&t->f, ino, "is_listed"))
			assert_int_equal(m_list(t->m, &t->f, o->oid, ino), 0);
	}
}

static void converge(struct world *w)
{
	struct test *t = w->t;

	while (count(&t->f, "cml"))
		replay(w, 64);
	m_pull(t->m, &t->f);
	reopen(t);	/* forgets how long something was held up */
	for (unsigned round = 0; round < 20; round++) {
		while (m_answer(t->m, &t->f))
			;
		list_rest(w);
	}
	no_stale(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Nothing is left over. */
	assert_int_equal(count(&t->f, "name WHERE seq OR NOT ino"), 0);
	assert_int_equal(count(&t->f, "name WHERE dir NOT IN (SELECT ino FROM inode)"), 0);
	assert_int_equal(count(&t->f, "inode WHERE ino <> 2 AND ino NOT IN (SELECT ino FROM name)"), 0);
	assert_int_equal(count(&t->f, "inode WHERE data_seq OR attr_seq"), 0);
}

static void random_run(unsigned seed, unsigned steps)
{
	struct world w = { .seed = seed };
	void *state;

	assert_int_equal(setup(&state), 0);
	w.t = state;
	w.client = cml_client_id(w.t->f.cache);
	for (unsigned i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d%u", i);
		w.dirs[i] = m_dir(w.t->m, KML_ROOT, name);
	}
	m_pull(w.t->m, &w.t->f);
	for (unsigned i = 0; i < steps; i++) {
		step(&w);
		if (i % 500 == 499)
			converge(&w);
	}
	converge(&w);
	assert_true(w.n_local && w.n_theirs);
	for (size_t i = 0; i < w.listing.n; i++)
		kml_listed_release(&w.listing.v[i]);
	free(w.listing.v);
	assert_int_equal(teardown(&state), 0);
}

static void everything_at_once(void **state)
{
	const char *given = getenv("IZO_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : 1;

	(void)state;
	for (unsigned i = 0; i < (given ? 1 : OFTEN(12)); i++) {
		print_message("# IZO_SEED=%u\n", seed + i);
		random_run(seed + i, 1000);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failing),
		T(contact), T(mark_of_the_last),
		cmocka_unit_test_setup_teardown(contact_refuses, f_setup, f_teardown),
		T(kinds),
		T(removing),
		T(renaming),
		T(linking),
		T(attributes),
		T(storing),
		T(storing_while_read),
		T(own_entries_skipped),
		T(own_entry_tells_nlink),
		T(nlink_of_between_our_records),
		T(nlink_of_between_and_a_restart),
		T(nlink_of_before),
		T(nlink_of_before_a_name_was_replaced),
		T(local_names_count),
		T(unknown_objects),
		T(older_than_listing),
		T(not_made_sense_of),
		T(many),
		T(pending_names),
		T(pending_object),
		T(unsynced_object),
		T(stored_between_cut_and_write),
		T(stored_between_done_cut_and_write),
		T(stored_after_cut),
		T(renamed_and_listed_before_the_answer),
		T(removed_while_dirty),
		T(directory_removed_around_ours),
		T(time_of_names_that_are_gone),
		T(local_names_stay),
		T(listing_from_before_ours),
		T(listing_in_pieces),
		T(given_out_once),
		T(reset),
		cmocka_unit_test(everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

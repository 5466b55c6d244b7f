/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listings from upstream, of one directory and of trees: whole, in pieces, broken off, too old, around what is ours. */
#include "tests/unit/apply_model.h"

#include <sys/wait.h>
#include "cache/internal.h"

struct test {
	struct fixture f;		/* first: the fixture's teardown takes it */
	struct model *m;
	/* the fetcher's */
	bool has_link;
	unsigned n_lists;
};

static bool t_has_link(void *arg)
{
	return ((struct test *)arg)->has_link;
}

static void t_list(void *arg, uint64_t ino, const struct kml_oid *dir)
{
	(void)ino;
	(void)dir;
	((struct test *)arg)->n_lists++;
}

static void t_data(void *arg, uint64_t ino, const struct kml_oid *oid, uint64_t version, uint64_t offset, uint64_t len)
{
	(void)arg;
	(void)ino;
	(void)oid;
	(void)version;
	(void)offset;
	(void)len;
	fail();
}

static const struct fetcher fetcher = { t_has_link, t_list, t_data };

static pid_t main_pid;

static void t_open(struct test *t)
{
	f_init(&t->f);
	f_open(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
	t->m = m_new();
	assert_int_equal(apply_upstream(t->f.cache, "upstream-1", t->m->position, &t->m->objects[0]), 0);
}

/* First contact; nothing is listed. */
static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	if (getpid() != main_pid)	/* a child whose test has failed is not to go on with the next one */
		_exit(3);
	assert_non_null(t);
	t_open(t);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	m_free(t->m);
	return f_teardown(state);
}

static void t_reopen(struct test *t)
{
	f_reopen(&t->f);
	cache_set_fetcher(t->f.cache, &fetcher, t);
}

static int64_t count(struct test *t, const char *where)
{
	char sql[200];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", where);
	return query(&t->f, sql);
}

/* What happened upstream will never be told by the journal. */
static void lose_entries(struct test *t)
{
	assert_int_equal(apply_entries(t->f.cache, NULL, 0, t->m->position), 0);
}

/* ---- listings ---- */

static void lines_free(struct m_listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		kml_listed_release(&l->v[i]);
	free(l->v);
	*l = (struct m_listing){ 0 };
}

/* A whole tree, breadth first. */
static void deep_snapshot(struct model *m, struct kml_oid dir, struct m_listing *l)
{
	struct kml_oid queue[600];
	unsigned n = 0;

	*l = (struct m_listing){ .position = m->position };
	m_listing_add(l, KML_NO_OID, "", m_object_of(m, dir));
	queue[n++] = dir;
	for (unsigned at = 0; at < n; at++) {
		for (unsigned i = 0; i < m->n_names; i++) {
			const struct m_name *name = &m->names[i];

			if (!kml_oid_equal(name->dir, queue[at]) || kml_oid_is_none(name->oid))
				continue;
			m_listing_add(l, queue[at], name->name, m_object_of(m, name->oid));
			if (m_object_of(m, name->oid)->attr.type != KML_DIR)
				continue;
			assert_true(n < ARRAY_SIZE(queue));
			queue[n++] = name->oid;
		}
	}
}

static struct apply_listing *begin(struct test *t, uint64_t ino, const struct m_listing *l, bool is_deep)
{
	struct apply_listing *listing;

	assert_int_equal(apply_listing_begin(t->f.cache, ino, l->position, is_deep, &listing), 0);
	return listing;
}

/* So many lines at a time. */
static int deliver(struct test *t, uint64_t ino, struct m_listing *l, bool is_deep, size_t piece)
{
	struct apply_listing *listing = begin(t, ino, l, is_deep);
	int err = 0;

	for (size_t at = 0; at < l->n && !err; at += piece)
		err = apply_listing_add(listing, l->v + at, MIN(piece, l->n - at));
	err = apply_listing_end(listing, err);
	lines_free(l);
	return err;
}

static int deep(struct test *t, size_t piece)
{
	struct m_listing l;

	deep_snapshot(t->m, KML_ROOT, &l);
	return deliver(t, ROOT, &l, true, piece);
}

static int shallow(struct test *t, struct kml_oid dir)
{
	return m_list(t->m, &t->f, dir, ino_of(&t->f, dir));
}

static void answer_all(struct test *t)
{
	unsigned n = 0;

	while (m_answer(t->m, &t->f))
		assert_true(n++ < 100);
}

/* ---- somebody waits ---- */


struct stop_job {
	struct loop_job job;
	struct loop *loop;
};

static void stop_run(struct loop_job *job)
{
	loop_stop(container_of(job, struct stop_job, job)->loop);
}

/* Whatever was posted has run. */
static void run_posted(struct test *t)
{
	struct stop_job stop_job = { { .run = stop_run }, t->f.loop };

	loop_post(t->f.loop, &stop_job.job);
	assert_int_equal(loop_run(t->f.loop), 0);
}

static void lookup_waits(struct test *t, uint64_t dir, const char *name)
{
	t->has_link = true;
	assert_int_equal(cache_lookup(t->f.cache, f_begin(&t->f), dir, text(name)), CACHE_WAITS);
	run_posted(t);
	assert_false(t->f.is_done);
	t->has_link = false;
}

static bool count_name(void *arg, const struct cache_dirent *entry)
{
	(void)entry;
	++*(int *)arg;
	return true;
}

/* How many, with "." and "..", or -errno. */
static int list_names(struct test *t, uint64_t dir)
{
	int n = 0, err;

	err = f_wait(&t->f, cache_readdir(t->f.cache, f_begin(&t->f), dir, 0, false, count_name, &n));
	return err ? err : n;
}

/* ---- whole ones ---- */

/* Every kind, hard links in two directories, empty directories, at every depth. */
static void grow_tree(struct model *m)
{
	struct kml_oid a, b, deep_dir, file;

	m_dir(m, KML_ROOT, "empty first");
	a = m_dir(m, KML_ROOT, "a");
	b = m_dir(m, KML_ROOT, "b");
	m_make(m, 0, KML_LNK, KML_ROOT, "link", KML_NO_OID);
	m_dir(m, KML_ROOT, "empty last");
	file = m_file(m, a, "file");
	m_store(m, OTHERS, file, 12345);
	m_link(m, OTHERS, file, b, "same file");
	m_dir(m, a, "empty");
	deep_dir = m_dir(m, b, "deep");
	m_make(m, 0, KML_FIFO, deep_dir, "fifo", KML_NO_OID);
	deep_dir = m_dir(m, deep_dir, "deeper");
	m_link(m, OTHERS, file, deep_dir, "still the same");
	m_dir(m, deep_dir, "empty at the end");
}

static void one_directory(void **state)
{
	struct test *t = *state;
	struct fixture *f = &t->f;
	struct model *m = t->m;
	uint64_t a;

	grow_tree(m);
	m_chmod(m, 0, KML_ROOT, 0711);
	assert_int_equal(f_lookup(f, ROOT, "a"), -EIO);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	/* The root's own line counts. */
	assert_int_equal(f_getattr(f, ROOT), 0);
	assert_int_equal(f->op.attr.mode, 0711);
	assert_int_equal(f->op.attr.uid, 5);
	assert_int_equal(f->op.attr.nlink, m->objects[0].attr.nlink);
	assert_int_equal(f->op.attr.mtime.tv_nsec, m->objects[0].attr.mtime.nsec);
	a = found(f, ROOT, "a");
	assert_int_equal(a, ino_of(f, m_oid(m, KML_ROOT, "a")));
	assert_int_equal(f_lookup(f, ROOT, "nothing"), -ENOENT);
	assert_int_equal(f_lookup(f, a, "file"), -EIO);
	assert_false(apply_tree_is_listed(f->cache));
	/* What is known says where it is from. */
	lose_entries(t);
	m_file(m, m_oid(m, KML_ROOT, "a"), "unseen");
	m_pull(m, f);
	assert_int_equal(f_lookup(f, a, "unseen"), -EIO);
	assert_int_equal(shallow(t, m_oid(m, KML_ROOT, "a")), 0);
	assert_int_not_equal(found(f, a, "unseen"), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	assert_int_equal(count(t, "cml"), 0);
}

static void whole_tree(void **state)
{
	struct model *m;
	size_t n;

	(void)state;
	/* Cut at every line. */
	n = 1;
	do {
		struct test *t = NULL;
		struct m_listing l;
		uint64_t file;

		assert_int_equal(setup((void **)&t), 0);
		m = t->m;
		grow_tree(m);
		deep_snapshot(m, KML_ROOT, &l);
		n = n < l.n ? n + 1 : 0;
		assert_int_equal(deliver(t, ROOT, &l, true, n ? n - 1 : 1000), 0);
		assert_true(apply_tree_is_listed(t->f.cache));
		lose_entries(t);
		m_compare(m, &t->f, KML_ROOT, ROOT);
		file = ino_of(&t->f, m_oid(m, m_oid(m, KML_ROOT, "a"), "file"));
		assert_int_equal(inode_column(&t->f, file, "links_up"), 3);
		assert_int_equal(inode_column(&t->f, file, "nlink"), 3);
		/* The same once more changes nothing. */
		assert_int_equal(deep(t, 3), 0);
		t_reopen(t);
		m_compare(m, &t->f, KML_ROOT, ROOT);
		assert_int_equal(count(t, "inode"), 12);
		assert_int_equal(count(t, "inode WHERE is_stale"), 0);
		assert_int_equal(teardown((void **)&t), 0);
	} while (n);
}

static void nothing_in_it(void **state)
{
	struct test *t = *state;

	assert_int_equal(deep(t, 1), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -ENOENT);
	m_file(t->m, KML_ROOT, "f");
	m_pull(t->m, &t->f);
	m_remove(t->m, OTHERS, KML_ROOT, "f");
	lose_entries(t);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "f"), -ENOENT);
	assert_int_equal(count(t, "inode"), 1);
}

/* Names of any bytes, of any length; those of the kernel's client are none of upstream's business. */
static void any_bytes(void **state)
{
	struct test *t = *state;
	struct m_listing l = { .position = t->m->position };
	struct kml_object object = { .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 1, .attr_version = 1 };
	char longest[255];
	size_t n = 0;

	m_listing_add(&l, KML_NO_OID, "", &t->m->objects[0]);
	memset(longest, 0xff, sizeof(longest));
	for (int pass = 0; pass < 2; pass++) {
		for (int c = 1; c < 256; c++) {
			char name[255];
			struct slice s = { name, 1 };

			if (c == '/' || c == '.')
				continue;
			memset(name, c, sizeof(name));
			s.len = pass ? sizeof(name) : 1;
			object.oid = (struct kml_oid){ 0, 100 + l.n };
			m_listing_add(&l, KML_ROOT, "x", &object);
			free(l.v[l.n - 1].name.kml_name_val);
			l.v[l.n - 1].name = (kml_name){ 0 };
			assert_int_equal(kml_name_set(&l.v[l.n - 1].name, s), 0);
			n++;
		}
	}
	object.oid = (struct kml_oid){ 0, 99 };
	m_listing_add(&l, KML_ROOT, ".nfs0123456789abcdef01234567", &object);
	assert_int_equal(deliver(t, ROOT, &l, false, 50), 0);
	assert_int_equal(count(t, "name"), n);
	assert_int_equal(count(t, "inode"), n + 1);
	assert_int_equal(f_wait(&t->f, cache_lookup(t->f.cache, f_begin(&t->f), ROOT,
						    (struct slice){ longest, sizeof(longest) })), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "\n"), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "\xfe"), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, ".nfs0123456789abcdef01234567"), -ENOENT);
}

/* ---- what is not what it should be ---- */

static const struct bad_case {
	const char *name;
	int lines[4];		/* 0: end; 1: the root's; 2: "f" in it; 3: of another directory; 4: "g" in that */
} bad_cases[] = {
	{ "nothing at all",		{ 0 } },
	{ "no line of its own",		{ 2 } },
	{ "of another directory",	{ 3, 4 } },
	{ "entries of no directory",	{ 1, 4 } },
	{ "its own line twice",		{ 1, 2, 1 } },
};

static void malformed(void **state)
{
	struct test *t = *state;
	struct kml_oid other = m_dir(t->m, KML_ROOT, "other");
	struct kml_object *f = m_object_of(t->m, m_file(t->m, KML_ROOT, "f"));

	for (size_t c = 0; c < ARRAY_SIZE(bad_cases) * 2; c++) {
		const struct bad_case *bad = &bad_cases[c / 2];
		struct m_listing l = { .position = t->m->position };

		for (int i = 0; i < 4 && bad->lines[i]; i++) {
			bool is_own = bad->lines[i] % 2;
			struct kml_oid dir = bad->lines[i] > 2 ? other : KML_ROOT;

			m_listing_add(&l, is_own ? KML_NO_OID : dir, is_own ? "" : "f",
				      is_own ? m_object_of(t->m, dir) : f);
		}
		lookup_waits(t, ROOT, "f");
		if (deliver(t, ROOT, &l, false, c % 2 ? 1 : 100) != -EBADMSG)
			fail_msg("%s", bad->name);
		assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
		assert_int_equal(inode_column(&t->f, ROOT, "is_listed"), 0);
	}
	assert_int_equal(shallow(t, KML_ROOT), 0);
	lose_entries(t);
	assert_int_equal(count(t, "name"), 2);
	assert_int_equal(count(t, "inode"), 3);
}

/* ---- who waits ---- */

struct waiter {
	struct cache_op op;
	unsigned *n_done;
};

static void waiter_done(struct cache_op *op)
{
	struct waiter *waiter = container_of(op, struct waiter, op);

	assert_int_equal(op->err, 0);
	++*waiter->n_done;
}

static void asked_once_for_many(void **state)
{
	struct test *t = *state;
	struct waiter waiters[20] = { 0 };
	struct apply_listing *listing;
	struct kml_object *f;
	struct m_listing l;
	unsigned n_done = 0;

	f = m_object_of(t->m, m_file(t->m, KML_ROOT, "f"));
	m_dir(t->m, KML_ROOT, "d");
	t->has_link = true;
	for (size_t i = 0; i < ARRAY_SIZE(waiters); i++) {
		waiters[i] = (struct waiter){ *f_begin(&t->f), &n_done };
		waiters[i].op.done = waiter_done;
		assert_int_equal(cache_lookup(t->f.cache, &waiters[i].op, ROOT, text("f")), CACHE_WAITS);
	}
	assert_int_equal(t->n_lists, 1);
	/* The directory is there before the rest of the tree is. */
	deep_snapshot(t->m, KML_ROOT, &l);
	m_listing_add(&l, m_oid(t->m, KML_ROOT, "d"), "in d", f);
	listing = begin(t, ROOT, &l, true);
	assert_int_equal(apply_listing_add(listing, l.v, 3), 0);
	run_posted(t);
	assert_int_equal(n_done, 0);
	assert_int_equal(apply_listing_add(listing, l.v + 3, 1), 0);
	run_posted(t);
	assert_int_equal(n_done, ARRAY_SIZE(waiters));
	/* And when the rest breaks off it stays. */
	assert_int_equal(apply_listing_end(listing, -EIO), -EIO);
	assert_int_equal(list_names(t, ROOT), 4);
	t->has_link = false;
	assert_int_equal(list_names(t, found(&t->f, ROOT, "d")), -EIO);
	/* The wish is answered after all. */
	apply_listing_failed(t->f.cache, ROOT, -EIO);
	assert_int_equal(t->n_lists, 1);
	lines_free(&l);
}

static void broken_off(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	m_file(t->m, KML_ROOT, "c");
	m_snapshot(t->m, KML_ROOT, &l);
	for (size_t n = 0; n <= l.n; n++) {
		lookup_waits(t, ROOT, "nothing");
		listing = begin(t, ROOT, &l, false);
		if (n)
			assert_int_equal(apply_listing_add(listing, l.v, n), 0);
		run_posted(t);
		assert_false(t->f.is_done);
		assert_int_equal(apply_listing_end(listing, -ECONNRESET), -ECONNRESET);
		assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
		/* Nobody sees half of it, nor is told that something is not there. */
		assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -EIO);
		assert_int_equal(list_names(t, ROOT), -EIO);
		if (n == 2)
			t_reopen(t);
	}
	lines_free(&l);
	assert_int_equal(t->n_lists, 5);
	/* One that never began. */
	lookup_waits(t, ROOT, "nothing");
	apply_listing_failed(t->f.cache, ROOT, -ETIMEDOUT);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -EIO);
	/* What came then and is not there any more goes. */
	m_remove(t->m, OTHERS, KML_ROOT, "b");
	lose_entries(t);
	lookup_waits(t, ROOT, "nothing");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), -ENOENT);
	assert_int_equal(list_names(t, ROOT), 4);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode"), 3);
}

/* A directory that had to be compared again still has to be after a listing that broke off, or when the daemon ended. */
static void broken_off_stays_stale(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;
	struct kml_oid d;

	d = m_dir(t->m, KML_ROOT, "d");
	m_file(t->m, d, "a");
	m_file(t->m, d, "b");
	assert_int_equal(deep(t, 100), 0);
	m_remove(t->m, OTHERS, d, "b");
	m_file(t->m, d, "c");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	for (int is_deep = 0; is_deep < 2; is_deep++) {
		uint64_t ino = is_deep ? ROOT : ino_of(&t->f, d);

		deep_snapshot(t->m, is_deep ? KML_ROOT : d, &l);
		listing = begin(t, ino, &l, is_deep);
		for (size_t i = 0; i < l.n; i++)
			assert_int_equal(apply_listing_add(listing, &l.v[i], 1), 0);
		assert_int_equal(inode_column(&t->f, ino_of(&t->f, d), "is_stale"), 1);
		assert_int_equal(apply_listing_end(listing, -EIO), -EIO);
		assert_int_equal(inode_column(&t->f, ino_of(&t->f, d), "is_stale"), 1);
		assert_int_not_equal(found(&t->f, ino_of(&t->f, d), "b"), 0);
		lines_free(&l);
		t_reopen(t);
	}
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* Cut off where others' listings of the same directory are not. */
static void marked_on_the_way(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct kml_oid oid, given;
	struct m_listing l;
	uint64_t ino;
	bool is_dir;

	m_file(t->m, KML_ROOT, "a");
	m_file(t->m, KML_ROOT, "b");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	lose_entries(t);
	/* A name of ours in its way, in the first piece; the mark outlives the last one. */
	assert_int_equal(f_remove(&t->f, ROOT, "a"), 0);
	m_snapshot(t->m, KML_ROOT, &l);
	listing = begin(t, ROOT, &l, false);
	assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
	assert_int_equal(apply_listing_add(listing, l.v + 2, 1), 0);
	assert_false(apply_next_stale(t->f.cache, &ino, &given, &is_dir));
	assert_int_equal(apply_listing_end(listing, 0), 0);
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	lines_free(&l);
	oid = m_oid(t->m, KML_ROOT, "a");
	assert_true(!kml_oid_is_none(oid));
	assert_int_equal(f_lookup(&t->f, ROOT, "a"), -ENOENT);
	assert_int_equal(ino_of(&t->f, oid), 0);
}

/* ---- too old ---- */

static void too_old(void **state)
{
	struct test *t = *state;
	struct m_listing l;

	m_file(t->m, KML_ROOT, "a");
	lookup_waits(t, ROOT, "b");
	m_snapshot(t->m, KML_ROOT, &l);
	m_file(t->m, KML_ROOT, "b");
	m_pull(t->m, &t->f);
	/* Who waits goes on waiting, for the next one. */
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	run_posted(t);
	assert_false(t->f.is_done);
	assert_int_equal(t->n_lists, 1);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_wait(&t->f, CACHE_WAITS), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* Of a directory that was listed before: it is asked for again by itself. */
	m_snapshot(t->m, KML_ROOT, &l);
	m_remove(t->m, OTHERS, KML_ROOT, "a");
	m_pull(t->m, &t->f);
	assert_int_equal(m_deliver(&t->f, ROOT, &l), -EAGAIN);
	assert_int_equal(found(&t->f, ROOT, "a"), 0);
	apply_listing_failed(t->f.cache, ROOT, -EIO);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
}

/* A tree of which one directory has changed since: all the others are taken in, below it too. */
static void partly_too_old(void **state)
{
	struct test *t = *state;
	struct kml_oid d, below;
	struct m_listing l;

	d = m_dir(t->m, KML_ROOT, "d");
	below = m_dir(t->m, d, "below");
	m_file(t->m, below, "f");
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(shallow(t, d), 0);
	lose_entries(t);
	m_file(t->m, below, "g");
	deep_snapshot(t->m, KML_ROOT, &l);
	m_file(t->m, d, "new");
	m_pull(t->m, &t->f);
	assert_int_equal(deliver(t, ROOT, &l, true, 2), -EAGAIN);
	assert_int_not_equal(found(&t->f, ino_of(&t->f, d), "new"), 0);
	assert_int_equal(inode_column(&t->f, ROOT, "is_listed"), 1);
	assert_int_not_equal(found(&t->f, ino_of(&t->f, below), "f"), 0);
	assert_int_equal(deep(t, 2), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* ---- what is not in it any more ---- */

static void vanishing(void **state)
{
	struct test *t = *state;
	struct kml_oid d, sub;
	uint64_t f_ino;

	d = m_dir(t->m, KML_ROOT, "d");
	sub = m_dir(t->m, d, "sub");
	m_file(t->m, sub, "x");
	m_file(t->m, d, "f");
	m_link(t->m, OTHERS, m_oid(t->m, d, "f"), KML_ROOT, "also f");
	m_file(t->m, d, "stays");
	assert_int_equal(deep(t, 100), 0);
	f_ino = ino_of(&t->f, m_oid(t->m, d, "f"));
	m_remove(t->m, 0, sub, "x");
	m_remove(t->m, 0, d, "sub");
	m_remove(t->m, 0, d, "f");
	lose_entries(t);
	assert_int_equal(shallow(t, d), 0);
	assert_int_equal(found(&t->f, ROOT, "also f"), f_ino);
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(count(t, "inode"), 4);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* The listing knows more than has been pulled: what is missing in it may have moved. */
static void moved_ahead(void **state)
{
	struct test *t = *state;
	struct kml_oid a, b, sub;
	uint64_t file, dir, gone, ino;
	struct kml_oid oid;
	bool is_dir;

	a = m_dir(t->m, KML_ROOT, "a");
	b = m_dir(t->m, KML_ROOT, "b");
	m_file(t->m, a, "file");
	m_file(t->m, a, "gone");
	sub = m_dir(t->m, a, "sub");
	m_file(t->m, sub, "deep");
	assert_int_equal(deep(t, 100), 0);
	lose_entries(t);
	file = ino_of(&t->f, m_oid(t->m, a, "file"));
	gone = ino_of(&t->f, m_oid(t->m, a, "gone"));
	dir = ino_of(&t->f, sub);
	m_rename(t->m, OTHERS, a, "file", b, "moved");
	m_rename(t->m, OTHERS, a, "sub", b, "sub");
	m_remove(t->m, OTHERS, a, "gone");
	assert_int_equal(shallow(t, a), 0);
	assert_int_equal(f_getattr(&t->f, file), 0);
	assert_int_equal(f_getattr(&t->f, gone), 0);
	assert_int_not_equal(found(&t->f, dir, "deep"), 0);
	/* Asking at once would tell nothing new. */
	assert_false(apply_next_stale(t->f.cache, &ino, &oid, &is_dir));
	m_pull(t->m, &t->f);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "moved"), file);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(f_getattr(&t->f, file), 0);
	assert_int_equal(f_getattr(&t->f, dir), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* Moved while the journal was lost, from directories that are listed before and after the one it went to. */
static void moved_in_a_tree(void **state)
{
	struct test *t = *state;
	struct kml_oid a, b, sub[2];
	uint64_t file[2], dir[2], gone;

	a = m_dir(t->m, KML_ROOT, "a");
	b = m_dir(t->m, KML_ROOT, "b");
	m_file(t->m, a, "a file");
	m_file(t->m, b, "b file");
	m_file(t->m, b, "gone");
	sub[0] = m_dir(t->m, a, "a sub");
	sub[1] = m_dir(t->m, b, "b sub");
	m_file(t->m, sub[0], "deep");
	m_file(t->m, sub[1], "deep");
	assert_int_equal(deep(t, 100), 0);
	file[0] = ino_of(&t->f, m_oid(t->m, a, "a file"));
	file[1] = ino_of(&t->f, m_oid(t->m, b, "b file"));
	gone = ino_of(&t->f, m_oid(t->m, b, "gone"));
	dir[0] = ino_of(&t->f, sub[0]);
	dir[1] = ino_of(&t->f, sub[1]);
	m_rename(t->m, OTHERS, a, "a file", b, "was in a");
	m_rename(t->m, OTHERS, b, "b file", a, "was in b");
	m_rename(t->m, OTHERS, a, "a sub", b, "was in a too");
	m_rename(t->m, OTHERS, b, "b sub", a, "was in b too");
	m_remove(t->m, OTHERS, b, "gone");
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(deep(t, 3), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(f_getattr(&t->f, file[i]), 0);
		assert_int_not_equal(found(&t->f, dir[i], "deep"), 0);
	}
	answer_all(t);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	assert_int_equal(found(&t->f, ino_of(&t->f, b), "was in a"), file[0]);
	assert_int_equal(found(&t->f, ino_of(&t->f, a), "was in b too"), dir[1]);
	assert_int_equal(f_getattr(&t->f, gone), -ESTALE);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
}

/* After a reset the whole tree's listing compares all of it: not each directory is asked for once more. */
static void tree_after_reset(void **state)
{
	struct test *t = *state;

	grow_tree(t->m);
	assert_int_equal(deep(t, 100), 0);
	m_file(t->m, m_oid(t->m, KML_ROOT, "a"), "new");
	m_chmod(t->m, OTHERS, m_oid(t->m, KML_ROOT, "link"), 0600);
	assert_int_equal(apply_reset(t->f.cache, t->m->position), 0);
	assert_int_equal(count(t, "inode WHERE is_stale"), 9);
	assert_int_equal(deep(t, 100), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
	/* But the one whose entries were the last of a piece, lest the rest does not come. */
	assert_int_equal(count(t, "inode WHERE is_stale"), 1);
	answer_all(t);
	assert_int_equal(count(t, "inode WHERE is_stale"), 0);
	m_compare(t->m, &t->f, KML_ROOT, ROOT);
}

/* ---- around what is ours ---- */

static void retire(struct test *t)
{
	struct kml_answer answers[64] = { 0 };
	struct cml_batch *batch;

	assert_int_equal(cml_take(t->f.cache, ARRAY_SIZE(answers), UINT64_MAX, &batch), 0);
	assert_non_null(batch);
	for (size_t i = 0; i < batch->n; i++)
		answers[i] = (struct kml_answer){ .seq = batch->items[i].record.seq };
	assert_int_equal(cml_retire(t->f.cache, batch, answers, batch->n), 0);
}

static void ours_stays(void **state)
{
	struct test *t = *state;
	uint64_t new, renamed, written, dir;
	struct kml_oid d;

	m_file(t->m, KML_ROOT, "removed");
	m_file(t->m, KML_ROOT, "old name");
	m_file(t->m, KML_ROOT, "written");
	d = m_dir(t->m, KML_ROOT, "dir");
	assert_int_equal(deep(t, 100), 0);
	lose_entries(t);
	assert_int_equal(f_remove(&t->f, ROOT, "removed"), 0);
	assert_int_equal(f_rename(&t->f, ROOT, "old name", ROOT, "new name"), 0);
	renamed = found(&t->f, ROOT, "new name");
	new = made(&t->f, ROOT, "new", "mine");
	written = found(&t->f, ROOT, "written");
	assert_int_equal(f_write(&t->f, written, 0, "also mine"), 0);
	dir = ino_of(&t->f, d);
	made(&t->f, dir, "in dir", "mine too");
	/* Others do away with what we work on, and make what we have made. */
	m_remove(t->m, OTHERS, KML_ROOT, "written");
	m_remove(t->m, OTHERS, KML_ROOT, "dir");
	m_file(t->m, KML_ROOT, "new");
	lose_entries(t);
	assert_int_equal(shallow(t, KML_ROOT), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "removed"), -ENOENT);
	assert_int_equal(f_lookup(&t->f, ROOT, "old name"), -ENOENT);
	assert_int_equal(found(&t->f, ROOT, "new name"), renamed);
	assert_int_equal(found(&t->f, ROOT, "new"), new);
	assert_content(&t->f, new, "mine");
	assert_int_equal(found(&t->f, ROOT, "written"), written);
	assert_content(&t->f, written, "also mine");
	assert_int_not_equal(found(&t->f, found(&t->f, ROOT, "dir"), "in dir"), 0);
	assert_int_equal(f_commit(&t->f, written), 0);
	assert_int_equal(count(t, "cml"), 7);
	/* And it is looked at again once they are settled. */
	assert_int_equal(inode_column(&t->f, ROOT, "is_stale"), 1);
	assert_false(m_answer(t->m, &t->f));
	while (count(t, "cml"))
		retire(t);
	assert_true(m_answer(t->m, &t->f));
}

/* Done away with here while its listing is on the way, or while it comes. */
static void removed_here(void **state)
{
	struct test *t = *state;
	struct apply_listing *listing;
	struct m_listing l;
	uint64_t ino[2];

	for (int i = 0; i < 2; i++) {
		struct kml_oid d = m_dir(t->m, KML_ROOT, i ? "d1" : "d0");

		assert_int_equal(shallow(t, KML_ROOT), 0);
		assert_int_equal(shallow(t, d), 0);
		lose_entries(t);
		ino[i] = ino_of(&t->f, d);
		m_file(t->m, d, "a");
		m_file(t->m, d, "b");
		m_snapshot(t->m, d, &l);
		listing = begin(t, ino[i], &l, false);
		if (i) {	/* with what has come of it */
			assert_int_equal(apply_listing_add(listing, l.v, 2), 0);
			assert_int_equal(f_remove(&t->f, ino[i], "a"), 0);
		}
		assert_int_equal(f_rmdir(&t->f, ROOT, i ? "d1" : "d0"), 0);
		assert_int_equal(apply_listing_add(listing, l.v + 2 * i, l.n - 2 * i), 0);
		assert_int_equal(apply_listing_end(listing, 0), 0);
		assert_int_equal(f_getattr(&t->f, ino[i]), -ESTALE);
		lines_free(&l);
	}
	/* What had no place to be put was not kept. */
	assert_int_equal(count(t, "inode"), 1);
}

/* ---- a change is run twice ---- */

/*
 * The disk is full at the nth commit: the reserve is given up, and all the changes of that transaction are run again.
 * In a process of its own, for a fault point's rules are read at its first hit.
 */
static int full_at(unsigned nth)
{
	struct test t = { 0 };
	char fault[64];
	int64_t names;

	snprintf(fault, sizeof(fault), "writer.commit:%u:ENOSPC", nth);
	setenv("IZO_FAULT", fault, 1);
	t_open(&t);
	grow_tree(t.m);
	assert_int_equal(deep(&t, 3), 0);
	m_remove(t.m, OTHERS, m_oid(t.m, KML_ROOT, "a"), "file");
	m_remove(t.m, OTHERS, KML_ROOT, "empty first");
	assert_int_equal(apply_reset(t.f.cache, t.m->position), 0);
	assert_int_equal(shallow(&t, KML_ROOT), 0);
	assert_int_equal(deep(&t, 2), 0);
	answer_all(&t);
	m_compare(t.m, &t.f, KML_ROOT, ROOT);
	assert_int_equal(count(&t, "inode WHERE is_stale"), 0);
	names = count(&t, "name WHERE ino > 0");
	assert_int_equal(names, 11);
	assert_int_equal(count(&t, "inode"), 11);
	m_free(t.m);
	f_close(&t.f);
	f_remove_dir(&t.f);
	return 0;
}

/* The first of all tests: no fault point has been passed yet in this process, and it has one thread. */
static void run_twice(void **state)
{
	(void)state;
#ifndef IZO_FAULTS
	skip();
#endif
	for (unsigned nth = 3; nth <= 24; nth++) {
		int status;
		pid_t pid;

		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			_exit(full_at(nth));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (status)
			fail_msg("the disk was full at commit %u", nth);
	}
}

/* ---- large ones ---- */

static int tick(void *arg)
{
	++*(uint64_t *)arg;
	return 0;
}

/* In thousands of instructions of SQLite's. */
static uint64_t large(unsigned n, bool is_again)
{
	struct test *t = NULL;
	struct m_listing l = { 0 };
	struct kml_object object = { .attr = { .type = KML_REG, .nlink = 1 }, .data_version = 1, .attr_version = 1 };
	uint64_t ticks = 0;
	char name[20];

	assert_int_equal(setup((void **)&t), 0);
	for (int pass = 0; pass <= is_again; pass++) {
		l = (struct m_listing){ .position = t->m->position, .v = calloc(n + 1, sizeof(*l.v)), .n = n + 1 };
		assert_non_null(l.v);
		l.v[0] = (struct kml_listed){ .object = t->m->objects[0] };
		for (unsigned i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "file %u", i);
			object.oid = (struct kml_oid){ 0, 1000 + i };
			l.v[i + 1] = (struct kml_listed){ KML_ROOT, m_text(name), object };
		}
		ticks = 0;
		sqlite3_progress_handler(db_handle(t->f.cache->write_db), 1000, tick, &ticks);
		assert_int_equal(deliver(t, ROOT, &l, false, 512), 0);
		sqlite3_progress_handler(db_handle(t->f.cache->write_db), 0, NULL, NULL);
	}
	assert_int_equal(count(t, "name"), n);
	assert_int_equal(f_lookup(&t->f, ROOT, name), 0);
	assert_int_equal(f_lookup(&t->f, ROOT, "nothing"), -ENOENT);
	assert_int_equal(teardown((void **)&t), 0);
	return ticks;
}

static void large_is_linear(void **state)
{
	(void)state;
	for (int is_again = 0; is_again < 2; is_again++) {
		uint64_t small = large(2000, is_again), big = large(is_again ? 20000 : 50000, is_again);

		print_message("# %llu, %llu\n", (unsigned long long)small, (unsigned long long)big);
		assert_true(big < small * (is_again ? 12 : 30));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(run_twice),
		T(one_directory),
		cmocka_unit_test(whole_tree),
		T(nothing_in_it),
		T(any_bytes),
		T(malformed),
		T(asked_once_for_many),
		T(broken_off),
		T(broken_off_stays_stale),
		T(marked_on_the_way),
		T(too_old),
		T(partly_too_old),
		T(vanishing),
		T(moved_ahead),
		T(moved_in_a_tree),
		T(tree_after_reset),
		T(ours_stays),
		T(removed_here),
		cmocka_unit_test(large_is_linear),
	};

	main_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

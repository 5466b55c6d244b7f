/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What local programs do is journalled as it happens.  The programs here are child processes, since
 * what the server's own process does is left out.
 */
#include "tests/unit/httpd_batch.h"

#include "httpd/watch.h"

/* for what must come at all; usually it takes a tenth of a second */
#define BOUND_US (20 * US_PER_S)
/* a file that is written to is looked at when it was quiet for so long, as httpd/watch.c says */
#define QUIET_US 300000

struct watched {
	struct fixture f;
	struct watch *watch;
};

static bool has_fanotify;

/* Run a shell command in the export, in another process. */
static void run(struct watched *w, const char *command)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		if (fchdir(w->f.fd) < 0)
			_exit(126);
		execl("/bin/sh", "sh", "-ec", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Wait until the journal has that many entries more; false: it has not in time. */
static bool wait_for(struct watched *w, uint64_t from, uint64_t entries)
{
	uint64_t deadline = clock_us() + BOUND_US, position = from;

	while (position < from + entries && clock_us() < deadline)
		position = tree_wait(w->f.tree, position, deadline);
	return position >= from + entries;
}

static uint64_t position(struct watched *w)
{
	return tree_wait(w->f.tree, 0, 0);
}

/* Do the tables have the path, and all that is in it, so that another look finds nothing new?  With the lock. */
static bool has_whole(struct watched *w, const char *path)
{
	struct object object;
	struct file_stat st;

	if (!find(&w->f, path, &object) || file_stat(w->f.fd, path, &st))
		return false;
	return object.attr.type != KML_REG || (!object.is_racy && object.attr.size == st.attr.size &&
					       !file_time_cmp(object.attr.mtime, st.attr.mtime));
}

/* Wait until the tables have the path as it is now (or have it not). */
static bool wait_path(struct watched *w, const char *path, bool is_wanted)
{
	uint64_t deadline = clock_us() + BOUND_US, at = position(w);
	struct object object;
	bool is_so;

	for (;;) {
		tree_lock(w->f.tree);
		is_so = is_wanted ? has_whole(w, path) : !find(&w->f, path, &object);
		tree_unlock(w->f.tree);
		if (is_so || clock_us() >= deadline)
			return is_so;
		at = tree_wait(w->f.tree, at, MIN(deadline, clock_us() + US_PER_S / 10));
	}
}

static void start(struct watched *w, enum watch_kind kind)
{
	assert_int_equal(watch_start(w->f.tree, kind, &w->watch), 0);
	assert_true(watch_wait_settled(w->watch, clock_us() + BOUND_US));
}

static void stop(struct watched *w)
{
	watch_stop(w->watch);
	w->watch = NULL;
}

static void check_now(struct watched *w)
{
	tree_lock(w->f.tree);
	check_all(&w->f);
	tree_unlock(w->f.tree);
}

static const char *ops(struct watched *w, uint64_t from)
{
	const char *text;

	tree_lock(w->f.tree);
	text = ops_after(&w->f, from);
	tree_unlock(w->f.tree);
	return text;
}

/* The wanted operations in their order. Content that is seen while it is written has a STORE more. */
static bool is_ops(const char *text, const char *want)
{
	bool may_store = false;

	for (;;) {
		size_t len = strcspn(text, " "), want_len = strcspn(want, " ");
		bool is_wanted = len == want_len && !memcmp(text, want, len);
		bool is_store = len == 5 && !memcmp(text, "STORE", len);

		if (is_wanted && !len)
			return true;
		if (is_wanted)
			want += want_len + strspn(want + want_len, " ");
		else if (!is_store || !may_store)
			return false;
		may_store = is_store || (len == 6 && !memcmp(text, "CREATE", len));
		text += len + strspn(text + len, " ");
	}
}

/* Since a position just these operations were noticed. */
static void assert_ops(struct watched *w, uint64_t from, const char *want)
{
	uint64_t deadline = clock_us() + BOUND_US, at = from;
	const char *text;

	do {
		at = tree_wait(w->f.tree, at, MIN(deadline, clock_us() + US_PER_S / 10));
		text = ops(w, from);
	} while (!is_ops(text, want) && clock_us() < deadline);
	if (!is_ops(text, want))
		assert_string_equal(text, want);
}

/* Done by a program, and noticed as just that operation. */
static void assert_noticed(struct watched *w, const char *command, const char *want)
{
	uint64_t at = position(w);

	run(w, command);
	assert_ops(w, at, want);
}

static struct watched *make(void)
{
	struct watched *w = calloc(1, sizeof(*w));

	f_make(&w->f);
	f_open(&w->f);
	return w;
}

static void end(struct watched *w)
{
	stop(w);
	check_now(w);
	f_remove(&w->f);
	free(w);
}

/* ---- tests; each for both kinds ---- */

static void notices(enum watch_kind kind)
{
	struct watched *w = make();
	struct object before, after;
	uint64_t at;

	run(w, "mkdir -p old/deep; echo x > old/deep/file");
	settle();
	start(w, kind);
	assert_true(wait_path(w, "old/deep/file", true));

	at = position(w);
	run(w, "echo one > a");
	assert_true(wait_path(w, "a", true));
	assert_ops(w, at, "CREATE");

	assert_noticed(w, "echo two >> a", "STORE");
	assert_true(wait_path(w, "a", true));
	assert_noticed(w, "chmod 600 a", "SETATTR");

	tree_lock(w->f.tree);
	before = row_of(&w->f, "a");
	tree_unlock(w->f.tree);
	assert_noticed(w, "mv a old/deep/b", "RENAME");
	assert_true(wait_path(w, "old/deep/b", true));
	tree_lock(w->f.tree);
	after = row_of(&w->f, "old/deep/b");
	tree_unlock(w->f.tree);
	assert_int_equal(before.id, after.id);

	assert_noticed(w, "ln old/deep/b c", "LINK");
	assert_noticed(w, "rm c", "REMOVE");
	end(w);
}

/*
 * (3) of watch.c: whatever is done in a new directory at once is found; and what is done in it
 * later.
 */
static void new_directories(enum watch_kind kind)
{
	struct watched *w = make();

	start(w, kind);
	run(w, "mkdir -p a/b/c; for i in 1 2 3 4 5 6 7 8 9; do echo $i > a/b/c/$i; done; mkdir "
	       "a/b/c/d; echo x > a/b/c/d/e");
	for (int i = 1; i <= 9; i++) {
		char path[32];

		snprintf(path, sizeof(path), "a/b/c/%d", i);
		assert_true(wait_path(w, path, true));
	}
	assert_true(wait_path(w, "a/b/c/d/e", true));
	run(w, "echo y > a/b/c/d/f");
	assert_true(wait_path(w, "a/b/c/d/f", true));

	assert_noticed(w, "mv a/b/c moved", "RENAME");
	assert_true(wait_path(w, "moved/d/f", true));
	run(w, "echo z > moved/d/g");
	assert_true(wait_path(w, "moved/d/g", true));
	run(w, "rm -r moved a");
	assert_true(wait_path(w, "moved", false));
	assert_true(wait_path(w, "a", false));

	/* A directory's own attributes. */
	run(w, "mkdir d");
	assert_true(wait_path(w, "d", true));
	assert_noticed(w, "chmod 711 d", "SETATTR");
	assert_noticed(w, "chmod 711 .", "SETATTR");
	end(w);
}

/* A file that is written again and again is not journalled each time, but now and then. */
static void long_writes(enum watch_kind kind)
{
	struct watched *w = make();
	uint64_t at, stores, from_us;

	start(w, kind);
	run(w, "echo x > log");
	assert_true(wait_path(w, "log", true));
	at = position(w);
	from_us = clock_us();
	/* 4 s of writes, 20 a second, by one who keeps it open. */
	run(w, "exec >> log; i=0; while [ $i -lt 80 ]; do echo line $i; i=$((i + 1)); sleep 0.05; "
	       "done");
	stores = position(w) - at;
	/* One for each time that it was quiet for so long at most, which on a busy machine may be often; and one for its closing. */
	assert_in_range(stores, 1, 2 + (clock_us() - from_us) / QUIET_US);
	assert_true(wait_for(w, at, stores));
	/* The last of them is seen, too. */
	for (uint64_t deadline = clock_us() + BOUND_US;;) {
		struct object object;

		tree_lock(w->f.tree);
		object = row_of(&w->f, "log");
		tree_unlock(w->f.tree);
		if (object.attr.size == (uint64_t)stat_of(&w->f, "log").st_size)
			break;
		assert_true(clock_us() < deadline);
		(void)tree_wait(w->f.tree, position(w), clock_us() + US_PER_S / 10);
	}
	end(w);
}

/*
 * Directories that a client's batch made are watched, too, though their making makes no journal
 * entry of ours.
 */
static void made_by_clients(enum watch_kind kind)
{
	struct watched *w = make();
	struct batch *b = batch_new(&w->f, CLIENT);
	struct buf answers;
	uint64_t at;

	start(w, kind);
	add_mkdir(b, KML_ROOT, "d", oid(1));
	add_mkdir(b, oid(1), "e", oid(2));
	add_create(b, oid(2), "a", oid(3));
	buf_init(&answers, 0);
	assert_int_equal(send_raw(b, 0, &answers), 0);
	buf_release(&answers);
	free(b);
	at = position(w);
	run(w, "echo x > d/e/b");
	assert_true(wait_path(w, "d/e/b", true));
	assert_ops(w, at, "CREATE");
	at = position(w);
	run(w, "echo longer > d/e/a; rm d/e/b");
	assert_true(wait_path(w, "d/e/b", false));
	assert_true(wait_for(w, at, 2));
	end(w);
}

static void kind_is(enum watch_kind kind, const char *name)
{
	struct watched *w = make();

	start(w, kind);
	assert_string_equal(watch_kind_name(w->watch), name);
	end(w);
}

#define BOTH(test) \
	static void test##_fanotify(void **state) \
	{ \
		(void)state; \
		if (!has_fanotify) \
			skip(); \
		test(WATCH_FANOTIFY); \
	} \
	static void test##_inotify(void **state) \
	{ \
		(void)state; \
		test(WATCH_INOTIFY); \
	}

BOTH(made_by_clients)
BOTH(notices)
BOTH(new_directories)
BOTH(long_writes)

static void best_is_fanotify(void **state)
{
	(void)state;
	kind_is(WATCH_BEST, has_fanotify ? "fanotify" : "inotify");
	kind_is(WATCH_INOTIFY, "inotify");
}

#ifdef IZO_FAULTS

/*
 * In a process of its own, since faults are read once: whatever goes wrong with events, changes are
 * found.
 */
static void despite(const char *fault, enum watch_kind kind)
{
	struct watched *w;
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		log_set_level(LOG_LEVEL_ERROR);
		setenv("IZO_FAULT", fault, 1);
		w = make();
		run(w, "mkdir -p d/e");
		if (watch_start(w->f.tree, kind, &w->watch))
			_exit(2);
		if (!watch_wait_settled(w->watch, clock_us() + BOUND_US))
			_exit(3);
		run(w, "echo x > a; echo y > d/e/b; rmdir d/e 2> /dev/null || true");
		if (!wait_path(w, "d/e/b", true) || !wait_path(w, "a", true))
			_exit(4);
		end(w);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void queue_overflows(void **state)
{
	(void)state;
	if (has_fanotify)
		despite("watch.overflow:0:EIO", WATCH_FANOTIFY);
	despite("watch.overflow:0:EIO", WATCH_INOTIFY);
}

static void no_more_watches(void **state)
{
	(void)state;
	despite("watch.enter:0:ENOSPC", WATCH_INOTIFY);
}

static void a_look_fails(void **state)
{
	(void)state;
	despite("watch.full:1:ENOSPC", WATCH_INOTIFY);
}

#endif

/* In a process of its own, since fault points are passed. */
static bool try_fanotify(void)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		struct watched *w = make();
		int err = watch_start(w->f.tree, WATCH_FANOTIFY, &w->watch);

		stop(w);
		f_remove(&w->f);
		_exit(err != 0);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

/* Does some descriptor of ours have a mark on this directory? */
static bool is_marked(const char *path)
{
	char pattern[64], command[160];
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	snprintf(pattern, sizeof(pattern), "fanotify ino:%llx ", (unsigned long long)st.st_ino);
	snprintf(command, sizeof(command), "grep -qs '^%s' /proc/%d/fdinfo/*", pattern, (int)getpid());
	return !system(command);
}

/*
 * The mark is on the whole file system.  A directory outside the export costs one event, then those of it are left out;
 * when it is moved into the export, it is looked after like any other.
 */
static void ignored_outside(void **state)
{
	uint64_t deadline = clock_us() + BOUND_US;
	char outside[200], command[300];
	struct watched *w;

	(void)state;
	if (!has_fanotify)
		skip();
	w = make();
	settle();
	start(w, WATCH_FANOTIFY);
	snprintf(outside, sizeof(outside), "%s-outside", w->f.path);
	assert_int_equal(mkdir(outside, 0700), 0);
	snprintf(command, sizeof(command), "echo x > %s/file", outside);
	do
		run(w, command);
	while (!is_marked(outside) && clock_us() < deadline);
	assert_true(is_marked(outside));
	assert_false(is_marked(w->f.path));

	snprintf(command, sizeof(command), "mv %s inside", outside);
	run(w, command);
	assert_true(wait_path(w, "inside/file", true));
	snprintf(outside, sizeof(outside), "%s/inside", w->f.path);
	assert_false(is_marked(outside));
	assert_noticed(w, "echo two >> inside/file", "STORE");
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef IZO_FAULTS
		/* First: what is passed here is passed by their children, too. */
		cmocka_unit_test(queue_overflows),
		cmocka_unit_test(no_more_watches),
		cmocka_unit_test(a_look_fails),
#endif
		cmocka_unit_test(best_is_fanotify),
		cmocka_unit_test(made_by_clients_fanotify),
		cmocka_unit_test(made_by_clients_inotify),
		cmocka_unit_test(notices_fanotify),
		cmocka_unit_test(notices_inotify),
		cmocka_unit_test(new_directories_fanotify),
		cmocka_unit_test(new_directories_inotify),
		cmocka_unit_test(ignored_outside),
		cmocka_unit_test(long_writes_fanotify),
		cmocka_unit_test(long_writes_inotify),
	};

	log_set_level(LOG_LEVEL_WARN);
	has_fanotify = try_fanotify();
	if (!has_fanotify)
		print_message("fanotify is not to be had here: its tests are skipped\n");
	return cmocka_run_group_tests(tests, NULL, NULL);
}

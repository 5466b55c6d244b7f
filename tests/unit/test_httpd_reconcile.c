/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What local programs did is found by looking: shell commands, and the journal entries that are to
 * come of them.
 *
 * Each case is looked at twice in the same way: by a server that runs, and by one that was down
 * meanwhile.  A third time by name, as the watch does it: one item for each name that the command
 * touched.
 */
#include "tests/unit/httpd_batch.h"

#include <sys/xattr.h>

static void run(struct fixture *f, const char *command)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		if (fchdir(f->fd) < 0)
			_exit(126);
		execl("/bin/sh", "sh", "-ec", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static const struct look_case {
	const char *name;
	const char *before, *command;
	const char *want;		/* the entries, in their order */
	/* what an event would name, separated by spaces; a directory with a '/' at its end */
	const char *names;
	const char *same[2];		/* [0] before is the object that [1] is after */
} cases[] = {
	{ "nothing", "echo x > a; mkdir d; echo y > d/b", "true", "", "a d/b" },
	{ "a new file", "true", "echo x > a", "CREATE", "a" },
	{ "a new symlink", "true", "ln -s nowhere a", "SYMLINK", "a" },
	{ "a new fifo", "true", "mkfifo a", "MKNOD", "a" },
	{ "a new directory", "true", "mkdir d; echo x > d/a; mkdir d/e; echo y > d/e/b",
	  "MKDIR CREATE MKDIR CREATE", "d" },
	{ "a removed file", "echo x > a", "rm a", "REMOVE", "a" },
	{ "a removed directory", "mkdir -p d/e; echo x > d/e/a", "rm -r d", "REMOVE RMDIR RMDIR",
	  "d" },
	{ "new content", "echo x > a", "echo longer > a", "STORE", "a", { "a", "a" } },
	{ "new content of the same size", "echo x > a", "echo y > a", "STORE", "a" },
	{ "new content, old time", "echo x > a; touch -d @1000000000 a",
	  "echo y > a; touch -d @1000000000 a", "STORE", "a" },
	{ "appended", "echo x > a", "echo y >> a", "STORE", "a" },
	{ "truncated", "echo x > a", ": > a", "STORE", "a" },
	{ "another mode", "echo x > a", "chmod 600 a", "SETATTR", "a", { "a", "a" } },
	{ "another mode of a directory", "mkdir d", "chmod 700 d", "SETATTR", "d" },
	{ "another mode of the root", "true", "chmod 711 .", "SETATTR", "." },
	{ "another time", "echo x > a", "touch -d @1000000000 a", "STORE", "a" },
	{ "another time of a symlink", "ln -s x a", "touch -h -d @1000000000 a", "SETATTR", "a" },
	{ "another time of a directory", "mkdir d", "touch -d @1000000000 d", "SETATTR", "d" },
	{ "a time set back after a new name", "mkdir d", "echo x > d/a; touch -d @1000000000 d", "CREATE SETATTR", "d/a d" },
	{ "a time set back after a name less", "mkdir d; echo x > d/a", "rm d/a; touch -d @1000000000 d", "REMOVE SETATTR", "d d/a" },
	{ "times set back after a move", "mkdir d e; echo x > d/a", "mv d/a e/a; touch -d @1000000000 d e",
	  "RENAME SETATTR SETATTR", "d/a e/a d e" },
	{ "a name that came and went", "mkdir d; touch -d @1000000000 d", "echo x > d/t; rm d/t", "SETATTR", "d/t" },
	{ "a name that came and went beside a change",
	  "mkdir d; echo x > d/a; touch -d @1000000000 d",
	  "echo x > d/t; rm d/t; echo y > d/a",
	  "STORE SETATTR",
	  "d/t d/a" },
	{ "renamed", "echo x > a", "mv a b", "RENAME", "a b", { "a", "b" } },
	{ "renamed and changed",
	  "echo x > a",
	  "mv a b; echo longer > b",
	  "RENAME STORE",
	  "a b",
	  { "a", "b" } },
	{ "moved", "echo x > a; mkdir d", "mv a d/b", "RENAME", "a d/b", { "a", "d/b" } },
	{ "moved to a new directory",
	  "echo x > a",
	  "mkdir d; mv a d/b",
	  "MKDIR RENAME",
	  "a d",
	  { "a", "d/b" } },
	{ "a directory moved",
	  "mkdir -p d/e; echo x > d/e/a; mkdir f",
	  "mv d f/g",
	  "RENAME",
	  "d f/g",
	  { "d/e/a", "f/g/e/a" } },
	{ "a directory moved into one that was moved",
	  "mkdir d e; echo x > d/a",
	  "mv e f; mv d f/d",
	  "RENAME RENAME",
	  NULL,
	  { "d/a", "f/d/a" } },
	{ "a directory moved, something in it removed",
	  "mkdir -p d/e; echo x > d/a; echo y > d/e/b",
	  "mv d f; rm f/e/b",
	  "RENAME REMOVE",
	  "d f d/e/b",
	  { "d/a", "f/a" } },
	{ "a directory moved out of one that was removed",
	  "mkdir -p d/e; echo x > d/e/a",
	  "mv d/e f; rmdir d",
	  "RENAME RMDIR",
	  "d f",
	  { "d/e/a", "f/a" } },
	{ "a file moved out of a directory that was removed",
	  "mkdir d; echo x > d/a",
	  "mv d/a b; rmdir d",
	  "RENAME RMDIR",
	  "d b",
	  { "d/a", "b" } },
	{ "a second name", "echo x > a", "ln a b", "LINK", "b", { "a", "b" } },
	{ "a name less", "echo x > a; ln a b", "rm a", "REMOVE", "a", { "a", "b" } },
	{ "one name moved", "echo x > a; ln a b", "mv a c", "RENAME", "a c", { "a", "c" } },
	{ "saved by rename",
	  "echo x > a",
	  "echo y > tmp; mv tmp a",
	  "STORE SETATTR",
	  "tmp a",
	  { "a", "a" } },
	{ "saved by rename, as a second name", "echo x > a; ln a b", "echo y > tmp; mv tmp a",
	  "REMOVE CREATE", "tmp a" },
	{ "saved beside a copy",
	  "echo x > a",
	  "mv a a~; echo y > a",
	  "RENAME CREATE",
	  "a a~",
	  { "a", "a~" } },
	{ "renamed over", "echo x > a; echo y > b", "mv a b", "RENAME", "a b", { "a", "b" } },
	{ "a directory in place of a file", "echo x > a", "rm a; mkdir a; echo y > a/b",
	  "REMOVE MKDIR CREATE", "a" },
	{ "a file in place of a directory", "mkdir a; echo x > a/b", "rm -r a; echo y > a",
	  "RENAME CREATE REMOVE RMDIR", "a" },
	{ "removed and made again", "echo x > a", "rm a; echo y > a", "STORE SETATTR",
	  "a" },
	{ "two directories swapped",
	  "mkdir a b; echo 1 > a/x; echo 2 > b/x",
	  "mv a t; mv b a; mv t b",
	  "RENAME RENAME RENAME",
	  "a b",
	  { "a/x", "b/x" } },
	{ "two files swapped", "echo 1 > a; echo 2 > b", "mv a t; mv b a; mv t b", "RENAME CREATE",
	  "a b" },
	{ "a symlink in place of a file", "echo x > a", "rm a; ln -s b a", "REMOVE SYMLINK", "a" },
	{ "another symlink", "ln -s x a", "rm a; ln -s y a", "REMOVE SYMLINK", "a" },
	{ "what clients do not see", "true", "echo x > .intermezzo/new", "", ".intermezzo" },
	{ "odd names", "true", "echo x > 'a b\nc'; echo y > '-'; mkdir '...'",
	  "CREATE CREATE MKDIR", NULL },
};

/* The names of a case as items, and a look at them. */
static void look_by_name(struct fixture *f, const char *names)
{
	char copy[256], *save = NULL, *slash;
	struct reconcile_item items[16];
	struct object dir;
	uint64_t changes;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", names);
	for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		slash = strrchr(name, '/');
		if (slash)
			*slash = '\0';
		dir = row_of(f, slash ? name : "");
		name = slash ? slash + 1 : name;
		items[n] = (struct reconcile_item){ .dir = dir.id };
		name_set(&items[n++].name, (struct slice){ name, strlen(name) });
	}
	assert_int_equal(reconcile_names(f->tree, items, n, NULL, &changes), 0);
}

/* The order of names that are found in one directory is the file system's: sort the words. */
static int by_word(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_words(const char *text, char *ret, size_t size)
{
	char copy[1024], *save = NULL, *words[64];
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	qsort(words, n, sizeof(*words), by_word);
	ret[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(ret + strlen(ret), size - strlen(ret), "%s ", words[i]);
}

enum how { RUNNING, DOWN, BY_NAME };

static void one_look(const struct look_case *c, enum how how)
{
	char got[1024], want[1024];
	struct object before = { 0 };
	struct fixture f;
	uint64_t from;

	f_make(&f);
	f_open(&f);
	run(&f, c->before);
	settle();
	(void)look(&f);
	assert_int_equal(racy(&f), 0);
	check_all(&f);
	if (c->same[0])
		before = row_of(&f, c->same[0]);
	from = f.tree->position;
	if (how == DOWN)
		f_close(&f);
	run(&f, c->command);
	settle();
	if (how == DOWN)
		f_open(&f);
	if (how == BY_NAME)
		look_by_name(&f, c->names);
	else
		(void)look(&f);
	sort_words(ops_after(&f, from), got, sizeof(got));
	sort_words(c->want, want, sizeof(want));
	if (strcmp(got, want))
		fail_msg("%s: %s: got \"%s\", not \"%s\"", c->name,
			 how == DOWN	  ? "down"
			 : how == RUNNING ? "running"
					  : "by name",
			 ops_after(&f, from), c->want);
	if (c->same[0])
		assert_int_equal(before.id, row_of(&f, c->same[1]).id);
	/* Once is enough. */
	assert_int_equal(look(&f), how == BY_NAME ? look(&f) : 0);
	check_all(&f);
	f_remove(&f);
}

static void one_case(void **state)
{
	const struct look_case *c = *state;

	one_look(c, RUNNING);
	one_look(c, DOWN);
	if (c->names)
		one_look(c, BY_NAME);
}

/* Where a directory has come is read, and that takes nothing away from what is to be seen of those in it by their names. */
static void time_below_one_that_moved(void **state)
{
	struct fixture *f = *state;
	uint64_t from;

	run(f, "mkdir -p d/e");
	settle();
	(void)look(f);
	run(f, "mv d f; touch -d @1000000000 f/e");
	look_by_name(f, "d f");
	from = f->tree->position;
	look_by_name(f, "f/e");
	assert_string_equal(ops_after(f, from), "SETATTR");
	check_all(f);
}

/*
 * A server that may not look into a directory, or not any more, does not take what is in it as
 * removed.
 */
static void hidden(void **state)
{
	struct fixture *f = *state;
	struct object object;

	run(f, "mkdir d; echo x > d/a");
	settle();
	(void)look(f);
	run(f, "chmod 0 d");
	assert_int_equal(look(f), 1);
	assert_true(find(f, "d/a", &object));
	look_by_name(f, "d/a d/new");
	assert_true(find(f, "d/a", &object));
	run(f, "chmod 755 d; rm d/a");
	assert_int_equal(look(f), 2);
	assert_false(find(f, "d/a", &object));
}

/*
 * A file that was seen while it might just have been written is taken as changed by the next look,
 * and then no more.
 */
static void seen_too_soon(void **state)
{
	struct fixture *f = *state;
	uint64_t n;

	put_file(f, "a", "x");
	(void)look(f);
	n = racy(f);
	settle();
	assert_int_equal(look(f), n);
	assert_int_equal(look(f), 0);
}

struct telling {
	struct fixture *f;
	unsigned entered, stop_after;
};

static void count_entered(void *arg, int64_t dir, int fd)
{
	struct telling *telling = arg;

	assert_true(dir > 0);
	assert_true(fd >= 0);
	telling->entered++;
}

static bool stop_soon(void *arg)
{
	struct telling *telling = arg;

	return telling->stop_after && telling->entered >= telling->stop_after;
}

/*
 * A look that is given up in the middle leaves no half of a change, and the next one finds the
 * rest.
 */
static void given_up(void **state)
{
	struct telling telling = { .f = *state, .stop_after = 5 };
	struct reconcile_hooks hooks = { .enter = count_entered,
					 .is_stopping = stop_soon,
					 .arg = &telling };
	struct fixture *f = *state;

	run(f, "for i in 1 2 3 4 5 6 7 8 9; do mkdir $i; for j in 1 2 3 4 5; do echo $j > $i/$j; "
	       "done; done");
	assert_int_equal(reconcile_all(f->tree, &hooks, NULL), -EINTR);
	assert_in_range(telling.entered, 5, 6);
	settle();
	(void)look(f);
	check_all(f);
	assert_int_equal(look(f), 0);
	telling.stop_after = 0;
	telling.entered = 0;
	assert_int_equal(reconcile_all(f->tree, &hooks, NULL), 0);
	assert_int_equal(telling.entered, 10);
}

/* A large tree in several transactions. */
static void many(void **state)
{
	struct fixture *f = *state;

	run(f, "for i in 0 1 2 3 4 5 6 7 8 9; do mkdir $i; (cd $i; seq 400 | xargs touch); done");
	settle();
	assert_int_equal(look(f), 4010);
	check_all(f);
	run(f, "mv 3 4/three; rm -r 5; mv 6 10");
	assert_int_equal(look(f), 1 + 401 + 1);
	check_all(f);
}

/* What a client's batch did is no local change; what a local program does to it after that is. */
static void after_apply(void **state)
{
	struct fixture *f = *state;
	struct batch *b = batch_new(f, CLIENT);
	struct object object;
	uint64_t from;

	add_mkdir(b, KML_ROOT, "d", oid(1));
	add_create(b, oid(1), "a", oid(2));
	add_store(b, oid(2), 0, "ours");
	expect(b, "OK OK OK");
	put_file(f, "d/a", "mine");
	from = f->tree->position;
	settle();
	assert_int_equal(look(f), 1);
	assert_string_equal(ops_after(f, from), "STORE");
	object = row_of(f, "d/a");
	assert_int_equal(object.data_by, 0);
	assert_true(kml_oid_equal(object.oid, oid(2)));
	/* The same size and time as the client's: only its ctime tells. */
	b = batch_new(f, CLIENT);
	add_store(b, oid(2), object.data_version, "ours");
	expect(b, "OK");
	put_file(f, "d/a", "evil");
	assert_int_equal(
		utimensat(f->fd, "d/a",
			  (struct timespec[2]){ { time_of(f->seq).sec, time_of(f->seq).nsec },
						{ time_of(f->seq).sec, time_of(f->seq).nsec } },
			  0),
		0);
	assert_int_equal(look(f), 1);
	b = batch_new(f, CLIENT);
	add_store(b, oid(2), object.data_version, "x");
	expect(b, "CONFLICT");
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(cases) + 6];
	size_t n = 0;

	log_set_level(LOG_LEVEL_ERROR);
	for (; n < ARRAY_SIZE(cases); n++)
		tests[n] = (struct CMUnitTest){ .name = cases[n].name, .test_func = one_case,
						.initial_state = (void *)&cases[n] };
#define ADD(function) \
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(function, setup, teardown)
	tests[n++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(hidden, setup_user,
									teardown_user);
	ADD(time_below_one_that_moved);
	ADD(seen_too_soon);
	ADD(given_up);
	ADD(many);
	ADD(after_apply);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

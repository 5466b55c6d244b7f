/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contents as they were before they were changed here: kept, for whom, and until when. */
#include "tests/unit/cml_upstream.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/fs.h"
#include "cache/base.h"
#include "cache/check.h"
#include "cache/conflict_note.h"
#include "cache/evict.h"
#include "cache/internal.h"
#include "tests/unit/often.h"

#define THEIRS ((struct kml_oid){ 0, 77 })

static const char *const patterns[] = { "*.txt", "/sub/*.dat" };

static void configure(struct fixture *f)
{
	f->config.base_patterns = patterns;
	f->config.n_base_patterns = ARRAY_SIZE(patterns);
	f->config.base_limit = 1000;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f_init(f);
	configure(f);
	f_open(f);
	*state = f;
	return 0;
}

/* Where the thread that asks may carry a change out itself, which must not wait. */
static int setup_async(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f_init(f);
	configure(f);
	f->config.durability = DURABILITY_ASYNC;
	f_open(f);
	*state = f;
	return 0;
}

/* ---- what is kept ---- */

static unsigned n_files(struct fixture *f)
{
	char path[128];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/bases", f->dir);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void base_path(struct fixture *f, char path[128])
{
	snprintf(path, 128, "%s/bases/%lld", f->dir, (long long)query(f, "SELECT max(id) FROM base"));
}

static void assert_bases(struct fixture *f, unsigned n)
{
	assert_int_equal(query(f, "SELECT count(*) FROM base"), n);
	assert_int_equal(n_files(f), n);
}

/* There is one, with that content, of the version before this change. */
static void assert_base(struct fixture *f, uint64_t ino, const char *want)
{
	char path[128], got[1000] = { 0 };
	int fd;

	assert_bases(f, 1);
	assert_int_equal(query(f, "SELECT ino FROM base"), ino);
	assert_int_equal(query(f, "SELECT size FROM base"), strlen(want));
	assert_true(query(f, "SELECT version FROM base") > 0);
	assert_int_equal(query(f, "SELECT length(hash) FROM base"), 16);
	base_path(f, path);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got)), strlen(want));
	close(fd);
	assert_string_equal(got, want);
}

static void wrote(struct fixture *f, uint64_t ino, const char *text_)
{
	assert_int_equal(f_write(f, ino, 2, text_), 0);
	assert_int_equal(f_commit(f, ino), 0);
}

/* As editors do. */
static uint64_t saved(struct fixture *f, const char *name, const char *content)
{
	uint64_t ino = made(f, ROOT, "temporary", content);

	assert_int_equal(f_rename(f, ROOT, "temporary", ROOT, name), 0);
	return ino;
}

/* ---- the log ---- */

struct round {
	struct cml_batch *batch;
	struct kml_answer answers[20];
	struct kml_object object;
};

static uint64_t version;

/* What waits, to be answered "done". */
static void take(struct fixture *f, struct round *r)
{
	memset(r, 0, sizeof(*r));
	assert_int_equal(cml_take(f->cache, ARRAY_SIZE(r->answers), UINT64_MAX, &r->batch), 0);
	assert_non_null(r->batch);
	for (size_t i = 0; i < r->batch->n; i++)
		r->answers[i] = (struct kml_answer){ .seq = r->batch->items[i].record.seq, .made_version = ++version };
}

static void retire(struct fixture *f, struct round *r)
{
	assert_int_equal(cml_retire(f->cache, r->batch, r->answers, r->batch->n), 0);
}

static void all_done(struct fixture *f)
{
	struct round r;

	take(f, &r);
	retire(f, &r);
}

/* The last record of a content, or of a name, is answered like that; theirs has another content. */
static void answer_last(struct round *r, enum kml_status status)
{
	size_t at = r->batch->n - 1;
	struct kml_answer *last;

	while (r->batch->items[at].record.body.op == KML_SETATTR)
		at--;
	last = &r->answers[at];
	last->status = status;
	if (status == KML_RENAMED) {
		last->name = (kml_name){ 4, (char *)"copy" };
		return;
	}
	last->made_version = 0;
	last->error = status == KML_REFUSED ? EPERM : 0;
	r->object = (struct kml_object){
		.oid = THEIRS, .attr = { .type = KML_REG, .mode = 0644, .nlink = 1, .size = 3 }, .data_version = ++version,
	};
	last->object = status == KML_CONFLICT ? &r->object : NULL;
}

static void last_is(struct fixture *f, enum kml_status status)
{
	struct round r;

	take(f, &r);
	answer_last(&r, status);
	retire(f, &r);
}

/* A file that upstream has as it is here. */
static uint64_t known(struct fixture *f, uint64_t dir, const char *name, const char *content)
{
	uint64_t ino = made(f, dir, name, content);

	all_done(f);
	assert_bases(f, 0);
	return ino;
}

/* ---- when one is kept ---- */

static void before_a_write(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	assert_int_equal(f_write(f, ino, 2, "OURS"), 0);
	assert_base(f, ino, "before");		/* already */
	assert_int_equal(f_commit(f, ino), 0);
	wrote(f, ino, "more");
	assert_int_equal(f_truncate(f, ino, 1), 0);
	assert_base(f, ino, "before");
	all_done(f);
	assert_bases(f, 0);
}

static void before_a_cut(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	assert_int_equal(f_truncate(f, ino, 0), 0);
	assert_base(f, ino, "before");
	wrote(f, ino, "new");
	assert_base(f, ino, "before");
	all_done(f);
	assert_bases(f, 0);
	/* And an empty one has a base that is empty. */
	assert_int_equal(f_truncate(f, ino, 0), 0);
	all_done(f);
	wrote(f, ino, "new");
	assert_base(f, ino, "");
}

static void when_another_takes_its_name(void **state)
{
	struct fixture *f = *state;
	uint64_t ino;

	known(f, ROOT, "a.txt", "before");
	ino = saved(f, "a.txt", "first");
	assert_base(f, ino, "before");
	ino = saved(f, "a.txt", "second");
	assert_base(f, ino, "before");
	wrote(f, ino, "more");
	assert_base(f, ino, "before");
	assert_int_equal(query(f, "SELECT count(*) FROM cml"), 1);
	all_done(f);
	assert_bases(f, 0);
	ino = saved(f, "a.txt", "third");
	assert_base(f, ino, "semore");
}

/* Where the log keeps a rename over it, as one that was sent in part already does. */
static void when_a_rename_is_logged(void **state)
{
	struct fixture *f = *state;
	uint64_t ino;
	struct round r;

	known(f, ROOT, "a.txt", "before");
	ino = made(f, ROOT, "temporary", "first");
	take(f, &r);
	assert_int_equal(f_rename(f, ROOT, "temporary", ROOT, "a.txt"), 0);
	assert_base(f, ino, "before");
	retire(f, &r);		/* the temporary file's: it goes on */
	assert_base(f, ino, "before");
	all_done(f);
	assert_bases(f, 0);
}

/* Saved, sent, and saved again within the five seconds in which a file is said to be written to. */
static void soon_after_the_last(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	wrote(f, ino, "ONE");
	wrote(f, ino, "TWO");
	all_done(f);
	assert_bases(f, 0);
	wrote(f, ino, "three");
	assert_base(f, ino, "beTWOe");
}

static void only_what_matches(void **state)
{
	struct fixture *f = *state;
	uint64_t sub = made_dir(f, ROOT, "sub"), ino;
	char big[1002];

	wrote(f, known(f, ROOT, "a.dat", "before"), "OURS");
	assert_bases(f, 0);
	all_done(f);
	wrote(f, known(f, sub, "a.dat", "before"), "OURS");
	assert_bases(f, 1);
	all_done(f);
	memset(big, 'b', 1001);
	big[1001] = '\0';
	ino = known(f, sub, "big.txt", big);
	assert_int_equal(f_truncate(f, ino, 500), 0);
	/* By now it is small, but not what upstream has. */
	wrote(f, ino, "OURS");
	assert_bases(f, 0);
	all_done(f);
	/* What was made here has none, nor what was changed already. */
	wrote(f, made(f, ROOT, "new.txt", "new"), "OURS");
	saved(f, "new.txt", "newer");
	assert_bases(f, 0);
}

static void patterns_are_for(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
		{ "*.txt", "/a.txt", true }, { "*.txt", "/d/e/a.txt", true }, { "*.txt", "/a.txt/b", false },
		{ "/d/*.txt", "/d/a.txt", true }, { "/d/*.txt", "/d/e/a.txt", true }, { "/d/*.txt", "/e/d/a.txt", false },
		{ "d/*", "/d/a", true }, { "d/*", "/e/d/a", false }, { "[ab]", "/x/b", true }, { "*", "/.hidden", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(base_pattern_matches(cases[i].pattern, cases[i].path), cases[i].matches);
}

/* ---- until when ---- */

/* It was written to while the last change was on its way: what that one made nobody has. */
static void written_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");
	struct round r;

	wrote(f, ino, "ONE");
	take(f, &r);
	wrote(f, ino, "TWO");
	assert_base(f, ino, "before");
	retire(f, &r);
	assert_bases(f, 0);
}

static void folded_away(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	wrote(f, ino, "OURS");
	assert_base(f, ino, "before");
	assert_int_equal(f_remove(f, ROOT, "a.txt"), 0);
	assert_bases(f, 0);
}

static void refused(void **state)
{
	struct fixture *f = *state;

	wrote(f, known(f, ROOT, "a.txt", "before"), "OURS");
	last_is(f, KML_REFUSED);
	assert_bases(f, 0);
}

/* The base of the conflict, as it is given out. */
static void assert_conflict_base(struct fixture *f, const char *want)
{
	AUTO_CLOSE int dirfd = open(f->dir, O_RDONLY | O_DIRECTORY);
	AUTO_FREE char *got = NULL;
	size_t len;
	uint64_t id = query(f, "SELECT max(id) FROM conflict");

	assert_bases(f, 1);
	assert_int_equal(query(f, "SELECT conflict FROM base"), id);
	assert_int_equal(base_copy_out(f->cache, id, dirfd, "out"), 1);
	assert_int_equal(fs_read_file(dirfd, "out", 1000, &got, &len), 0);
	assert_string_equal(got, want);
	assert_int_equal(unlinkat(dirfd, "out", 0), 0);
}

static void goes_to_the_conflict(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	wrote(f, ino, "OURS");
	last_is(f, KML_CONFLICT);
	assert_conflict_base(f, "before");
	all_done(f);		/* our copy is made there */
	assert_conflict_base(f, "before");
	/* It is another object now, which has bases of its own. */
	assert_int_equal(f_rename(f, ROOT, "a.txt", ROOT, "theirs.txt"), 0);
	f_reopen(f);
	assert_conflict_base(f, "before");
	assert_int_equal(conflict_side_done(f->cache, query(f, "SELECT max(id) FROM conflict")), 0);
	assert_bases(f, 0);
}

static void goes_to_the_conflict_of_a_replacement(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	known(f, ROOT, "a.txt", "before");
	saved(f, "a.txt", "ours");
	last_is(f, KML_CONFLICT);
	assert_conflict_base(f, "before");
	id = query(f, "SELECT max(id) FROM conflict");
	assert_int_equal(conflict_side_done(f->cache, id), 0);
	assert_bases(f, 0);
}

static void goes_to_the_conflict_of_a_rename(void **state)
{
	struct fixture *f = *state;
	struct round r;

	known(f, ROOT, "a.txt", "before");
	made(f, ROOT, "temporary", "ours");
	take(f, &r);
	assert_int_equal(f_rename(f, ROOT, "temporary", ROOT, "a.txt"), 0);
	retire(f, &r);
	last_is(f, KML_RENAMED);
	assert_conflict_base(f, "before");
}

static void a_damaged_one_is_none(void **state)
{
	struct fixture *f = *state;
	AUTO_CLOSE int dirfd = open(f->dir, O_RDONLY | O_DIRECTORY);
	char path[128];
	int fd;

	wrote(f, known(f, ROOT, "a.txt", "before"), "OURS");
	last_is(f, KML_CONFLICT);
	base_path(f, path);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "X", 1, 3), 1);
	close(fd);
	assert_int_equal(base_copy_out(f->cache, query(f, "SELECT max(id) FROM conflict"), dirfd, "out"), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(base_copy_out(f->cache, query(f, "SELECT max(id) FROM conflict"), dirfd, "out"), 0);
}

/* ---- restarts ---- */

static void kept_over_a_restart(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");
	char path[128];

	wrote(f, ino, "OURS");
	f_reopen(f);
	assert_base(f, ino, "before");
	/* With no patterns any more those that there are stay right. */
	f->config.n_base_patterns = 0;
	f_reopen(f);
	assert_base(f, ino, "before");
	snprintf(path, sizeof(path), "%s/bases/4711", f->dir);
	assert_int_equal(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
	f_reopen(f);
	assert_base(f, ino, "before");
	all_done(f);
	assert_bases(f, 0);
}

/* ---- room ---- */

static struct evict evict_now(struct fixture *f, uint64_t need)
{
	static const bool not_stopping;
	struct evict evict_args = { .cache = f->cache, .need = need, .priority = 1, .is_stopping = &not_stopping };
	char path[128];

	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	assert_int_equal(db_open(path, DB_READER, false, &evict_args.db), 0);
	assert_int_equal(evict(&evict_args), 0);
	db_close(evict_args.db);
	return evict_args;
}

/* Those that may be of no use go first, those of conflicts last. */
static void given_up_for_room(void **state)
{
	struct fixture *f = *state;
	uint64_t clean;

	/* So that its file can go: it has a name, no note. */
	f_close(f);
	f->config.base_limit = 100000;
	f_open(f);
	wrote(f, known(f, ROOT, "a.txt", "conflict"), "OURS");
	last_is(f, KML_CONFLICT);
	all_done(f);
	clean = made(f, ROOT, "clean", "clean");
	all_done(f);
	f_reopen(f);
	wrote(f, made(f, ROOT, "b.txt", "waits"), "x");
	all_done(f);
	assert_int_equal(query(f, "SELECT count(*) FROM base"), 1);
	wrote(f, found(f, ROOT, "b.txt"), "OURS");
	assert_bases(f, 2);
	assert_int_equal(evict_now(f, 1).freed_files, 1);
	assert_conflict_base(f, "conflict");
	assert_int_equal(f_content_files(f, false), 3);
	(void)clean;
	assert_true(evict_now(f, UINT64_MAX).freed_files >= 2);
	assert_bases(f, 0);
	assert_int_equal(query(f, "SELECT count(*) FROM conflict"), 1);
}

static void none_where_there_is_no_room(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");

	f_close(f);
	f->config.floor_bytes = UINT64_MAX / 4;		/* of the disk: there is never so much */
	f_open(f);
	assert_int_equal(f_truncate(f, ino, 1), 0);
	assert_bases(f, 0);
}

/* ---- checking ---- */

static char told[4000];

static void take_told(void *arg, enum check_kind kind, const char *line)
{
	size_t len = strlen(told);

	(void)arg;
	snprintf(told + len, sizeof(told) - len, "%d %s\n", (int)kind, line);
}

static struct check_result check_cache(struct fixture *f, bool repair)
{
	const struct check_config config = { f->dir, repair, take_told, NULL };
	struct check_result result;
	char *why;

	told[0] = '\0';
	assert_int_equal(cache_check(&config, &result, &why), 0);
	return result;
}

static void checked(void **state)
{
	struct fixture *f = *state;
	uint64_t ino = known(f, ROOT, "a.txt", "before");
	char path[128], other[128];
	int fd;

	wrote(f, ino, "OURS");
	f_close(f);
	assert_int_equal(check_cache(f, true).damage, 0);
	assert_string_equal(told, "");
	/* A file that belongs to nothing. */
	snprintf(other, sizeof(other), "%s/bases/4711", f->dir);
	assert_int_equal(close(open(other, O_WRONLY | O_CREAT, 0600)), 0);
	assert_int_equal(check_cache(f, false).damage, 0);
	assert_non_null(strstr(told, "4711"));
	assert_int_equal(access(other, F_OK), 0);
	assert_int_equal(check_cache(f, true).damage, 0);
	assert_int_equal(access(other, F_OK), -1);
	assert_base(f, ino, "before");
	/* One that was altered. */
	base_path(f, path);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "X", 1, 3), 1);
	close(fd);
	assert_int_equal(check_cache(f, false).damage, 1);
	assert_non_null(strstr(told, "/a.txt"));
	assert_bases(f, 1);
	assert_int_equal(check_cache(f, true).mended, 1);
	assert_bases(f, 0);
	assert_int_equal(check_cache(f, false).damage, 0);
	f_open(f);
	assert_content(f, ino, "beOURS");
}

/* ---- crashes ---- */

#ifdef IZO_FAULTS
static char crash_dir[64];

static int in_child(const char *fault, int (*fn)(struct fixture *f))
{
	struct fixture f;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setenv("IZO_FAULT", fault, 1);
		f_init(&f);
		(void)rmdir(f.dir);
		snprintf(f.dir, sizeof(f.dir), "%s", crash_dir);
		configure(&f);
		f_open(&f);
		status = fn(&f);
		f_close(&f);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int prepare(struct fixture *f)
{
	(void)known(f, ROOT, "a.txt", "before");
	(void)known(f, ROOT, "b.txt", "before");
	return 0;
}

static int work(struct fixture *f)
{
	wrote(f, found(f, ROOT, "a.txt"), "OURS");
	saved(f, "b.txt", "ours");
	all_done(f);
	wrote(f, found(f, ROOT, "a.txt"), "MORE");
	saved(f, "b.txt", "more");
	return 0;
}

static int64_t count(struct fixture *f, const char *sql)
{
	return query(f, sql);
}

/* Each that there is, is what it says, and belongs to something. */
static int look(struct fixture *f)
{
	AUTO_CLOSE int dirfd = open(f->dir, O_RDONLY | O_DIRECTORY);
	int64_t n = count(f, "SELECT count(*) FROM base"), id;
	char sql[100];

	if (n != n_files(f))
		return 2;
	if (n != count(f, "SELECT count(*) FROM base WHERE ino IN (SELECT ino FROM cml UNION SELECT ino FROM inode WHERE is_dirty)"))
		return 3;
	for (id = 1; id <= count(f, "SELECT coalesce(max(id), 0) FROM base"); id++) {
		snprintf(sql, sizeof(sql), "SELECT count(*) FROM base WHERE id = %lld", (long long)id);
		if (!count(f, sql))
			continue;
		snprintf(sql, sizeof(sql), "UPDATE base SET conflict = 1 WHERE id = %lld RETURNING 1", (long long)id);
		if (count(f, sql) != 1 || base_copy_out(f->cache, 1, dirfd, "out") != 1 || unlinkat(dirfd, "out", 0))
			return 4;
		snprintf(sql, sizeof(sql), "UPDATE base SET conflict = 0 WHERE id = %lld RETURNING 1", (long long)id);
		(void)count(f, sql);
	}
	return 0;
}

static void killed(void **state)
{
	static const char *const points[] = { "base.copy", "base.link", "base.remove", "writer.committed", "cml.append" };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(points); p++) {
		unsigned n_killed = 0;

		for (unsigned nth = 1; nth < 40; nth += each()) {
			char fault[60], command[128];
			int status;

			snprintf(crash_dir, sizeof(crash_dir), "%s/izo-base-XXXXXX", test_dir());
			assert_non_null(mkdtemp(crash_dir));
			assert_int_equal(in_child("", prepare), 0);
			snprintf(fault, sizeof(fault), "%s:%u:kill", points[p], nth);
			status = in_child(fault, work);
			n_killed += WIFSIGNALED(status);
			if (!WIFSIGNALED(status))
				assert_int_equal(status, 0);
			assert_int_equal(in_child("", look), 0);
			snprintf(command, sizeof(command), "rm -rf '%s'", crash_dir);
			assert_int_equal(system(command), 0);
			if (!WIFSIGNALED(status))
				break;
		}
		assert_true(n_killed > 0);
	}
}

/* One that cannot be made is none; the change is done all the same. */
static int work_fails(struct fixture *f)
{
	uint64_t ino = found(f, ROOT, "a.txt");

	wrote(f, ino, "OURS");
	assert_content(f, ino, "beOURS");
	saved(f, "b.txt", "ours");
	assert_bases(f, 0);
	return 0;
}

static void cannot_be_made(void **state)
{
	char command[128];

	(void)state;
	snprintf(crash_dir, sizeof(crash_dir), "%s/izo-base-XXXXXX", test_dir());
	assert_non_null(mkdtemp(crash_dir));
	assert_int_equal(in_child("", prepare), 0);
	assert_int_equal(in_child("base.copy:0:ENOSPC,base.link:0:EIO", work_fails), 0);
	assert_int_equal(in_child("", look), 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", crash_dir);
	assert_int_equal(system(command), 0);
}
#endif

#define T(name) cmocka_unit_test_setup_teardown(name, setup, f_teardown)
#define ASYNC(name) { #name " async", name, setup_async, f_teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef IZO_FAULTS
		/* First: a process reads its faults once. */
		cmocka_unit_test(killed), cmocka_unit_test(cannot_be_made),
#endif
		T(before_a_write), T(before_a_cut), T(when_another_takes_its_name), T(when_a_rename_is_logged), T(soon_after_the_last),
		T(only_what_matches), T(patterns_are_for), T(written_meanwhile), T(folded_away), T(refused), T(goes_to_the_conflict),
		T(goes_to_the_conflict_of_a_replacement), T(goes_to_the_conflict_of_a_rename), T(a_damaged_one_is_none),
		T(kept_over_a_restart), T(given_up_for_room), T(none_where_there_is_no_room), T(checked),
		ASYNC(before_a_write), ASYNC(before_a_cut), ASYNC(when_another_takes_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

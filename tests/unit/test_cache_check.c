/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking and mending: each kind of damage is found, said and mended, and loses nothing that was changed; and damage by chance. */
#include "tests/unit/cml_upstream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "base/fs.h"
#include "base/log.h"
#include "cache/check.h"
#include "tests/unit/often.h"

#define TIME_MAX_S 60	/* for one damaged cache: it must never hang */
#define BIG 4000

/*
 * /clean	as upstream has it, content here
 * /changed	upstream has it; changed here
 * /dir/new	made here
 */
struct inos {
	uint64_t clean, changed, dir, new;
};

static char big[BIG + 1];

static struct inos make_tree(struct fixture *f)
{
	AUTO_FREE struct upstream *up = up_new();
	struct inos inos;

	memset(big, 'b', BIG);
	inos.clean = made(f, ROOT, "clean", "clean content");
	inos.changed = made(f, ROOT, "changed", big);
	up_drain(up, f->cache);
	assert_int_equal(f_write(f, inos.changed, 100, "CHANGED"), 0);
	assert_int_equal(f_commit(f, inos.changed), 0);
	inos.dir = made_dir(f, ROOT, "dir");
	inos.new = made(f, inos.dir, "new", "new content");
	return inos;
}

/* ---- what is told ---- */

struct told {
	char text[20000];
	unsigned n[3];
};

static void take_text(void *arg, enum check_kind kind, const char *text)
{
	struct told *told = arg;
	size_t len = strlen(told->text);

	told->n[kind]++;
	snprintf(told->text + len, sizeof(told->text) - len, "%s\n", text);
}

static int run(struct fixture *f, bool repair, struct told *told, struct check_result *result)
{
	struct check_config config = { .dir = f->dir, .repair = repair, .found = take_text, .arg = told };
	char *why;
	int err;

	memset(told, 0, sizeof(*told));
	err = cache_check(&config, result, &why);
	if (err && !why)
		fail_msg("error %d and no word why", err);
	if (err)
		take_text(told, CHECK_NOTE, why);
	free(why);
	return err;
}

static void assert_sound(struct fixture *f)
{
	struct check_result result;
	struct told told;

	if (run(f, false, &told, &result) || result.damage)
		fail_msg("not sound:\n%s", told.text);
}

static void sql(struct fixture *f, const char *text_of)
{
	sqlite3 *db = open_db(f);

	if (sqlite3_exec(db, text_of, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text_of, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void object_path(struct fixture *f, uint64_t ino, char path[128])
{
	snprintf(path, 128, "%s/objects/%02x/%llu.1", f->dir, (unsigned)(ino % 256), (unsigned long long)ino);
}

static bool is_kept(struct fixture *f, const char *pattern)
{
	char command[200];

	snprintf(command, sizeof(command), "ls '%s'/lost+found/%s > /dev/null 2>&1", f->dir, pattern);
	return system(command) == 0;
}

/* ---- each kind of damage ---- */

static void cut_object(struct fixture *f, const struct inos *i)
{
	char path[128];

	object_path(f, i->changed, path);
	assert_int_equal(truncate(path, 50), 0);
}

static void cut_new_object(struct fixture *f, const struct inos *i)
{
	char path[128];

	object_path(f, i->new, path);
	assert_int_equal(truncate(path, 3), 0);
}

static void remove_clean_object(struct fixture *f, const struct inos *i)
{
	char path[128];

	object_path(f, i->clean, path);
	assert_int_equal(unlink(path), 0);
}

static void cut_db(struct fixture *f, const struct inos *i)
{
	char path[128];
	struct stat st;

	(void)i;
	snprintf(path, sizeof(path), "%s/cache.db", f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 2048), 0);
}

static const struct damage {
	const char *name, *sql;
	void (*damage)(struct fixture *f, const struct inos *inos);
	const char *say;	/* in what is told */
	const char *keep;	/* in lost+found after mending */
	unsigned wants_store;	/* a STORE for each file of ours in the log, once a daemon is started: so many */
	const char *is_new;	/* the content of /dir/new, then; NULL: as it was */
} damages[] = {
	{ "a record that nobody knows", "UPDATE cml SET record = x'0000000100' WHERE op = 10 AND ino = (SELECT ino FROM name WHERE name = x'6e6577')",
	  NULL, "/dir/new, is not one that this program knows", "record-*", 2, NULL },
	{ "a record with another's number", "UPDATE cml SET seq = seq + 1000 WHERE op = 2", NULL, "is not one that this program knows", "record-*", 2, NULL },
	{ "changed content without a record", "DELETE FROM cml WHERE op = 10; UPDATE inode SET data_seq = 0", NULL, "/changed: was changed, and no record says so",
	  NULL, 2, NULL },
	{ "a counter that went back", "UPDATE meta SET value = 1 WHERE key = 'next_seq'", NULL, "next_seq is 1, and ", NULL, 2, NULL },
	{ "a counter that is lost", "DELETE FROM meta WHERE key = 'next_ino'", NULL, "next_ino is 0, and ", NULL, 2, NULL },
	{ "maps that do not decode", "UPDATE inode SET dirty = x'01' WHERE ino = (SELECT ino FROM name WHERE name = x'6368616e676564')", NULL,
	  "/changed: which parts of its content are here is not readable", "*.1", 1, NULL },
	{ "a name of nothing", "INSERT INTO name VALUES (2, x'78', 999, 500, 0); UPDATE meta SET value = 10000 WHERE key = 'next_cookie'", NULL,
	  "the name x in / belongs to nothing", NULL, 2, NULL },
	{ "a name with a slash", "UPDATE name SET name = x'612f62' WHERE name = x'636c65616e'", NULL, "the name a/b in / belongs to nothing", NULL, 2, NULL },
	{ "a changed file without a name", "DELETE FROM name WHERE name = x'6e6577'; DELETE FROM cml WHERE ino NOT IN (SELECT ino FROM name);"
	  "UPDATE inode SET data_seq = 0, attr_seq = 0", NULL, "was changed and has lost its name", "*.1", 1, "" },
	{ "a content file that is cut", NULL, cut_object, "/changed: its content file has been cut short; what was changed in it here is lost", "*.1", 1, NULL },
	{ "a content file of ours that is cut", NULL, cut_new_object, "/dir/new: its content file has been cut short; it was made here", NULL, 2,
	  "new\0\0\0\0\0\0\0\0" },
	{ "a content file that is missing", NULL, remove_clean_object, "/clean: its content file is missing; it is fetched again", NULL, 2, NULL },
	{ "a content file of nothing", "DELETE FROM inode WHERE ino = (SELECT ino FROM name WHERE name = x'636c65616e')", NULL, "belongs to nothing that is known", "*.1",
	  2, NULL },
	{ "a link count that is too low", "UPDATE inode SET nlink = 0 WHERE ino = (SELECT ino FROM name WHERE name = x'636c65616e')", NULL,
	  "/clean: has a count of 0 links, and should have 1", NULL, 2, NULL },
	{ "a directory's link count", "UPDATE inode SET nlink = 2 WHERE ino = 2", NULL, "/: has a count of 2 links, and should have 3", NULL, 2, NULL },
	{ "a file that upstream seems not to know", "UPDATE inode SET links_up = 0 WHERE ino = (SELECT ino FROM name WHERE name = x'6368616e676564')", NULL,
	  "/changed: has a count of 0 names that the server knows, and should have 1", NULL, 2, NULL },
	{ "a conflict that cannot be read", "INSERT INTO conflict (id, at, path, what) VALUES (7, 1, x'2f61', 'b');"
	  "INSERT INTO conflict_side VALUES (7, 1, 4, 3, 2, x'61', x'00')", NULL, "what conflict 7 is about is not readable", "conflict-7", 2, NULL },
	{ "half a conflict", "INSERT INTO conflict_side SELECT 8, 1, 4, 3, 2, x'61', record FROM cml LIMIT 1", NULL,
	  "what conflict 8 is about is not readable", "conflict-8", 2, NULL },
	{ "an index that lies", "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE INDEX cml_ino ON cml (op)' WHERE name = 'cml_ino'", NULL,
	  "the database is damaged", NULL, 2, NULL },
	{ "a database that is cut", NULL, cut_db, "the database is damaged", NULL, 0, "?" },
};

static void assert_stores(struct fixture *f, const struct damage *d)
{
	unsigned n = (unsigned)query(f, "SELECT count(*) FROM cml WHERE op = 10");

	if (n != d->wants_store)
		fail_msg("%u files of ours are in the log, not %u", n, d->wants_store);
}

static void one_damage(void **state)
{
	const struct damage *d = *state;
	struct check_result result;
	struct inos inos;
	struct told told;
	struct fixture f;
	char got[64];

	f_init(&f);
	f_open(&f);
	inos = make_tree(&f);
	f_close(&f);
	assert_sound(&f);
	if (d->sql)
		sql(&f, d->sql);
	if (d->damage)
		d->damage(&f, &inos);
	/* Found and said, and left as it is. */
	assert_int_equal(run(&f, false, &told, &result), 0);
	if (!result.damage || result.mended || !strstr(told.text, d->say))
		fail_msg("found: %llu, and said:\n%s", (unsigned long long)result.damage, told.text);
	assert_int_equal(run(&f, false, &told, &result), 0);
	assert_true(result.damage > 0);
	assert_false(is_kept(&f, "*"));
	/* Mended. */
	assert_int_equal(run(&f, true, &told, &result), 0);
	if (result.damage || !result.mended || !strstr(told.text, d->say))
		fail_msg("mended: %llu, not: %llu, said:\n%s", (unsigned long long)result.mended, (unsigned long long)result.damage, told.text);
	if (d->keep && !is_kept(&f, d->keep))
		fail_msg("lost+found has no %s", d->keep);
	assert_sound(&f);
	/* And a daemon starts on it. */
	f_open(&f);
	if (d->wants_store)
		assert_stores(&f, d);
	if (!d->is_new || (d->is_new[0] && d->is_new[0] != '?')) {
		memset(got, 0, sizeof(got));
		assert_int_equal(f_read(&f, inos.new, 0, got, sizeof(got)), 0);
		assert_int_equal(f.op.count, 11);
		assert_memory_equal(got, d->is_new ? d->is_new : "new content", 11);
	}
	f_close(&f);
	f_remove_dir(&f);
}

/* ---- what is no damage ---- */

static void work(struct fixture *f)
{
	uint64_t dir = made_dir(f, ROOT, "w"), ino = made(f, dir, "a", "content"), gone = made(f, dir, "gone", "content");
	struct cml_batch *batch;

	(void)gone;
	assert_int_equal(f_truncate(f, made(f, dir, "long", NULL), 100000), 0);
	assert_int_equal(f_truncate(f, ino, 3), 0);
	assert_int_equal(f_truncate(f, ino, 300000), 0);
	assert_int_equal(f_link(f, ino, ROOT, "b"), 0);
	assert_int_equal(f_symlink(f, dir, "s", "text"), 0);
	assert_int_equal(cml_take(f->cache, 100, UINT64_MAX, &batch), 0);
	cml_give_back(f->cache, batch);
	assert_int_equal(f_remove(f, dir, "gone"), 0);
	assert_int_equal(f_remove(f, dir, "a"), 0);
	assert_int_equal(f_rename(f, ROOT, "b", dir, "long"), 0);
	assert_int_equal(f_rename(f, dir, "long", dir, ".nfs0123456789abcdef01234567"), 0);
	assert_int_equal(f_write(f, made(f, dir, "loose", "x"), 5, "y"), 0);
}

static void no_damage(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	assert_int_not_equal(make_tree(f).new, 0);
	work(f);
	f_close(f);
	assert_sound(f);
	sql(f, "UPDATE name SET name = x'7777' WHERE name = x'77'");
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		f->config.no_sync = false;
		f_open(f);
		work(f);
		_exit(0);	/* as kill -9 would end it */
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_sound(f);
	f_open(f);
	f_close(f);
	assert_sound(f);
}

/* After a crash a start would remove what belongs to nothing any more; mending keeps it. */
static void orphans_of_a_crash(void **state)
{
	struct fixture *f = *state;
	struct check_result result;
	struct told told;
	char path[128];
	int fd;

	f_close(f);
	sql(f, "DELETE FROM meta WHERE key = 'closed'");
	snprintf(path, sizeof(path), "%s/objects/4d/77.3", f->dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fs_write_all(fd, "thesis", 6), 0);
	close(fd);
	assert_int_equal(run(f, false, &told, &result), 0);
	assert_int_equal(result.damage, 0);
	assert_non_null(strstr(told.text, "77.3"));
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(run(f, true, &told, &result), 0);
	assert_int_equal(result.kept, 1);
	assert_true(is_kept(f, "77.3"));
	f_open(f);
}

static void refusals(void **state)
{
	struct fixture *f = *state;
	struct check_result result;
	struct fixture none = { .dir = "/nowhere" };
	struct told told;

	assert_int_equal(run(f, false, &told, &result), -EBUSY);
	assert_non_null(strstr(told.text, "a daemon is using this cache"));
	assert_int_equal(run(f, true, &told, &result), -EBUSY);
	assert_int_equal(run(&none, false, &told, &result), -ENOENT);
	f_close(f);
	sql(f, "PRAGMA user_version = 1000");
	assert_int_equal(run(f, true, &told, &result), -EPROTO);
	assert_non_null(strstr(told.text, "newer"));
	sql(f, "PRAGMA user_version = 4");
	assert_int_equal(run(f, true, &told, &result), -EPROTO);
	assert_non_null(strstr(told.text, "older"));
}

/* What cannot be mended is said, and nothing is touched. */
static void no_identity(void **state)
{
	struct fixture *f = *state;
	struct check_result result;
	struct told told;

	(void)make_tree(f);
	f_close(f);
	sql(f, "DELETE FROM meta WHERE key = 'client_id'");
	assert_int_equal(run(f, true, &told, &result), 0);
	assert_int_equal(result.damage, 1);
	assert_non_null(strstr(told.text, "the id of this cache is lost"));
	assert_int_equal(f_content_files(f, false), 3);
}

/* ---- nothing can be read of the database ---- */

static void in_dir(struct fixture *f, const char *command)
{
	char text[400];

	snprintf(text, sizeof(text), "cd '%s' && %s", f->dir, command);
	assert_int_equal(system(text), 0);
}

static const struct unreadable {
	const char *name, *command;
	bool is_refused;		/* a daemon does not start on it, and makes no new one */
	const char *put_away;		/* there afterwards */
} unreadables[] = {
	{ "garbage", "head -c 8192 /dev/urandom | dd of=cache.db conv=notrunc 2> /dev/null", true, "cache.db.damaged" },
	{ "another database", "rm cache.db && printf 'SQLite format 3' > cache.db", true, "cache.db.damaged" },
	{ "cut to nothing", ": > cache.db", true, "cache.db.damaged" },
	{ "gone", "rm -f cache.db cache.db-wal", true, NULL },
	{ "gone, but for its log", "echo log > cache.db-wal && rm cache.db", true, "cache.db.damaged-wal" },
};

static void unreadable(void **state)
{
	const struct unreadable *u = *state;
	struct check_result result;
	struct fixture f;
	struct told told;
	struct cache *cache;
	char *why, path[128];

	f_init(&f);
	f_open(&f);
	(void)make_tree(&f);
	f_close(&f);
	in_dir(&f, u->command);
	/* Said, with what is there; nothing is touched. */
	assert_int_equal(run(&f, false, &told, &result), 0);
	assert_true(result.damage > 0);
	if (!strstr(told.text, "the contents of 3 files are there"))
		fail_msg("said:\n%s", told.text);
	assert_int_equal(f_content_files(&f, false), 3);
	if (u->is_refused) {
		assert_true(cache_open(&f.config, &cache, &why) < 0);
		assert_non_null(why);
		free(why);
		assert_int_equal(f_content_files(&f, false), 3);
	}
	/* All of it is kept. */
	assert_int_equal(run(&f, true, &told, &result), 0);
	assert_int_equal(result.damage, 0);
	assert_int_equal(result.kept, 3);
	assert_int_equal(f_content_files(&f, false), 0);
	in_dir(&f, "grep -q 'new content' lost+found/* && grep -q 'clean content' lost+found/* && grep -q CHANGED lost+found/*");
	snprintf(path, sizeof(path), "%s/%s", f.dir, u->put_away ? u->put_away : "");
	assert_int_equal(access(path, F_OK), 0);
	/* And a daemon begins a new one. */
	f_open(&f);
	assert_int_equal(f_lookup(&f, ROOT, "clean"), -ENOENT);
	f_close(&f);
	assert_sound(&f);
	in_dir(&f, "grep -q CHANGED lost+found/*");
	f_remove_dir(&f);
}

/* A new directory, in which nothing was ever written, is none of that. */
static void empty_is_new(void **state)
{
	struct fixture *f = *state;
	struct check_result result;
	struct told told;

	f_close(f);
	in_dir(f, "rm -f cache.db cache.db-wal");
	assert_int_equal(run(f, true, &told, &result), 0);
	assert_int_equal(result.damage + result.mended, 0);
	assert_non_null(strstr(told.text, "the next start makes a new cache"));
	in_dir(f, ": > cache.db");
	f_open(f);
}

/* ---- damage by chance ---- */

static uint64_t random_state;

static uint64_t chance(uint64_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 24) % below;
}

/* Bytes of a file are flipped, or it is cut. */
static void damage_file(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDWR);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	if (!st.st_size)
		return;
	if (!chance(4)) {
		assert_int_equal(ftruncate(fd, (off_t)chance((uint64_t)st.st_size)), 0);
		return;
	}
	for (uint64_t n = 1 + chance(40); n; n--) {
		uint64_t at = chance((uint64_t)st.st_size), len = 1 + chance(chance(3) ? 2 : 600);

		for (; len && at < (uint64_t)st.st_size; len--, at++) {
			unsigned char byte = (unsigned char)chance(256);

			assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		}
	}
}

/* All bytes that content files have now, by number: as "INO.GEN SUM" lines, wherever they are. */
static void list_content(const char *dir, char *ret, size_t size)
{
	char command[400];
	size_t len;
	FILE *out;

	snprintf(command, sizeof(command), "cd '%s' && find objects lost+found -type f -name '[0-9]*.[0-9]*' -exec sh -c"
		 " 'for f; do echo \"${f##*/} $(cksum < \"$f\")\"; done' sh {} + 2> /dev/null | sort -u", dir);
	out = popen(command, "r");
	assert_non_null(out);
	len = fread(ret, 1, size - 1, out);
	ret[len] = '\0';
	pclose(out);
}

/* In a process of its own: it may neither crash nor hang. */
static int check_damaged(struct fixture *f)
{
	static char before[4000], after[4000];
	struct check_result result;
	struct told told;
	char *line, *next;
	int err;

	alarm(TIME_MAX_S);
	list_content(f->dir, before, sizeof(before));
	(void)run(f, false, &told, &result);
	list_content(f->dir, after, sizeof(after));
	if (strcmp(before, after))
		return 2;
	err = run(f, true, &told, &result);
	list_content(f->dir, after, sizeof(after));
	for (line = before; (next = strchr(line, '\n')); line = next + 1) {
		*next = '\0';
		/* One of ours that was cut is made longer again, with zeros, under its own name. */
		if (!strstr(after, line) && !strstr(told.text, "it is zeros")) {
			print_error("%s is gone:\n%s\nthere is:\n%s\n", line, told.text, after);
			return 3;
		}
	}
	if (err)
		return 0;	/* it was said why */
	/* What was mended is so. */
	if (run(f, false, &told, &result))
		return 4;
	if (!result.damage) {
		struct cache *cache;
		char *why = NULL;

		err = cache_open(&f->config, &cache, &why);
		if (err)
			print_error("sound, and cannot be opened: %s\n", why);
		else
			cache_close(cache);
	}
	return err ? 5 : 0;
}

static void by_chance(void **state)
{
	const char *seed = getenv("IZO_SEED");
	uint64_t first = seed ? strtoull(seed, NULL, 10) : 1, n = seed ? 1 : often(40);
	struct fixture *f = *state, copy;
	struct inos inos = make_tree(f);
	char command[300], path[160];

	f_close(f);
	for (uint64_t i = first; i < first + n; i++) {
		uint64_t objects[] = { inos.clean, inos.changed, inos.new };
		int status;
		pid_t child;

		random_state = i * 7919;
		f_init(&copy);
		snprintf(command, sizeof(command), "cp -a '%s/.' '%s'", f->dir, copy.dir);
		assert_int_equal(system(command), 0);
		if (chance(3)) {
			snprintf(path, sizeof(path), "%s/cache.db", copy.dir);
		} else {
			uint64_t ino = objects[chance(3)];

			snprintf(path, sizeof(path), "%s/objects/%02x/%llu.1", copy.dir, (unsigned)(ino % 256), (unsigned long long)ino);
		}
		damage_file(path);
		child = fork();
		assert_true(child >= 0);
		if (!child)
			_exit(check_damaged(&copy));
		assert_int_equal(waitpid(child, &status, 0), child);
		if (status)
			fail_msg("IZO_SEED=%llu: status %x, kept in %s", (unsigned long long)i, status, copy.dir);
		f_remove_dir(&copy);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, f_setup, f_teardown)

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(damages) + ARRAY_SIZE(unreadables) + 6];
	size_t n = 0;

	log_set_level(LOG_LEVEL_ERROR);
	for (; n < ARRAY_SIZE(damages); n++)
		tests[n] = (struct CMUnitTest){ damages[n].name, one_damage, NULL, NULL, (void *)&damages[n] };
	for (size_t i = 0; i < ARRAY_SIZE(unreadables); i++)
		tests[n++] = (struct CMUnitTest){ unreadables[i].name, unreadable, NULL, NULL, (void *)&unreadables[i] };
	tests[n++] = (struct CMUnitTest)T(empty_is_new);
	tests[n++] = (struct CMUnitTest)T(no_damage);
	tests[n++] = (struct CMUnitTest)T(orphans_of_a_crash);
	tests[n++] = (struct CMUnitTest)T(refusals);
	tests[n++] = (struct CMUnitTest)T(no_identity);
	tests[n++] = (struct CMUnitTest)T(by_chance);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

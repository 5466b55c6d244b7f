/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invariant 1 (atomic logging), and what crashes and failing disks leave: a fixed row of steps is
 * run in a child process that is killed, or whose disk fails, at the nth passing of each fault
 * point.  After that the cache must be as it was after the last answered step, or the one under
 * way.
 */
#include "tests/unit/cache_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "base/log.h"
#include "cache/apply.h"
#include "cache/content_log.h"
#include "tests/unit/often.h"

#define LOCAL ".nfs0123456789abcdef01234567"
#define SNAPSHOT 1024
#define FAULT_MET 100	/* a child's exit status: all as it should be, and the fault came */

/* ---- the steps ---- */

static int step_create(struct fixture *f)
{
	return f_create(f, ROOT, "a", 0644);
}

static int write_and_commit(struct fixture *f, const char *name, const char *content)
{
	uint64_t ino = found(f, ROOT, name);
	int err = f_write(f, ino, 0, content);

	return err ? err : f_commit(f, ino);
}

static int step_write(struct fixture *f)
{
	return write_and_commit(f, "a", "first");
}

static int step_overwrite(struct fixture *f)
{
	return write_and_commit(f, "a", "FIRST");
}

static int step_stable(struct fixture *f)
{
	return f_write_as(f, found(f, ROOT, "a"), 5, "+more", 5, FILE_SYNC);
}

/* Too much for the log of contents: the file is synced. */
static int step_large(struct fixture *f)
{
	static char content[CONTENT_LOG_WRITE_MAX + 1];
	uint64_t ino = found(f, ROOT, "a");
	int err;

	memset(content, 'l', sizeof(content));
	err = f_write_as(f, ino, 20, content, sizeof(content), UNSTABLE);
	return err ? err : f_commit(f, ino);
}

static int step_small_again(struct fixture *f)
{
	return write_and_commit(f, "a", "small");
}

static int step_mkdir(struct fixture *f)
{
	return f_mkdir(f, ROOT, "d", 0755);
}

static int step_link(struct fixture *f)
{
	return f_link(f, found(f, ROOT, "a"), found(f, ROOT, "d"), "b");
}

static int step_cut(struct fixture *f)
{
	return f_truncate(f, found(f, ROOT, "a"), 3);
}

static int step_grow(struct fixture *f)
{
	return f_truncate(f, found(f, ROOT, "a"), 8);
}

static int step_chmod(struct fixture *f)
{
	return f_chmod(f, found(f, ROOT, "a"), 0600);
}

/* A list of its own, and one for what is made in it. */
static int step_setacl(struct fixture *f)
{
	struct acl_entry v[] = { { ACL_USER_OBJ, 7, 0 }, { ACL_USER, 5, 1000 }, { ACL_GROUP_OBJ, 5, 0 },
				 { ACL_MASK, 7, 0 }, { ACL_OTHER, 1, 0 } };
	struct acls acls = { { ARRAY_SIZE(v), v }, { ARRAY_SIZE(v), v } };
	uint64_t dir = found(f, ROOT, "d");
	int err = apply_has_acls(f->cache, true);

	return err ? err : f_wait(f, cache_setacl(f->cache, f_begin(f), dir,
						  ACL_SET_ACCESS | ACL_SET_DEFAULT, &acls));
}

static int step_inherit(struct fixture *f)
{
	return f_create(f, found(f, ROOT, "d"), "a", 0666);
}

static int step_disinherit(struct fixture *f)
{
	return f_remove(f, found(f, ROOT, "d"), "a");
}

static int step_rename(struct fixture *f)
{
	return f_rename(f, ROOT, "a", found(f, ROOT, "d"), "c");
}

static int step_hide(struct fixture *f)
{
	uint64_t dir = found(f, ROOT, "d");

	return f_rename(f, dir, "c", dir, LOCAL);
}

static int step_show(struct fixture *f)
{
	uint64_t dir = found(f, ROOT, "d");

	return f_rename(f, dir, LOCAL, ROOT, "e");
}

static int step_remove(struct fixture *f)
{
	return f_remove(f, found(f, ROOT, "d"), "b");
}

static int step_rmdir(struct fixture *f)
{
	return f_rmdir(f, ROOT, "d");
}

static int (*const steps[])(struct fixture *f) = {
	step_create, step_write, step_overwrite, step_stable, step_large, step_small_again, step_mkdir, step_link,   step_cut,
	step_grow,   step_chmod, step_setacl, step_inherit, step_disinherit, step_rename,	 step_hide,   step_show,  step_remove, step_rmdir,
};
#define STEPS ARRAY_SIZE(steps)

/* ---- what a cache looks like ---- */

static void add_file(struct fixture *f, uint64_t dir, const char *name, char *ret)
{
	uint64_t ino = found(f, dir, name);
	char content[64] = { 0 };
	size_t at = strlen(ret);
	uint32_t mode = f->op.attr.mode, nlink = f->op.attr.nlink;

	if (!ino)
		return;
	assert_int_equal(f_read(f, ino, 0, content, sizeof(content) - 1), 0);
	for (uint32_t i = 0; i < f->op.count; i++)
		content[i] = content[i] ? content[i] : '0';
	snprintf(ret + at, SNAPSHOT - at, "%s=%o,%u,%s;", name, mode, nlink, content);
}

/* Names, modes, contents, and which records there are of names. */
static void snapshot(struct fixture *f, char *ret)
{
	static const char *const names[] = { "a", "b", "c", "e", LOCAL };
	uint64_t dir = found(f, ROOT, "d");
	size_t at;

	ret[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		add_file(f, ROOT, names[i], ret);
		if (dir)
			add_file(f, dir, names[i], ret);
	}
	at = strlen(ret);
	for (int op = 1; op <= 11; op++) {
		char sql[64];

		if (op == 10)
			continue;	/* STOREs come with recovery */

		snprintf(sql, sizeof(sql), "SELECT count(*) FROM cml WHERE op = %d", op);
		at += snprintf(ret + at, SNAPSHOT - at, "%lld ", (long long)query(f, sql));
	}
	snprintf(ret + at, SNAPSHOT - at, "%s %lld", dir ? "d" : "",
		 (long long)query(f, "SELECT total(length(acl)) FROM inode"));
}

/* ---- children ---- */

/* In a file beside everything else, mapped by parent and child. */
struct shared {
	unsigned answered;
	char expected[STEPS + 1][SNAPSHOT];
};

static struct shared *shared;
static char shared_path[] = "/tmp/izo-recover-XXXXXX";

static void shared_map(int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(*shared)), 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(shared != MAP_FAILED);
	close(fd);
}

/*
 * The program itself, once more: fault points read their rules once in a process.  run: index into
 * children[].
 * Gives the wait status.
 */
enum child { RUN_ALL, RUN_FULL, RUN_FAILING, RUN_DIRTY };

static int in_child(struct fixture *f, const char *fault, enum child run)
{
	const char *sync = f->config.no_sync ? "" : "sync";
	char which[4];
	int status;
	pid_t pid;

	fflush(NULL);
	snprintf(which, sizeof(which), "%d", run);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (fault)
			setenv("IZO_FAULT", fault, 1);
		execl("/proc/self/exe", "child", shared_path, f->dir, which, sync, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* All of it without a fault, once. */
static int expect_setup(void **state)
{
	struct fixture f;

	(void)state;
	f_init(&f);
	f_open(&f);
	snapshot(&f, shared->expected[0]);
	for (size_t i = 0; i < STEPS; i++) {
		assert_int_equal(steps[i](&f), 0);
		snapshot(&f, shared->expected[i + 1]);
		assert_string_not_equal(shared->expected[i + 1], shared->expected[i]);
	}
	f_close(&f);
	f_remove_dir(&f);
	return 0;
}

static int run_all(struct fixture *f)
{
	for (size_t i = 0; i < STEPS; i++) {
		int err = steps[i](f);

		if (err)
			return 2;
		shared->answered = i + 1;
	}
	return 0;
}

static const char *const kill_points[] = {
	"writer.change", "writer.commit", "writer.committed",
	"object.sync",	 "object.cut",	  "data.pwrite", "content_log.append", "flusher.sync",
};

static void content_files_are_known(struct fixture *f);

static void killed_anywhere(void **state)
{
	unsigned rounds = 0;

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(kill_points); p++) {
		for (unsigned nth = 1; nth < 100; nth += each()) {
			char fault[64], got[SNAPSHOT];
			struct fixture f;
			int status;

			f_init(&f);
			f.config.no_sync = false;
			shared->answered = 0;
			snprintf(fault, sizeof(fault), "%s:%u:kill", kill_points[p], nth);
			status = in_child(&f, fault, RUN_ALL);
			assert_true(WIFEXITED(status) ? !WEXITSTATUS(status)
						      : WTERMSIG(status) == SIGKILL);
			if (WIFEXITED(status)) {
				assert_true(nth > 1);	/* the point is passed at all */
				f_remove_dir(&f);
				break;
			}
			f_open(&f);
			snapshot(&f, got);
			if (strcmp(got, shared->expected[shared->answered]) != 0 &&
			    (shared->answered == STEPS ||
			     strcmp(got, shared->expected[shared->answered + 1]) != 0))
				fail_msg("%s after step %u:\n%s\n%s\n%s", fault, shared->answered,
					 got, shared->expected[shared->answered],
					 shared->answered == STEPS
						 ? ""
						 : shared->expected[shared->answered + 1]);
			content_files_are_known(&f);
			assert_int_equal(query(&f, "SELECT count(*) FROM inode WHERE is_dirty"), 0);
			f_close(&f);
			f_remove_dir(&f);
			rounds++;
		}
	}
	assert_true(rounds > 30 / each());
}

static bool is_write(size_t step)
{
	return steps[step] == step_write || steps[step] == step_overwrite || steps[step] == step_stable ||
	       steps[step] == step_large || steps[step] == step_small_again;
}

/* The disk is full at the nth commit: that step fails and leaves nothing; tried again it works. */
static int run_full(struct fixture *f)
{
	char got[SNAPSHOT];
	bool was_full = false;

	for (size_t i = 0; i < STEPS; i++) {
		int err = steps[i](f);

		if (err == -ENOSPC && !was_full) {
			was_full = true;
			snapshot(f, got);
			/* A WRITE that has not been committed is seen all the same. */
			if (strcmp(got, shared->expected[i]) != 0 && !is_write(i)) {
				print_message("step %zu:\n%s\n%s\n", i, got, shared->expected[i]);
				return 2;
			}
			err = steps[i](f);
		}
		if (err) {
			print_message("step %zu: %d\n", i, err);
			return 3;
		}
		snapshot(f, got);
		if (strcmp(got, shared->expected[i + 1]) != 0) {
			print_message("after step %zu:\n%s\n%s\n", i, got, shared->expected[i + 1]);
			return 4;
		}
	}
	return was_full ? FAULT_MET : 0;
}

static void full_anywhere(void **state)
{
	unsigned rounds = 0;

	(void)state;
	for (unsigned nth = 1; nth < 100; nth += each()) {
		char fault[96], got[SNAPSHOT];
		struct fixture f;
		int status;

		f_init(&f);
		/* The first open commits something too: begin with a cache that is there. */
		f_open(&f);
		f_close(&f);
		/* Twice: after the first time the reserve is given up and it is tried again. */
		snprintf(fault, sizeof(fault), "writer.commit:%u:ENOSPC,writer.commit:%u:ENOSPC",
			 nth, nth + 1);
		status = in_child(&f, fault, RUN_FULL);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) && WEXITSTATUS(status) != FAULT_MET)
			fail_msg("%s: %d", fault, WEXITSTATUS(status));
		f_open(&f);
		snapshot(&f, got);
		assert_string_equal(got, shared->expected[STEPS]);
		f_close(&f);
		f_remove_dir(&f);
		if (!WEXITSTATUS(status))
			break;
		rounds++;
	}
	assert_true(rounds >= STEPS / each());
}

/*
 * A commit, or an fsync, fails: reads go on, changes do not, the verifier is another; a restart
 * mends it.
 */
static int run_failing(struct fixture *f)
{
	uint8_t was[8], is[8];
	struct cache_status status;
	size_t i = 0;

	cache_write_verifier(f->cache, was);
	for (i = 0; i < STEPS; i++) {
		int err = steps[i](f);

		if (err == -EIO)
			break;
		if (err)
			return 2;
		shared->answered = i + 1;
	}
	if (i == STEPS)
		return 0;
	cache_write_verifier(f->cache, is);
	cache_status(f->cache, &status);
	if (!status.is_failed || !status.failure[0] || !memcmp(was, is, sizeof(is)))
		return 3;
	if (f_create(f, ROOT, "z", 0644) != -EIO || f_mkdir(f, ROOT, "z", 0644) != -EIO)
		return 4;
	if (f_getattr(f, ROOT) || f_lookup(f, ROOT, "z") != -ENOENT)
		return 5;
	return FAULT_MET;
}

static void failing_anywhere(void **state)
{
	static const char *const points[] = { "writer.commit", "object.sync", "object.cut", "flusher.sync" };

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(points); p++) {
		for (unsigned nth = 1; nth < 100; nth += each()) {
			char fault[64], got[SNAPSHOT];
			struct fixture f;
			int status;

			f_init(&f);
			f.config.no_sync = false;
			f_open(&f);
			f_close(&f);
			shared->answered = 0;
			snprintf(fault, sizeof(fault), "%s:%u:EIO", points[p], nth);
			status = in_child(&f, fault, RUN_FAILING);
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) && WEXITSTATUS(status) != FAULT_MET)
				fail_msg("%s: %d", fault, WEXITSTATUS(status));
			f_open(&f);
			snapshot(&f, got);
			if (strcmp(got, shared->expected[shared->answered]) != 0 &&
			    (shared->answered == STEPS ||
			     strcmp(got, shared->expected[shared->answered + 1]) != 0))
				fail_msg("%s after step %u: %s", fault, shared->answered, got);
			f_close(&f);
			f_remove_dir(&f);
			if (!WEXITSTATUS(status)) {
				assert_true(nth > 1);
				break;
			}
		}
	}
}

/* ---- the table of docs/DISK-FORMAT.md ---- */

static void content_files_are_known(struct fixture *f)
{
	assert_true(f_content_files(f, false) <= query(f, "SELECT count(*) FROM inode WHERE gen > 0"));
}

static void put_file(struct fixture *f, const char *name, const char *content)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/objects/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

static void leftovers(void **state)
{
	char name[64];
	struct fixture f;
	uint64_t ino;

	(void)state;
	f_init(&f);
	f.config.no_fold = true;
	f_open(&f);
	ino = made(&f, ROOT, "a", "content");
	assert_int_equal(f_rename(&f, ROOT, "a", ROOT, "b"), 0);
	made(&f, ROOT, LOCAL, "old");
	f_close(&f);

	snprintf(name, sizeof(name), "%02x/%llu.1", (unsigned)(ino % 256), (unsigned long long)ino);
	put_file(&f, name, "what a crash left beyond the end");
	snprintf(name, sizeof(name), "%02x/%llu.9", (unsigned)(ino % 256), (unsigned long long)ino);
	put_file(&f, name, "another generation");
	put_file(&f, "e7/999.1", "nobody's");
	exec_sql(&f, "UPDATE inode SET ctime = ctime - 90000 * 1000000000 WHERE links_up = 0");
	exec_sql(
		&f,
		"INSERT INTO inode SELECT 77, 5, 5, type, mode, uid, gid, major, minor, 0, 0,"
		" parent, size, atime,"
		" mtime, ctime, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL FROM"
		" inode WHERE ino > 2"
		" LIMIT 1");
	/* A cache that says that it was closed is believed: nothing is looked through but the old local names. */
	f_open(&f);
	assert_int_equal(f_content_files(&f, false), 3);
	assert_int_equal(query(&f, "SELECT count(*) FROM inode"), 3);
	assert_int_equal(query(&f, "SELECT count(*) FROM name"), 2);
	f_close(&f);
	exec_sql(&f, "DELETE FROM meta WHERE key = 'closed'");
	f_open(&f);
	assert_int_equal(f_content_files(&f, false), 1);
	assert_int_equal(query(&f, "SELECT count(*) FROM inode"), 2);
	assert_int_equal(query(&f, "SELECT count(*) FROM name"), 2); /* and the tombstone of "a" */
	assert_content(&f, ino, "content");
	assert_int_equal(f_truncate(&f, ino, 9), 0);
	assert_int_equal(f_read(&f, ino, 7, name, 2), 0);
	assert_memory_equal(name, "\0\0", 2);
	f_close(&f);
	f_remove_dir(&f);
}

/* A fresh local name is kept: its file may be open. */
static void local_names_are_kept(void **state)
{
	struct fixture f;
	uint64_t ino;

	(void)state;
	f_init(&f);
	f_open(&f);
	ino = made(&f, ROOT, "a", "content");
	assert_int_equal(f_rename(&f, ROOT, "a", ROOT, LOCAL), 0);
	f_reopen(&f);
	assert_content(&f, ino, "content");
	f_close(&f);
	f_remove_dir(&f);
}

static int run_dirty(struct fixture *f)
{
	uint64_t ino = made(f, ROOT, "a", "0123456789");

	/* Uncommitted when the power goes. */
	if (f_write(f, ino, 2, "XY"))
		return 2;
	kill(getpid(), SIGKILL);
	return 3;
}

static void uncommitted_bytes_are_logged(void **state)
{
	struct fixture f;
	int status;

	(void)state;
	f_init(&f);
	f_open(&f);
	f_close(&f);
	assert_int_equal(query(&f, "SELECT count(*) FROM meta WHERE key = 'closed'"), 1);
	status = in_child(&f, NULL, RUN_DIRTY);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(query(&f, "SELECT count(*) FROM meta WHERE key = 'closed'"), 0);
	assert_int_equal(query(&f, "SELECT is_dirty FROM inode WHERE ino > 2"), 1);
	f_open(&f);
	assert_int_equal(query(&f, "SELECT is_dirty FROM inode WHERE ino > 2"), 0);
	assert_true(query(&f, "SELECT data_seq FROM inode WHERE ino > 2") > 0);
	assert_true(query(&f, "SELECT count(*) FROM cml WHERE op = 10") > 0);
	assert_content(&f, found(&f, ROOT, "a"), "01XY456789");
	f_close(&f);
	f_remove_dir(&f);
}

static int (*const children[])(struct fixture *f) = {
	[RUN_ALL] = run_all,
	[RUN_FULL] = run_full,
	[RUN_FAILING] = run_failing,
	[RUN_DIRTY] = run_dirty,
};

/* "child" SHARED DIR WHICH SYNC */
static int child_main(char **argv)
{
	struct fixture f = { .wait_us = US_PER_S };

	(void)alarm(60);
	if (!freopen("/dev/null", "w",
		     stderr)) /* the error state is logged, on purpose, many times */
		return 9;
	shared_map(open(argv[1], O_RDWR));
	snprintf(f.dir, sizeof(f.dir), "%s", argv[2]);
	f.config =
		(struct cache_config){ .dir = f.dir, .no_sync = !argv[4][0], .starts_empty = true };
	f_open(&f);
	return children[atoi(argv[3])](&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_anywhere),
		cmocka_unit_test(full_anywhere),
		cmocka_unit_test(failing_anywhere),
		cmocka_unit_test(leftovers),
		cmocka_unit_test(local_names_are_kept),
		cmocka_unit_test(uncommitted_bytes_are_logged),
	};
	int failed;

	log_set_level(LOG_LEVEL_ERROR);
	if (argc == 5 && !strcmp(argv[0], "child"))
		_exit(child_main(argv));
	shared_map(mkstemp(shared_path));
	failed = cmocka_run_group_tests(tests, expect_setup, NULL);
	(void)unlink(shared_path);
	return failed;
}

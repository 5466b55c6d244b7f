/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the upstream will not have, for whatever reason, holds up nothing that does not depend on it: of N files, one of which cannot
 * be applied, N - 1 arrive in the same batch, and the one is on record, with what it was.
 *
 * A real cache, replicate/, and the built izo-httpd, in which one step fails.
 */
#include "cache/kept.h"
#include "cache/settle.h"
#include "tests/unit/upstream_process.h"

#define FILES 20
#define ODD 7		/* the one that fails, from 0 */

struct world {
	struct fixture f;
	struct upstream up;
	struct replicate *link;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	f_init(&w->f);
	w->f.config.starts_empty = false;
	w->f.wait_us = 10 * US_PER_S;
	*state = w;
	(void)upstream_init(&w->up, w->f.dir);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->link)
		replicate_stop(w->link);
	if (w->f.cache)
		f_close(&w->f);
	upstream_kill(&w->up, SIGKILL);
	f_remove_dir(&w->f);
	free(w);
	return 0;
}

/* fault: as in IZO_FAULT, of the upstream; NULL: none. */
static void begin(struct world *w, const char *fault)
{
	if (fault)
		assert_int_equal(setenv("IZO_FAULT", fault, 1), 0);
	upstream_start(&w->up);
	(void)unsetenv("IZO_FAULT");
	f_open(&w->f);
	w->link = link_new(&w->up, &w->f, "testhost");
	UNTIL(10, link_is_connected(w->link));
	assert_int_equal(f_lookup(&w->f, ROOT, "none"), -ENOENT);	/* the root is listed */
}

static void away(struct world *w)
{
	assert_int_equal(replicate_set_offline(w->link, true), 0);
	UNTIL(10, !link_is_connected(w->link));
}

static void back(struct world *w)
{
	assert_int_equal(replicate_set_offline(w->link, false), 0);
	UNTIL(10, link_is_connected(w->link));
	assert_int_equal(replicate_sync(w->link), 0);
	UNTIL(20, log_is_drained(&w->f));
}

static const char *name_of(int i)
{
	static char name[16];

	snprintf(name, sizeof(name), "f%d", i);
	return name;
}

/* Does the exported directory have that file, with that content? */
static bool has_there(struct world *w, const char *name, const char *want)
{
	char path[200], got[64] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", w->up.export, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, got, sizeof(got) - 1) < 0)
		got[0] = '\0';
	close(fd);
	return !strcmp(got, want);
}

struct listed {
	unsigned n;
	uint64_t id;
	char path[64], what[1024];
};

static void note_listed(void *arg, const struct cml_conflict *conflict)
{
	struct listed *listed = arg;

	listed->n++;
	listed->id = conflict->id;
	snprintf(listed->path, sizeof(listed->path), "%.60s", conflict->path);
	snprintf(listed->what, sizeof(listed->what), "%s", conflict->what);
}

/* All but the odd one are there, with that content; that one is on record, for this reason, and here as it was left. */
static UNUSED void assert_all_but_one(struct world *w, const char *content, const char *reason)
{
	struct listed listed = { 0 };
	struct replicate_status status;

	for (int i = 0; i < FILES; i++) {
		if (has_there(w, name_of(i), content) != (i != ODD))
			fail_msg("%s", name_of(i));
	}
	assert_int_equal(cml_conflicts(w->f.cache, note_listed, &listed), 0);
	assert_int_equal(listed.n, 1);
	if (!strstr(listed.path, name_of(ODD)) || !strstr(listed.what, reason))
		fail_msg("%s: %s", listed.path, listed.what);
	replicate_get_status(w->link, &status);
	assert_string_equal(status.held, "");
}

#define MAKE_ODD "prepare.make:8:"	/* FILES records, the eighth file that is made */
#define STORE_ODD "prepare.content:8:"

#ifdef IZO_FAULTS
static const struct {
	const char *error, *reason;
} errors[] = {
	{ "EPERM", "Operation not permitted" },
	{ "EACCES", "Permission denied" },
	{ "EDQUOT", "Disk quota exceeded" },
	{ "ENAMETOOLONG", "File name too long" },
	{ "EROFS", "Read-only file system" },
};

static void again(struct world *w)
{
	replicate_stop(w->link);
	w->link = NULL;
	f_close(&w->f);
	upstream_kill(&w->up, SIGKILL);
	f_remove_dir(&w->f);
	f_init(&w->f);
	w->f.config.starts_empty = false;
	w->f.wait_us = 10 * US_PER_S;
	(void)upstream_init(&w->up, w->f.dir);
}
#endif

static void new_files(void **state)
{
	struct world *w = *state;

	NEEDS_HTTPD(&w->up);
#ifdef IZO_FAULTS
	for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
		char fault[64];

		snprintf(fault, sizeof(fault), MAKE_ODD "%s", errors[e].error);
		begin(w, fault);
		away(w);
		for (int i = 0; i < FILES; i++)
			made(&w->f, ROOT, name_of(i), "content");
		back(w);
		assert_all_but_one(w, "content", errors[e].reason);
		assert_content(&w->f, found(&w->f, ROOT, name_of(ODD)), "content");
		again(w);
	}
#else
	skip();
#endif
}

static void new_contents(void **state)
{
	struct world *w = *state;

	NEEDS_HTTPD(&w->up);
#ifdef IZO_FAULTS
	for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
		char fault[64];

		snprintf(fault, sizeof(fault), STORE_ODD "%s", errors[e].error);
		begin(w, fault);
		away(w);	/* so that each content comes with its file: these do not count */
		for (int i = 0; i < FILES; i++)
			made(&w->f, ROOT, name_of(i), "before.");
		back(w);
		away(w);
		for (int i = 0; i < FILES; i++) {
			uint64_t ino = found(&w->f, ROOT, name_of(i));

			assert_int_equal(f_write(&w->f, ino, 0, "content"), 0);
			assert_int_equal(f_commit(&w->f, ino), 0);
		}
		back(w);
		assert_all_but_one(w, "content", errors[e].reason);
		assert_content(&w->f, found(&w->f, ROOT, name_of(ODD)), "content");
		again(w);
	}
#else
	skip();
#endif
}

/* The one conflict there is. */
static void settle(struct world *w, enum settle_keep keep)
{
	struct listed listed = { 0 };
	char *why = NULL;

	assert_int_equal(cml_conflicts(w->f.cache, note_listed, &listed), 0);
	assert_int_equal(listed.n, 1);
	if (settle_conflict(w->f.cache, listed.id, keep, &why))
		fail_msg("%s", why);
	listed.n = 0;
	assert_int_equal(cml_conflicts(w->f.cache, note_listed, &listed), 0);
	assert_int_equal(listed.n, 0);
}

static void note_kept(void *arg, uint64_t id, const char *about, const char *path)
{
	char content[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(id && *about && fd >= 0);
	assert_true(read(fd, content, sizeof(content) - 1) >= 0);
	close(fd);
	assert_string_equal(content, "content");
	++*(unsigned *)arg;
}

static unsigned count_kept(struct world *w)
{
	unsigned n = 0;

	assert_int_equal(kept_each(w->f.dir, note_kept, &n), 0);
	return n;
}

#ifdef IZO_FAULTS
static void refuse_one_new(struct world *w)
{
	begin(w, MAKE_ODD "EPERM");
	away(w);
	for (int i = 0; i < FILES; i++)
		made(&w->f, ROOT, name_of(i), "content");
	back(w);
}

static void refuse_one_content(struct world *w)
{
	begin(w, STORE_ODD "EPERM");
	away(w);
	for (int i = 0; i < FILES; i++)
		made(&w->f, ROOT, name_of(i), "before.");
	back(w);
	away(w);
	for (int i = 0; i < FILES; i++) {
		uint64_t ino = found(&w->f, ROOT, name_of(i));

		assert_int_equal(f_write(&w->f, ino, 0, "content"), 0);
		assert_int_equal(f_commit(&w->f, ino), 0);
	}
	back(w);
}

static bool reads(struct world *w, const char *name, const char *want)
{
	uint64_t ino = found(&w->f, ROOT, name);
	char got[64];

	return ino && !f_read(&w->f, ino, 0, got, sizeof(got)) && w->f.op.count == strlen(want) &&
	       !memcmp(got, want, strlen(want));
}
#endif

/* Mine: it is tried once more, without a link; theirs: it goes, and is kept. */
static void settled(void **state)
{
	struct world *w = *state;

	NEEDS_HTTPD(&w->up);
#ifdef IZO_FAULTS
	refuse_one_new(w);
	away(w);
	/* No policy does that: it would be refused again and again. */
	assert_int_equal(settle_all(w->f.cache, POLICY_CLIENT_WINS, NULL, NULL), 0);
	settle(w, SETTLE_MINE);
	assert_content(&w->f, found(&w->f, ROOT, name_of(ODD)), "content");
	back(w);
	assert_true(has_there(w, name_of(ODD), "content"));
	again(w);
	refuse_one_new(w);
	settle(w, SETTLE_THEIRS);
	assert_int_equal(found(&w->f, ROOT, name_of(ODD)), 0);
	assert_int_equal(count_kept(w), 1);
	again(w);
	refuse_one_content(w);
	away(w);
	settle(w, SETTLE_MINE);
	back(w);
	assert_true(has_there(w, name_of(ODD), "content"));
	again(w);
	refuse_one_content(w);
	settle(w, SETTLE_THEIRS);
	UNTIL(20, reads(w, name_of(ODD), "before."));
	assert_int_equal(count_kept(w), 1);
	assert_true(has_there(w, name_of(ODD), "before."));
	assert_true(log_is_drained(&w->f));
#else
	skip();
#endif
}

/* What loses must be here, or be had: else nothing is done. */
static void not_here(void **state)
{
	struct world *w = *state;
	struct listed listed = { 0 };
	char path[200], *why = NULL;
	int fd;

	NEEDS_HTTPD(&w->up);
	begin(w, NULL);
	made(&w->f, ROOT, "f", "before.");
	back(w);
	away(w);
	snprintf(path, sizeof(path), "%s/f", w->up.export);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, "content", 7), 7);
	close(fd);
	assert_int_equal(f_write(&w->f, found(&w->f, ROOT, "f"), 0, "ours"), 0);
	assert_int_equal(f_commit(&w->f, found(&w->f, ROOT, "f")), 0);
	back(w);
	away(w);
	assert_int_equal(cml_conflicts(w->f.cache, note_listed, &listed), 0);
	assert_int_equal(listed.n, 1);
	assert_int_equal(settle_conflict(w->f.cache, listed.id, SETTLE_MINE, &why), -EIO);
	assert_non_null(strstr(why, "--online"));
	free(why);
	assert_int_equal(count_kept(w), 0);
	assert_int_not_equal(found(&w->f, ROOT, "f"), found(&w->f, ROOT, listed.path + 1));
	assert_true(log_is_drained(&w->f));
	back(w);
	settle(w, SETTLE_MINE);
	assert_int_equal(count_kept(w), 1);
	assert_int_equal(replicate_sync(w->link), 0);
	UNTIL(20, log_is_drained(&w->f));
	assert_true(has_there(w, "f", "oursre."));
}

/* Somebody else has changed the one: both of it are there. */
static void changed_by_another(void **state)
{
	struct world *w = *state;
	struct listed listed = { 0 };
	char path[200];
	int fd;

	NEEDS_HTTPD(&w->up);
	begin(w, NULL);
	for (int i = 0; i < FILES; i++)
		made(&w->f, ROOT, name_of(i), "before.");
	back(w);
	away(w);
	snprintf(path, sizeof(path), "%s/%s", w->up.export, name_of(ODD));
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, "theirs", 6), 6);
	close(fd);
	for (int i = 0; i < FILES; i++) {
		uint64_t ino = found(&w->f, ROOT, name_of(i));

		assert_int_equal(f_write(&w->f, ino, 0, "content"), 0);
		assert_int_equal(f_commit(&w->f, ino), 0);
	}
	back(w);
	for (int i = 0; i < FILES; i++)
		assert_true(has_there(w, name_of(i), i == ODD ? "theirs" : "content"));
	assert_int_equal(cml_conflicts(w->f.cache, note_listed, &listed), 0);
	assert_int_equal(listed.n, 1);
	assert_true(has_there(w, listed.path + 1, "content"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(new_files),
		TEST(new_contents),
		TEST(changed_by_another),
		TEST(settled),
		TEST(not_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

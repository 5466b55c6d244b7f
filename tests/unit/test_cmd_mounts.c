/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cmd/mounts.h"

#define LINE(point, source, options) \
	"36 25 0:45 / " point " rw,relatime shared:9 - nfs " source " rw," options "\n"
#define SAFE "vers=3,hard,nolock,proto=tcp,mountaddr=127.0.0.1,local_lock=all,addr=127.0.0.1"
#define UNSAFE "vers=3,hard,proto=tcp,mountaddr=127.0.0.1,local_lock=none,addr=127.0.0.1"

static const struct find_case {
	const char *name, *info;
	uint16_t port;
	const char *point;		/* NULL: none is found */
	bool is_local_lock;
} find_cases[] = {
	{ "safe", LINE("/mnt", "localhost:/imports", SAFE), 2049, "/mnt", true },
	{ "with remote locks", LINE("/mnt", "localhost:/imports", UNSAFE), 2049, "/mnt", false },
	{ "no word of locks", LINE("/mnt", "localhost:/imports", "vers=3,addr=127.0.0.1"), 2049, "/mnt", false },
	{ "below the export", LINE("/mnt", "localhost:/imports/sub", SAFE), 2049, "/mnt", true },
	{ "beside the export", LINE("/mnt", "localhost:/imports2", SAFE), 2049, NULL, false },
	{ "of another machine", LINE("/mnt", "nas:/imports", "vers=3,local_lock=none,addr=192.0.2.1"), 2049, NULL, false },
	{ "over IPv6", LINE("/mnt", "[::1]:/imports", "vers=3,nolock,addr=::1"), 2049, "/mnt", true },
	{ "of another port", LINE("/mnt", "localhost:/imports", SAFE), 2050, NULL, false },
	{ "port named", LINE("/mnt", "localhost:/imports", "port=2050," UNSAFE), 2050, "/mnt", false },
	{ "mountport is not port", LINE("/mnt", "localhost:/imports", "mountport=2050," SAFE), 2050, NULL, false },
	{ "blanks in the point", LINE("/my\\040mount", "localhost:/imports", SAFE), 2049, "/my mount", true },
	{ "no NFS", "36 25 8:1 / /mnt rw shared:9 - ext4 localhost:/imports rw,addr=127.0.0.1\n", 2049, NULL, false },
	{ "broken lines", "36 25\n\n - \n36 25 0:45 / /mnt rw - nfs\n", 2049, NULL, false },
};

static char dir[] = "/tmp/izo-test_cmd_mounts-XXXXXX";

static void write_info(char path[64], const char *info)
{
	FILE *file;

	snprintf(path, 64, "%s/mountinfo", dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(info, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void finds(void **state)
{
	const struct find_case *c = *state;
	const char *exports[] = { "/other", "/imports" };
	struct mounts mounts;
	char path[64];

	write_info(path, c->info);
	assert_int_equal(mounts_find(&mounts, path, c->port, exports, 2), 0);
	assert_int_equal(mounts.n, c->point != NULL);
	if (c->point) {
		assert_string_equal(mounts.v[0].point, c->point);
		assert_int_equal(mounts.v[0].is_local_lock, c->is_local_lock);
	}
	mounts_release(&mounts);
}

/* Paths below dir, where "mnt" is a mount of ours. */
static const struct holding_case {
	const char *name, *path;
	bool is_held;
} holding_cases[] = {
	{ "the mount", "mnt", true },
	{ "in the mount", "mnt/a/b", true },
	{ "beside the mount", "mnt2", false },
	{ "above the mount", "", false },
	{ "a link to it", "to_mount", true },
	{ "through a link", "to_mount/a", true },
	{ "a relative link into it", "d/up/a", true },
	{ "a link elsewhere", "to_d", false },
	{ "dots", "d/../mnt/a", true },
	{ "dots out of it", "d/../d/x", false },
	{ "links in a circle", "circle/a", false },
	{ "not there", "no/such/dir", false },
};

static void holds(void **state)
{
	const struct holding_case *c = *state;
	char info[512], path[64], asked[128];
	const char *exports[] = { "/imports" };
	struct mounts mounts;

	snprintf(info, sizeof(info), "36 25 0:45 / %s/mnt rw - nfs localhost:/imports rw,%s\n", dir,
		 SAFE);
	write_info(path, info);
	assert_int_equal(mounts_find(&mounts, path, 2049, exports, 1), 0);
	snprintf(asked, sizeof(asked), "%s/%s", dir, c->path);
	assert_int_equal(mounts_holding(&mounts, asked) != NULL, c->is_held);
	mounts_release(&mounts);
}

static void a_missing_file(void **state)
{
	struct mounts mounts;

	(void)state;
	assert_true(mounts_find(&mounts, "/no/such/file", 2049, NULL, 0) < 0);
	mounts_release(&mounts);
}

static void link_to(const char *target, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(symlink(target, path), 0);
}

static int set_up(void **state)
{
	char path[128];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/d", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/mnt", dir);
	link_to(path, "to_mount");	/* the mount point itself is never looked at, so it need not be there */
	link_to("../mnt", "d/up");
	link_to("d", "to_d");
	link_to("circle", "circle");
	return 0;
}

static int tear_down(void **state)
{
	const char *names[] = { "to_mount", "d/up", "to_d", "circle", "mountinfo" };
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	snprintf(path, sizeof(path), "%s/d", dir);
	(void)rmdir(path);
	return rmdir(dir);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(find_cases) + ARRAY_SIZE(holding_cases) + 1];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(find_cases); i++)
		tests[n++] = (struct CMUnitTest){ find_cases[i].name, finds, NULL, NULL,
						  (void *)&find_cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(holding_cases); i++)
		tests[n++] = (struct CMUnitTest){ holding_cases[i].name, holds, NULL, NULL,
						  (void *)&holding_cases[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_missing_file);
	return _cmocka_run_group_tests("mounts", tests, n, set_up, tear_down);
}

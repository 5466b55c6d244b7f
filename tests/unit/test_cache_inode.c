/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inodes under random operations, several at a time, in a cache with room for few of them in
 * memory: after each round the database must agree with itself and with a model, also after a
 * restart.
 */
#include "tests/unit/cache_fixture.h"

#include <time.h>
#include "cache/internal.h"

#define DIRS 4			/* fixed; what is in them changes */
#define NAMES 6
#define FILE_MAX 3000
#define ROUNDS 60
#define OPS 40			/* in a round */
#define LOCAL ".nfs0123456789abcdef01234567"

static const char *const names[NAMES] = { "a", "b", "c", "d", "e", LOCAL };

/* A file of the model; nlink 0: free. */
struct file {
	uint64_t ino;
	unsigned nlink;
	uint32_t size;
	char data[FILE_MAX];
};

static struct model {
	uint64_t dir[DIRS];
	int at[DIRS][NAMES];		/* index of the file there, -1: none */
	struct file file[DIRS * NAMES + 1];
} model;

static unsigned long seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (seed >> 33) % n;
}

static int free_file(void)
{
	for (int i = 0; ; i++) {
		assert_true(i <= DIRS * NAMES);
		if (!model.file[i].nlink)
			return i;
	}
}

static void unbind(unsigned dir, unsigned name)
{
	int i = model.at[dir][name];

	if (i >= 0)
		model.file[i].nlink--;
	model.at[dir][name] = -1;
}

/* ---- one operation, on both ---- */

static void do_create(struct fixture *f, unsigned dir, unsigned name)
{
	int i = free_file(), err = f_create(f, model.dir[dir], names[name], 0644);

	if (model.at[dir][name] >= 0) {
		assert_int_equal(err, -EEXIST);
		return;
	}
	assert_int_equal(err, 0);
	model.file[i] = (struct file){ .ino = f->op.ino, .nlink = 1 };
	model.at[dir][name] = i;
}

static void do_remove(struct fixture *f, unsigned dir, unsigned name)
{
	int err = f_remove(f, model.dir[dir], names[name]);

	assert_int_equal(err, model.at[dir][name] < 0 ? -ENOENT : 0);
	unbind(dir, name);
}

static void do_rename(struct fixture *f, unsigned dir, unsigned name, unsigned to_dir, unsigned to)
{
	int i = model.at[dir][name], err;

	err = f_rename(f, model.dir[dir], names[name], model.dir[to_dir], names[to]);
	assert_int_equal(err, i < 0 ? -ENOENT : 0);
	if (i < 0 || model.at[to_dir][to] == i)
		return;
	unbind(to_dir, to);
	model.at[to_dir][to] = i;
	model.at[dir][name] = -1;
}

static void do_link(struct fixture *f, unsigned dir, unsigned name, unsigned to_dir, unsigned to)
{
	int i = model.at[dir][name], err;

	if (i < 0)
		return;
	err = f_link(f, model.file[i].ino, model.dir[to_dir], names[to]);
	assert_int_equal(err, model.at[to_dir][to] >= 0 ? -EEXIST : 0);
	if (err)
		return;
	model.file[i].nlink++;
	model.at[to_dir][to] = i;
}

static void do_write(struct fixture *f, unsigned dir, unsigned name)
{
	char data[700];
	uint32_t offset = rnd(FILE_MAX - sizeof(data)), len = 1 + rnd(sizeof(data) - 1);
	struct file *file;

	if (model.at[dir][name] < 0)
		return;
	file = &model.file[model.at[dir][name]];
	memset(data, 'a' + rnd(26), len);
	assert_int_equal(f_write_as(f, file->ino, offset, data, len, rnd(8) ? UNSTABLE : FILE_SYNC),
			 0);
	memcpy(file->data + offset, data, len);
	file->size = MAX(file->size, offset + len);
	if (!rnd(3))
		assert_int_equal(f_commit(f, file->ino), 0);
}

static void do_truncate(struct fixture *f, unsigned dir, unsigned name)
{
	struct file *file;
	uint32_t size = rnd(FILE_MAX);

	if (model.at[dir][name] < 0)
		return;
	file = &model.file[model.at[dir][name]];
	assert_int_equal(f_truncate(f, file->ino, size), 0);
	if (size < file->size)
		memset(file->data + size, 0, FILE_MAX - size);
	file->size = size;
}

static void one(struct fixture *f)
{
	unsigned dir = rnd(DIRS), name = rnd(NAMES), to_dir = rnd(DIRS), to = rnd(NAMES);

	switch (rnd(10)) {
	case 0:
	case 1:
	case 2:
		do_create(f, dir, name);
		break;
	case 3:
		do_remove(f, dir, name);
		break;
	case 4:
		do_rename(f, dir, name, to_dir, to);
		break;
	case 5:
		do_link(f, dir, name, to_dir, to);
		break;
	case 6:
		do_truncate(f, dir, name);
		break;
	default:
		do_write(f, dir, name);
	}
}

/* ---- do they agree? ---- */

static void check_file(struct fixture *f, const struct file *file)
{
	static char got[FILE_MAX + 10];

	assert_int_equal(f_read(f, file->ino, 0, got, sizeof(got)), 0);
	assert_int_equal(f->op.count, file->size);
	assert_true(f->op.is_eof);
	assert_memory_equal(got, file->data, file->size);
	assert_int_equal(f_getattr(f, file->ino), 0);
	assert_int_equal(f->op.attr.nlink, file->nlink);
	assert_int_equal(f->op.attr.size, file->size);
}

static void check_all(struct fixture *f)
{
	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned n = 0; n < NAMES; n++) {
			int i = model.at[d][n];

			assert_int_equal(found(f, model.dir[d], names[n]),
					 i < 0 ? 0 : model.file[i].ino);
		}
	}
	for (unsigned i = 0; i <= DIRS * NAMES; i++) {
		if (model.file[i].nlink)
			check_file(f, &model.file[i]);
		else if (model.file[i].ino)
			assert_int_equal(f_getattr(f, model.file[i].ino), -ESTALE);
	}
}

static const char *const must_be_none[] = {
	/* names of nothing */
	"SELECT count(*) FROM name WHERE ino > 0 AND ino NOT IN (SELECT ino FROM inode)",
	"SELECT count(*) FROM name WHERE dir NOT IN (SELECT ino FROM inode)",
	/* files without a name, or with another number of names than they say */
	"SELECT count(*) FROM inode WHERE type = 1 AND nlink <> (SELECT count(*) FROM name WHERE"
	" name.ino = inode.ino"
	" AND name.ino > 0)",
	"SELECT count(*) FROM inode WHERE type = 1 AND links_up <> (SELECT count(*) FROM name"
	" WHERE name.ino = inode.ino"
	" AND name.ino > 0 AND length(name) = 1)",
	"SELECT count(*) FROM inode AS d WHERE type = 2 AND nlink <> 2 + (SELECT count(*) FROM"
	" name JOIN inode AS i"
	" ON i.ino = name.ino WHERE name.dir = d.ino AND i.type = 2)",
	/* known upstream, and never said so */
	"SELECT count(*) FROM inode WHERE links_up > 0 AND ino > 2 AND attr_seq = 0",
	"SELECT count(*) FROM inode WHERE links_up > 0 AND size > 0 AND type = 1 AND NOT EXISTS"
	" (SELECT 1 FROM cml"
	" WHERE cml.ino = inode.ino AND op = 10)",
	"SELECT count(*) FROM name WHERE ino = 0 AND seq = 0",
	"SELECT count(*) FROM name WHERE length(name) > 1 AND seq <> 0 AND ino > 0 AND name LIKE"
	" '.nfs%'",
};

static void check_database(struct fixture *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(must_be_none); i++) {
		if (query(f, must_be_none[i]) != 0)
			fail_msg("%s", must_be_none[i]);
	}
}

static void random_operations(void **state)
{
	struct fixture *f = *state;
	char name[8];

	seed = (unsigned long)time(NULL);
	print_message("seed %lu\n", seed);
	memset(&model, 0, sizeof(model));
	memset(model.at, -1, sizeof(model.at));
	f->cache->max_inodes = 5;
	for (unsigned d = 0; d < DIRS; d++) {
		snprintf(name, sizeof(name), "dir%u", d);
		model.dir[d] = made_dir(f, ROOT, name);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < OPS; i++)
			one(f);
		check_all(f);
		if (round % 10 == 9) {
			f_reopen(f);
			f->cache->max_inodes = 5;
			check_all(f);
		}
		assert_int_equal(cml_flush(f->cache), 0);
		check_database(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_operations, f_setup, f_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

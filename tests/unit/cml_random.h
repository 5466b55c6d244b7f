/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cml_random: operations at random on a small tree, and replays of which parts are lost.  One number says what a run does.
 */
#ifndef TESTS_CML_RANDOM_H
#define TESTS_CML_RANDOM_H

#include <time.h>
#include "tests/unit/cml_upstream.h"

static UNUSED struct cml_batch *take(struct fixture *f, size_t max_records, uint64_t max_bytes)
{
	struct cml_batch *batch;

	assert_int_equal(cml_take(f->cache, max_records, max_bytes, &batch), 0);
	return batch;
}

/* The names of a batch's operations in a row, "CREATE STORE "; NULL is "". */
static UNUSED const char *ops(const struct cml_batch *batch)
{
	static char text_of[1000];
	size_t at = 0;

	text_of[0] = '\0';
	for (size_t i = 0; batch && i < batch->n; i++)
		at += snprintf(text_of + at, sizeof(text_of) - at, "%s ",
			       kml_op_name(batch->items[i].record.body.op));
	return text_of;
}

/* From the table, so that nothing is frozen. */
static UNUSED void assert_log(struct fixture *f, const char *want)
{
	sqlite3 *db = open_db(f);
	char got[1000] = "";
	sqlite3_stmt *stmt;
	size_t at = 0;

	assert_int_equal(sqlite3_prepare_v2(db, "SELECT op FROM cml ORDER BY seq", -1, &stmt, NULL), SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		at += snprintf(got + at, sizeof(got) - at, "%s ", kml_op_name(sqlite3_column_int(stmt, 0)));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	assert_string_equal(got, want);
}

static UNUSED int f_utimes(struct fixture *f, uint64_t ino, int64_t sec)
{
	struct attr_change change = { .set = SET_MTIME, .mtime = { sec, 0 } };

	return f_setattr(f, ino, &change);
}

#define DIRS 3
#define NAMES 5
#define FILE_MAX 2000

static UNUSED unsigned long seed;

static UNUSED unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (seed >> 33) % n;
}

/* SEED=N in the environment repeats a run. */
static UNUSED void seed_init(void)
{
	const char *given = getenv("SEED");

	seed = given ? strtoul(given, NULL, 10) : (unsigned long)time(NULL);
	print_message("seed %lu\n", seed);
}

static UNUSED uint64_t random_dir(struct fixture *f)
{
	char name[8];
	uint64_t dir;

	snprintf(name, sizeof(name), "d%u", rnd(DIRS));
	dir = found(f, ROOT, name);
	if (!dir && f_mkdir(f, ROOT, name, 0755) == 0)
		dir = f->op.ino;
	return dir ? dir : ROOT;
}

static UNUSED void random_write(struct fixture *f, uint64_t ino)
{
	char data[300];
	uint32_t len = 1 + rnd(sizeof(data) - 1);

	memset(data, 'a' + rnd(26), len);
	assert_int_equal(f_write_as(f, ino, rnd(FILE_MAX - len), data, len, rnd(4) ? UNSTABLE : FILE_SYNC), 0);
	if (rnd(2))
		assert_int_equal(f_commit(f, ino), 0);
}

/* As editors, git and package managers do it. */
static UNUSED void random_save(struct fixture *f, uint64_t dir, const char *name, uint64_t to_dir, const char *to)
{
	char temp[8];

	snprintf(temp, sizeof(temp), "t%u", rnd(2));
	if (f_create(f, dir, temp, 0600 + rnd(64)))
		return;
	if (rnd(8))
		random_write(f, f->op.ino);
	if (!rnd(3))
		assert_int_equal(f_chmod(f, found(f, dir, temp), 0600 + rnd(64)), 0);
	if (!rnd(3))
		assert_int_equal(f_utimes(f, found(f, dir, temp), 1000 + rnd(1000)), 0);
	switch (rnd(5)) {
	case 0:
		if (!f_link(f, found(f, dir, temp), to_dir, to) || rnd(2))
			(void)f_remove(f, dir, temp);
		break;
	case 1:		/* with a backup */
		(void)f_rename(f, to_dir, to, to_dir, "t~");
		(void)f_rename(f, dir, temp, to_dir, to);
		break;
	case 2:
		(void)f_rename(f, dir, temp, dir, name);
		break;
	case 3:
		(void)f_rename(f, dir, temp, to_dir, to);
		break;
	default:
		(void)f_remove(f, dir, temp);
	}
}

/* A file is written anew under its name, as make, git, vim and dpkg do it. */
static UNUSED void random_anew(struct fixture *f, uint64_t dir, const char *name)
{
	static const char temp[] = "t0", backup[] = "t~";
	bool is_linked = false;

	switch (rnd(5)) {
	case 0:		/* removed, and made */
	case 1:
		(void)f_remove(f, dir, name);
		break;
	case 2:		/* removed, and another renamed to there */
		if (!rnd(3))
			(void)f_remove(f, dir, temp);
		if (!f_create(f, dir, temp, 0600 + rnd(64)) && rnd(8))
			random_write(f, f->op.ino);
		(void)f_remove(f, dir, name);
		(void)f_rename(f, dir, temp, dir, name);
		return;
	case 3:		/* with a backup that is renamed */
		(void)f_rename(f, dir, name, dir, backup);
		break;
	default:	/* with one that is a link */
		if (rnd(2))
			(void)f_remove(f, dir, backup);
		is_linked = found(f, dir, name) && !f_link(f, found(f, dir, name), dir, backup);
	}
	if (!f_create(f, dir, is_linked ? temp : name, 0600 + rnd(64)) && rnd(8))
		random_write(f, f->op.ino);
	if (is_linked)
		(void)f_rename(f, dir, temp, dir, name);
	if (rnd(4))
		(void)f_remove(f, dir, backup);
}

/* "rm -r", and some of it is made again. */
static UNUSED void random_clean(struct fixture *f, const char *const names[NAMES])
{
	char name[8];
	uint64_t dir;

	snprintf(name, sizeof(name), "d%u", rnd(DIRS));
	dir = found(f, ROOT, name);
	for (unsigned i = 0; dir && i < NAMES; i++) {
		if (f_remove(f, dir, names[i]) == -EISDIR)
			(void)f_rmdir(f, dir, names[i]);
	}
	if (!dir || f_rmdir(f, ROOT, name) || f_mkdir(f, ROOT, name, rnd(4) ? 0755 : 0700))
		return;
	dir = f->op.ino;
	for (unsigned n = rnd(4); n; n--) {
		if (!f_create(f, dir, names[rnd(NAMES)], 0644) && rnd(4))
			random_write(f, f->op.ino);
	}
}

/* A directory is filled, and gets another name. */
static UNUSED void random_unpack(struct fixture *f, uint64_t dir, const char *name, uint64_t to_dir, const char *to)
{
	uint64_t new_dir;
	char under[8];

	snprintf(under, sizeof(under), "d%u", rnd(DIRS));
	if (f_mkdir(f, dir, "t1", 0755))
		return;
	new_dir = f->op.ino;
	for (unsigned n = rnd(4); n; n--) {
		switch (rnd(4)) {
		case 0:
			(void)f_mkdir(f, new_dir, name, 0755);
			break;
		case 1:
			(void)f_rename(f, dir, name, new_dir, to);
			break;
		case 2:		/* a directory moves meanwhile */
			(void)f_rename(f, ROOT, under, rnd(2) ? new_dir : to_dir, under);
			break;
		default:
			if (!f_create(f, new_dir, rnd(2) ? name : to, 0644))
				random_write(f, f->op.ino);
		}
	}
	switch (rnd(4)) {
	case 0:
		(void)f_rename(f, dir, "t1", to_dir, to);
		break;
	case 1:
		(void)f_rename(f, dir, "t1", ROOT, under);
		break;
	case 2:
		(void)f_rename(f, dir, "t1", dir, "t2");
		(void)f_rename(f, dir, "t2", to_dir, under);
		break;
	default:
		(void)f_rename(f, dir, "t1", dir, "t2");
		if (!f_mkdir(f, to_dir, to, 0755) || rnd(2))
			(void)f_rename(f, dir, "t2", found(f, to_dir, to) ? found(f, to_dir, to) : ROOT, under);
	}
}

/* Directories that come, move, and go; and links. */
static UNUSED void random_tree(struct fixture *f, uint64_t dir, const char *name, uint64_t to_dir, const char *to)
{
	char from[8], under[8];

	snprintf(from, sizeof(from), "d%u", rnd(DIRS));
	snprintf(under, sizeof(under), "d%u", rnd(DIRS));
	switch (rnd(6)) {
	case 0:
		(void)f_rename(f, ROOT, from, ROOT, under);
		break;
	case 1:
		(void)f_rename(f, ROOT, from, to_dir, under);
		break;
	case 2:
		(void)f_rename(f, dir, from, rnd(2) ? ROOT : to_dir, under);
		break;
	case 3:
		(void)f_symlink(f, dir, name, "text");
		break;
	case 4:
		if (!f_mkdir(f, dir, "t0", 0755) && rnd(2))
			(void)f_create(f, f->op.ino, name, 0644);
		(void)f_rename(f, dir, "t0", to_dir, to);
		break;
	default:
		(void)f_rmdir(f, dir, rnd(2) ? from : name);
	}
}

/* A file gets names and loses names, and then others take their places. */
static UNUSED void random_links(struct fixture *f, uint64_t dir, const char *const *names)
{
	unsigned first = rnd(NAMES);
	const char *three[] = { names[first], names[(first + 1) % NAMES], names[(first + 2) % NAMES] };
	uint64_t ino = found(f, dir, three[0]);

	if (!ino || f->op.attr.type != TYPE_REG)
		return;
	(void)f_link(f, ino, dir, three[1]);
	for (unsigned n = 1 + rnd(5); n; n--) {
		const char *name = three[rnd(3)], *to = three[rnd(3)];

		switch (rnd(4)) {
		case 0:
			if (!f_create(f, dir, "t0", 0644)) {
				random_write(f, f->op.ino);
				(void)f_rename(f, dir, "t0", dir, name);
			}
			break;
		case 1:
			(void)f_rename(f, dir, name, dir, to);
			break;
		case 2:
			(void)f_remove(f, dir, name);
			break;
		default:
			(void)f_link(f, ino, dir, name);	/* ESTALE when it has none any more */
		}
	}
}

/* Whatever it is, it may fail as it likes: only that both sides agree in the end counts. */
static UNUSED void random_operation(struct fixture *f)
{
	static const char *const names[NAMES] = { "a", "b", "c", "e", "f" };
	uint64_t dir = random_dir(f), to_dir = random_dir(f), ino;
	const char *name = names[rnd(NAMES)], *to = names[rnd(NAMES)];

	ino = found(f, dir, name);
	if (ino && f->op.attr.type != TYPE_REG)
		ino = 0;
	switch (rnd(20)) {
	case 0:
	case 1:
		(void)f_create(f, dir, name, 0600 + rnd(64));
		break;
	case 2:
		(void)f_remove(f, dir, name);
		break;
	case 3:
		(void)f_rename(f, dir, name, to_dir, to);
		break;
	case 4:
		if (ino)
			(void)f_link(f, ino, to_dir, to);
		break;
	case 5:
		if (ino)
			assert_int_equal(f_truncate(f, ino, rnd(FILE_MAX)), 0);
		break;
	case 6:
		if (ino)
			assert_int_equal(f_chmod(f, ino, 0600 + rnd(64)), 0);
		break;
	case 7:
		if (ino)
			assert_int_equal(f_utimes(f, ino, 1000 + rnd(1000)), 0);
		break;
	case 8:
		if (rnd(2))
			(void)f_mkdir(f, dir, name, 0755);
		else
			(void)f_rmdir(f, dir, name);
		break;
	case 9:
	case 10:
		random_save(f, dir, name, to_dir, to);
		break;
	case 11:
		random_tree(f, dir, name, to_dir, to);
		break;
	case 12:
	case 13:
		random_anew(f, dir, name);
		break;
	case 14:
		if (rnd(2))
			random_unpack(f, dir, name, to_dir, to);
		else
			random_clean(f, names);
		break;
	case 15:
		random_links(f, dir, names);
		break;
	default:
		if (ino)
			random_write(f, ino);
	}
}

/* What has more bytes stands aside, and may go by chance; UINT64_MAX: nothing does. */
static UNUSED uint64_t large_from = UINT64_MAX;

static UNUSED uint64_t write_gen_of(struct fixture *f, uint64_t ino)
{
	struct cml_item *item;
	uint64_t write_gen;

	if (cml_aside_look(f->cache, ino, &item))
		return 1;	/* of nothing */
	write_gen = item->write_gen;
	cml_item_free(item);
	return write_gen;
}

static UNUSED struct cml_batch *random_take_wanted(struct fixture *f, size_t max_records, uint64_t max_bytes)
{
	static uint64_t known[CML_ASIDES];	/* stood aside the last time */
	static size_t n_known;
	struct cml_ready ready[CML_ASIDES];
	struct cml_wants wants = {
		.max_records = max_records, .max_bytes = max_bytes, .large = large_from, .may_move = rnd(8) != 0, .ready = ready,
	};
	struct cml_taken taken;

	for (size_t i = 0; i < n_known; i++) {
		if (rnd(3))
			continue;
		ready[wants.n_ready++] = (struct cml_ready){
			.ino = known[i], .write_gen = rnd(4) ? write_gen_of(f, known[i]) : 0 };
		if (!rnd(4))
			random_operation(f);
	}
	assert_int_equal(cml_take_wanted(f->cache, &wants, &taken), 0);
	n_known = taken.n_aside;
	memcpy(known, taken.aside, n_known * sizeof(known[0]));
	return taken.batch;
}

#define BATCHES_OUT 4
#define BATCH_MAX 30

/* One after the other, now and then one in two parts.  Gives how many. */
static UNUSED unsigned random_take(struct fixture *f, struct cml_batch *batches[BATCHES_OUT])
{
	unsigned n = 0, most = 1 + rnd(BATCHES_OUT - 1);

	while (n < most && (batches[n] = random_take_wanted(f, 1 + rnd(BATCH_MAX), rnd(3000)))) {
		struct cml_batch *whole = batches[n++];

		if (whole->n > 1 && n < BATCHES_OUT && !rnd(3)) {
			assert_int_equal(cml_split(whole, 1 + rnd((unsigned)whole->n - 1), &batches[n]), 0);
			n++;
		}
	}
	return n;
}

/* Several batches are on their way.  They are sent up to some record, and the answers come up to one of these, or none. */
static UNUSED void random_replay(struct upstream *up, struct fixture *f)
{
	struct kml_answer answers[BATCHES_OUT][BATCH_MAX];
	struct cml_batch *batches[BATCHES_OUT];
	unsigned n = random_take(f, batches);
	size_t sent[BATCHES_OUT] = { 0 };
	bool is_over = false;

	for (unsigned b = 0; b < n && !is_over; b++) {
		sent[b] = rnd(3) ? batches[b]->n : rnd((unsigned)batches[b]->n + 1);
		is_over = sent[b] < batches[b]->n;
		for (size_t i = 0; i < sent[b]; i++) {
			answers[b][i] = up_send(up, f->cache, &batches[b]->items[i]);
			if (!rnd(4))
				random_operation(f);
		}
	}
	is_over = !rnd(3);
	for (unsigned b = 0; b < n; b++) {
		size_t came = rnd(3) ? sent[b] : rnd((unsigned)sent[b] + 1);

		if (is_over) {
			cml_give_back(f->cache, batches[b]);
			continue;
		}
		is_over = came < batches[b]->n;
		assert_int_equal(cml_retire(f->cache, batches[b], answers[b], came), 0);
		if (!rnd(4))
			random_operation(f);
	}
}

#endif

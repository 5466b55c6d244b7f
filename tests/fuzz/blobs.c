/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blobs: what comes from outside and is no stream: sets of ranges, handles, and every column of a cache.db that is
 * decoded.  A damaged database may be refused or end in the error state; it must not end the daemon.
 *
 *	u8 kind		which, see below
 *	rest		its own layout, at each function
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include "base/clock.h"
#include "base/loop.h"
#include "cache/cache.h"
#include "cache/cml.h"
#include "cache/extent.h"
#include "nfsd/fh.h"
#include "nfsd/xdr.h"
#include "tests/fuzz/cache_op.h"
#include "tests/fuzz/fuzz.h"

/* ---- ranges: u8 number of changes, two bytes for each; then the blob ---- */

#define SPAN 256u

/* The same set as a table of what is in it; only what is below SPAN. */
static void check_model(const struct extent_map *map, const bool *is_in)
{
	uint64_t at = 0, reached = 0;
	struct extent gap;

	for (uint32_t i = 0; i < map->n; i++) {
		MUST(map->v[i].start < map->v[i].end && (!i || map->v[i].start > reached));
		reached = map->v[i].end;
	}
	for (; at < SPAN; at++)
		MUST(extent_first_gap(map, at, at + 1, &gap) == !is_in[at]);
}

static void check_blob(const struct extent_map *map)
{
	struct extent_map again = { 0 };
	struct buf blob;

	buf_init(&blob, 0);
	MUST(!extent_encode(&blob, map));
	MUST(!extent_decode(&again, (struct slice){ blob.data, blob.len }));
	MUST(again.n == map->n && extent_bytes(&again) == extent_bytes(map));
	for (uint32_t i = 0; i < map->n; i++)
		MUST(again.v[i].start == map->v[i].start && again.v[i].end == map->v[i].end);
	extent_release(&again);
	buf_release(&blob);
}

static void change(struct extent_map *map, const struct extent_map *decoded, bool *is_in, struct input *in)
{
	uint8_t what = input_u8(in);
	uint64_t start = input_u8(in), end = start + what / 8;

	switch (what % 4) {
	case 0:
		MUST(!extent_add(map, start, end));
		for (uint64_t i = start; i < MIN(end, SPAN); i++)
			is_in[i] = true;
		break;
	case 1:
		MUST(!extent_remove(map, start, end));
		for (uint64_t i = start; i < MIN(end, SPAN); i++)
			is_in[i] = false;
		break;
	case 2:
		extent_cut(map, start);
		for (uint64_t i = start; i < SPAN; i++)
			is_in[i] = false;
		break;
	case 3:
		MUST(!extent_union(map, decoded));
		for (uint32_t i = 0; i < decoded->n; i++)
			for (uint64_t k = decoded->v[i].start; k < MIN(decoded->v[i].end, SPAN); k++)
				is_in[k] = true;
		break;
	}
}

static void ranges(struct input *in)
{
	unsigned n = input_u8(in);
	struct slice changes = input_bytes(in, 2 * n), blob = input_rest(in);
	struct input each = input_of(changes.data, changes.len);
	AUTO_FREE void *copy = input_copy(blob);
	struct extent_map decoded = { 0 }, map = { 0 };
	bool is_in[SPAN] = { false };
	int err = extent_decode(&decoded, (struct slice){ copy, blob.len });

	MUST(err == 0 || err == -EUCLEAN);
	if (!err)
		check_blob(&decoded);
	while (input_left(&each)) {
		change(&map, &decoded, is_in, &each);
		check_model(&map, is_in);
	}
	check_blob(&map);
	extent_release(&decoded);
	extent_release(&map);
}

/* ---- handles: whatever is not what was given out is not taken ---- */

static void handles(struct input *in)
{
	static const uint8_t key[FH_KEY_LEN] = "0123456789abcdef0123456789abcde";
	struct slice bytes = input_rest(in);
	AUTO_FREE void *copy = input_copy(bytes);
	struct slice fh = { copy, bytes.len };
	uint8_t sealed[FH_LEN];
	uint64_t ino;
	uint32_t tree;

	if (!fh_tree(fh, &tree))
		return;
	MUST(fh.len == FH_LEN);
	fh_seal(key, tree, (uint64_t)xdr_load_u32((char *)copy + 8) << 32 | xdr_load_u32((char *)copy + 12), sealed);
	MUST(fh_open(key, fh, &ino) == !memcmp(sealed, copy, FH_LEN));
	MUST(fh_open(key, (struct slice){ sealed, FH_LEN }, &ino));
}

/* ---- a database: u8 which column, u8 of which row; the blob ---- */

#define DIR_INO 3
#define FILE_INO 4
#define LINK_INO 5
#define IMAGE_MAX (4u << 20)

static const char *const columns[] = {
	"UPDATE inode SET present = ?1 WHERE ino = 4",
	"UPDATE inode SET dirty = ?1 WHERE ino = 4",
	"UPDATE inode SET dirty_next = ?1 WHERE ino = 4",
	"UPDATE inode SET verifier = ?1 WHERE ino = 4",
	"UPDATE inode SET target = ?1 WHERE ino = 5",
	"UPDATE name SET name = ?1 WHERE ino = 3 + ?2 % 3",
	"UPDATE cml SET record = ?1 WHERE seq = (SELECT min(seq) + ?2 % count(*) FROM cml)",
	"UPDATE cml SET record = ?1, op = ?2 % 12 WHERE seq = (SELECT max(seq) FROM cml)",
	"UPDATE meta SET value = ?1 WHERE key = (SELECT key FROM meta LIMIT 1 OFFSET ?2 % (SELECT count(*) FROM meta))",
};

static char db_path[96];
static unsigned char *image;
static size_t image_len;

static struct cache *open_cache(void)
{
	struct cache_config config = { .dir = fuzz_dir, .no_sync = true, .starts_empty = true };
	struct cache *cache;
	char *why = NULL;
	int err = cache_open(&config, &cache, &why);

	free(why);
	return err ? NULL : cache;
}

static void make_image(void)
{
	const struct attr_change mode = { .set = SET_MODE, .mode = 0755 };
	struct cache *cache;
	FILE *file;

	(void)fuzz_dir_make();
	snprintf(db_path, sizeof(db_path), "%s/cache.db", fuzz_dir);
	cache = open_cache();
	MUST(cache);
	MUST(!wait_for(cache_mkdir(cache, begin(), 2, (struct slice){ "d", 1 }, &mode)));
	MUST(!wait_for(cache_create(cache, begin(), 2, (struct slice){ "f", 1 }, CREATE_GUARDED, &mode, NULL)));
	MUST(!wait_for(cache_symlink(cache, begin(), 2, (struct slice){ "l", 1 }, (struct slice){ "d", 1 }, NULL)));
	MUST(!wait_for(cache_write(cache, begin(), FILE_INO, 5, "hello", 5, FILE_SYNC)));
	MUST(!wait_for(cache_setattr(cache, begin(), DIR_INO, &mode, NULL)));
	cache_close(cache);
	image = malloc(IMAGE_MAX);
	file = fopen(db_path, "r");
	MUST(image && file);
	image_len = fread(image, 1, IMAGE_MAX, file);
	MUST(image_len && image_len < IMAGE_MAX);
	fclose(file);
}

static void put_image(void)
{
	int fd = open(db_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	MUST(fd >= 0 && write(fd, image, image_len) == (ssize_t)image_len);
	close(fd);
}

static void damage(const char *sql, unsigned row, struct slice blob)
{
	sqlite3_stmt *stmt;
	sqlite3 *db;

	MUST(!sqlite3_open(db_path, &db));
	MUST(!sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL));
	MUST(!sqlite3_prepare_v2(db, sql, -1, &stmt, NULL));
	MUST(!sqlite3_bind_blob(stmt, 1, blob.len ? blob.data : "", (int)blob.len, SQLITE_STATIC));
	if (sqlite3_bind_parameter_count(stmt) > 1)
		MUST(!sqlite3_bind_int(stmt, 2, (int)row));
	(void)sqlite3_step(stmt);	/* a constraint may forbid it */
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

static bool emit(void *arg, const struct cache_dirent *entry)
{
	(void)arg;
	MUST(entry->name.data);
	return true;
}

static void use_log(struct cache *cache)
{
	struct cml_batch *batch = NULL;

	if (cml_take(cache, 100, 1u << 20, &batch) || !batch)
		return;
	for (size_t i = 0; i < batch->n; i++)
		(void)cml_refresh(cache, &batch->items[i]);
	cml_give_back(cache, batch);
}

static void use(struct cache *cache)
{
	static char data[CACHE_TARGET_MAX];
	const struct attr_change mode = { .set = SET_MODE, .mode = 0700 };
	struct cache_status status;

	for (uint64_t ino = 2; ino < 7; ino++)
		(void)wait_for(cache_getattr(cache, begin(), ino));
	(void)wait_for(cache_readlink(cache, begin(), LINK_INO, data));
	(void)wait_for(cache_read(cache, begin(), FILE_INO, 0, data, 100));
	(void)wait_for(cache_readdir(cache, begin(), 2, 0, true, emit, NULL));
	use_log(cache);
	(void)wait_for(cache_setattr(cache, begin(), FILE_INO, &mode, NULL));
	(void)wait_for(cache_write(cache, begin(), FILE_INO, 2, data, 2, FILE_SYNC));
	(void)wait_for(cache_rename(cache, begin(), 2, (struct slice){ "l", 1 }, DIR_INO, (struct slice){ "m", 1 }));
	use_log(cache);
	cache_status(cache, &status);
}

static void database(struct input *in)
{
	const char *sql = columns[input_u8(in) % ARRAY_SIZE(columns)];
	unsigned row = input_u8(in);
	struct cache *cache;

	put_image();
	damage(sql, row, input_rest(in));
	cache = open_cache();
	if (!cache)
		return;
	use(cache);
	cache_close(cache);
}

/* ---- */

static void (*const kinds[])(struct input *in) = { ranges, handles, database };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	MUST(!loop_new(&loop));
	make_image();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	kinds[input_u8(&in) % ARRAY_SIZE(kinds)](&in);
	return 0;
}

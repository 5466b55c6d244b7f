/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/digest.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include "base/fs.h"
#include "cache/db.h"
#include "cache/digester.h"
#include "cache/inode.h"
#include "cache/writer.h"

#define PIECE (64ull << 10)		/* at multiples of it in the file; those of zeros do not count */
#define CHUNK (16 * PIECE)		/* read at once */

/* ---- of a file ---- */

struct reading {
	int fd;
	XXH3_state_t *state;
	char *room;			/* for a chunk */
	int (*step)(void *arg, uint64_t bytes);
	void *arg;
};

static bool is_zero(const char *data, size_t len)
{
	return !data[0] && !memcmp(data, data + 1, len - 1);
}

static void add_piece(struct reading *r, const char *data, uint64_t start, uint64_t end)
{
	const uint64_t where[2] = { htole64(start), htole64(end) };

	if (is_zero(data, end - start))
		return;
	(void)XXH3_128bits_update(r->state, where, sizeof(where));	/* these cannot fail with a state */
	(void)XXH3_128bits_update(r->state, data, end - start);
}

static int read_chunk(struct reading *r, uint64_t start, uint64_t end)
{
	bool was_there = true;
	ssize_t got = fs_pread_now(r->fd, r->room, end - start, start);

	if (got == -EAGAIN) {
		was_there = false;
		got = fs_pread_full(r->fd, r->room, end - start, start);
	}
	if (got < 0)
		return (int)got;
	memset(r->room + got, 0, end - start - (uint64_t)got);
	if (!was_there)
		(void)posix_fadvise(r->fd, (off_t)start, (off_t)(end - start), POSIX_FADV_DONTNEED);	/* as far as it goes */
	for (uint64_t at = start, next; at < end; at = next) {
		next = MIN(end, (at / PIECE + 1) * PIECE);
		add_piece(r, r->room + (at - start), at, next);
	}
	return r->step ? r->step(r->arg, end - start) : 0;
}

/* The next byte at or after 'at' that is not in a hole; UINT64_MAX: there is none. */
static uint64_t next_data(int fd, uint64_t at)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data >= 0)
		return (uint64_t)data;
	return errno == ENXIO ? UINT64_MAX : at;	/* a file system without holes */
}

static int read_range(struct reading *r, uint64_t start, uint64_t end)
{
	int err = 0;

	while (start < end && !err) {
		uint64_t data = next_data(r->fd, start), next;

		if (data >= end)
			break;
		start = MAX(start, data / PIECE * PIECE);
		next = MIN(end, (start / CHUNK + 1) * CHUNK);
		err = read_chunk(r, start, next);
		start = next;
	}
	return err;
}

int digest_read(int fd, struct digest *digest, int (*step)(void *arg, uint64_t bytes), void *arg)
{
	const struct extent_map *ranges = &digest->ranges;
	uint64_t most = ranges->n ? ranges->v[ranges->n - 1].end - ranges->v[0].start : 0;
	struct reading r = { fd, XXH3_createState(), malloc(MAX(MIN(most, CHUNK), 1ull)), step, arg };
	XXH128_canonical_t hash;
	int err = r.state && r.room ? 0 : -ENOMEM;

	_Static_assert(sizeof(hash) == DIGEST_LEN, "a digest is an XXH3-128");
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);	/* else what is read ahead would look as if programs wanted it */
	if (!err)
		(void)XXH3_128bits_reset(r.state);
	for (uint32_t i = 0; i < ranges->n && !err; i++)
		err = read_range(&r, ranges->v[i].start, ranges->v[i].end);
	if (!err) {
		XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(r.state));
		memcpy(digest->hash, &hash, DIGEST_LEN);
	}
	(void)XXH3_freeState(r.state);
	free(r.room);
	return err;
}

/* ---- the row ---- */

void digest_release(struct digest *digest)
{
	extent_release(&digest->ranges);
}

static int64_t seal_of(uint64_t ino, uint32_t gen, struct slice ranges, struct slice hash)
{
	const uint64_t parts[4] = { htole64(ino), htole64(gen), htole64(XXH3_64bits(ranges.data, ranges.len)),
				    htole64(XXH3_64bits(hash.data, hash.len)) };

	return (int64_t)XXH3_64bits(parts, sizeof(parts));
}

static int decode(sqlite3_stmt *stmt, uint64_t ino, struct digest *ret)
{
	struct slice ranges = db_column(stmt, 1), hash = db_column(stmt, 2);
	uint32_t gen = (uint32_t)sqlite3_column_int64(stmt, 0);

	if (hash.len != DIGEST_LEN || sqlite3_column_int64(stmt, 3) != seal_of(ino, gen, ranges, hash))
		return -EUCLEAN;
	*ret = (struct digest){ .ino = ino, .gen = gen };
	memcpy(ret->hash, hash.data, DIGEST_LEN);
	return extent_decode(&ret->ranges, ranges);
}

int digest_get(struct db *db, uint64_t ino, struct digest *ret_digest)
{
	sqlite3_stmt *stmt;
	int err, got = db_query(db, &stmt, "SELECT gen, ranges, hash, seal FROM digest WHERE ino = ?1", "i", (int64_t)ino);

	if (got <= 0)
		return got;
	err = decode(stmt, ino, ret_digest);
	db_done(stmt);
	return err ? err : 1;
}

int digest_put(struct db *db, const struct digest *digest)
{
	struct slice hash = { digest->hash, DIGEST_LEN };
	struct buf ranges;
	int err;

	buf_init(&ranges, 0);
	err = extent_encode(&ranges, &digest->ranges);
	if (!err)
		err = db_run(db, "INSERT OR REPLACE INTO digest (ino, gen, ranges, hash, seal) VALUES (?1, ?2, ?3, ?4, ?5)", "iibbi",
			     (int64_t)digest->ino, (int64_t)digest->gen, (struct slice){ ranges.data, ranges.len }, hash,
			     seal_of(digest->ino, digest->gen, (struct slice){ ranges.data, ranges.len }, hash));
	buf_release(&ranges);
	return err;
}

int digest_drop(struct db *db, uint64_t ino)
{
	return db_run(db, "DELETE FROM digest WHERE ino = ?1", "i", (int64_t)ino);
}

/* ---- a change ---- */

bool digest_is_within(const struct extent_map *ranges, const struct extent_map *map)
{
	struct extent gap;

	if (ranges->n == map->n && (!map->n || !memcmp(ranges->v, map->v, map->n * sizeof(*map->v))))
		return true;
	for (uint32_t i = 0; i < ranges->n; i++)
		if (extent_first_gap(map, ranges->v[i].start, ranges->v[i].end, &gap))
			return false;
	return true;
}

/* With maps in the edit the content is held: nobody adds to the inode's meanwhile. */
static bool may_change_bytes(const struct inode_edit *edit)
{
	return edit->is_removed || edit->v.gen != edit->old_gen || (edit->set & (1u << FIELD_is_dirty) && edit->v.is_dirty) ||
	       (edit->has_maps && !digest_is_within(&edit->inode->present, &edit->present));
}

int digest_edit(struct change *change, const struct inode_edit *edit)
{
	/* Without a content file there is no row. */
	if (!edit->old_gen || !digester_has_rows(change->cache) || !may_change_bytes(edit))
		return 0;
	return digest_drop(writer_db(change->cache), edit->inode->ino);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/extent.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void extent_release(struct extent_map *map)
{
	free(map->v);
	*map = (struct extent_map){ 0 };
}

static int map_reserve(struct extent_map *map, uint32_t n)
{
	uint32_t cap = map->cap ? map->cap : 1;		/* most files are here from end to end */
	struct extent *v;

	if (n <= map->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	v = realloc(map->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	map->v = v;
	map->cap = cap;
	return 0;
}

int extent_reserve(struct extent_map *map, uint32_t more)
{
	return map_reserve(map, map->n + more);
}

/* Index of the first range that ends at or after 'at' (with_touch) or strictly after it. */
static uint32_t map_find(const struct extent_map *map, uint64_t at, bool with_touch)
{
	uint32_t lo = 0, hi = map->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (with_touch ? map->v[mid].end < at : map->v[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Put n_new ranges in the place of [first, last). Room has been reserved. */
static void map_splice(struct extent_map *map, uint32_t first, uint32_t last,
		       const struct extent *ranges, uint32_t n_new)
{
	memmove(&map->v[first + n_new], &map->v[last], (map->n - last) * sizeof(*map->v));
	for (uint32_t i = 0; i < n_new; i++)
		map->v[first + i] = ranges[i];
	map->n += n_new - (last - first);
}

int extent_add(struct extent_map *map, uint64_t start, uint64_t end)
{
	struct extent joined = { start, end };
	uint32_t first, last;
	int err;

	if (start >= end)
		return 0;
	/* Sequential writing, the usual case, only moves the last end. */
	if (map->n && map->v[map->n - 1].start <= start && map->v[map->n - 1].end >= start) {
		map->v[map->n - 1].end = MAX(map->v[map->n - 1].end, end);
		return 0;
	}
	first = map_find(map, start, true);
	for (last = first; last < map->n && map->v[last].start <= end; last++) {
		joined.start = MIN(joined.start, map->v[last].start);
		joined.end = MAX(joined.end, map->v[last].end);
	}
	if (first == last) {
		err = map_reserve(map, map->n + 1);
		if (err)
			return err;
	}
	map_splice(map, first, last, &joined, 1);
	return 0;
}

int extent_remove(struct extent_map *map, uint64_t start, uint64_t end)
{
	struct extent rest[2];
	uint32_t first, last, n = 0;
	int err;

	if (start >= end)
		return 0;
	first = map_find(map, start, false);
	for (last = first; last < map->n && map->v[last].start < end; last++)
		;
	if (first == last)
		return 0;
	if (map->v[first].start < start)
		rest[n++] = (struct extent){ map->v[first].start, start };
	if (map->v[last - 1].end > end)
		rest[n++] = (struct extent){ end, map->v[last - 1].end };
	if (n > last - first) {
		err = map_reserve(map, map->n + 1);
		if (err)
			return err;
	}
	map_splice(map, first, last, rest, n);
	return 0;
}

int extent_union(struct extent_map *map, const struct extent_map *more)
{
	struct extent_map both = { 0 };
	uint32_t i = 0, j = 0;
	int err;

	if (!more->n)
		return 0;
	if (!map->n)
		return extent_copy(map, more);
	/* Each range taken joins at most one that is there, so there is always room. */
	err = map_reserve(&both, map->n + more->n);
	if (err)
		return err;
	while (i < map->n || j < more->n) {
		const struct extent *e;

		if (j >= more->n || (i < map->n && map->v[i].start <= more->v[j].start))
			e = &map->v[i++];
		else
			e = &more->v[j++];
		if (both.n && both.v[both.n - 1].end >= e->start)
			both.v[both.n - 1].end = MAX(both.v[both.n - 1].end, e->end);
		else
			both.v[both.n++] = *e;
	}
	extent_release(map);
	*map = both;
	return 0;
}

int extent_copy(struct extent_map *to, const struct extent_map *from)
{
	struct extent_map copy = { 0 };
	int err;

	err = map_reserve(&copy, from->n);
	if (err)
		return err;
	if (from->n)
		memcpy(copy.v, from->v, from->n * sizeof(*from->v));
	copy.n = from->n;
	extent_release(to);
	*to = copy;
	return 0;
}

void extent_cut(struct extent_map *map, uint64_t size)
{
	while (map->n && map->v[map->n - 1].start >= size)
		map->n--;
	if (map->n && map->v[map->n - 1].end > size)
		map->v[map->n - 1].end = size;
}

bool extent_first_gap(const struct extent_map *map, uint64_t start, uint64_t end,
		      struct extent *ret_gap)
{
	uint32_t i = map_find(map, start, false);

	if (i < map->n && map->v[i].start <= start) {
		start = map->v[i].end;
		i++;
	}
	if (start >= end)
		return false;
	*ret_gap = (struct extent){ start, i < map->n ? MIN(end, map->v[i].start) : end };
	return true;
}

uint64_t extent_bytes(const struct extent_map *map)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < map->n; i++)
		sum += map->v[i].end - map->v[i].start;
	return sum;
}

int extent_encode(struct buf *buf, const struct extent_map *map)
{
	for (uint32_t i = 0; i < map->n; i++) {
		uint64_t pair[2] = { htole64(map->v[i].start), htole64(map->v[i].end) };
		int err = buf_append(buf, pair, sizeof(pair));

		if (err)
			return err;
	}
	return 0;
}

int extent_decode(struct extent_map *map, struct slice blob)
{
	struct extent_map got = { 0 };
	size_t n = blob.len / 16;
	uint64_t reached = 0;
	int err;

	if (blob.len % 16 || n > UINT32_MAX / 2)
		return -EUCLEAN;
	err = map_reserve(&got, n);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		uint64_t pair[2];

		memcpy(pair, (const char *)blob.data + i * 16, sizeof(pair));
		got.v[i] = (struct extent){ le64toh(pair[0]), le64toh(pair[1]) };
		if (got.v[i].start >= got.v[i].end || (i && got.v[i].start <= reached)) {
			extent_release(&got);
			return -EUCLEAN;
		}
		reached = got.v[i].end;
	}
	got.n = n;
	extent_release(map);
	*map = got;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * chance: all that is random in a torture, out of its seed.
 *
 * Each step, and each use of chance in it, has a stream of its own: how many numbers one step takes, which may depend on when
 * an answer came, changes nothing for those after it.
 */
#ifndef TESTS_TORTURE_CHANCE_H
#define TESTS_TORTURE_CHANCE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct chance {
	uint64_t state;
};

enum chance_use { CHANCE_WORK, CHANCE_MISCHIEF, CHANCE_LOCAL, CHANCE_SETTLE };

/* splitmix64 */
static inline uint64_t chance_next(struct chance *chance)
{
	uint64_t z = chance->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline struct chance chance_begin(uint64_t seed, uint64_t step, enum chance_use use)
{
	struct chance chance = { seed * 0x2545f4914f6cdd1d + step * 4 + use };

	(void)chance_next(&chance);
	return chance;
}

/* 0 up to that. */
static inline unsigned chance_below(struct chance *chance, unsigned below)
{
	return (unsigned)(chance_next(chance) % below);
}

static inline bool chance_one_in(struct chance *chance, unsigned n)
{
	return !chance_below(chance, n);
}

/* As a copy that keeps times sets them: mostly back. */
static inline struct timespec chance_time(struct chance *chance)
{
	struct timespec time = { .tv_sec = 1000000000 + chance_below(chance, 700000000) };

	time.tv_nsec = chance_below(chance, 1000000000);
	return time;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture: three clients and local programs at work on one upstream, while programs are killed and links are cut; in the
 * end all is compared with what everybody was told.
 *
 *   torture SEED ROUNDS STEPS PROGRAMS PROXY DIR
 *
 * So many rounds of so many steps, each followed by what checks.h says.  PROGRAMS: the directory of izo-nfsd and izo-httpd; PROXY:
 * tests/lib/proxy; DIR: an empty directory, for everything; DIR/trace has all that was done.  Exit status 0: nothing was found.
 *
 * The same seed gives the same operations and the same mischief, in the same steps.  What of it meets what is under way inside the programs, and
 * when (how far a replay has come when its link is cut, whether a call was answered before its daemon died), is the
 * machine's, so a failure may take a few runs to come back.
 *
 * In each step one client does something, in its own part (private.h) or where everybody works (shared.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "tests/torture/checks.h"
#include "tests/torture/private.h"
#include "tests/torture/shared.h"
#include "tests/torture/trace.h"
#include "tests/torture/world.h"

/* How long things last, in steps. */
static unsigned link_until[CLIENTS], offline_until[CLIENTS], rest_until;

static void cut_link(int c, struct chance *chance)
{
	static const char *const modes[] = {
		"blackhole", "refuse", "reset", "stall", "drop-answer", "500", "garbage", "empty",
		"cut-request %u", "cut-answer %u", "cut-request %u fin", "drop-answer for POST", "drop-answer for PUT",
		"once drop-answer for POST", "once drop-answer for POST", "once cut-answer %u for POST", "once cut-request %u for POST",
		"once cut-request %u for PUT", "once drop-answer for PUT", "delay %u",
	};
	const char *mode = modes[chance_below(chance, ARRAY_SIZE(modes))];
	unsigned n = chance_below(chance, chance_one_in(chance, 3) ? 300000 : 3000);
	char command[100];

	if (!strncmp(mode, "delay", 5))
		n %= 20;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(command, sizeof(command), mode, n);
#pragma GCC diagnostic pop
	world_link(c, command);
	link_until[c] = trace_now() + 3 + chance_below(chance, 30);
}

/* What lasts is over. */
static void restore(void)
{
	unsigned now = trace_now();

	for (int c = 0; c < CLIENTS; c++) {
		if (link_until[c] && link_until[c] <= now) {
			world_link(c, "delay 0");
			world_link(c, "pass");
			link_until[c] = 0;
			world_kick(c);
		}
		if (offline_until[c] && offline_until[c] <= now) {
			world_offline(c, false);
			offline_until[c] = 0;
		}
	}
	if (rest_until && rest_until <= now) {
		world_rest_upstream(false);
		rest_until = 0;
	}
}

/* Before the step: what comes upon it. */
static void mischief(struct chance *chance, int working)
{
	int c = (int)chance_below(chance, CLIENTS);

	switch (chance_below(chance, 60)) {
	case 0: case 1:			/* the daemon, with a call out */
		world_strike(working, chance_below(chance, 4000));
		break;
	case 2:				/* another's, whatever it is about */
		world_strike(c, chance_below(chance, 10000));
		break;
	case 3: case 4:
		if (!rest_until && chance_one_in(chance, 2)) {
			world_rest_upstream(true);
			rest_until = trace_now() + 1 + chance_below(chance, 15);
		}
		world_strike(UPSTREAM, chance_below(chance, 10000));
		break;
	case 5: case 6: case 7: case 8:
		if (!link_until[c])
			cut_link(c, chance);
		break;
	case 9: case 10:
		if (!offline_until[c]) {
			world_offline(c, true);
			offline_until[c] = trace_now() + 5 + chance_below(chance, 40);
		}
		break;
	case 11: case 12: {		/* time for what is under way */
		unsigned ms = chance_below(chance, 120);

		trace("nothing for %u ms", ms);
		(void)usleep(ms * 1000);
		break;
	}
	default:
		break;
	}
}

static void step(uint64_t seed, unsigned now)
{
	struct chance work = chance_begin(seed, now, CHANCE_WORK), bad = chance_begin(seed, now, CHANCE_MISCHIEF),
		      local = chance_begin(seed, now, CHANCE_LOCAL);
	int c = (int)chance_below(&work, CLIENTS);

	trace_step(now);
	restore();
	mischief(&bad, c);
	if (chance_one_in(&work, 2))
		private_step(c, &work);
	else
		shared_step(c, &work);
	if (chance_one_in(&local, 15))
		shared_local_step(&local);
	world_settle();
	for (c = 0; c < CLIENTS; c++)
		if (world_was_killed(c))
			private_recovered(c);
}

static void end_of_mischief(void)
{
	for (int c = 0; c < CLIENTS; c++)
		link_until[c] = offline_until[c] = 0;
	rest_until = 0;
}

static void make_export(const char *dir)
{
	char path[PATH_MAX + 32];

	(void)snprintf(path, sizeof(path), "%s/export", dir);
	if (mkdir(path, 0755))
		trace_fail("%s: %s", path, strerror(errno));
	shared_begin(path);
	for (int c = 0; c < CLIENTS; c++) {
		(void)snprintf(path, sizeof(path), "%s/export/p%d", dir, c);
		if (mkdir(path, 0755))
			trace_fail("%s: %s", path, strerror(errno));
	}
}

int main(int argc, char **argv)
{
	unsigned rounds, steps, now = 0;
	char path[PATH_MAX];
	uint64_t seed;

	if (argc != 7) {
		(void)fprintf(stderr, "usage: torture SEED ROUNDS STEPS PROGRAMS PROXY DIR\n");
		return 2;
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	seed = strtoull(argv[1], NULL, 10);
	rounds = (unsigned)strtoul(argv[2], NULL, 10);
	steps = (unsigned)strtoul(argv[3], NULL, 10);
	(void)snprintf(path, sizeof(path), "%s/trace", argv[6]);
	trace_open(seed, path);
	make_export(argv[6]);
	world_begin(argv[4], argv[5], argv[6]);
	for (int c = 0; c < CLIENTS; c++)
		private_begin(c);
	for (unsigned round = 0; round < rounds; round++) {
		struct chance settle = chance_begin(seed, round, CHANCE_SETTLE);

		for (unsigned i = 0; i < steps; i++)
			step(seed, ++now);
		end_of_mischief();
		checks_run();
		if (chance_one_in(&settle, 2))
			checks_settle(&settle);
	}
	world_end();
	trace_done();
	(void)printf("%u steps\n", now);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of link states, over every state and event; and the back-off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "base/mem.h"
#include "replicate/link.h"

/* Written out on its own, so that a slip in the table has to be made twice. */
static const struct {
	enum link_state from;
	enum link_event event;
	enum link_state to;
	unsigned actions;
} cases[] = {
	/* what the user said stays, whatever the network does */
	{ LINK_OFFLINE, LINK_USER_OFFLINE, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_USER_ONLINE, LINK_DISCONNECTED, LINK_DO_PROBE },
	{ LINK_OFFLINE, LINK_KICK, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_TIMER, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_ACCEPTED, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_FAILED, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_REFUSED, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_LOST, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_ACCEPTED_WEAK, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_SLOW, LINK_OFFLINE, 0 },
	{ LINK_OFFLINE, LINK_FAST, LINK_OFFLINE, 0 },
	/* it is looked for until it is found */
	{ LINK_DISCONNECTED, LINK_USER_OFFLINE, LINK_OFFLINE, LINK_DO_ABORT },
	{ LINK_DISCONNECTED, LINK_USER_ONLINE, LINK_DISCONNECTED, LINK_DO_PROBE },
	{ LINK_DISCONNECTED, LINK_KICK, LINK_DISCONNECTED, LINK_DO_PROBE },
	{ LINK_DISCONNECTED, LINK_TIMER, LINK_DISCONNECTED, LINK_DO_PROBE },
	{ LINK_DISCONNECTED, LINK_ACCEPTED, LINK_CONNECTED, LINK_DO_START },
	{ LINK_DISCONNECTED, LINK_FAILED, LINK_DISCONNECTED, LINK_DO_WAIT },
	{ LINK_DISCONNECTED, LINK_REFUSED, LINK_DISCONNECTED, LINK_DO_WAIT_LONG },
	{ LINK_DISCONNECTED, LINK_LOST, LINK_DISCONNECTED, 0 },
	{ LINK_DISCONNECTED, LINK_ACCEPTED_WEAK, LINK_WEAK, LINK_DO_START },
	{ LINK_DISCONNECTED, LINK_SLOW, LINK_DISCONNECTED, 0 },
	{ LINK_DISCONNECTED, LINK_FAST, LINK_DISCONNECTED, 0 },
	/* and whoever waits hears at once when it goes */
	{ LINK_CONNECTED, LINK_USER_OFFLINE, LINK_OFFLINE, LINK_DO_ABORT },
	{ LINK_CONNECTED, LINK_USER_ONLINE, LINK_CONNECTED, LINK_DO_REPLAY },
	{ LINK_CONNECTED, LINK_KICK, LINK_CONNECTED, LINK_DO_REPLAY },
	{ LINK_CONNECTED, LINK_TIMER, LINK_CONNECTED, 0 },
	{ LINK_CONNECTED, LINK_ACCEPTED, LINK_CONNECTED, LINK_DO_START },
	{ LINK_CONNECTED, LINK_FAILED, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
	{ LINK_CONNECTED, LINK_REFUSED, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT_LONG },
	{ LINK_CONNECTED, LINK_LOST, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
	{ LINK_CONNECTED, LINK_ACCEPTED_WEAK, LINK_WEAK, LINK_DO_START | LINK_DO_PACE },
	{ LINK_CONNECTED, LINK_SLOW, LINK_WEAK, LINK_DO_PACE },
	{ LINK_CONNECTED, LINK_FAST, LINK_CONNECTED, 0 },
	/* a weak one is one; what is under way goes on when it becomes better or worse */
	{ LINK_WEAK, LINK_USER_OFFLINE, LINK_OFFLINE, LINK_DO_ABORT },
	{ LINK_WEAK, LINK_USER_ONLINE, LINK_WEAK, LINK_DO_REPLAY },
	{ LINK_WEAK, LINK_KICK, LINK_WEAK, LINK_DO_REPLAY },
	{ LINK_WEAK, LINK_TIMER, LINK_WEAK, 0 },
	{ LINK_WEAK, LINK_ACCEPTED, LINK_CONNECTED, LINK_DO_START | LINK_DO_PACE },
	{ LINK_WEAK, LINK_ACCEPTED_WEAK, LINK_WEAK, LINK_DO_START },
	{ LINK_WEAK, LINK_FAILED, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
	{ LINK_WEAK, LINK_REFUSED, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT_LONG },
	{ LINK_WEAK, LINK_LOST, LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
	{ LINK_WEAK, LINK_SLOW, LINK_WEAK, 0 },
	{ LINK_WEAK, LINK_FAST, LINK_CONNECTED, LINK_DO_PACE },
};

static void every_step(void **state)
{
	bool seen[LINK_STATES][LINK_EVENTS] = { { false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct link_step step = link_next(cases[i].from, cases[i].event);

		if (step.state != cases[i].to || step.actions != cases[i].actions)
			fail_msg("%s + %s: %s, actions %#x",
				 link_state_name(cases[i].from), link_event_name(cases[i].event),
				 link_state_name(step.state), step.actions);
		seen[cases[i].from][cases[i].event] = true;
	}
	for (int s = 0; s < LINK_STATES; s++)
		for (int e = 0; e < LINK_EVENTS; e++)
			assert_true(seen[s][e]);
}

/* What holds of every row, whatever it says in detail. */
static void rules(void **state)
{
	(void)state;
	for (int s = 0; s < LINK_STATES; s++) {
		for (int e = 0; e < LINK_EVENTS; e++) {
			struct link_step step = link_next(s, e);
			bool is_leaving = link_is_up(s) && !link_is_up(step.state);

			/* only the user ends offline; only a probe makes a link */
			assert_true(s != LINK_OFFLINE || step.state == LINK_OFFLINE ||
				    e == LINK_USER_ONLINE);
			assert_true(!link_is_up(step.state) || link_is_up(s) ||
				    e == LINK_ACCEPTED || e == LINK_ACCEPTED_WEAK);
			/* from a link to another kind of link nothing is given up, and the pace is the other's */
			assert_true(!link_is_up(s) || !link_is_up(step.state) || !(step.actions & LINK_DO_ABORT));
			assert_true(!link_is_up(s) || !link_is_up(step.state) || (int)step.state == s ||
				    (step.actions & LINK_DO_PACE));
			/* who waits is told when the link goes; offline nothing is sent */
			assert_true(!is_leaving || (step.actions & LINK_DO_ABORT));
			if (step.state == LINK_OFFLINE)
				assert_int_equal(step.actions & ~(unsigned)LINK_DO_ABORT, 0);
			/* a lost link is looked for again */
			if (is_leaving && step.state == LINK_DISCONNECTED)
				assert_true(step.actions & (LINK_DO_WAIT | LINK_DO_WAIT_LONG));
		}
	}
}

static void backoff(void **state)
{
	static const uint32_t randoms[] = { 0, 1, UINT32_MAX / 2, UINT32_MAX };
	uint64_t before = 0;

	(void)state;
	for (unsigned tries = 0; tries < 100; tries++) {
		for (size_t i = 0; i < ARRAY_SIZE(randoms); i++) {
			uint64_t us = link_backoff_us(tries, randoms[i]);

			assert_in_range(us, LINK_BACKOFF_MIN_US, LINK_BACKOFF_MAX_US);
			assert_true(!i || us >= link_backoff_us(tries, randoms[i - 1]));
		}
		assert_true(link_backoff_us(tries, 0) >= before);
		before = link_backoff_us(tries, 0);
	}
	assert_int_equal(link_backoff_us(0, 0), LINK_BACKOFF_MIN_US);
	assert_int_equal(link_backoff_us(99, UINT32_MAX), LINK_BACKOFF_MAX_US);
	assert_in_range(link_backoff_us(LINK_TRIES_LONG, 0), 10 * US_PER_S, LINK_BACKOFF_MAX_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_step),
		cmocka_unit_test(rules),
		cmocka_unit_test(backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

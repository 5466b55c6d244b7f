/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/link.h"

#include "base/mem.h"

/* Rows: where it is; columns: what happens. */
static const struct link_step steps[LINK_STATES][LINK_EVENTS] = {
	[LINK_OFFLINE] = {
		[LINK_USER_OFFLINE] = { LINK_OFFLINE, 0 },
		[LINK_USER_ONLINE]  = { LINK_DISCONNECTED, LINK_DO_PROBE },
		[LINK_KICK]         = { LINK_OFFLINE, 0 },
		[LINK_TIMER]        = { LINK_OFFLINE, 0 },
		[LINK_ACCEPTED]     = { LINK_OFFLINE, 0 },
		[LINK_ACCEPTED_WEAK] = { LINK_OFFLINE, 0 },
		[LINK_FAILED]       = { LINK_OFFLINE, 0 },
		[LINK_REFUSED]      = { LINK_OFFLINE, 0 },
		[LINK_LOST]         = { LINK_OFFLINE, 0 },
		[LINK_SLOW]         = { LINK_OFFLINE, 0 },
		[LINK_FAST]         = { LINK_OFFLINE, 0 },
	},
	[LINK_DISCONNECTED] = {
		[LINK_USER_OFFLINE] = { LINK_OFFLINE, LINK_DO_ABORT },
		[LINK_USER_ONLINE]  = { LINK_DISCONNECTED, LINK_DO_PROBE },
		[LINK_KICK]         = { LINK_DISCONNECTED, LINK_DO_PROBE },
		[LINK_TIMER]        = { LINK_DISCONNECTED, LINK_DO_PROBE },
		[LINK_ACCEPTED]     = { LINK_CONNECTED, LINK_DO_START },
		[LINK_ACCEPTED_WEAK] = { LINK_WEAK, LINK_DO_START },
		[LINK_FAILED]       = { LINK_DISCONNECTED, LINK_DO_WAIT },
		[LINK_REFUSED]      = { LINK_DISCONNECTED, LINK_DO_WAIT_LONG },
		[LINK_LOST]         = { LINK_DISCONNECTED, 0 },
		[LINK_SLOW]         = { LINK_DISCONNECTED, 0 },
		[LINK_FAST]         = { LINK_DISCONNECTED, 0 },
	},
	[LINK_WEAK] = {
		[LINK_USER_OFFLINE] = { LINK_OFFLINE, LINK_DO_ABORT },
		[LINK_USER_ONLINE]  = { LINK_WEAK, LINK_DO_REPLAY },
		[LINK_KICK]         = { LINK_WEAK, LINK_DO_REPLAY },
		[LINK_TIMER]        = { LINK_WEAK, 0 },
		[LINK_ACCEPTED]     = { LINK_CONNECTED, LINK_DO_START | LINK_DO_PACE },
		[LINK_ACCEPTED_WEAK] = { LINK_WEAK, LINK_DO_START },
		[LINK_FAILED]       = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
		[LINK_REFUSED]      = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT_LONG },
		[LINK_LOST]         = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
		[LINK_SLOW]         = { LINK_WEAK, 0 },
		[LINK_FAST]         = { LINK_CONNECTED, LINK_DO_PACE },
	},
	[LINK_CONNECTED] = {
		[LINK_USER_OFFLINE] = { LINK_OFFLINE, LINK_DO_ABORT },
		[LINK_USER_ONLINE]  = { LINK_CONNECTED, LINK_DO_REPLAY },
		[LINK_KICK]         = { LINK_CONNECTED, LINK_DO_REPLAY },
		[LINK_TIMER]        = { LINK_CONNECTED, 0 },
		[LINK_ACCEPTED]     = { LINK_CONNECTED, LINK_DO_START },
		[LINK_ACCEPTED_WEAK] = { LINK_WEAK, LINK_DO_START | LINK_DO_PACE },
		[LINK_FAILED]       = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
		[LINK_REFUSED]      = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT_LONG },
		[LINK_LOST]         = { LINK_DISCONNECTED, LINK_DO_ABORT | LINK_DO_WAIT },
		[LINK_SLOW]         = { LINK_WEAK, LINK_DO_PACE },
		[LINK_FAST]         = { LINK_CONNECTED, 0 },
	},
};

struct link_step link_next(enum link_state state, enum link_event event)
{
	return steps[state][event];
}

const char *link_state_name(enum link_state state)
{
	static const char *const names[LINK_STATES] = {
		[LINK_OFFLINE] = "offline",
		[LINK_DISCONNECTED] = "disconnected",
		[LINK_WEAK] = "weak",
		[LINK_CONNECTED] = "connected",
	};

	return names[state];
}

const char *link_event_name(enum link_event event)
{
	static const char *const names[LINK_EVENTS] = {
		[LINK_USER_OFFLINE] = "user-offline", [LINK_USER_ONLINE] = "user-online",
		[LINK_KICK] = "kick", [LINK_TIMER] = "timer", [LINK_ACCEPTED] = "accepted",
		[LINK_FAILED] = "failed", [LINK_REFUSED] = "refused", [LINK_LOST] = "lost",
		[LINK_ACCEPTED_WEAK] = "accepted-weak", [LINK_SLOW] = "slow", [LINK_FAST] = "fast",
	};

	return names[event];
}

uint64_t link_backoff_us(unsigned tries, uint32_t random)
{
	uint64_t most = LINK_BACKOFF_MAX_US, half;

	if (tries < 6)
		most = MIN(most, (2 * LINK_BACKOFF_MIN_US) << tries);
	half = most / 2;
	return half + (uint64_t)random * half / UINT32_MAX;
}

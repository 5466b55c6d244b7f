/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

static bool is_slow(const struct meter *meter, enum meter_way way)
{
	return meter->rate[way] && meter->rate[way] < METER_WEAK_RATE;
}

static bool is_late(const struct meter *meter)
{
	return meter->round_trip_us > METER_WEAK_US;
}

/* Nothing that is known is below the better mark. */
static bool speaks_strong(const struct meter *meter)
{
	for (int way = 0; way < METER_WAYS; way++)
		if (meter->rate[way] && meter->rate[way] < METER_STRONG_RATE)
			return false;
	return meter->round_trip_us < METER_STRONG_US;
}

/* is_bad: what the last sample was about is below the mark.  Short round trips do not make a bad rate worse. */
static void judge(struct meter *meter, bool is_bad)
{
	bool is_against = meter->is_weak ? speaks_strong(meter) : is_bad;

	if (is_against && ++meter->against >= METER_AGREE) {
		meter->is_weak = !meter->is_weak;
		meter->against = 0;
	} else if (meter->is_weak ? !is_against : !is_late(meter) && !is_slow(meter, METER_UP) && !is_slow(meter, METER_DOWN)) {
		meter->against = 0;
	}
}

static uint64_t least_seen(const struct meter *meter)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < MIN(meter->n_seen, (unsigned)METER_LEAST_OF); i++)
		least = MIN(least, meter->seen_us[i]);
	return least;
}

void meter_round_trip(struct meter *meter, uint64_t us)
{
	uint64_t least;

	meter->seen_us[meter->n_seen++ % METER_LEAST_OF] = MAX(us, (uint64_t)1);
	least = least_seen(meter);
	if (!meter->round_trip_us) {
		meter->round_trip_us = least;
		meter->variation_us = least / 2;
	} else {
		uint64_t off = least > meter->round_trip_us ? least - meter->round_trip_us : meter->round_trip_us - least;

		meter->variation_us = (3 * meter->variation_us + off) / 4;
		if (least > meter->round_trip_us)
			meter->round_trip_us = (7 * meter->round_trip_us + least) / 8;
		else
			meter->round_trip_us = MAX((meter->round_trip_us + least) / 2, (uint64_t)1);
	}
	judge(meter, is_late(meter));
}

void meter_transfer(struct meter *meter, enum meter_way way, uint64_t bytes, uint64_t us)
{
	uint64_t *rate = &meter->rate[way], seen, best;

	if (bytes < METER_LARGE)
		return;
	us = MAX(us, (uint64_t)1);
	seen = MAX((uint64_t)((double)bytes * US_PER_S / (double)us), (uint64_t)1);
	if (!meter->round_trip_us || us < METER_ROUND_TRIPS * meter->round_trip_us) {
		/* Where nothing is known yet, and this is slow, nothing is known still. */
		if (seen > *rate && (*rate || seen >= METER_STRONG_RATE))
			*rate = seen;
		judge(meter, false);
		return;
	}
	best = MAX(seen, meter->before[way]);
	meter->before[way] = seen;
	*rate = *rate ? (*rate + best) / 2 : seen;
	judge(meter, is_slow(meter, way));
}

void meter_forget(struct meter *meter)
{
	bool is_weak = meter->is_weak;

	memset(meter, 0, sizeof(*meter));
	meter->is_weak = is_weak;
	meter->against = is_weak ? METER_AGREE - 1 : 0;
}

static int print_rate(char *text, size_t size, const char *before, uint64_t rate, const char *way)
{
	const char *unit = "KiB";
	double n = (double)rate / 1024;

	if (!rate)
		return 0;
	if (n >= 1024) {
		n /= 1024;
		unit = "MiB";
	}
	return snprintf(text, size, "%s%.*f %s/s %s", before, n < 10 ? 1 : 0, n, unit, way);
}

void meter_print(const struct meter *meter, char *ret_text, size_t size)
{
	static const char *const names[METER_WAYS] = { [METER_UP] = "up", [METER_DOWN] = "down" };
	size_t at = 0;

	ret_text[0] = '\0';
	if (meter->round_trip_us)
		at = (size_t)snprintf(ret_text, size, "round trip %.*f ms", meter->round_trip_us < 10000 ? 1 : 0,
				      (double)meter->round_trip_us / US_PER_MS);
	for (int way = 0; way < METER_WAYS && at < size; way++)
		at += (size_t)print_rate(ret_text + at, size - at, at ? ", " : "", meter->rate[way], names[way]);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/acts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "tests/torture/ledger.h"
#include "tests/torture/shared.h"
#include "tests/torture/trace.h"

#define TIME_LEN 40

/* A time as the journal has it: such texts compare as the times do. */
static struct act {
	char from[TIME_LEN], to[TIME_LEN];
	int c;
	unsigned seen, step;
} *acts;
static size_t n_acts, cap;

static void text_of(int64_t ns, char text[TIME_LEN])
{
	time_t sec = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t len;

	if (!gmtime_r(&sec, &tm))
		trace_fail("no time");
	len = strftime(text, TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + len, TIME_LEN - len, ".%09dZ", (int)(ns % 1000000000));
}

int64_t act_begin(void)
{
	return clock_ns(clock_wall());
}

void act_end(int c, int64_t began_ns, unsigned seen)
{
	struct act *act;

	if (n_acts == cap) {
		cap = cap ? 2 * cap : 256;
		acts = realloc(acts, cap * sizeof(*acts));
		if (!acts)
			trace_fail("no memory");
	}
	act = &acts[n_acts++];
	*act = (struct act){ .c = c, .seen = seen, .step = trace_now() };
	text_of(began_ns, act->from);
	text_of(clock_ns(clock_wall()), act->to);
}

/* ---- in the end ---- */

/* Of which version is the content that the entry took away?  0: it took none. */
static json_int_t version_taken(const json_t *entry)
{
	const json_t *version = json_object_get(entry, "replaced_base");

	return json_integer_value(version ? version : json_object_get(entry, "data_base"));
}

static const json_t *entry_at(const json_t *journal, json_int_t position)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(journal, i, entry)
		if (json_integer_value(json_object_get(entry, "position")) == position)
			return entry;
	return NULL;
}

static bool is_local(const json_t *entry)
{
	return !json_integer_value(json_object_get(entry, "seq"));
}

/* As far as that version's entry tells: could it be that content? */
static bool could_be(const json_t *entry, unsigned content)
{
	json_int_t position = json_integer_value(json_object_get(entry, "position"));
	const json_t *after;
	size_t i;

	if (content == LEDGER_NONE || is_local(entry) != (ledger_writer(content) == SHARED_LOCAL))
		return false;
	json_array_foreach(json_object_get(entry, "after"), i, after)
		if (json_integer_value(json_object_get(after, "data_version")) == position &&
		    json_integer_value(json_object_get(after, "size")) == (json_int_t)ledger_size(content))
			return true;
	return false;
}

/* Did a record that was made in the act take the content away, and not what was looked at? */
static bool did_take(const struct act *act, const json_t *journal, unsigned content)
{
	const json_t *entry, *made;
	size_t i;

	json_array_foreach(journal, i, entry) {
		const char *time = json_string_value(json_object_get(entry, "time"));

		if (!time || is_local(entry) || strcmp(time, act->from) < 0 || strcmp(time, act->to) > 0 || !version_taken(entry))
			continue;
		made = entry_at(journal, version_taken(entry));
		if (made && could_be(made, content) && !could_be(made, act->seen))
			return true;
	}
	return false;
}

void acts_explain(const json_t *journal)
{
	for (unsigned content = 0; (content = ledger_next_missing(content)) != LEDGER_NONE;) {
		for (size_t i = 0; i < n_acts; i++) {
			const struct act *act = &acts[i];

			if (!did_take(act, journal, content))
				continue;
			trace("content #%06u came just then, in step %u, when %d took away what he saw as #%06u", content, act->step, act->c,
			      act->seen);
			ledger_superseded(content, act->c, "came just then");
			break;
		}
	}
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/bandwidth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cmd/key.h"

#define RATE_MIN 1024u

/* "HH:MM", which *io moves behind; "24:00" is the end of the day. */
static int parse_time(const char **io, unsigned *ret_minute)
{
	const char *s = *io;
	unsigned minute;

	for (int i = 0; i < 5; i++)
		if (i == 2 ? s[i] != ':' : s[i] < '0' || s[i] > '9')
			return -EINVAL;
	minute = (unsigned)((s[0] - '0') * 10 + s[1] - '0') * 60 + (unsigned)((s[3] - '0') * 10 + s[4] - '0');
	if (s[3] > '5' || minute > BANDWIDTH_DAY)
		return -EINVAL;
	*io += 5;
	*ret_minute = minute;
	return 0;
}

/* "HH:MM-HH:MM"; the two are not the same time, which could mean all day or never. */
static int parse_times(const char *word, struct bandwidth *limit)
{
	int err = parse_time(&word, &limit->from);
	bool is_all_day;

	if (!err)
		err = *word++ == '-' ? parse_time(&word, &limit->to) : -EINVAL;
	if (err || *word)
		return -EINVAL;
	is_all_day = !limit->from && limit->to == BANDWIDTH_DAY;
	limit->from %= BANDWIDTH_DAY;
	return limit->from == limit->to % BANDWIDTH_DAY && !is_all_day ? -EINVAL : 0;
}

static int parse_word(const char *word, struct bandwidth *limit, unsigned *io_seen)
{
	bool is_up = !strncmp(word, "up=", 3), is_down = !strncmp(word, "down=", 5);
	unsigned bit = is_up ? 1 : is_down ? 2 : 4;
	int err;

	if (*io_seen & bit)
		return -EINVAL;
	if (is_up)
		err = key_parse_size(word + 3, RATE_MIN, &limit->up);
	else if (is_down)
		err = key_parse_size(word + 5, RATE_MIN, &limit->down);
	else
		err = *io_seen ? -EINVAL : parse_times(word, limit);
	*io_seen |= bit;
	return err;
}

int bandwidth_parse(const char *value, struct config_limits *limits)
{
	struct bandwidth limit = { 0 }, *more;
	unsigned seen = 0;

	while (*(value += strspn(value, " \t"))) {
		size_t len = strcspn(value, " \t");
		char word[32];

		if (len >= sizeof(word))
			return -EINVAL;
		memcpy(word, value, len);
		word[len] = '\0';
		if (parse_word(word, &limit, &seen))
			return -EINVAL;
		value += len;
	}
	limit.has_times = seen & 4;
	if (!(seen & 3))
		return -EINVAL;
	for (size_t i = 0; !limit.has_times && i < limits->n; i++)
		if (!limits->v[i].has_times)
			return -EINVAL;
	more = realloc(limits->v, (limits->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	limits->v = more;
	more[limits->n++] = limit;
	return 0;
}

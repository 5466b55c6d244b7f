/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What people and scripts are told: text, exit status, progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cmd/progress.h"
#include "cmd/report.h"

static const struct exit_case {
	const char *name, *trees;
	int want;
} exit_cases[] = {
	{ "fine", "[{'state':'connected','records':0}]", REPORT_FINE },
	{ "waiting", "[{'state':'connected','records':1}]", REPORT_WAITING },
	{ "waiting without a link", "[{'state':'disconnected','records':1}]", REPORT_WAITING },
	{ "held is not fine", "[{'state':'connected','records':0,'held':'x'}]", REPORT_WAITING },
	{ "offline", "[{'state':'offline','records':0}]", REPORT_UNLINKED },
	{ "a weak link is one", "[{'state':'weak','records':0}]", REPORT_FINE },
	{ "waiting by intention is waiting", "[{'state':'weak','records':1,'waits_for':'x'}]", REPORT_WAITING },
	{ "conflicts before waiting", "[{'state':'connected','records':1,'conflicts':1}]", REPORT_CONFLICTS },
	{ "failed before conflicts", "[{'state':'connected','conflicts':1,'failure':'x'}]", REPORT_FAILED },
	{ "the worst tree", "[{'state':'connected'},{'state':'connected','records':2},{'state':'offline'}]", REPORT_WAITING },
};

static void exits(void **state)
{
	const struct exit_case *c = *state;
	AUTO_FREE char *text = strdup(c->trees);
	json_t *status;

	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	status = json_pack("{s:o}", "trees", json_loads(text, 0, NULL));
	assert_non_null(status);
	assert_int_equal(report_exit(status), c->want);
	json_decref(status);
}

static void numbers(void **state)
{
	char text[REPORT_TEXT];

	(void)state;
	assert_string_equal(report_bytes(text, 0), "0 bytes");
	assert_string_equal(report_bytes(text, 1023), "1023 bytes");
	assert_string_equal(report_bytes(text, 1536), "1.5 KiB");
	assert_string_equal(report_bytes(text, 5ull << 30), "5.0 GiB");
	assert_string_equal(report_bytes(text, UINT64_MAX), "16.0 EiB");
	assert_string_equal(report_age(text, 59), "59 s");
	assert_string_equal(report_age(text, 3599), "59 min");
	assert_string_equal(report_age(text, 7260), "2 h 1 min");
	assert_string_equal(report_age(text, 3 * 86400), "3 days");
}

static void names_cannot_write_to_the_terminal(void **state)
{
	json_t *conflicts = json_pack("[{s:s, s:i, s:s, s:s}]", "tree", "t", "when_s", 1, "path",
				      "a\033[2Jb", "what", "w\nx");
	char *data;
	size_t len;
	FILE *out = open_memstream(&data, &len);

	(void)state;
	report_conflicts(out, conflicts);
	fclose(out);
	assert_non_null(strstr(data, "a?[2Jb"));
	assert_non_null(strstr(data, "w?x"));
	free(data);
	json_decref(conflicts);
}

static const struct link_case {
	const char *tree, *want;
} link_cases[] = {
	{ "{'state':'weak','since_s':3,'reason':'slow','link':'auto','round_trip_us':812000,'up_rate':38912,'down_limit':1048576}",
	  "  link       weak for 3 s: slow\n  measured   round trip 812.0 ms, 38.0 KiB/s up; limited to 1.0 MiB/s down\n"
	  "  position   0, upstream's 0\n" },
	{ "{'state':'connected','since_s':3,'link':'paid'}", "  link       connected for 3 s; paid for\n  position " },
	{ "{'state':'connected','up_limit':1024,'down_limit':2048}", "  measured   nothing yet; limited to 1.0 KiB/s up, 2.0 KiB/s down\n" },
	{ "{'state':'weak','records':2,'waits_for':'until then'}", "for 0 s\n             until then\n" },
	{ "{'state':'weak','records':2,'waits_for':'until then','held':'no'}", "for 0 s\n  held       no\n" },
};

static void link_in_words(void **state)
{
	const struct link_case *c = *state;
	AUTO_FREE char *text = strdup(c->tree);
	json_t *status;
	char *data;
	size_t len;
	FILE *out = open_memstream(&data, &len);

	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	status = json_pack("{s:[o]}", "trees", json_loads(text, 0, NULL));
	assert_non_null(status);
	report_status(out, status);
	fclose(out);
	if (!strstr(data, c->want))
		fail_msg("%s", data);
	free(data);
	json_decref(status);
}

static void progress_fits(void **state)
{
	const struct progress_at at = { 25, 75, 1 << 20, 3 << 20 };
	char line[201];

	(void)state;
	progress_line(line, sizeof(line), &at, 2 * US_PER_S, 120);
	assert_non_null(strstr(line, "[=========="));
	assert_non_null(strstr(line, " 25 %  25 of 100 records  1.0 MiB of 4.0 MiB  512.0 KiB/s"));
	for (unsigned width = 2; width <= 200; width++) {
		progress_line(line, sizeof(line), &at, 0, width);
		assert_true(strlen(line) < width);
	}
}

/* All bytes sent is not all done while empty files wait, nor the other way round. */
static void progress_shows_the_part_behind(void **state)
{
	const struct progress_at files = { 1, 3, 100, 0 }, content = { 3, 0, 50, 50 },
				 nothing = { 0 };
	char line[201];

	(void)state;
	progress_line(line, sizeof(line), &files, 1, 40);
	assert_non_null(strstr(line, " 25 %"));
	progress_line(line, sizeof(line), &content, 1, 40);
	assert_non_null(strstr(line, " 50 %"));
	progress_line(line, sizeof(line), &nothing, 1, 40);
	assert_non_null(strstr(line, "100 %"));
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_SIZE(exit_cases) + ARRAY_SIZE(link_cases) + 4];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(exit_cases); i++)
		tests[n++] = (struct CMUnitTest){ exit_cases[i].name, exits, NULL, NULL,
						  (void *)&exit_cases[i] };
	for (size_t i = 0; i < ARRAY_SIZE(link_cases); i++)
		tests[n++] = (struct CMUnitTest){ link_cases[i].want, link_in_words, NULL, NULL, (void *)&link_cases[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(numbers);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(names_cannot_write_to_the_terminal);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(progress_fits);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(progress_shows_the_part_behind);
	return _cmocka_run_group_tests("report", tests, n, NULL, NULL);
}

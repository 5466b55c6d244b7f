/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --top shows of two looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cmd/top.h"

static json_t *parse(const char *from)
{
	AUTO_FREE char *text = strdup(from);
	json_error_t wrong;
	json_t *json;

	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	json = json_loads(text, 0, &wrong);
	if (!json)
		print_error("%s\n", wrong.text);
	assert_non_null(json);
	return json;
}

/* 2 s lie between them.  READ: 20 calls, of 10 to 11 us but for one of 5 ms; the ones before were slower. */
static const char before[] =
	"{'version':'1','pid':7,'listen':'x','uptime_s':60,'trees':[],'nfs':{'connections':1,'bytes_in':1000,'bytes_out':0},"
	"'calls':{'at_us':1000000,'slow':3,'under_way':0,'procedures':["
	"{'program':'NFS','name':'READ','calls':5,'errors':0,'max_us':9000000,'latency':[[9437183,5]]},"
	"{'program':'NFS','name':'NULL','calls':7,'errors':0,'max_us':1,'latency':[[1,7]]}]}}";
static const char after[] =
	"{'version':'1','pid':7,'listen':'x','uptime_s':62,'trees':["
	"{'name':'imports','export':'/imports','state':'disconnected','reason':'nobody there\\u001b[2J','records':3,'bytes':2048,"
	"'conflicts':2}],"
	"'nfs':{'connections':4,'bytes_in':5096,'bytes_out':2097152},"
	"'calls':{'at_us':3000000,'slow':5,'under_way':2,'procedures':["
	"{'program':'NFS','name':'READ','calls':25,'errors':4,'max_us':9000000,'latency':[[11,19],[5119,1],[9437183,5]]},"
	"{'program':'NFS','name':'NULL','calls':7,'errors':0,'max_us':1,'latency':[[1,7]]},"
	"{'program':'MOUNT','name':'MNT','calls':40,'errors':0,'max_us':150,'latency':[[159,40]]}]}}";

static char *printed(const char *one, const char *two, unsigned rows, unsigned columns)
{
	struct top_screen screen = { .rows = rows, .columns = columns, .line_end = "\n" };
	json_t *was = parse(one), *is = parse(two);
	char *text;
	size_t len;

	screen.out = open_memstream(&text, &len);
	assert_non_null(screen.out);
	top_print(&screen, was, is);
	fclose(screen.out);
	json_decref(was);
	json_decref(is);
	return text;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void an_interval(void **state)
{
	AUTO_FREE char *text = printed(before, after, 0, 0);
	const char *mnt, *read;

	(void)state;
	assert_has(text, "/imports: disconnected, 3 records, 2.0 KiB wait, 2 conflicts; nobody there?[2J\n");
	assert_has(text, "under way 2  connections 4  in 2.0 KiB/s  out 1.0 MiB/s  slow 2 ");
	mnt = strstr(text, "MOUNT MNT                  20.0        0.0     150 us     150 us     150 us");
	read = strstr(text, "NFS READ                   10.0        2.0      11 us     5.1 ms     5.1 ms");
	if (!mnt || !read)
		fail_msg("%s", text);
	assert_true(mnt < read);	/* called most first */
	assert_null(strstr(text, "NULL"));
}

/* A look that is of another process than the one before: its counters are all new. */
static void a_restart_in_between(void **state)
{
	AUTO_FREE char *text = printed(after, before, 0, 0);

	(void)state;
	assert_has(text, "NFS READ                    5.0");
}

static void a_small_terminal(void **state)
{
	AUTO_FREE char *text = printed(before, after, 5, 30);
	unsigned lines = 1;

	(void)state;
	for (const char *p = text, *end; (end = strchr(p, '\n')); p = end + 1, lines++)
		assert_true(end - p <= 30);
	assert_int_equal(lines, 5);
	assert_true(strlen(strrchr(text, '\n') + 1) == 30);	/* the heads of the columns, cut */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interval),
		cmocka_unit_test(a_restart_in_between),
		cmocka_unit_test(a_small_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define ROWS_MAX 64
#define COLUMN 30	/* where --help's explanations begin */

/* What getopt_long() gives for a row without a letter, and for the two options that every program has. */
enum { FIRST_ROW = 1000, OPTION_HELP = 2000, OPTION_VERSION };

static void print_row(const struct option_row *row)
{
	const char *help = row->help, *end;
	int n;

	n = printf("  %c%c%c --%s%s%s", row->letter ? '-' : ' ', row->letter ? row->letter : ' ',
		   row->letter ? ',' : ' ', row->name, row->arg ? " " : "",
		   row->arg ? row->arg : "");
	if (n > COLUMN - 2) {
		printf("\n");
		n = 0;
	}
	for (; (end = strchr(help, '\n')); help = end + 1, n = 0)
		printf("%*s%.*s\n", COLUMN - n, "", (int)(end - help), help);
	printf("%*s%s\n", COLUMN - n, "", help);
}

static void print_help(const struct options *options)
{
	static const struct option_row always[] = {
		{ "help", 'h', NULL, "show this and exit", NULL },
		{ "version", 'V', NULL, "show the version and exit", NULL },
	};

	printf("usage: %s %s\n%s\n\n", options->program, options->usage, options->about);
	for (size_t i = 0; i < options->n; i++)
		print_row(&options->rows[i]);
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		print_row(&always[i]);
	printf("\nMore in the manual: man 8 %s\n", options->program);
}

static int say_usage(const struct options *options)
{
	fprintf(stderr, "usage: %s %s\n'%s --help' explains the options\n", options->program,
		options->usage, options->program);
	return -EINVAL;
}

static const struct option_row *find_row(const struct options *options, int got)
{
	if (got >= FIRST_ROW && got < FIRST_ROW + ROWS_MAX)
		return &options->rows[got - FIRST_ROW];
	for (size_t i = 0; i < options->n; i++)
		if (options->rows[i].letter == got)
			return &options->rows[i];
	return NULL;
}

static void make_tables(const struct options *options, struct option longs[ROWS_MAX + 3],
			char shorts[3 * ROWS_MAX + 8])
{
	size_t i, at;

	at = (size_t)snprintf(shorts, 4, "hV");
	for (i = 0; i < options->n && i < ROWS_MAX; i++) {
		const struct option_row *row = &options->rows[i];

		longs[i] = (struct option){ row->name, row->arg ? required_argument : no_argument,
					    NULL, FIRST_ROW + (int)i };
		if (row->letter)
			shorts[at++] = row->letter;
		if (row->letter && row->arg)
			shorts[at++] = ':';
	}
	shorts[at] = '\0';
	longs[i++] = (struct option){ "help", no_argument, NULL, OPTION_HELP };
	longs[i++] = (struct option){ "version", no_argument, NULL, OPTION_VERSION };
	longs[i] = (struct option){ NULL, 0, NULL, 0 };
}

int options_parse(const struct options *options, int argc, char **argv, void *target,
		  int *ret_first)
{
	struct option longs[ROWS_MAX + 3];
	char shorts[3 * ROWS_MAX + 8];
	const struct option_row *row;
	const char *wrong;
	int got;

	make_tables(options, longs, shorts);
	optind = 0;	/* from the start, also when called again */
	while ((got = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (got == 'h' || got == OPTION_HELP) {
			print_help(options);
			return OPTIONS_DONE;
		}
		if (got == 'V' || got == OPTION_VERSION) {
			printf("%s %s\n", options->program, IZO_VERSION);
			return OPTIONS_DONE;
		}
		row = find_row(options, got);
		if (!row)
			return say_usage(options);	/* getopt has said what is wrong */
		wrong = row->set(target, optarg);
		if (wrong) {
			fprintf(stderr, "%s: --%s %s: %s\n", options->program, row->name,
				optarg ? optarg : "", wrong);
			return say_usage(options);
		}
	}
	if (argc - optind > options->max_args) {
		fprintf(stderr, "%s: too many arguments: %s\n", options->program,
			argv[optind + options->max_args]);
		return say_usage(options);
	}
	*ret_first = optind;
	return 0;
}

static int parse_port(const char *text, in_port_t *ret_port)
{
	unsigned long port;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	port = strtoul(text, &end, 10);
	if (*end || errno || port > 65535)
		return -EINVAL;
	*ret_port = htons((in_port_t)port);
	return 0;
}

int options_address(const char *text, struct sockaddr_storage *ret_addr, socklen_t *ret_len)
{
	struct sockaddr_storage addr = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len;

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -EINVAL;
	len = (size_t)(colon - text);
	memcpy(host, text, len);
	host[len] = '\0';
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		addr.ss_family = AF_INET6;
		if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1 ||
		    parse_port(colon + 1, &in6->sin6_port))
			return -EINVAL;
		*ret_len = sizeof(*in6);
	} else {
		addr.ss_family = AF_INET;
		if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1",
			      &in->sin_addr) != 1 ||
		    parse_port(colon + 1, &in->sin_port))
			return -EINVAL;
		*ret_len = sizeof(*in);
	}
	*ret_addr = addr;
	return 0;
}

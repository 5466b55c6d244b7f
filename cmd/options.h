/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options: a program's command line as a table, one row per option; --help is made from the table.
 *
 * --help and --version are always there and need no row.  Short options only where a row has a letter.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stddef.h>
#include <sys/socket.h>

struct option_row {
	const char *name;	/* without the dashes */
	char letter;		/* 0: has none */
	const char *arg;	/* what --help calls its argument; NULL: takes none */
	const char *help;	/* one line, or more with \n between */
	/*
	 * Takes the value over into target; value lives as long as argv, and is NULL when there is no argument.
	 * Gives NULL, or what is wrong with it ("is not ADDR:PORT"), which must live for ever.
	 */
	const char *(*set)(void *target, const char *value);
};

struct options {
	const char *program;
	const char *usage;	/* what follows the program's name: "[OPTION]... [DIR]" */
	const char *about;	/* one sentence */
	const struct option_row *rows;
	size_t n;
	int max_args;		/* arguments that are not options */
};

/*
 * 0: go on, *ret_first is the index in argv of the first argument that is no option (argv is permuted).
 * OPTIONS_DONE: --help or --version was printed; exit 0.
 * -EINVAL: what is wrong was printed to stderr, and how to go on; exit OPTIONS_EXIT_USAGE.
 */
#define OPTIONS_DONE 1
#define OPTIONS_EXIT_USAGE 2
int options_parse(const struct options *options, int argc, char **argv, void *target, int *ret_first);

/* "127.0.0.1:80", "[::1]:80", "localhost:80"; numbers only, no name service is asked.  0 or -EINVAL. */
int options_address(const char *text, struct sockaddr_storage *ret_addr, socklen_t *ret_len);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --top: looks at the daemon again and again and shows what went on in between; on a terminal until q or a signal,
 * else once.
 *
 * What is done to the terminal (a screen of its own, keys read one by one and not echoed, no cursor) is undone in
 * end_screen(), whatever the reason to end.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cmd/command.h"
#include "cmd/ctl.h"
#include "cmd/top.h"

#define LOOK_WAIT_S 10

static volatile sig_atomic_t was_told;	/* to end */

static void note_signal(int signal)
{
	(void)signal;
	was_told = 1;
}

/* A connection for each look: between two of them the daemon would drop it, or be restarted. */
static int look(const char *control, const char *tree, json_t **ret_status, char **ret_why)
{
	struct ctl *ctl;
	json_t *answer;
	int err = ctl_open(control, &ctl, ret_why);

	if (err)
		return err;
	err = ctl_ask(ctl, command_request("top", tree), LOOK_WAIT_S, &answer, ret_why);
	ctl_close(ctl);
	if (err)
		return err;
	*ret_status = json_incref(json_object_get(answer, "status"));
	json_decref(answer);
	return 0;
}

/* ---- the terminal ---- */

static int begin_screen(struct termios *ret_before)
{
	const struct sigaction action = { .sa_handler = note_signal };	/* no SA_RESTART: poll() shall end */
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct termios keys;

	if (tcgetattr(STDIN_FILENO, ret_before) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaction(signals[i], &action, NULL);	/* fails for no signal that there is */
	keys = *ret_before;
	keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	keys.c_cc[VMIN] = 1;
	keys.c_cc[VTIME] = 0;
	keys.c_cc[VSUSP] = _POSIX_VDISABLE;	/* stopped, it would leave the terminal as it is */
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &keys) < 0)
		return -errno;
	printf("\033[?1049h\033[?25l");
	return 0;
}

static void end_screen(const struct termios *before)
{
	printf("\033[?25h\033[?1049l");
	(void)fflush(stdout);	/* a terminal that is gone needs no restoring */
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, before);
}

static int draw(const json_t *before, const json_t *now)
{
	struct top_screen screen = { .out = stdout, .line_end = "\033[K\r\n" };
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
		screen.rows = size.ws_row;
		screen.columns = size.ws_col;
	}
	printf("\033[H");
	top_print(&screen, before, now);
	printf("\033[K\033[J");
	return fflush(stdout) == EOF ? -EIO : 0;
}

/* Until then, or until it is to end. */
static void wait_for_key(uint64_t until_us)
{
	uint64_t now_us;
	char key;

	while (!was_told && (now_us = clock_us()) < until_us) {
		struct pollfd keys = { .fd = STDIN_FILENO, .events = POLLIN };

		if (poll(&keys, 1, (int)((until_us - now_us + US_PER_MS - 1) / US_PER_MS)) <= 0)
			continue;	/* a signal, or the time is over */
		if (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q')
			was_told = 1;
	}
}

/* ---- */

static int show_live(const char *control, const struct command_args *args, json_t **before, char **ret_why)
{
	uint64_t next_us = clock_us();
	struct termios terminal;
	json_t *now;
	int err = begin_screen(&terminal);

	if (err)
		return err;
	err = draw(*before, *before);	/* until there is something to compare: what is so now */
	while (!err) {
		next_us = MAX(next_us + args->interval_s * US_PER_S, clock_us());
		wait_for_key(next_us);
		if (was_told)
			break;
		err = look(control, args->tree, &now, ret_why);
		if (err)
			break;
		err = draw(*before, now);
		json_decref(*before);
		*before = now;
	}
	end_screen(&terminal);
	return err;
}

static int show_once(const char *control, const struct command_args *args, const json_t *before, char **ret_why)
{
	const struct top_screen screen = { .out = stdout, .line_end = "\n" };
	struct timespec left = { .tv_sec = args->interval_s };
	json_t *now;
	int err;

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
	err = look(control, args->tree, &now, ret_why);
	if (err)
		return err;
	top_print(&screen, before, now);
	printf("\n");
	json_decref(now);
	return 0;
}

int command_top(const char *control, const struct command_args *args)
{
	bool is_live = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	AUTO_FREE char *why = NULL;
	json_t *before = NULL;
	int err;

	err = look(control, args->tree, &before, &why);
	if (!err)
		err = is_live ? show_live(control, args, &before, &why) : show_once(control, args, before, &why);
	json_decref(before);
	if (!err)
		return EXIT_SUCCESS;
	fprintf(stderr, "izo-nfsd: %s\n", why ? why : strerror(-err));
	return EXIT_FAILURE;
}

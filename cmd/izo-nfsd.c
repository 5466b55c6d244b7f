/* SPDX-License-Identifier: GPL-2.0-or-later */
/* izo-nfsd: the command line; daemon.c is what serves, command.c what talks to it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cache/hoard.h"
#include "cmd/command.h"
#include "cmd/config.h"
#include "cmd/daemon.h"
#include "cmd/key.h"
#include "cmd/options.h"

#define COMPONENTS "rpc,nfs,cache,cml,link,replay,pull,fetch,http"
#define TOP_MAX_S 3600

/* What was given; strings are argv's.  It overrides the file, so it is applied when that has been read. */
struct given {
	const char *config, *upstream, *cache, *export, *listen, *durability, *pid_file, *control,
		*trace;
	bool no_rpcbind, allow_unprivileged_ports, is_foreground;
	struct command_args command;
};

#define TAKE(field) \
	static const char *take_##field(void *target, const char *value) \
	{ \
		((struct given *)target)->field = value; \
		return NULL; \
	}
#define FLAG(field) \
	static const char *take_##field(void *target, const char *value) \
	{ \
		(void)value; \
		((struct given *)target)->field = true; \
		return NULL; \
	}
TAKE(config)
TAKE(upstream)
TAKE(cache)
TAKE(export)
TAKE(listen)
TAKE(durability)
TAKE(pid_file)
TAKE(control)
TAKE(trace)
FLAG(no_rpcbind) FLAG(allow_unprivileged_ports) FLAG(is_foreground)

#define COMMAND(name, number) \
	static const char *take_##name(void *target, const char *value) \
	{ \
		struct given *given = target; \
		(void)value; \
		if (given->command.command && given->command.command != (number)) \
			return "cannot stand beside another command"; \
		given->command.command = (number); \
		return NULL; \
	}
COMMAND(offline, COMMAND_OFFLINE) COMMAND(online, COMMAND_ONLINE) COMMAND(status, COMMAND_STATUS)
COMMAND(check, COMMAND_CHECK) COMMAND(sync, COMMAND_SYNC) COMMAND(conflicts, COMMAND_CONFLICTS) COMMAND(log, COMMAND_LOG)
COMMAND(kept, COMMAND_KEPT) COMMAND(top, COMMAND_TOP) COMMAND(hoard_list, COMMAND_HOARD_LIST)

static const char *take_debug(void *target, const char *value)
{
	struct given *given = target;

	if (given->command.command && given->command.command != COMMAND_DEBUG)
		return "cannot stand beside another command";
	if (!*value || log_trace_check(value))
		return "is not all, none, or a list of " COMPONENTS;
	given->command.command = COMMAND_DEBUG;
	given->command.debug = value;
	return NULL;
}

/* A command with a file. */
static const char *take_file(void *target, enum command command, const char *value)
{
	struct given *given = target;

	if (given->command.command)
		return "cannot stand beside another command";
	if (!*value)
		return "is not a file's name";
	given->command.command = command;
	given->command.file = value;
	return NULL;
}

static const char *take_export_log(void *target, const char *value)
{
	return take_file(target, COMMAND_EXPORT, value);
}

static const char *take_replay_log(void *target, const char *value)
{
	return take_file(target, COMMAND_REPLAY, value);
}

/* A command with an argument. */
static const char *take_path(struct given *given, enum command command, const char *value)
{
	if (given->command.command && given->command.command != command)
		return "cannot stand beside another command";
	if (!*value)
		return "is empty";
	given->command.command = command;
	given->command.path = value;
	return NULL;
}

static const char *take_resolve(void *target, const char *value)
{
	return take_path(target, COMMAND_RESOLVE, value);
}

static const char *take_diff(void *target, const char *value)
{
	return take_path(target, COMMAND_DIFF, value);
}

static const char *take_forget(void *target, const char *value)
{
	if (strcmp(value, "all") && (*value < '1' || *value > '9' || value[strspn(value, "0123456789")]))
		return "is not the number of what is kept, or all";
	return take_path(target, COMMAND_FORGET, value);
}

static const char *take_link(void *target, const char *value)
{
	enum link_kind kind;

	if (strcmp(value, LINK_CONFIGURED) && key_parse_link(value, &kind))
		return "is not auto, weak, strong, paid or " LINK_CONFIGURED;
	return take_path(target, COMMAND_LINK, value);
}

/* As --status gives it. */
static const char *take_accept(void *target, const char *value)
{
	const char *at = strrchr(value, '@');

	if (!at || at == value || at[1] < '0' || at[1] > '9' || at[1 + strspn(at + 1, "0123456789")])
		return "is not an upstream's identity and position, ID@POSITION, as --status shows them";
	return take_path(target, COMMAND_ACCEPT, value);
}

static const char *take_keep(void *target, const char *value)
{
	if (strcmp(value, "mine") && strcmp(value, "theirs") && strcmp(value, "both") && strcmp(value, "merged"))
		return "is not mine, theirs, both or merged";
	((struct given *)target)->command.keep = value;
	return NULL;
}

static const char *take_json(void *target, const char *value)
{
	(void)value;
	((struct given *)target)->command.is_json = true;
	return NULL;
}

static const char *take_repair(void *target, const char *value)
{
	(void)value;
	((struct given *)target)->command.repair = true;
	return NULL;
}

static const char *take_hoard(void *target, const char *value)
{
	return take_path(target, COMMAND_HOARD, value);
}

static const char *take_unhoard(void *target, const char *value)
{
	return take_path(target, COMMAND_UNHOARD, value);
}

static const char *take_number(const char *value, unsigned min, unsigned max, unsigned *ret)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || n < min || n > max)
		return "is not a number that is allowed there";
	*ret = (unsigned)n;
	return NULL;
}

static const char *take_depth(void *target, const char *value)
{
	struct command_args *command = &((struct given *)target)->command;

	if (command->has_depth)
		return "stands beside another depth";
	command->has_depth = true;
	return take_number(value, 0, KEY_DEPTH_MAX, &command->depth);
}

static const char *take_recursive(void *target, const char *value)
{
	struct command_args *command = &((struct given *)target)->command;

	(void)value;
	if (command->has_depth)
		return "stands beside another depth";
	command->has_depth = true;
	command->depth = HOARD_ALL;
	return NULL;
}

static const char *take_priority(void *target, const char *value)
{
	return take_number(value, 1, HOARD_PRIORITY_MAX, &((struct given *)target)->command.priority);
}

static const char *take_tree(void *target, const char *value)
{
	((struct given *)target)->command.tree = value;
	return NULL;
}

static const struct option_row rows[] = {
	{ "config", 'c', "FILE", "read FILE instead of " CONFIG_PATH, take_config },
	{ "foreground", 'f', NULL, "stay in the foreground, messages to stderr", take_is_foreground },
	{ "upstream", 0, "URL", "the server of the tree (default http://127.0.0.1:8642/)", take_upstream },
	{ "cache", 0, "DIR", "where its cache is (default /var/cache/izo/imports)", take_cache },
	{ "export", 0, "PATH", "the path that mount names (default /imports)", take_export },
	{ "listen", 0, "ADDR:PORT", "serve NFS there (default 127.0.0.1:2049)", take_listen },
	{ "no-rpcbind", 0, NULL, "do not register with rpcbind", take_no_rpcbind },
	{ "allow-unprivileged-ports", 0, NULL, "believe programs of any user (for tests: any user\n"
	  "may then claim to be any other)", take_allow_unprivileged_ports },
	{ "durability", 0, "sync|async", "what an answered change survives: a power cut (sync,\n"
	  "the default), or only the daemon's end (async)", take_durability },
	{ "pid-file", 0, "FILE", "write the process id there", take_pid_file },
	{ "control", 0, "SOCKET", "the control socket (default " CONFIG_CONTROL ")", take_control },
	{ "trace", 0, "NAMES", "write debugging messages of components from the start:\n" COMPONENTS ",\n"
	  "or all", take_trace },
	{ "offline", 0, NULL, "tell the daemon to work without the server until --online", take_offline },
	{ "online", 0, NULL, "tell the daemon to use the server again", take_online },
	{ "status", 0, NULL, "show the link, what waits, the cache, conflicts", take_status },
	{ "sync", 0, NULL, "replay what waits now; ends when nothing waits", take_sync },
	{ "link", 0, "KIND", "what the link is from now on: auto (weak or not is measured),\n"
	  "weak, strong, paid (only what is asked for goes over it), or\n"
	  "configured", take_link },
	{ "conflicts", 0, NULL, "list what was changed on both sides", take_conflicts },
	{ "resolve", 0, "PATH", "settle the conflict about PATH, as --keep says", take_resolve },
	{ "keep", 0, "WHICH", "with --resolve: mine (ours takes the name, or is done),\n"
	  "theirs (ours goes), both (as it is now), merged (what the\n"
	  "command for such names makes of both)", take_keep },
	{ "diff", 0, "PATH", "compare ours with the server's version", take_diff },
	{ "kept", 0, NULL, "list what lost when conflicts were settled", take_kept },
	{ "forget", 0, "ID|all", "remove what --kept lists under that number", take_forget },
	{ "log", 0, NULL, "list the changes that wait to be replayed, oldest first", take_log },
	{ "export-log", 0, "FILE", "write these changes with their contents to FILE, for another\n"
	  "machine to replay; with no daemon: from the cache", take_export_log },
	{ "replay-log", 0, "FILE", "send the changes in FILE to the server, each of them once,\n"
	  "however often it is done", take_replay_log },
	{ "accept-upstream", 0, "ID@POSITION", "go on with the server that answers now, though it is another\n"
	  "one than this cache knows, or was put back, as --status says", take_accept },
	{ "check", 0, NULL, "look through the cache, which no daemon may have", take_check },
	{ "repair", 0, NULL, "with --check: mend what is wrong; what belongs nowhere goes\n"
	  "to lost+found in the cache's directory", take_repair },
	{ "top", 0, NULL, "show calls and their latencies as they come; --top SECONDS:\n"
	  "every so many, not every second", take_top },
	{ "debug", 0, "NAMES", "let the daemon write debugging messages of components, as\n"
	  "--trace names them, or of none", take_debug },
	{ "hoard", 0, "PATH", "keep what is at PATH in the cache, for when there is no server", take_hoard },
	{ "depth", 0, "N", "with --hoard: so many directories deep (default 1: what is\n"
	  "directly in PATH)", take_depth },
	{ "recursive", 0, NULL, "with --hoard: everything below", take_recursive },
	{ "priority", 0, "N", "with --hoard: 1 to 1000, the highest is kept first (default 100)", take_priority },
	{ "unhoard", 0, "PATH", "the reverse of --hoard", take_unhoard },
	{ "hoard-list", 0, NULL, "list what is hoarded, and what of it is missing; exit status\n"
	  "6: something is", take_hoard_list },
	{ "json", 0, NULL, "with --status, --conflicts, --resolve, --kept, --log or\n"
	  "--hoard-list: as JSON", take_json },
	{ "tree", 0, "NAME", "with a command: of that tree only", take_tree },
};

static const struct options options = {
	.program = "izo-nfsd",
	.usage = "[OPTION]...",
	.about =
		"Serve a cached tree over NFS on this machine, connected or not; or talk to the daemon that does.",
	.rows = rows,
	.n = ARRAY_SIZE(rows),
	.max_args = 1,		/* of --top */
};

static int check_given(const struct given *given)
{
	if (given->command.is_json && given->command.command != COMMAND_STATUS &&
	    given->command.command != COMMAND_CONFLICTS && given->command.command != COMMAND_LOG &&
	    given->command.command != COMMAND_RESOLVE && given->command.command != COMMAND_KEPT &&
	    given->command.command != COMMAND_HOARD_LIST) {
		fprintf(stderr, "izo-nfsd: --json goes with --status, --conflicts, --resolve, --kept, --log or --hoard-list\n");
		return -EINVAL;
	}
	if (!given->command.keep != (given->command.command != COMMAND_RESOLVE)) {
		fprintf(stderr, "izo-nfsd: --resolve PATH and --keep mine, theirs, both or merged go together\n");
		return -EINVAL;
	}
	if ((given->command.has_depth || given->command.priority) && given->command.command != COMMAND_HOARD) {
		fprintf(stderr, "izo-nfsd: --depth, --recursive and --priority go with --hoard\n");
		return -EINVAL;
	}
	if (given->command.repair && given->command.command != COMMAND_CHECK) {
		fprintf(stderr, "izo-nfsd: --repair goes with --check\n");
		return -EINVAL;
	}
	if (given->command.tree && (!given->command.command || given->command.command == COMMAND_DEBUG)) {
		fprintf(stderr,
			"izo-nfsd: --tree goes with a command: --status, --sync, --offline, --online, --link, --conflicts, "
			"--resolve, --diff, --kept, --forget, --log, --top, --hoard, --unhoard, --hoard-list, --export-log, "
			"--replay-log, --accept-upstream, --check\n");
		return -EINVAL;
	}
	return 0;
}

/* The one argument that is no option: --top's. */
static int take_argument(struct given *given, const char *text)
{
	unsigned long n;
	char *end;

	given->command.interval_s = 1;
	if (!text)
		return 0;
	if (given->command.command != COMMAND_TOP) {
		fprintf(stderr, "izo-nfsd: too many arguments: %s\n", text);
		return -EINVAL;
	}
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || !n || n > TOP_MAX_S) {
		fprintf(stderr, "izo-nfsd: --top %s: is not a number of seconds from 1 to %d\n", text, TOP_MAX_S);
		return -EINVAL;
	}
	given->command.interval_s = (unsigned)n;
	return 0;
}

static int apply_options(struct config *config, const struct given *given, struct buf *errors)
{
	const struct {
		const char *value, *key, *option;
		bool is_tree;
	} values[] = {
		{ given->listen, "listen", "--listen", false },
		{ given->durability, "durability", "--durability", false },
		{ given->pid_file, "pid_file", "--pid-file", false },
		{ given->control, "control", "--control", false },
		{ given->trace, "debug", "--trace", false },
		{ given->no_rpcbind ? "no" : NULL, "rpcbind", "--no-rpcbind", false },
		{ given->allow_unprivileged_ports ? "yes" : NULL, "allow_unprivileged_ports",
		  "--allow-unprivileged-ports", false },
		{ given->upstream, "upstream", "--upstream", true },
		{ given->cache, "cache", "--cache", true },
		{ given->export, "export", "--export", true },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		int got = 0;

		if (!values[i].value)
			continue;
		if (values[i].is_tree)
			got = config_set_tree(config, values[i].key, values[i].value,
					      values[i].option, errors);
		else
			got = config_set(config, values[i].key, values[i].value, values[i].option,
					 errors);
		if (got)
			err = got;
	}
	/* It stands above what the file says, so above what the file says of one tree too. */
	for (size_t i = 0; given->durability && i < config->n_trees; i++)
		config->trees[i].has_durability = false;
	return err;
}

static int configure(struct config *config, const struct given *given)
{
	struct buf errors;
	int err, applied;

	err = config_init(config);
	if (err)
		return err;
	buf_init(&errors, 0);
	err = config_load(config, given->config ? given->config : CONFIG_PATH,
			  given->config != NULL, &errors);
	applied = apply_options(config, given, &errors);
	if (!err)
		err = applied;
	if (!err)
		err = config_check(config, &errors);
	for (size_t at = 0; at < errors.len;) {
		const char *line = (const char *)errors.data + at;
		const char *end = memchr(line, '\n', errors.len - at);
		size_t len = end ? (size_t)(end - line) : errors.len - at;

		log_error("%.*s", (int)len, line);
		at += len + 1;
	}
	if (err && !errors.len)
		log_error("the configuration cannot be taken in: %s", strerror(-err));
	buf_release(&errors);
	return err;
}

int main(int argc, char **argv)
{
	struct given given = { 0 };
	struct config config;
	int err, first, status;

	log_set_name("izo-nfsd");
	err = options_parse(&options, argc, argv, &given, &first);
	if (err == OPTIONS_DONE)
		return EXIT_SUCCESS;
	if (err || check_given(&given) || take_argument(&given, argv[first]))
		return OPTIONS_EXIT_USAGE;
	err = configure(&config, &given);
	if (err) {
		config_release(&config);
		return EXIT_FAILURE;
	}
	given.command.has_upstream = given.upstream != NULL;
	given.command.has_cache = given.cache != NULL;
	if (config.debug)
		(void)log_trace(config.debug);	/* was checked when it was set */
	status = given.command.command ? command_run(&config, &given.command) :
		 daemon_run(&config, given.is_foreground);
	config_release(&config);
	return status;
}

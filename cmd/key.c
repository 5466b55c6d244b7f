/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/key.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cache/base.h"
#include "cache/hoard.h"
#include "cmd/bandwidth.h"

/* ---- the keys ---- */

#define D(field) offsetof(struct config, field)
const struct key key_daemon[KEY_DAEMON_N] = {
	{ "listen",			KIND_LISTEN,	 D(listen_addr) },
	{ "rpcbind",			KIND_BOOL,	 D(rpcbind) },
	{ "allow_unprivileged_ports",	KIND_BOOL,	 D(allow_unprivileged_ports) },
	{ "allow_remote",		KIND_BOOL,	 D(allow_remote) },
	{ "durability",			KIND_DURABILITY, D(durability) },
	{ "control",			KIND_PATH,	 D(control) },
	{ "control_group",		KIND_GROUP,	 D(control_group) },
	{ "pid_file",			KIND_PATH,	 D(pid_file) },
	{ "debug",			KIND_TRACE,	 D(debug) },
	{ "diff",			KIND_COMMAND,	 D(diff) },
	{ "slow_call_ms",		KIND_COUNT,	 D(slow_call_ms), 0, 3600000 },
	{ "lookup_wait_s",		KIND_COUNT,	 D(lookup_wait_s), 1, 60 },
	{ "read_wait_s",		KIND_COUNT,	 D(read_wait_s), 1, 600 },
	{ "max_connections",		KIND_COUNT,	 D(max_connections), 1, 65535 },
	{ "max_calls",			KIND_COUNT,	 D(max_calls), 1, 1048576 },
	{ "max_calls_all",		KIND_COUNT,	 D(max_calls_all), 1, 1048576 },
};
#undef D

#define T(field) offsetof(struct config_tree, field)
const struct key key_tree[KEY_TREE_N] = {
	{ "upstream",	KIND_URL,	 T(upstream) },
	{ "cache",	KIND_PATH,	 T(cache) },
	{ "export",	KIND_PATH,	 T(export) },
	{ "read_only",	KIND_BOOL,	 T(is_read_only) },
	{ "squash",	KIND_SQUASH,	 T(squash) },
	{ "anonuid",	KIND_COUNT,	 T(anon_uid), 1, UINT32_MAX - 1 },
	{ "anongid",	KIND_COUNT,	 T(anon_gid), 1, UINT32_MAX - 1 },
	{ "durability",	KIND_DURABILITY, T(durability) },
	{ "host",	KIND_HOST,	 T(host) },
	{ "keep_records", KIND_BOOL,	 T(keeps_records) },
	{ "conflicts",	KIND_POLICY,	 T(conflicts) },
	{ "cache_limit", KIND_SIZE,	 T(cache_limit) },
	{ "disk_floor",	KIND_FLOOR,	 T(disk_floor) },
	{ "hoard",	KIND_HOARD,	 T(hoards) },
	{ "link",	KIND_LINK,	 T(link) },
	{ "aging_window_s", KIND_COUNT,	 T(aging_window_s), 0, 86400 },
	{ "bandwidth",	KIND_BANDWIDTH,	 T(limits) },
	{ "merge",	KIND_MERGE,	 T(merges) },
	{ "merge_time_s", KIND_COUNT,	 T(merge_time_s), 1, 3600 },
	{ "base_limit",	KIND_BASE_LIMIT, T(base_limit) },
};
#undef T

/* ---- values ---- */

static int replace(char **text, const char *value, size_t len)
{
	char *copy = strndup(value, len);

	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int parse_bool(const char *value, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcasecmp(value, yes[i]) || !strcasecmp(value, no[i])) {
			*ret = !strcasecmp(value, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_count(const char *value, unsigned min, unsigned max, unsigned *ret)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)*value))
		return -EINVAL;
	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret = (unsigned)n;
	return 0;
}

/* "127.0.0.1:2049", "[::1]:2049", "127.0.0.1" */
static int parse_listen(const char *value, char **addr, uint16_t *port)
{
	const char *host = value, *end = value + strcspn(value, ":"), *rest;
	struct in6_addr six;
	struct in_addr four;
	unsigned number = *port;
	char text[INET6_ADDRSTRLEN];
	bool is_six = *value == '[';

	if (is_six) {
		host = value + 1;
		end = strchr(host, ']');
		if (!end)
			return -EINVAL;
	}
	if ((size_t)(end - host) >= sizeof(text))
		return -EINVAL;
	memcpy(text, host, (size_t)(end - host));
	text[end - host] = '\0';
	if (!is_six && !strcmp(text, "localhost"))
		(void)strcpy(text, "127.0.0.1");	/* fits */
	if (is_six ? inet_pton(AF_INET6, text, &six) != 1 : inet_pton(AF_INET, text, &four) != 1)
		return -EINVAL;
	rest = is_six ? end + 1 : end;
	if (*rest && (*rest != ':' || parse_count(rest + 1, 0, UINT16_MAX, &number)))
		return -EINVAL;
	*port = (uint16_t)number;
	return replace(addr, text, strlen(text));
}

/* Absolute, without "." and "..", slashes at the end taken off: so that two of them can be compared. */
static int parse_path(const char *value, char **ret)
{
	size_t len = strlen(value);

	if (value[0] != '/' || len >= PATH_MAX || strstr(value, "//"))
		return -EINVAL;
	for (const char *p = value; (p = strchr(p, '/')); p++) {
		size_t part = strcspn(p + 1, "/");

		if ((part == 1 && p[1] == '.') || (part == 2 && p[1] == '.' && p[2] == '.'))
			return -EINVAL;
	}
	while (len > 1 && value[len - 1] == '/')
		len--;
	return replace(ret, value, len);
}

static int parse_url(const char *value, char **ret)
{
	const char *host = strstr(value, "://");

	if (!host || (strncmp(value, "http:", 5) && strncmp(value, "https:", 6)))
		return -EINVAL;
	host += 3;
	if (!*host || *host == '/' || *host == ':' || strpbrk(host, " \t?#"))
		return -EINVAL;
	return replace(ret, value, strlen(value));
}

static int parse_trace(const char *value, char **ret)
{
	int err = log_trace_check(value);

	return err ? err : replace(ret, value, strlen(value));
}

static int parse_durability(const char *value, enum durability *ret)
{
	if (strcmp(value, "sync") && strcmp(value, "async"))
		return -EINVAL;
	*ret = strcmp(value, "sync") ? DURABILITY_ASYNC : DURABILITY_SYNC;
	return 0;
}

const char *const key_squash_names[] = { "none", "root", "all" };

static int parse_squash(const char *value, enum nfsd_squash *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_squash_names); i++) {
		if (strcmp(value, key_squash_names[i]))
			continue;
		*ret = (enum nfsd_squash)i;
		return 0;
	}
	return -EINVAL;
}

static int parse_policy(const char *value, enum settle_policy *ret)
{
	static const char *const names[] = {
		[POLICY_KEEP_BOTH] = "keep-both", [POLICY_SERVER_WINS] = "server-wins", [POLICY_CLIENT_WINS] = "client-wins",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]))
			continue;
		*ret = (enum settle_policy)i;
		return 0;
	}
	return -EINVAL;
}

static int parse_host(const char *value, char **ret)
{
	size_t len = strlen(value);

	if (!len || len > 63 || value[0] == '.' || strspn(value, KEY_NAME_CHARS) != len)
		return -EINVAL;
	return replace(ret, value, len);
}

static int parse_group(const char *value, gid_t *ret)
{
	const struct group *group = getgrnam(value);	/* there are no other threads yet */

	if (!group)
		return -EINVAL;
	*ret = group->gr_gid;
	return 0;
}

const char *const key_link_names[LINK_KINDS] = {
	[LINK_KIND_AUTO] = "auto", [LINK_KIND_WEAK] = "weak", [LINK_KIND_STRONG] = "strong", [LINK_KIND_PAID] = "paid",
};

int key_parse_link(const char *value, enum link_kind *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_link_names); i++) {
		if (strcmp(value, key_link_names[i]))
			continue;
		*ret = (enum link_kind)i;
		return 0;
	}
	return -EINVAL;
}

int key_parse_size(const char *value, uint64_t min, uint64_t *ret)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned shift = 0;
	const char *unit;
	char *end;

	if (!strcmp(value, "none")) {
		*ret = 0;
		return 0;
	}
	if (!isdigit((unsigned char)*value))
		return -EINVAL;
	errno = 0;
	n = strtoull(value, &end, 10);
	unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (errno || *end || n > (uint64_t)INT64_MAX >> shift || n << shift < min)
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

/* "5%", or a size */
static int parse_floor(const char *value, struct config_floor *ret)
{
	size_t len = strlen(value);
	struct config_floor floor = { 0 };
	char digits[4];
	int err;

	if (len && len <= sizeof(digits) && value[len - 1] == '%') {
		memcpy(digits, value, len - 1);
		digits[len - 1] = '\0';
		err = parse_count(digits, 1, KEY_FLOOR_MAX, &floor.percent);
	} else {
		err = key_parse_size(value, KEY_SIZE_MIN, &floor.bytes);
	}
	if (!err)
		*ret = floor;
	return err;
}

/* The words in front of the path: each is one, at *io, which moves behind it. */
static int parse_hoard_word(const char **io, struct config_hoard *hoard)
{
	const char *word = *io;
	size_t len = strcspn(word, " \t"), name = strcspn(word, "= \t");
	char number[12];
	bool is_all = len == 9 && !strncmp(word, "recursive", len);

	*io = word + len;
	if (is_all) {
		hoard->depth = HOARD_ALL;
		return 0;
	}
	if (name >= len || len - name - 1 >= sizeof(number))
		return -EINVAL;
	memcpy(number, word + name + 1, len - name - 1);
	number[len - name - 1] = '\0';
	if (name == 5 && !strncmp(word, "depth", name))
		return parse_count(number, 0, KEY_DEPTH_MAX, &hoard->depth);
	if (name == 8 && !strncmp(word, "priority", name))
		return parse_count(number, 1, HOARD_PRIORITY_MAX, &hoard->priority);
	return -EINVAL;
}

/* "[recursive | depth=N] [priority=N] /PATH" */
static int parse_hoard(const char *value, struct config_hoards *hoards)
{
	struct config_hoard hoard = { .depth = HOARD_DEPTH, .priority = HOARD_PRIORITY }, *more;
	int err = 0;

	while (!err && *(value += strspn(value, " \t")) && *value != '/')
		err = parse_hoard_word(&value, &hoard);
	if (!err)
		err = parse_path(value, &hoard.path);
	if (err)
		return err;
	more = realloc(hoards->v, (hoards->n + 1) * sizeof(*more));
	if (!more) {
		free(hoard.path);
		return -ENOMEM;
	}
	hoards->v = more;
	more[hoards->n++] = hoard;
	return 0;
}

/* "PATTERN COMMAND" */
static int parse_merge(const char *value, struct config_merges *merges)
{
	size_t len = strcspn(value, " \t");
	const char *command = value + len + strspn(value + len, " \t");
	struct config_merge merge, *more;

	if (!len || !*command)
		return -EINVAL;
	more = realloc(merges->v, (merges->n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	merges->v = more;
	merge = (struct config_merge){ .pattern = strndup(value, len), .command = strdup(command) };
	if (!merge.pattern || !merge.command) {
		free(merge.pattern);
		free(merge.command);
		return -ENOMEM;
	}
	more[merges->n++] = merge;
	return 0;
}

static int parse_base_limit(const char *value, uint64_t *ret)
{
	uint64_t limit;
	int err = key_parse_size(value, 1, &limit);

	if (err || limit > BASE_LIMIT_MAX)
		return -EINVAL;
	*ret = limit;
	return 0;
}

int key_put(const struct key *key, void *base, const char *value)
{
	void *field = (char *)base + key->offset;

	switch (key->kind) {
	case KIND_PATH:
		return parse_path(value, field);
	case KIND_URL:
		return parse_url(value, field);
	case KIND_BOOL:
		return parse_bool(value, field);
	case KIND_COUNT:
		return parse_count(value, key->min, key->max, field);
	case KIND_LISTEN:
		return parse_listen(value, field, &((struct config *)base)->port);
	case KIND_DURABILITY:
		return parse_durability(value, field);
	case KIND_TRACE:
		return parse_trace(value, field);
	case KIND_HOST:
		return parse_host(value, field);
	case KIND_GROUP:
		return parse_group(value, field);
	case KIND_SQUASH:
		return parse_squash(value, field);
	case KIND_COMMAND:
		return *value ? replace(field, value, strlen(value)) : -EINVAL;
	case KIND_POLICY:
		return parse_policy(value, field);
	case KIND_SIZE:
		return key_parse_size(value, KEY_SIZE_MIN, field);
	case KIND_FLOOR:
		return parse_floor(value, field);
	case KIND_HOARD:
		return parse_hoard(value, field);
	case KIND_LINK:
		return key_parse_link(value, field);
	case KIND_BANDWIDTH:
		return bandwidth_parse(value, field);
	case KIND_MERGE:
		return parse_merge(value, field);
	case KIND_BASE_LIMIT:
		return parse_base_limit(value, field);
	}
	return -EINVAL;
}

void key_say_allowed(struct buf *out, const struct key *key)
{
	static const char *const texts[] = {
		[KIND_PATH] = "an absolute path without // . or ..",
		[KIND_URL] = "http://HOST[:PORT]/ or https://HOST[:PORT]/, with or without a path",
		[KIND_BOOL] = "yes or no",
		[KIND_LISTEN] =
			"ADDRESS[:PORT], the address in numbers, as 127.0.0.1:2049 or [::1]:2049",
		[KIND_DURABILITY] = "sync or async",
		[KIND_TRACE] =
			"all, none, or names separated by commas of rpc nfs cache cml link replay pull fetch http",
		[KIND_GROUP] = "the name of a group of this machine",
		[KIND_SQUASH] = "none, root or all",
		[KIND_COMMAND] = "a command, as /bin/sh takes it",
		[KIND_POLICY] = "keep-both, server-wins or client-wins",
		[KIND_SIZE] = "none, or a number with K, M, G or T, at least 1M",
		[KIND_FLOOR] = "none, a part as 5%, at most 50%, or a number with K, M, G or T, at least 1M",
		[KIND_HOARD] = "[recursive or depth=0 to 1000] [priority=1 to 1000] and a path from the tree's root, without // . or ..",
		[KIND_LINK] = "auto, weak, strong or paid",
		[KIND_BANDWIDTH] = "[HH:MM-HH:MM] [up=RATE] [down=RATE]: a time of day, then bytes a second with K, M or G, at least 1K, or "
				   "none; one line without a time",
		[KIND_MERGE] = "a pattern without blanks, and a command, as /bin/sh takes it",
		[KIND_BASE_LIMIT] = "none, or a number with K or M, at most 64M",
		[KIND_HOST] = "1 to 63 letters, digits, - _ and ., not a . first",
	};

	if (key->kind == KIND_COUNT)
		buf_printf(out, "a number from %u to %u", key->min, key->max);
	else
		buf_printf(out, "%s", texts[key->kind]);
}

bool key_is_list(const struct key *key)
{
	return key->kind == KIND_HOARD || key->kind == KIND_BANDWIDTH || key->kind == KIND_MERGE;
}

const struct key *key_find(const struct key *keys, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "cache/base.h"
#include "cmd/control.h"
#include "cmd/key.h"

#define FLOOR_BYTES (1ull << 30)	/* of the disk, by default: what a machine needs to go on */
#define FLOOR_PERCENT 5
#define MERGE_TIME_S 60
#define SECTION_MAX 48		/* libinih cuts what is longer */

/* ---- reading a file ---- */

_Static_assert(KEY_DAEMON_N <= KEYS_MAX && KEY_TREE_N <= KEYS_MAX, "reader.seen is too small");

struct reader {
	struct config *config;
	struct buf *errors;
	FILE *file;
	const char *path;
	unsigned line;			/* the one handed out last: what a handler call is about */
	unsigned daemon_line;		/* where [daemon] began; 0: not yet */
	uint32_t seen;			/* keys of the present section */
	struct config_tree *tree;	/* the present section, when it is a tree's */
	bool is_daemon;
	bool has_mistakes;
	bool is_out_of_memory;
};

static void __attribute__((format(printf, 2, 3)))
mistake(struct reader *reader, const char *format, ...)
{
	AUTO_FREE char *text = NULL;
	va_list args;
	int n;

	reader->has_mistakes = true;
	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		text = NULL;
	buf_printf(reader->errors, "%s:%u: %s\n", reader->path, reader->line,
		   text ? text : "mistake");
}

static struct config_tree *add_tree(struct config *config, const char *name)
{
	struct config_tree *more = realloc(config->trees, (config->n_trees + 1) * sizeof(*more));
	struct config_tree *tree;

	if (!more)
		return NULL;
	config->trees = more;
	tree = &more[config->n_trees];
	*tree = (struct config_tree){ .name = strdup(name), .disk_floor = { FLOOR_BYTES, FLOOR_PERCENT },
				      .aging_window_s = LINK_WINDOW_S, .merge_time_s = MERGE_TIME_S, .base_limit = BASE_LIMIT };
	if (!tree->name)
		return NULL;
	config->n_trees++;
	return tree;
}

static void begin_tree(struct reader *reader, const char *name)
{
	const struct config_tree *before = config_tree(reader->config, name);
	size_t len = strlen(name);

	if (!len || strspn(name, KEY_NAME_CHARS) != len || name[0] == '.') {
		mistake(reader,
			"\"%s\" cannot name a tree; allowed: letters, digits, - _ and ., not a . first",
			name);
		return;
	}
	if (before) {
		mistake(reader, "[tree %s] is here a second time; the first is at line %u", name,
			before->line);
		return;
	}
	if (reader->config->n_trees == CONFIG_TREES_MAX) {
		mistake(reader, "too many trees; allowed: %d", CONFIG_TREES_MAX);
		return;
	}
	reader->tree = add_tree(reader->config, name);
	if (!reader->tree) {
		reader->is_out_of_memory = true;
		return;
	}
	reader->tree->line = reader->line;
}

/* A line "[...]".  libinih tells of sections only through their keys; an empty one counts here too. */
static void begin_section(struct reader *reader, char *line)
{
	char *end = strchr(line, ']'), *name;

	reader->tree = NULL;
	reader->is_daemon = false;
	reader->seen = 0;
	if (!end)
		return;		/* libinih reports it */
	*end = '\0';
	name = line + 1;
	if (strlen(name) > SECTION_MAX) {
		mistake(reader, "the section's name is too long; allowed: %d characters",
			SECTION_MAX);
	} else if (!strcmp(name, "daemon")) {
		if (reader->daemon_line)
			mistake(reader, "[daemon] is here a second time; the first is at line %u",
				reader->daemon_line);
		else
			reader->is_daemon = true;
		reader->daemon_line = reader->line;
	} else if (!strncmp(name, "tree ", 5)) {
		name += 5 + strspn(name + 5, " \t");
		begin_tree(reader, name);
	} else {
		mistake(reader, "unknown section [%s]; allowed: [daemon] and [tree NAME]", name);
	}
	*end = ']';
}

/*
 * One line for libinih.  Counts lines, since its handler is not told; takes off blanks in front, which
 * would make a line the continuation of the one before.
 */
static char *next_line(char *line, int size, void *arg)
{
	struct reader *reader = arg;
	size_t len, blanks;

	if (!fgets(line, size, reader->file))
		return NULL;
	reader->line++;
	len = strlen(line);
	if (len && line[len - 1] != '\n' && !feof(reader->file)) {
		int c;

		mistake(reader, "the line is too long; allowed: %d characters", size - 2);
		while ((c = getc(reader->file)) != EOF && c != '\n')
			;
		line[0] = '\0';
		return line;
	}
	if (reader->line == 1 && !strncmp(line, "\xef\xbb\xbf", 3))
		blanks = 3;	/* a byte order mark */
	else
		blanks = strspn(line, " \t");
	memmove(line, line + blanks, len - blanks + 1);
	if (line[0] == '[')
		begin_section(reader, line);
	return line;
}

static void list_keys(struct buf *out, const struct key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%s%s", i ? ", " : "", keys[i].name);
}

static void unknown_key(struct reader *reader, const char *name, const struct key *keys, size_t n)
{
	struct buf list;

	buf_init(&list, 0);
	list_keys(&list, keys, n);
	buf_append(&list, "", 1);
	mistake(reader, "unknown key \"%s\" in [%s]; allowed: %s", name,
		reader->is_daemon ? "daemon" : "tree",
		buf_error(&list) ? "" : (const char *)list.data);
	buf_release(&list);
}

static void bad_value(struct reader *reader, const struct key *key, const char *value)
{
	struct buf allowed;

	buf_init(&allowed, 0);
	key_say_allowed(&allowed, key);
	buf_append(&allowed, "", 1);
	mistake(reader, "%s cannot be \"%s\"; allowed: %s", key->name, value,
		buf_error(&allowed) ? "" : (const char *)allowed.data);
	buf_release(&allowed);
}

static int handle(void *arg, const char *section, const char *name, const char *value)
{
	struct reader *reader = arg;
	const struct key *keys = reader->is_daemon ? key_daemon : key_tree;
	size_t n = reader->is_daemon ? KEY_DAEMON_N : KEY_TREE_N;
	const struct key *key;
	int err;

	if (!*section) {
		mistake(reader,
			"%s stands before any section; [daemon] or [tree NAME] must come first",
			name);
		return 1;
	}
	if (!reader->is_daemon && !reader->tree)
		return 1;	/* in a section that is a mistake already */
	key = key_find(keys, n, name);
	if (!key) {
		unknown_key(reader, name, keys, n);
		return 1;
	}
	if (!key_is_list(key) && reader->seen & (1u << (key - keys))) {
		mistake(reader, "%s is set a second time in this section", name);
		return 1;
	}
	reader->seen |= 1u << (key - keys);
	err = key_put(key, reader->is_daemon ? (void *)reader->config : (void *)reader->tree, value);
	if (err == -ENOMEM)
		reader->is_out_of_memory = true;
	else if (err)
		bad_value(reader, key, value);
	else if (reader->tree && key->kind == KIND_DURABILITY)
		reader->tree->has_durability = true;
	return 1;
}

int config_load(struct config *config, const char *path, bool must_exist, struct buf *errors)
{
	struct reader reader = { .config = config, .errors = errors, .path = path };
	int wrong;

	reader.file = fopen(path, "re");
	if (!reader.file) {
		int err = -errno;

		if (err == -ENOENT && !must_exist)
			return 0;
		buf_printf(errors, "%s: cannot be read: %s\n", path, strerror(-err));
		return err;
	}
	free(config->path);
	config->path = strdup(path);
	if (!config->path)
		reader.is_out_of_memory = true;
	wrong = ini_parse_stream(next_line, &reader, handle, &reader);
	if (ferror(reader.file)) {
		buf_printf(errors, "%s: cannot be read to its end\n", path);
		reader.has_mistakes = true;
	}
	(void)fclose(reader.file);	/* was only read */
	if (wrong < 0 || reader.is_out_of_memory) {
		buf_printf(errors, "%s: out of memory\n", path);
		return -ENOMEM;
	}
	if (wrong) {
		reader.line = (unsigned)wrong;
		mistake(&reader,
			"not understood; allowed: [SECTION], KEY = VALUE, and comments after # or ;");
	}
	if (reader.has_mistakes)
		return -EINVAL;
	return 0;
}

/* ---- options ---- */

static int set(const struct key *keys, size_t n, void *base, const char *name, const char *value,
	       const char *who, struct buf *errors)
{
	const struct key *key = key_find(keys, n, name);
	int err = key ? key_put(key, base, value) : -EINVAL;

	if (err == -EINVAL && key) {
		buf_printf(errors, "%s cannot be \"%s\"; allowed: ", who, value);
		key_say_allowed(errors, key);
		buf_printf(errors, "\n");
	} else if (err) {
		buf_printf(errors, "%s: %s\n", who, strerror(-err));
	}
	return err;
}

int config_set(struct config *config, const char *key, const char *value, const char *who,
	       struct buf *errors)
{
	return set(key_daemon, KEY_DAEMON_N, config, key, value, who, errors);
}

int config_set_tree(struct config *config, const char *key, const char *value, const char *who,
		    struct buf *errors)
{
	if (config->n_trees > 1) {
		buf_printf(errors, "%s: %s names %zu trees; change it there\n", who, config->path,
			   config->n_trees);
		return -EINVAL;
	}
	if (!config->n_trees && !add_tree(config, "imports"))
		return -ENOMEM;
	return set(key_tree, KEY_TREE_N, &config->trees[0], key, value, who, errors);
}

/* ---- all together ---- */

bool config_is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	if (len == 1)
		return true;
	return !strncmp(path, top, len) && (path[len] == '/' || !path[len]);
}

/* "FILE:LINE: [tree NAME]", as far as it has one */
static void say_where(const struct config *config, const struct config_tree *tree,
		      struct buf *errors)
{
	if (tree->line)
		buf_printf(errors, "%s:%u: ", config->path, tree->line);
	buf_printf(errors, "[tree %s]: ", tree->name);
}

static bool check_pair(const struct config *config, const struct config_tree *one,
		       const struct config_tree *two, struct buf *errors)
{
	bool is_fine = true;

	if (config_is_below(one->cache, two->cache) || config_is_below(two->cache, one->cache)) {
		say_where(config, two, errors);
		buf_printf(errors,
			"its cache %s and that of [tree %s], %s, are the same or one in the other; "
			"each tree needs a directory of its own\n",
			two->cache, one->name, one->cache);
		is_fine = false;
	}
	if (config_is_below(one->export, two->export) || config_is_below(two->export, one->export)) {
		say_where(config, two, errors);
		buf_printf(errors,
			"its export %s and that of [tree %s], %s, are the same or one in the other; "
			"exports cannot be nested\n",
			two->export, one->name, one->export);
		is_fine = false;
	}
	return is_fine;
}

static int set_default(char **field, const char *format, const char *name)
{
	char *text;

	if (*field)
		return 0;
	if (asprintf(&text, format, name) < 0)
		return -ENOMEM;
	*field = text;
	return 0;
}

static int complete_tree(const struct config *config, struct config_tree *tree, struct buf *errors)
{
	int err;

	/* What only one tree can have is the default of the first; others have to say. */
	if (config->n_trees > 1 && !tree->upstream) {
		say_where(config, tree, errors);
		buf_printf(errors, "no upstream is set; with several trees each needs one\n");
		return -EINVAL;
	}
	err = set_default(&tree->upstream, "http://127.0.0.1:8642/", NULL);
	if (!err)
		err = set_default(&tree->cache, "/var/cache/izo/%s", tree->name);
	if (!err)
		err = set_default(&tree->export, "/%s", tree->name);
	if (!tree->has_durability)
		tree->durability = config->durability;
	return err;
}

static bool is_loopback(const char *addr)
{
	struct in6_addr six;

	if (inet_pton(AF_INET6, addr, &six) == 1)
		return IN6_IS_ADDR_LOOPBACK(&six);
	return !strncmp(addr, "127.", 4);
}

int config_check(struct config *config, struct buf *errors)
{
	bool is_fine = true;
	int err;

	if (!config->n_trees && !add_tree(config, "imports"))
		return -ENOMEM;
	for (size_t i = 0; i < config->n_trees; i++) {
		err = complete_tree(config, &config->trees[i], errors);
		if (err == -EINVAL)
			is_fine = false;
		else if (err)
			return err;
	}
	/* Without an upstream a tree's other values have not been filled in. */
	for (size_t i = 0; is_fine && i < config->n_trees; i++)
		for (size_t k = 0; k < i; k++)
			if (!check_pair(config, &config->trees[k], &config->trees[i], errors))
				is_fine = false;
	if (!is_loopback(config->listen_addr) && !config->allow_remote) {
		buf_printf(errors,
			"listen: %s can be reached by other machines, which may then claim to be any user; "
			"allowed: 127.0.0.1, ::1, or allow_remote = yes\n",
			config->listen_addr);
		is_fine = false;
	}
	return is_fine ? 0 : -EINVAL;
}

const struct config_tree *config_tree(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_trees; i++)
		if (!strcmp(config->trees[i].name, name))
			return &config->trees[i];
	return NULL;
}

/* ---- life ---- */

int config_init(struct config *config)
{
	*config = (struct config){ .port = 2049, .rpcbind = true, .durability = DURABILITY_SYNC,
				   .control_group = CONTROL_NO_GROUP, .slow_call_ms = 1000 };
	config->listen_addr = strdup("127.0.0.1");
	config->control = strdup(CONFIG_CONTROL);
	if (!config->listen_addr || !config->control) {
		config_release(config);
		return -ENOMEM;
	}
	return 0;
}

void config_release(struct config *config)
{
	for (size_t i = 0; i < config->n_trees; i++) {
		struct config_tree *tree = &config->trees[i];

		free(tree->name);
		free(tree->upstream);
		free(tree->cache);
		free(tree->export);
		free(tree->host);
		for (size_t k = 0; k < tree->hoards.n; k++)
			free(tree->hoards.v[k].path);
		free(tree->hoards.v);
		for (size_t k = 0; k < tree->merges.n; k++) {
			free(tree->merges.v[k].pattern);
			free(tree->merges.v[k].command);
		}
		free(tree->merges.v);
		free(tree->limits.v);
	}
	free(config->trees);
	free(config->listen_addr);
	free(config->control);
	free(config->pid_file);
	free(config->debug);
	free(config->diff);
	free(config->path);
	*config = (struct config){ 0 };
}

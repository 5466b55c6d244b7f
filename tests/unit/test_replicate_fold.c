/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the log folds (cache/fold.h), against an upstream that somebody else has changed: docs/CONFLICTS.md "In several steps", whose
 * table is read here and is what must come out.
 *
 * Alpha folds its log; gamma does the same in a directory beside it, and keeps all records; both are without a link while beta makes
 * its changes.  Nothing that was written is lost, and all see the same in the end.  Where beta wrote something and gamma has a conflict
 * on record, alpha has one, or the same comes of it; where beta did nothing, both have the same and no conflict.  IZO_PAIRS prints what
 * comes out, as a table, and what came of gamma's.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include "base/log.h"
#include "tests/unit/upstream_process.h"

enum { ALPHA, BETA, GAMMA, CLIENTS };
static const char *const hosts[CLIENTS] = { "alpha", "beta", "gamma" };

struct world {
	struct fixture clients[CLIENTS];
	struct replicate *links[CLIENTS];
	struct upstream up;
};

/* ---- what is done, in a directory with a file f; CLEANED: with a directory o, where f is ---- */

enum ours { ANEW, MOVED, BACKUP, LINKED, KEPT, TRASHED, UNPACKED, CLEANED, OURS };
static const char *const ours_names[OURS] = { "remove f, make f", "make t, remove f, rename t f", "rename f b, make f, remove b",
					      "make t, link f b, rename t f, remove b", "make t, link f b, rename t f",
					      "rename f b, remove b", "mkdir t, make t/x, rename t d", "rm -r o, mkdir o, make o/f" };

enum theirs { NOTHING, STORE, SETATTR, REMOVE, RENAME, REPLACE, LINK, MKDIR, THEIRS };
static const char *const theirs_names[THEIRS] = { "nothing", "store f", "chmod f", "remove f", "rename f g", "rename a new file f", "link f l",
						  "mkdir d, make d/x" };

static void do_ours(struct fixture *f, uint64_t dir, enum ours what)
{
	uint64_t t;

	switch (what) {
	case ANEW:
		assert_int_equal(f_remove(f, dir, "f"), 0);
		made(f, dir, "f", "ours");
		break;
	case MOVED:
		made(f, dir, "t", "ours");
		assert_int_equal(f_remove(f, dir, "f"), 0);
		assert_int_equal(f_rename(f, dir, "t", dir, "f"), 0);
		break;
	case BACKUP:
		assert_int_equal(f_rename(f, dir, "f", dir, "b"), 0);
		made(f, dir, "f", "ours");
		assert_int_equal(f_remove(f, dir, "b"), 0);
		break;
	case LINKED:
	case KEPT:
		made(f, dir, "t", "ours");
		assert_int_equal(f_link(f, found(f, dir, "f"), dir, "b"), 0);
		assert_int_equal(f_rename(f, dir, "t", dir, "f"), 0);
		if (what == LINKED)
			assert_int_equal(f_remove(f, dir, "b"), 0);
		break;
	case TRASHED:
		assert_int_equal(f_rename(f, dir, "f", dir, "b"), 0);
		assert_int_equal(f_remove(f, dir, "b"), 0);
		break;
	case UNPACKED:
		t = made_dir(f, dir, "t");
		made(f, t, "x", "ours");
		assert_int_equal(f_rename(f, dir, "t", dir, "d"), 0);
		break;
	case CLEANED:
		assert_int_equal(f_remove(f, found(f, dir, "o"), "f"), 0);
		assert_int_equal(f_rmdir(f, dir, "o"), 0);
		made(f, made_dir(f, dir, "o"), "f", "ours");
		break;
	case OURS:
		fail();
	}
}

static void do_theirs(struct fixture *f, uint64_t dir, enum theirs what)
{
	uint64_t file = found(f, dir, "f");

	if (!file) {
		dir = found(f, dir, "o");
		file = found(f, dir, "f");
	}

	switch (what) {
	case NOTHING:
		break;
	case STORE:
		assert_int_equal(f_write(f, file, 0, "theirs"), 0);
		assert_int_equal(f_commit(f, file), 0);
		break;
	case SETATTR:
		assert_int_equal(f_chmod(f, file, 0640), 0);
		break;
	case REMOVE:
		assert_int_equal(f_remove(f, dir, "f"), 0);
		break;
	case RENAME:
		assert_int_equal(f_rename(f, dir, "f", dir, "g"), 0);
		break;
	case REPLACE:
		made(f, dir, "h", "theirs");
		assert_int_equal(f_rename(f, dir, "h", dir, "f"), 0);
		break;
	case LINK:
		assert_int_equal(f_link(f, file, dir, "l"), 0);
		break;
	case MKDIR:
		made(f, made_dir(f, dir, "d"), "x", "theirs");
		break;
	case THEIRS:
		fail();
	}
}

/* ---- what is there: "f=ours, g=theirs", sorted ---- */

#define SEEN_MAX 1000

struct seen {
	char v[16][260];
	int n;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The date and host of a conflict's copy are left out. */
static void seen_add(struct seen *seen, const char *path, const char *value)
{
	char clean[200], *at;

	snprintf(clean, sizeof(clean), "%s", path);
	at = strstr(clean, ".conflict-");
	if (at) {
		char *rest = at + strlen(".conflict-");

		rest = strchr(rest, '-') + strlen("-YYYYMMDD-HHMMSS");
		memmove(at + strlen(".conflict"), rest, strlen(rest) + 1);
	}
	assert_true(seen->n < 16);
	snprintf(seen->v[seen->n++], sizeof(seen->v[0]), "%s%s", clean, value);
}

static void seen_text(struct seen *seen, char text[SEEN_MAX])
{
	size_t at = 0;

	qsort(seen->v, seen->n, sizeof(seen->v[0]), by_text);
	text[0] = '\0';
	for (int i = 0; i < seen->n; i++)
		at += snprintf(text + at, SEEN_MAX - at, "%s%s", i ? ", " : "", seen->v[i]);
}

static void see_export(const char *path, const char *under, struct seen *seen)
{
	DIR *handle = opendir(path);
	struct dirent *entry;

	assert_non_null(handle);
	while ((entry = readdir(handle))) {
		char full[400], below[200], text[40] = "=";
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(full, sizeof(full), "%s/%.90s", path, entry->d_name);
		snprintf(below, sizeof(below), "%.100s%.90s", under, entry->d_name);
		fd = open(full, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
		if (fd >= 0) {
			strcat(below, "/");
			see_export(full, below, seen);
		} else {
			fd = open(full, O_RDONLY | O_CLOEXEC);
			assert_true(read(fd, text + 1, sizeof(text) - 2) >= 0);
			seen_add(seen, below, text);
		}
		close(fd);
	}
	closedir(handle);
}

struct names {
	char v[16][100];
	int n;
};

static bool take_name(void *arg, const struct cache_dirent *entry)
{
	struct names *names = arg;

	if (entry->cookie > 2) {
		assert_true(names->n < 16);
		snprintf(names->v[names->n++], sizeof(names->v[0]), "%.*s", (int)entry->name.len, (const char *)entry->name.data);
	}
	return true;
}

/* False: it cannot be read, yet. */
static bool see_client(struct fixture *f, uint64_t dir, const char *under, struct seen *seen)
{
	struct names names = { 0 };

	if (f_wait(f, cache_readdir(f->cache, f_begin(f), dir, 0, false, take_name, &names)))
		return false;
	for (int i = 0; i < names.n; i++) {
		uint64_t ino = found(f, dir, names.v[i]);
		char below[200], text[40] = "=";

		snprintf(below, sizeof(below), "%.100s%.90s", under, names.v[i]);
		if (!ino)
			return false;
		if (f->op.attr.type == TYPE_DIR) {
			strcat(below, "/");
			if (!see_client(f, ino, below, seen))
				return false;
			continue;
		}
		if (f_read(f, ino, 0, text + 1, sizeof(text) - 2))
			return false;
		seen_add(seen, below, text);
	}
	return true;
}

/* ---- the table ---- */

static char wanted[OURS][THEIRS][SEEN_MAX];

static char *cell_of(char **rest)
{
	char *cell = strsep(rest, "|"), *end;

	if (!cell || !*rest)
		return NULL;
	cell += strspn(cell, " ");
	for (end = cell + strlen(cell); end > cell && end[-1] == ' ';)
		*--end = '\0';
	return cell;
}

static int find_word(const char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

/* The table whose first cell is "ours in steps, below; theirs:". */
static void read_table(void)
{
	FILE *file = fopen("docs/CONFLICTS.md", "re");
	int columns[THEIRS], n_columns = 0;
	char line[2000];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		char *rest = line + 1, *cell = *line == '|' ? cell_of(&rest) : NULL;
		int ours;

		if (cell && !strcmp(cell, "ours in steps, below; theirs:")) {
			for (n_columns = 0; n_columns < THEIRS && (cell = cell_of(&rest)); n_columns++) {
				columns[n_columns] = find_word(theirs_names, THEIRS, cell);
				assert_true(columns[n_columns] >= 0);
			}
			continue;
		}
		if (!cell)
			n_columns = 0;
		ours = n_columns ? find_word(ours_names, OURS, cell) : -1;
		for (int i = 0; ours >= 0 && i < n_columns && (cell = cell_of(&rest)); i++)
			snprintf(wanted[ours][columns[i]], SEEN_MAX, "%s", cell);
	}
	fclose(file);
}

/* ---- the pairs ---- */

struct pair {
	enum ours ours;
	enum theirs theirs;
	bool is_listed[CLIENTS];
};

#define PAIRS (OURS * THEIRS)

static void pair_name(int i, int client, char name[16])
{
	snprintf(name, 16, "%c%d", hosts[client][0], i);
}

struct listed {
	struct pair *pairs;
	int client;
};

static void note_listed(void *arg, const struct cml_conflict *conflict)
{
	const struct listed *listed = arg;
	const char *path = conflict->path + 1;

	/* Of what was in a directory that is gone, gamma can only tell the name. */
	if (listed->client == GAMMA && !strcmp(path, "f"))
		return;
	if (path[0] != hosts[listed->client][0] || !isdigit((unsigned char)path[1]))
		fail_msg("%s has a conflict elsewhere: %s: %s", hosts[listed->client], conflict->path, conflict->what);
	listed->pairs[atoi(path + 1)].is_listed[listed->client] = true;
}

static void drain(struct world *w, int client)
{
	assert_int_equal(replicate_sync(w->links[client]), 0);
	UNTIL(30, log_is_drained(&w->clients[client]));
}

/* They all have what is exported. */
static bool all_equal(struct world *w)
{
	for (int i = 0; i < PAIRS; i++) {
		for (int client = ALPHA; client < CLIENTS; client++) {
			char name[16], path[200], up[SEEN_MAX], here[SEEN_MAX];
			const struct fixture *own = &w->clients[client];
			struct seen seen = { .n = 0 };

			if (client == BETA)
				continue;
			pair_name(i, client, name);
			snprintf(path, sizeof(path), "%s/%s", w->up.export, name);
			see_export(path, "", &seen);
			seen_text(&seen, up);
			for (int at = 0; at < CLIENTS; at++) {
				struct fixture *f = &w->clients[at];

				if (f != own && at != BETA)
					continue;
				seen.n = 0;
				if (!see_client(f, found(f, ROOT, name), "", &seen))
					return false;
				seen_text(&seen, here);
				if (strcmp(up, here) != 0)
					return false;
			}
		}
	}
	return true;
}

static void set_offline(struct world *w, int client, bool is_offline)
{
	assert_int_equal(replicate_set_offline(w->links[client], is_offline), 0);
	UNTIL(10, link_is_connected(w->links[client]) == !is_offline);
}

static void play(struct world *w, struct pair *pairs)
{
	struct fixture *beta = &w->clients[BETA];
	char name[16];
	uint64_t dir;

	for (int i = 0; i < PAIRS; i++) {
		for (int client = ALPHA; client <= GAMMA; client += GAMMA) {
			pair_name(i, client, name);
			dir = made_dir(beta, ROOT, name);
			made(beta, pairs[i].ours == CLEANED ? made_dir(beta, dir, "o") : dir, "f", "base");
		}
	}
	drain(w, BETA);
	UNTIL(30, all_equal(w));
	/* Beta too: what it does folds, whatever the machine's load. */
	for (int client = ALPHA; client < CLIENTS; client++)
		set_offline(w, client, true);
	for (int i = 0; i < PAIRS; i++) {
		for (int client = ALPHA; client <= GAMMA; client += GAMMA) {
			struct fixture *f = &w->clients[client];

			pair_name(i, client, name);
			do_theirs(beta, found(beta, ROOT, name), pairs[i].theirs);
			do_ours(f, found(f, ROOT, name), pairs[i].ours);
		}
	}
	set_offline(w, BETA, false);
	drain(w, BETA);
	for (int client = ALPHA; client <= GAMMA; client += GAMMA) {
		struct listed listed = { pairs, client };

		set_offline(w, client, false);
		drain(w, client);
		UNTIL(30, all_equal(w) || client == ALPHA);
		assert_int_equal(cml_conflicts(w->clients[client].cache, note_listed, &listed), 0);
	}
	UNTIL(30, all_equal(w));
	/* What the answers have made is in the log, and gone. */
	assert_true(log_is_drained(&w->clients[ALPHA]));
}

/* Nothing that was written is lost; and what else must be so whatever the table says.  Gives how much is wrong. */
static unsigned judge(const struct pair *pair, const char *folded, const char *plain)
{
	static const bool writes[THEIRS] = { [STORE] = true, [REPLACE] = true, [MKDIR] = true };
	bool is_lost = (pair->ours != TRASHED && !strstr(folded, "=ours")) || (writes[pair->theirs] && !strstr(folded, "=theirs"));
	bool is_same = strcspn(folded, ";") == strcspn(plain, ";") && !strncmp(folded, plain, strcspn(folded, ";"));
	unsigned wrong = 0;

	if (is_lost && ++wrong)
		print_error("%s / %s: something is lost: %s\n", ours_names[pair->ours], theirs_names[pair->theirs], folded);
	if (writes[pair->theirs] && pair->is_listed[GAMMA] && !pair->is_listed[ALPHA] && !is_same && ++wrong)
		print_error("%s / %s: without folding there is a conflict\n", ours_names[pair->ours], theirs_names[pair->theirs]);
	if (pair->theirs == NOTHING && (pair->is_listed[ALPHA] || pair->is_listed[GAMMA] || strcmp(folded, plain) != 0) && ++wrong)
		print_error("%s: nobody else did anything: %s, without folding: %s\n", ours_names[pair->ours], folded, plain);
	return wrong;
}

/* What is exported of the pair, that client's. */
static void see_pair(struct world *w, const struct pair *pairs, int i, int client, char text[SEEN_MAX])
{
	struct seen seen = { .n = 0 };
	char name[16], path[200];

	pair_name(i, client, name);
	snprintf(path, sizeof(path), "%s/%s", w->up.export, name);
	see_export(path, "", &seen);
	seen_text(&seen, text);
	if (pairs[i].is_listed[client])
		strcat(text, "; listed");
}

static void print_table(char texts[CLIENTS][PAIRS][SEEN_MAX], int client)
{
	print_message("| ours in steps, below; theirs: |");
	for (int t = 0; t < THEIRS; t++)
		print_message(" %s |", theirs_names[t]);
	for (int i = 0; i < PAIRS; i++) {
		if (i % THEIRS == 0)
			print_message("\n| %s |", ours_names[i / THEIRS]);
		print_message(" %s |", texts[client][i]);
	}
	print_message("\n\n");
}

static void all_pairs(void **state)
{
	static char texts[CLIENTS][PAIRS][SEEN_MAX];
	static struct pair pairs[PAIRS];
	struct world *w = *state;
	unsigned wrong = 0;

	NEEDS_HTTPD(&w->up);
	read_table();
	for (int i = 0; i < PAIRS; i++)
		pairs[i] = (struct pair){ .ours = i / THEIRS, .theirs = i % THEIRS };
	play(w, pairs);
	for (int i = 0; i < PAIRS; i++) {
		const char *want = wanted[pairs[i].ours][pairs[i].theirs], *got = texts[ALPHA][i];

		see_pair(w, pairs, i, ALPHA, texts[ALPHA][i]);
		see_pair(w, pairs, i, GAMMA, texts[GAMMA][i]);
		wrong += judge(&pairs[i], got, texts[GAMMA][i]);
		if (strcmp(got, want) != 0 && !getenv("IZO_PAIRS") && ++wrong)
			print_error("%s / %s: %s; it should be: %s\n", ours_names[pairs[i].ours], theirs_names[pairs[i].theirs], got, want);
	}
	if (getenv("IZO_PAIRS")) {
		print_table(texts, ALPHA);
		print_table(texts, GAMMA);
	}
	assert_int_equal(wrong, 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	for (int i = 0; i < CLIENTS; i++) {
		f_init(&w->clients[i]);
		w->clients[i].config.starts_empty = false;
		w->clients[i].config.no_fold = i == GAMMA;
		w->clients[i].wait_us = 10 * US_PER_S;
	}
	if (!upstream_init(&w->up, w->clients[ALPHA].dir))
		return 0;
	upstream_start(&w->up);
	for (int i = 0; i < CLIENTS; i++) {
		f_open(&w->clients[i]);
		w->links[i] = link_new(&w->up, &w->clients[i], hosts[i]);
		UNTIL(10, link_is_connected(w->links[i]));
	}
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < CLIENTS; i++) {
		if (w->links[i])
			replicate_stop(w->links[i]);
		if (w->clients[i].cache)
			f_close(&w->clients[i]);
	}
	upstream_kill(&w->up, SIGKILL);
	for (int i = 0; i < CLIENTS; i++)
		f_remove_dir(&w->clients[i]);
	free(w);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_pairs, setup, teardown),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

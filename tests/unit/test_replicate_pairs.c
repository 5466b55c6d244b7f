/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each pair of operations by two clients of one upstream, alpha's without a link and so second: docs/CONFLICTS.md, whose
 * tables are read here and are what must come out.
 *
 * Of each pair: the tree is what the outcome says (pairs_model.h), in the exported directory and in both mounts; those are
 * equal in all else too (times); what either has written is in it; alpha's list of conflicts has it, or has not; beta,
 * who always came first, has no conflicts.  Theirs is done by beta, and in another test by a local program.
 *
 * All pairs with one operation of ours are one round, so what is in conflict holds up nothing else.  With IZO_LONG each
 * pair is a round of its own.  IZO_PAIR="OURS/THEIRS" runs one alone; IZO_PAIRS prints what comes out, as tables.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "base/log.h"
#include "tests/unit/often.h"
#include "tests/unit/pairs_model.h"
#include "tests/unit/upstream_process.h"

struct world {
	struct fixture alpha, beta;
	struct replicate *links[2];	/* of alpha, of beta */
	struct upstream up;
	bool by_local;			/* theirs is a local program's */
	unsigned n_failed;
};

/* ---- paths: "t/d/f" below the tree's root ---- */

static uint64_t ino_of(struct fixture *f, const char *path)
{
	char copy[300], *rest = copy, *part;
	uint64_t ino = ROOT;

	snprintf(copy, sizeof(copy), "%s", path);
	while (ino && (part = strsep(&rest, "/")))
		ino = *part ? found(f, ino, part) : ino;
	return ino;
}

static const char *last_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

static uint64_t dir_of(struct fixture *f, const char *path)
{
	char dir[300];

	snprintf(dir, sizeof(dir), "%.*s", (int)(last_of(path) - 1 - path), path);
	return ino_of(f, dir);
}

/* ---- three views of one case ---- */

struct names {
	char v[32][64];
	int n;
};

static bool take_name(void *arg, const struct cache_dirent *entry)
{
	struct names *names = arg;

	if (entry->cookie > 2) {
		assert_true(names->n < 32);
		snprintf(names->v[names->n++], 64, "%.*s", (int)entry->name.len, (const char *)entry->name.data);
	}
	return true;
}

/* Dates of conflict copies left out.  times: of all, too. */
static void add_line(struct lines *lines, const char *path, char type, unsigned mode, unsigned links, const char *text,
		     struct timespec mtime, bool with_times)
{
	char clean[200], whole[120], *at;

	snprintf(clean, sizeof(clean), "%s", path);
	for (at = clean; (at = strstr(at, ".conflict-alpha-"));) {
		char *end = at + strlen(".conflict-alpha-") + 15;

		at += strlen(".conflict");
		memmove(at, end, strlen(end) + 1);
	}
	snprintf(whole, sizeof(whole), with_times ? "%s %lld.%09ld" : "%s", text, (long long)mtime.tv_sec, mtime.tv_nsec);
	lines_add(lines, with_times ? path : clean, type, mode, links, whole);
}

static const char types[] = { [TYPE_REG] = 'f', [TYPE_DIR] = 'd', [TYPE_LNK] = 'l' };

/* False: something cannot be read, yet. */
static bool see_dir(struct fixture *f, uint64_t dir, const char *path, bool with_times, struct lines *lines)
{
	struct names names = { 0 };

	if (f_wait(f, cache_readdir(f->cache, f_begin(f), dir, 0, false, take_name, &names)))
		return false;
	for (int i = 0; i < names.n; i++) {
		char below[200], content[64] = "";
		struct attr attr;
		uint64_t ino = found(f, dir, names.v[i]);
		int err;

		snprintf(below, sizeof(below), "%s/%.60s", path, names.v[i]);
		if (!ino || f_getattr(f, ino))
			return false;
		attr = f->op.attr;
		err = attr.type == TYPE_REG ? f_read(f, ino, 0, content, sizeof(content) - 1) : 0;
		if (attr.type == TYPE_LNK) {
			char target[CACHE_TARGET_MAX];

			err = f_wait(f, cache_readlink(f->cache, f_begin(f), ino, target));
			snprintf(content, sizeof(content), "%.*s", err ? 0 : (int)f->op.count, target);
		}
		if (err)
			return false;
		add_line(lines, below, types[attr.type], attr.mode & 07777, attr.nlink, content, attr.mtime, with_times);
		if (attr.type == TYPE_DIR && !see_dir(f, ino, below, with_times, lines))
			return false;
	}
	return true;
}

static bool see(struct fixture *f, const char *name, bool with_times, struct lines *lines)
{
	uint64_t ino = ino_of(f, name);

	lines->n = 0;
	if (!ino || !see_dir(f, ino, "", with_times, lines))
		return false;
	lines_sort(lines);
	return true;
}

static void see_export_dir(const char *dir, const char *path, bool with_times, struct lines *lines)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;

	assert_non_null(handle);
	while ((entry = readdir(handle))) {
		char full[400], below[200], content[64] = "";
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(full, sizeof(full), "%s/%.100s", dir, entry->d_name);
		snprintf(below, sizeof(below), "%s/%.60s", path, entry->d_name);
		assert_int_equal(lstat(full, &st), 0);
		if (S_ISLNK(st.st_mode)) {
			assert_true(readlink(full, content, sizeof(content) - 1) >= 0);
		} else if (S_ISREG(st.st_mode)) {
			int fd = openat(dirfd(handle), entry->d_name, O_RDONLY | O_CLOEXEC);

			assert_true(fs_pread_full(fd, content, sizeof(content) - 1, 0) >= 0);
			close(fd);
		}
		add_line(lines, below, S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : 'f', st.st_mode & 07777,
			 (unsigned)st.st_nlink, content, st.st_mtim, with_times);
		if (S_ISDIR(st.st_mode))
			see_export_dir(full, below, with_times, lines);
	}
	closedir(handle);
}

static void see_export(struct world *w, const char *name, bool with_times, struct lines *lines)
{
	char path[300];

	lines->n = 0;
	snprintf(path, sizeof(path), "%s/%s", w->up.export, name);
	see_export_dir(path, "", with_times, lines);
	lines_sort(lines);
}

static void print_lines(const char *what, const struct lines *lines)
{
	print_message("  %s:\n", what);
	for (int i = 0; i < lines->n; i++)
		print_message("    %s\n", lines->v[i]);
}

/* ---- the operations, in a cache and in the exported directory ---- */

static const char *paths_of(enum what what, const char **ret_to)
{
	static const struct { const char *from, *to; } paths[WHATS] = {
		[CREATE] = { NULL, "t/d/n" }, [MKDIR] = { NULL, "t/d/n" }, [SYMLINK] = { NULL, "t/d/n" },
		[LINK] = { "t/d/f", "t/d/n" }, [STORE] = { "t/d/f" }, [CHMOD] = { "t/d/f" }, [REMOVE] = { "t/d/f" },
		[RENAME] = { "t/d/f", "t/d/n" }, [MOVE] = { "t/d/f", "t/to/n" }, [BRING] = { "t/to/m", "t/d/n" },
		[REPLACE] = { "t/d/g", "t/d/f" },
		[FILL] = { NULL, "t/d/e/n" }, [CHMOD_E] = { "t/d/e" }, [RMDIR] = { "t/d/e" },
		[RENAME_E] = { "t/d/e", "t/d/n" }, [MOVE_E] = { "t/d/e", "t/to/n" },
		[CHMOD_P] = { "t/d" }, [RENAME_P] = { "t/d", "t/d2" }, [MOVE_P] = { "t/d", "t/to/d" },
		[REMOVE_P] = { "t/d" }, [SINK] = { "t/to", "t/d/to" },
		[CHMOD_T] = { "t" }, [RENAME_T] = { "t", "t2" }, [MOVE_T] = { "t", "away/t" }, [REMOVE_T] = { "t" },
		[SINK_T] = { "away", "t/away" },
	};

	*ret_to = paths[what].to;
	return paths[what].from;
}

static void remove_all(struct fixture *f, uint64_t dir, const char *name)
{
	uint64_t ino = found(f, dir, name);
	struct names names = { 0 };

	assert_int_equal(f_wait(f, cache_readdir(f->cache, f_begin(f), ino, 0, false, take_name, &names)), 0);
	for (int i = 0; i < names.n; i++) {
		if (f_remove(f, ino, names.v[i]))
			remove_all(f, ino, names.v[i]);
	}
	assert_int_equal(f_rmdir(f, dir, name), 0);
}

static void write_in(struct fixture *f, uint64_t ino, const char *content)
{
	assert_int_equal(f_truncate(f, ino, 0), 0);
	assert_int_equal(f_write(f, ino, 0, content), 0);
	assert_int_equal(f_commit(f, ino), 0);
}

static void do_in(struct fixture *f, const char *name, enum what what, enum side side)
{
	const char *from_path, *to_path;
	char from[200], to[200];
	struct attr_change change = { .set = SET_MODE, .mtime = { .tv_sec = 1000000000 + side } };
	uint64_t dir;
	int err = 0;

	from_path = paths_of(what, &to_path);
	snprintf(from, sizeof(from), "%s/%s", name, from_path ? from_path : "");
	snprintf(to, sizeof(to), "%s/%s", name, to_path ? to_path : "");
	dir = to_path ? dir_of(f, to) : dir_of(f, from);
	assert_int_not_equal(dir, 0);
	switch (what) {
	case CREATE:
	case FILL:
		made(f, dir, "n", side_text[side]);
		break;
	case MKDIR:
		made_dir(f, dir, "n");
		break;
	case SYMLINK:
		err = f_symlink(f, dir, "n", side_text[side]);
		break;
	case LINK:
		err = f_link(f, ino_of(f, from), dir, "n");
		break;
	case STORE:
		write_in(f, ino_of(f, from), side_text[side]);
		break;
	case CHMOD:
		change.set |= SET_MTIME;
		change.mode = side_mode[side];
		err = f_setattr(f, ino_of(f, from), &change);
		break;
	case CHMOD_E:
	case CHMOD_P:
	case CHMOD_T:
		err = f_chmod(f, ino_of(f, from), side_dir_mode[side]);
		break;
	case REMOVE:
		err = f_remove(f, dir, last_of(from));
		break;
	case RMDIR:
	case REMOVE_P:
	case REMOVE_T:
		remove_all(f, dir, last_of(from));
		break;
	default:
		err = f_rename(f, dir_of(f, from), last_of(from), dir, last_of(to));
	}
	if (err)
		fail_msg("%s: %s: %d", name, what_names[what], err);
}

static void do_in_export(struct world *w, const char *name, enum what what)
{
	const char *from_path, *to_path;
	char command[900], from[300], to[300];

	from_path = paths_of(what, &to_path);
	snprintf(from, sizeof(from), "%s/%s/%s", w->up.export, name, from_path ? from_path : "");
	snprintf(to, sizeof(to), "%s/%s/%s", w->up.export, name, to_path ? to_path : "");
	switch (what) {
	case CREATE:
	case FILL:
		snprintf(command, sizeof(command), "printf theirs > '%s'", to);
		break;
	case MKDIR:
		snprintf(command, sizeof(command), "mkdir '%s'", to);
		break;
	case SYMLINK:
		snprintf(command, sizeof(command), "ln -s theirs '%s'", to);
		break;
	case LINK:
		snprintf(command, sizeof(command), "ln '%s' '%s'", from, to);
		break;
	case STORE:
		snprintf(command, sizeof(command), "printf theirs > '%s'", from);
		break;
	case CHMOD:
		snprintf(command, sizeof(command), "chmod 640 '%s'", from);
		break;
	case CHMOD_E:
	case CHMOD_P:
	case CHMOD_T:
		snprintf(command, sizeof(command), "chmod 750 '%s'", from);
		break;
	case REMOVE:
	case RMDIR:
	case REMOVE_P:
	case REMOVE_T:
		snprintf(command, sizeof(command), "rm -r '%s'", from);
		break;
	default:
		snprintf(command, sizeof(command), "mv '%s' '%s'", from, to);
	}
	assert_int_equal(system(command), 0);
}

static void make_base(struct fixture *f, const char *name)
{
	uint64_t dir = made_dir(f, ROOT, name), t = made_dir(f, dir, "t"), d = made_dir(f, t, "d"), to;

	made_dir(f, dir, "away");
	made_dir(f, d, "e");
	made(f, d, "f", "base");
	made(f, d, "g", "new");
	to = made_dir(f, t, "to");
	made(f, to, "m", "moved");
}

/* ---- a round ---- */

/* A pair, the tree that it has to itself, and what has come of it. */
struct pair {
	enum what ours, theirs;
	char name[32];
	struct lines seen;
	bool is_listed;
};

static bool is_equal(struct world *w, const struct pair *pair, bool with_times)
{
	struct lines up, alpha, beta;

	see_export(w, pair->name, with_times, &up);
	return see(&w->alpha, pair->name, with_times, &alpha) && lines_equal(&up, &alpha) &&
	       see(&w->beta, pair->name, with_times, &beta) && lines_equal(&up, &beta);
}

static bool all_equal(struct world *w, const struct pair *pairs, int n)
{
	for (int i = 0; i < n; i++)
		if (!is_equal(w, &pairs[i], true))
			return false;
	return true;
}

/* They become equal within that time. */
static bool converge(struct world *w, const struct pair *pairs, int n, unsigned seconds)
{
	uint64_t end = clock_us() + patient_s(seconds) * US_PER_S;

	for (;;) {
		if (all_equal(w, pairs, n))
			return true;
		if (clock_us() > end)
			return false;
		usleep(5000);
	}
}

static void show_difference(struct world *w, const struct pair *pair)
{
	struct lines lines;

	if (is_equal(w, pair, true))
		return;
	print_message("%s / %s: not the same everywhere\n", what_names[pair->ours], what_names[pair->theirs]);
	see_export(w, pair->name, true, &lines);
	print_lines("exported", &lines);
	(void)see(&w->alpha, pair->name, true, &lines);
	print_lines("alpha", &lines);
	(void)see(&w->beta, pair->name, true, &lines);
	print_lines("beta", &lines);
}

struct listed {
	struct pair *pairs;
	int n;
};

static void note_listed(void *arg, const struct cml_conflict *conflict)
{
	const struct listed *listed = arg;

	if (getenv("IZO_PAIR"))
		print_message("  %s: %s\n", conflict->path, conflict->what);
	for (int i = 0; i < listed->n; i++) {
		struct pair *pair = &listed->pairs[i];
		size_t len = strlen(pair->name);

		if (conflict->path[0] == '/' && !strncmp(conflict->path + 1, pair->name, len) &&
		    conflict->path[1 + len] == '/')
			pair->is_listed = true;
	}
}

static void count_listed(void *arg, const struct cml_conflict *conflict)
{
	print_message("beta has a conflict: %s: %s\n", conflict->path, conflict->what);
	++*(unsigned *)arg;
}

static void drain(struct world *w, int which)
{
	struct fixture *f = which ? &w->beta : &w->alpha;

	assert_int_equal(replicate_sync(w->links[which]), 0);
	UNTIL(30, log_is_drained(f));
}

/* Alpha has read all contents, so that they are there without a link. */
static bool has_read(struct world *w, const struct pair *pairs, int n)
{
	struct lines lines;

	for (int i = 0; i < n; i++)
		if (!see(&w->alpha, pairs[i].name, false, &lines) || lines.n != BASE_OBJECTS - 1)
			return false;
	return true;
}

/* The upstream has noticed what was done: beta has been told. */
static bool beta_sees(struct world *w, const struct pair *pairs, int n)
{
	struct lines up, beta;

	for (int i = 0; i < n; i++) {
		see_export(w, pairs[i].name, false, &up);
		if (!see(&w->beta, pairs[i].name, false, &beta) || !lines_equal(&up, &beta))
			return false;
	}
	return true;
}

static void play(struct world *w, struct pair *pairs, int n)
{
	struct listed listed = { pairs, n };
	unsigned of_beta = 0;

	for (int i = 0; i < n; i++)
		make_base(&w->beta, pairs[i].name);
	drain(w, 1);
	UNTIL(30, has_read(w, pairs, n) && all_equal(w, pairs, n));
	assert_int_equal(replicate_set_offline(w->links[0], true), 0);
	UNTIL(10, !link_is_connected(w->links[0]));
	for (int i = 0; i < n; i++) {
		if (w->by_local)
			do_in_export(w, pairs[i].name, pairs[i].theirs);
		else
			do_in(&w->beta, pairs[i].name, pairs[i].theirs, THEIRS);
		do_in(&w->alpha, pairs[i].name, pairs[i].ours, OURS);
	}
	drain(w, 1);
	UNTIL(30, beta_sees(w, pairs, n));
	assert_int_equal(replicate_set_offline(w->links[0], false), 0);
	UNTIL(10, link_is_connected(w->links[0]));
	drain(w, 0);
	if (!converge(w, pairs, n, 20)) {
		for (int i = 0; i < n; i++)
			show_difference(w, &pairs[i]);
		fail_msg("they do not become equal");
	}
	/* What the answers have made (conflict copies) is in the log, and gone. */
	assert_true(log_is_drained(&w->alpha));
	for (int i = 0; i < n; i++)
		see_export(w, pairs[i].name, false, &pairs[i].seen);
	assert_int_equal(cml_conflicts(w->alpha.cache, note_listed, &listed), 0);
	assert_int_equal(cml_conflicts(w->beta.cache, count_listed, &of_beta), 0);
	w->n_failed += of_beta;
}

/* ---- what must have come of it ---- */

/* Does the outcome say what has come of it? */
static bool does_say(const struct pair *pair, enum outcome outcome)
{
	struct lines want;
	struct model m;

	if (outcome_is_listed(outcome) != pair->is_listed)
		return false;
	model_outcome(&m, pair->ours, pair->theirs, outcome);
	if (m.is_impossible)
		return false;
	model_lines(&m, &want);
	return lines_equal(&want, &pair->seen);
}

static bool has_text(const struct pair *pair, const char *text)
{
	for (int i = 0; i < pair->seen.n; i++) {
		const char *last = strrchr(pair->seen.v[i], ' ');

		if (last && !strcmp(last + 1, text))
			return true;
	}
	return false;
}

/* What somebody has written is lost, whatever the tables say. */
static bool is_lost(const struct pair *pair)
{
	static const bool writes[WHATS] = { [CREATE] = true, [SYMLINK] = true, [STORE] = true, [FILL] = true };
	bool is_lost = false;

	if (writes[pair->ours] && !has_text(pair, "ours"))
		is_lost = true;
	if (writes[pair->theirs] && !has_text(pair, "theirs"))
		is_lost = true;
	return is_lost;
}

static void judge(struct world *w, const struct pair *pair, enum outcome want)
{
	struct lines lines;
	struct model m;

	if (is_lost(pair)) {
		w->n_failed++;
		print_error("%s / %s: something is lost\n", what_names[pair->ours], what_names[pair->theirs]);
	}
	if (does_say(pair, want))
		return;
	w->n_failed++;
	print_error("%s / %s: is not \"%s\"; it is %slisted\n", what_names[pair->ours], what_names[pair->theirs],
		    outcome_names[want], pair->is_listed ? "" : "not ");
	model_outcome(&m, pair->ours, pair->theirs, want);
	model_lines(&m, &lines);
	print_lines(m.is_impossible ? "which cannot be" : "it should be", &lines);
	print_lines("it is", &pair->seen);
}

/* ---- the tables ---- */

/* -1: not in them. */
static int wanted[WHATS][WHATS];

static int find_word(const char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

/* "| a | b | c |" into its cells, in place. */
static int split_row(char *line, char *cells[], int max)
{
	char *rest = line + 1, *cell;
	int n = 0;

	while ((cell = strsep(&rest, "|")) && rest && n < max) {
		cell += strspn(cell, " ");
		for (char *end = cell + strlen(cell); end > cell && end[-1] == ' ';)
			*--end = '\0';
		cells[n++] = cell;
	}
	return n;
}

/* Tables whose first cell is "ours, below; theirs:". */
static void read_tables(void)
{
	FILE *file = fopen("docs/CONFLICTS.md", "re");
	int columns[WHATS], n_columns = 0;
	char line[1024];

	assert_non_null(file);
	memset(wanted, -1, sizeof(wanted));
	while (fgets(line, sizeof(line), file)) {
		char *cells[WHATS + 1];
		int n = *line == '|' ? split_row(line, cells, WHATS + 1) : 0, row;

		if (n && !strcmp(cells[0], "ours, below; theirs:")) {
			n_columns = n - 1;
			for (int i = 1; i < n; i++) {
				columns[i - 1] = find_word(what_names, WHATS, cells[i]);
				assert_true(columns[i - 1] >= 0);
			}
			continue;
		}
		if (n != n_columns + 1) {
			n_columns = n ? n_columns : 0;
			continue;
		}
		row = n > 1 ? find_word(what_names, WHATS, cells[0]) : -1;
		for (int i = 1; i < n && row >= 0; i++) {
			int outcome = find_word(outcome_names, OUTCOMES, cells[i]);

			if (outcome < 0)
				fail_msg("docs/CONFLICTS.md: \"%s\" is no outcome", cells[i]);
			assert_int_equal(wanted[row][columns[i - 1]], -1);
			wanted[row][columns[i - 1]] = outcome;
		}
	}
	fclose(file);
}

/* Of all pairs; "?": no outcome says that. */
static void print_tables(bool has_seen[WHATS][WHATS], enum outcome seen[WHATS][WHATS])
{
	for (int from = 0; from < WHATS; from += 6) {
		print_message("| ours, below; theirs: |");
		for (int b = from; b < MIN(from + 6, WHATS); b++)
			print_message(" %s |", what_names[b]);
		print_message("\n|---|");
		for (int b = from; b < MIN(from + 6, WHATS); b++)
			print_message("---|");
		print_message("\n");
		for (int a = 0; a < WHATS; a++) {
			print_message("| %s |", what_names[a]);
			for (int b = from; b < MIN(from + 6, WHATS); b++)
				print_message(" %s |", has_seen[a][b] ? outcome_names[seen[a][b]] : "?");
			print_message("\n");
		}
		print_message("\n");
	}
}

/* ---- tests ---- */

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fixture *both[] = { &w->alpha, &w->beta };

	*state = w;
	for (int i = 0; i < 2; i++) {
		f_init(both[i]);
		both[i]->config.starts_empty = false;
		both[i]->wait_us = 10 * US_PER_S;
	}
	if (!upstream_init(&w->up, w->alpha.dir))
		return 0;
	upstream_start(&w->up);
	for (int i = 0; i < 2; i++) {
		f_open(both[i]);
		w->links[i] = link_new(&w->up, both[i], i ? "beta" : "alpha");
		UNTIL(10, link_is_connected(w->links[i]));
	}
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct fixture *both[] = { &w->alpha, &w->beta };

	for (int i = 0; i < 2; i++) {
		if (w->links[i])
			replicate_stop(w->links[i]);
		if (both[i]->cache)
			f_close(both[i]);
	}
	upstream_kill(&w->up, SIGKILL);
	for (int i = 0; i < 2; i++)
		f_remove_dir(both[i]);
	free(w);
	return 0;
}

static bool is_meant(enum what ours, enum what theirs)
{
	const char *only = getenv("IZO_PAIR");
	char name[64];

	if (!only)
		return !((ours + theirs) % each());
	snprintf(name, sizeof(name), "%s/%s", what_names[ours], what_names[theirs]);
	return !strcmp(only, name);
}

static void run(struct world *w)
{
	static struct pair pairs[WHATS];
	static enum outcome seen[WHATS][WHATS];
	static bool has_seen[WHATS][WHATS];
	bool alone = getenv("IZO_LONG") != NULL, is_printing = getenv("IZO_PAIRS") != NULL;

	read_tables();
	for (int a = 0; a < WHATS; a++) {
		int n = 0;

		for (int b = 0; b < WHATS; b++) {
			if (!is_meant(a, b))
				continue;
			pairs[n] = (struct pair){ .ours = a, .theirs = b };
			snprintf(pairs[n].name, sizeof(pairs[n].name), "%d-%d", a, b);
			n++;
			if (alone)
				play(w, &pairs[n - 1], 1);
		}
		if (!alone && n)
			play(w, pairs, n);
		for (int i = 0; i < n; i++) {
			enum what b = pairs[i].theirs;

			for (int o = 0; o < OUTCOMES && !has_seen[a][b]; o++) {
				has_seen[a][b] = does_say(&pairs[i], o);
				seen[a][b] = o;
			}
			if (wanted[a][b] >= 0)
				judge(w, &pairs[i], wanted[a][b]);
			else if (!is_printing)
				fail_msg("docs/CONFLICTS.md has no word for %s / %s", what_names[a], what_names[b]);
			if (is_printing && !has_seen[a][b])
				judge(w, &pairs[i], THEIRS_STAYS);
		}
	}
	if (is_printing)
		print_tables(has_seen, seen);
	assert_int_equal(w->n_failed, 0);
}

static void by_another_client(void **state)
{
	struct world *w = *state;

	NEEDS_HTTPD(&w->up);
	run(w);
}

static void by_a_local_program(void **state)
{
	struct world *w = *state;

	NEEDS_HTTPD(&w->up);
	w->by_local = true;
	run(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_another_client),
		TEST(by_a_local_program),
	};

	if (getenv("IZO_TRACE"))
		assert_int_equal(log_trace(getenv("IZO_TRACE")), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pairs_model: what two clients may do to the same things, and what must be there afterwards, in plain memory.
 *
 * Each case begins with the same small tree (model_base()).  An operation works on objects, not on paths: who writes to a
 * file that was renamed meanwhile writes to that file.  So "both were done" is: one is done, then the other.
 */
#ifndef TESTS_PAIRS_MODEL_H
#define TESTS_PAIRS_MODEL_H

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By these names docs/CONFLICTS.md calls them; there it says what each is. */
enum what {
	CREATE, MKDIR, SYMLINK, LINK, STORE, CHMOD, REMOVE, RENAME, MOVE, BRING, REPLACE,
	FILL, CHMOD_E, RMDIR, RENAME_E, MOVE_E,
	CHMOD_P, RENAME_P, MOVE_P, REMOVE_P, SINK,
	CHMOD_T, RENAME_T, MOVE_T, REMOVE_T, SINK_T,
	WHATS
};

static const char *const what_names[WHATS] = {
	[CREATE] = "create", [MKDIR] = "mkdir", [SYMLINK] = "symlink", [LINK] = "link", [STORE] = "store",
	[CHMOD] = "setattr", [REMOVE] = "remove", [RENAME] = "rename", [MOVE] = "move", [BRING] = "bring",
	[REPLACE] = "replace",
	[FILL] = "e: fill", [CHMOD_E] = "e: setattr", [RMDIR] = "e: rmdir", [RENAME_E] = "e: rename", [MOVE_E] = "e: move",
	[CHMOD_P] = "d: setattr", [RENAME_P] = "d: rename", [MOVE_P] = "d: move", [REMOVE_P] = "d: remove", [SINK] = "d: sink",
	[CHMOD_T] = "t: setattr", [RENAME_T] = "t: rename", [MOVE_T] = "t: move", [REMOVE_T] = "t: remove",
	[SINK_T] = "t: sink",
};

enum side { OURS, THEIRS };		/* ours: done without a link, and so second */
static const char *const side_text[] = { "ours", "theirs" };
static const unsigned side_mode[] = { 0600, 0640 }, side_dir_mode[] = { 0700, 0750 };

/* What becomes of ours. */
enum outcome {
	BOTH,		/* both are done, no conflict */
	SAME,		/* nothing was left to do, no conflict */
	EMPTIED,	/* a directory that they gave another name has lost what we removed in it, no conflict */
	BACK,		/* as BOTH: the directory that they removed is there again, for what is in it */
	BESIDE,		/* ours is done under NAME.conflict-HOST-DATE, and listed */
	COPY,		/* our content is in NAME.conflict-HOST-DATE, and listed */
	NEW,		/* what they removed is there again, as a new object, under the name that we gave it; listed */
	REST,		/* of what we removed, what they have made or written stays, with the directories above it; listed */
	THEIRS_STAYS,	/* ours is undone, and listed */
	OUTCOMES
};

static const char *const outcome_names[OUTCOMES] = {
	[BOTH] = "both", [SAME] = "same", [BACK] = "back", [BESIDE] = "beside", [COPY] = "copy", [NEW] = "new",
	[EMPTIED] = "emptied", [REST] = "rest",
	[THEIRS_STAYS] = "theirs",
};

static inline bool outcome_is_listed(enum outcome outcome)
{
	return outcome >= BESIDE;
}

/* ---- a tree ---- */

#define OBJECTS_MAX 24
#define ENTRIES_MAX 24

/* Those of model_base(). */
enum { CASE, T, D, TO, AWAY, E, F, G, M, BASE_OBJECTS };

struct model {
	struct model_object {
		char type;		/* 'd', 'f', 'l' */
		unsigned mode;
		char text[16];		/* content, or where it leads */
		int was_in;		/* of a directory: where it was last */
		char was_name[40];
	} objects[OBJECTS_MAX];
	struct model_entry {
		int dir;		/* -1: not used */
		char name[40];
		int object;
	} entries[ENTRIES_MAX];
	int n_objects, n_entries;
	bool has_come_back;		/* a removed directory had to */
	bool is_impossible;		/* a name had to be given twice, or what is gone to be changed */
};

static inline int model_new(struct model *m, char type, unsigned mode, const char *text)
{
	struct model_object *o = &m->objects[m->n_objects];

	assert(m->n_objects < OBJECTS_MAX);
	*o = (struct model_object){ .type = type, .mode = mode, .was_in = -1 };
	strcpy(o->text, text);
	return m->n_objects++;
}

static inline struct model_entry *model_find(struct model *m, int dir, const char *name)
{
	for (int i = 0; i < m->n_entries; i++)
		if (m->entries[i].dir == dir && !strcmp(m->entries[i].name, name))
			return &m->entries[i];
	return NULL;
}

static inline struct model_entry *model_entry_of(struct model *m, int object)
{
	for (int i = 0; i < m->n_entries; i++)
		if (m->entries[i].dir >= 0 && m->entries[i].object == object)
			return &m->entries[i];
	return NULL;
}

static inline void model_unlink(struct model *m, struct model_entry *entry)
{
	struct model_object *o = &m->objects[entry->object];

	o->was_in = entry->dir;
	strcpy(o->was_name, entry->name);
	entry->dir = -1;
}

static inline void model_add(struct model *m, int dir, const char *name, int object);

/* A directory that is gone is there again, and those above it. */
static inline void model_back(struct model *m, int dir)
{
	struct model_object *o = &m->objects[dir];

	if (dir == CASE || model_entry_of(m, dir))
		return;
	m->has_come_back = true;
	model_add(m, o->was_in, o->was_name, dir);
}

static inline void model_add(struct model *m, int dir, const char *name, int object)
{
	struct model_entry *entry = &m->entries[m->n_entries++];

	assert(m->n_entries <= ENTRIES_MAX);
	model_back(m, dir);
	m->is_impossible |= model_find(m, dir, name) != NULL;
	*entry = (struct model_entry){ .dir = dir, .object = object };
	strcpy(entry->name, name);
}

static inline void model_base(struct model *m)
{
	static const struct { int dir; char type; const char *name, *text; } base[] = {
		[CASE] = { -1, 'd', "", "" }, [T] = { CASE, 'd', "t", "" }, [D] = { T, 'd', "d", "" },
		[TO] = { T, 'd', "to", "" }, [AWAY] = { CASE, 'd', "away", "" }, [E] = { D, 'd', "e", "" },
		[F] = { D, 'f', "f", "base" }, [G] = { D, 'f', "g", "new" }, [M] = { TO, 'f', "m", "moved" },
	};

	memset(m, 0, sizeof(*m));
	for (int i = 0; i < BASE_OBJECTS; i++) {
		model_new(m, base[i].type, base[i].type == 'd' ? 0755 : 0644, base[i].text);
		if (base[i].dir >= 0)
			model_add(m, base[i].dir, base[i].name, i);
	}
}

/* ---- operations ---- */

/* over: what may have that name, and is gone then; -1: nothing. */
static inline void model_rename(struct model *m, int object, int dir, const char *name, int over)
{
	struct model_entry *entry = model_entry_of(m, object);

	if (entry)
		model_unlink(m, entry);
	else
		m->is_impossible = true;
	/* into itself */
	for (int up = dir; up != CASE && !m->is_impossible; up = model_entry_of(m, up)->dir) {
		m->is_impossible = up == object;
		if (!model_entry_of(m, up))
			break;
	}
	model_back(m, dir);
	entry = model_find(m, dir, name);
	if (entry && entry->object == over)
		model_unlink(m, entry);
	model_add(m, dir, name, object);
}

static inline void model_remove_all(struct model *m, int dir)
{
	for (int i = 0; i < m->n_entries; i++) {
		if (m->entries[i].dir != dir)
			continue;
		if (m->objects[m->entries[i].object].type == 'd')
			model_remove_all(m, m->entries[i].object);
		model_unlink(m, &m->entries[i]);
	}
}

/* A directory with all that it had in the beginning; what came into it since keeps it. */
static inline void model_remove(struct model *m, int object)
{
	struct model_entry *entry = model_entry_of(m, object);

	if (entry) {
		model_remove_all(m, object);
		model_unlink(m, entry);
	} else {
		m->is_impossible = true;
	}
}

/* Where an operation that gives a name gives it; dir -1: it gives none. */
struct model_target {
	int dir, object;		/* object -1: a new one */
	const char *name;
};

static inline struct model_target model_target(enum what what)
{
	static const struct model_target targets[WHATS] = {
		[CREATE] = { D, -1, "n" }, [MKDIR] = { D, -1, "n" }, [SYMLINK] = { D, -1, "n" },
		[LINK] = { D, F, "n" }, [RENAME] = { D, F, "n" }, [MOVE] = { TO, F, "n" },
		[BRING] = { D, M, "n" }, [REPLACE] = { D, G, "f" }, [FILL] = { E, -1, "n" },
		[RENAME_E] = { D, E, "n" }, [MOVE_E] = { TO, E, "n" },
		[RENAME_P] = { T, D, "d2" }, [MOVE_P] = { TO, D, "d" }, [SINK] = { D, TO, "to" },
		[RENAME_T] = { CASE, T, "t2" }, [MOVE_T] = { AWAY, T, "t" }, [SINK_T] = { T, AWAY, "away" },
	};

	return targets[what].name ? targets[what] : (struct model_target){ -1, -1, "" };
}

static inline int model_make(struct model *m, enum what what, enum side side)
{
	switch (what) {
	case MKDIR:
		return model_new(m, 'd', 0755, "");
	case SYMLINK:
		return model_new(m, 'l', 0777, side_text[side]);
	default:
		return model_new(m, 'f', 0644, side_text[side]);
	}
}

/* suffix: of the name that it gives. */
static inline void model_do(struct model *m, enum what what, enum side side, const char *suffix)
{
	static const int changed[WHATS] = { [STORE] = F, [CHMOD] = F, [CHMOD_E] = E, [CHMOD_P] = D, [CHMOD_T] = T };
	static const int removed[WHATS] = { [RMDIR] = E, [REMOVE_P] = D, [REMOVE_T] = T };
	struct model_target target = model_target(what);
	struct model_object *o = &m->objects[changed[what]];
	struct model_entry *entry;
	char name[40];

	snprintf(name, sizeof(name), "%s%s", target.name, suffix);
	if (target.dir >= 0 && target.object < 0) {
		model_add(m, target.dir, name, model_make(m, what, side));
	} else if (what == LINK) {
		m->is_impossible |= !model_entry_of(m, F);
		model_add(m, target.dir, name, F);
	} else if (target.dir >= 0) {
		model_rename(m, target.object, target.dir, name, what == REPLACE ? F : -1);
	} else if (what == REMOVE) {
		entry = model_find(m, D, "f");
		m->is_impossible |= !entry || entry->object != F;
		if (entry)
			model_unlink(m, entry);
	} else if (removed[what]) {
		model_remove(m, removed[what]);
	} else {
		m->is_impossible |= !model_entry_of(m, changed[what]);
		if (what == STORE)
			strcpy(o->text, side_text[side]);
		else
			o->mode = what == CHMOD ? side_mode[side] : side_dir_mode[side];
	}
}

/*
 * What we removed, an object after the other, each where it was: not what is somewhere else by now, nor what was written to,
 * nor directories with anything in them.
 */
static inline void model_remove_piecemeal(struct model *m, int object)
{
	struct model base;

	model_base(&base);
	for (int i = base.n_entries - 1; i >= 0; i--) {	/* what is in a directory comes after it */
		const struct model_entry *was = &base.entries[i];
		struct model_entry *entry = model_find(m, was->dir, was->name);
		const struct model_object *o = &m->objects[was->object];
		bool is_in = false, has_entries = false;

		for (int up = was->object; up != CASE && !is_in; up = model_entry_of(&base, up)->dir)
			is_in = up == object;
		for (int k = 0; k < m->n_entries; k++)
			has_entries |= m->entries[k].dir == was->object;
		if (!is_in || !entry || entry->object != was->object || has_entries)
			continue;
		if (!strcmp(o->text, base.objects[was->object].text))
			model_unlink(m, entry);
	}
}

/* What must be there when ours comes after theirs, with that outcome. */
static inline void model_outcome(struct model *m, enum what ours, enum what theirs, enum outcome outcome)
{
	struct model_target target = model_target(ours);

	model_base(m);
	model_do(m, theirs, THEIRS, "");
	m->has_come_back = false;
	switch (outcome) {
	case BOTH:
	case BACK:
		model_do(m, ours, OURS, "");
		m->is_impossible |= m->has_come_back != (outcome == BACK);
		break;
	case BESIDE:
		m->is_impossible |= target.dir < 0;
		model_do(m, ours, OURS, ".conflict");
		break;
	case COPY:
		m->is_impossible |= ours != STORE;
		model_add(m, D, "f.conflict", model_new(m, 'f', m->objects[F].mode, side_text[OURS]));
		break;
	case NEW:
		m->is_impossible |= target.object < 0 || model_entry_of(m, target.object);
		if (m->is_impossible)
			break;
		model_add(m, target.dir, target.name, model_new(m, m->objects[target.object].type,
								m->objects[target.object].mode,
								m->objects[target.object].text));
		break;
	case EMPTIED:
	case REST:
		m->is_impossible |= ours != REMOVE_P && ours != REMOVE_T;
		model_remove_piecemeal(m, ours == REMOVE_P ? D : T);
		break;
	case SAME:
	case THEIRS_STAYS:
	case OUTCOMES:
		break;
	}
}

/* ---- as text: a line for each, "path type mode links text", sorted ---- */

#define LINES_MAX 32
#define LINE_LEN 480

struct lines {
	char v[LINES_MAX][LINE_LEN];
	int n;
};

static inline int lines_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static inline void lines_sort(struct lines *lines)
{
	qsort(lines->v, (size_t)lines->n, LINE_LEN, lines_compare);
}

static inline bool lines_equal(const struct lines *a, const struct lines *b)
{
	return a->n == b->n && !memcmp(a->v, b->v, (size_t)a->n * LINE_LEN);
}

/* links: of a file. */
static inline void lines_add(struct lines *lines, const char *path, char type, unsigned mode, unsigned links,
			     const char *text)
{
	assert(lines->n < LINES_MAX);
	memset(lines->v[lines->n], 0, LINE_LEN);
	snprintf(lines->v[lines->n++], LINE_LEN, "%s %c %o %u %s", path, type, mode, type == 'f' ? links : 0, text);
}

static inline void model_walk(const struct model *m, int dir, const char *path, struct lines *lines)
{
	for (int i = 0; i < m->n_entries; i++) {
		const struct model_entry *entry = &m->entries[i];
		const struct model_object *o = &m->objects[entry->object];
		char below[400];
		unsigned links = 0;

		if (entry->dir != dir)
			continue;
		for (int k = 0; k < m->n_entries; k++)
			links += m->entries[k].dir >= 0 && m->entries[k].object == entry->object;
		snprintf(below, sizeof(below), "%.300s/%s", path, entry->name);
		lines_add(lines, below, o->type, o->mode, links, o->text);
		if (o->type == 'd')
			model_walk(m, entry->object, below, lines);
	}
}

static inline void model_lines(const struct model *m, struct lines *lines)
{
	lines->n = 0;
	model_walk(m, CASE, "", lines);
	lines_sort(lines);
}

#endif

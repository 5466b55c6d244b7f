/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/settle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cache/cml.h"
#include "cache/settle.h"
#include "cmd/place.h"

/* A conflict that is meant. */
struct found {
	const struct daemon_tree *tree;
	uint64_t id;
};

struct search {
	const struct daemon_tree *tree;		/* the one that is looked through */
	const char *path;			/* in it; or a number */
	struct found *v;			/* owned */
	size_t n;
	bool has_failed;
	struct settle_paths paths;
};

static bool is_number(const char *text, uint64_t number)
{
	char *end;

	return *text >= '0' && *text <= '9' && strtoull(text, &end, 10) == number && !*end;
}

static void take_conflict(void *arg, const struct cml_conflict *conflict)
{
	struct search *search = arg;
	struct found *v;

	if (settle_paths(search->tree->cache, conflict->id, &search->paths) < 0)
		search->has_failed = true;
	if (strcmp(search->path, conflict->path) && strcmp(search->path, search->paths.ours) &&
	    strcmp(search->path, search->paths.name) && !is_number(search->path, conflict->id))
		return;
	v = realloc(search->v, (search->n + 1) * sizeof(*v));
	if (!v) {
		search->has_failed = true;
		return;
	}
	v[search->n++] = (struct found){ search->tree, conflict->id };
	search->v = v;
}

/* Those that the path means: *ret is to be freed.  -ENOENT: none. */
static int find(struct daemon *daemon, const struct daemon_tree *only, const char *path, struct found **ret, size_t *ret_n,
		char **ret_why)
{
	struct search search = { .path = path };
	struct place place;
	bool is_on_mount = place_by_mount(daemon, path, &place);
	int err = 0;

	for (size_t i = 0; i < daemon->config->n_trees && !err; i++) {
		search.tree = &daemon->trees[i];
		if (only && only != search.tree)
			continue;
		search.path = is_on_mount && place.tree == search.tree ? place.path : path;
		err = cml_conflicts(search.tree->cache, take_conflict, &search);
	}
	if (!err && search.has_failed)
		err = -EIO;
	if (!err && !search.n)
		err = -ENOENT;
	*ret = search.v;
	*ret_n = search.n;
	if (err && asprintf(ret_why, "%s: %s", path, err == -ENOENT ? "no conflict is on record; izo-nfsd --conflicts lists those that are" :
						     "the list of conflicts cannot be read from the cache") < 0)
		*ret_why = NULL;
	return err;
}

static int keep_of(const char *text, enum settle_keep *ret)
{
	static const char *const names[] = { [SETTLE_MINE] = "mine", [SETTLE_THEIRS] = "theirs", [SETTLE_BOTH] = "both" };

	for (size_t i = 0; text && i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], text)) {
			*ret = (enum settle_keep)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* As merged, too. */
static int settle_one(const struct found *found, const char *keep, char **ret_why)
{
	enum settle_keep whose;

	if (!strcmp(keep, "merged"))
		return merger_merge(found->tree->merger, found->id, ret_why);
	return keep_of(keep, &whose) ? -EINVAL : settle_conflict(found->tree->cache, found->id, whose, ret_why);
}

static int say(char **ret_why, const char *path, char *why, int err)
{
	if (asprintf(ret_why, "%s: %s", path, why ? why : strerror(-err)) < 0)
		*ret_why = NULL;
	free(why);
	return err;
}

int settle_answer(struct daemon *daemon, const struct daemon_tree *only, const json_t *request, json_t **ret_answer, char **ret_why)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	const char *keep = json_string_value(json_object_get(request, "keep"));
	AUTO_FREE struct found *found = NULL;
	enum settle_keep ignored;
	size_t n = 0;
	int err;

	if (!path || !keep || (strcmp(keep, "merged") && keep_of(keep, &ignored)))
		return say(ret_why, path ? path : "", strdup("keep is none of mine, theirs, both, merged"), -EINVAL);
	err = find(daemon, only, path, &found, &n, ret_why);
	for (size_t i = 0; i < n && !err; i++) {
		char *why = NULL;

		err = settle_one(&found[i], keep, &why);
		if (err)
			(void)say(ret_why, path, why, err);
	}
	if (err)
		return err;
	*ret_answer = json_pack("{s:b, s:I}", "ok", 1, "settled", (json_int_t)n);
	return 0;
}

int sides_answer(struct daemon *daemon, const struct daemon_tree *only, const json_t *request, json_t **ret_answer, char **ret_why)
{
	const char *path = json_string_value(json_object_get(request, "path"));
	AUTO_FREE struct settle_paths *paths = malloc(sizeof(*paths));
	AUTO_FREE struct found *found = NULL;
	char *why = NULL;
	size_t n = 0;
	int err;

	if (!path || !paths)
		return say(ret_why, "", NULL, paths ? -EINVAL : -ENOMEM);
	err = find(daemon, only, path, &found, &n, ret_why);
	if (err)
		return err;
	/* The first that has two contents. */
	for (size_t i = 0; i < n; i++) {
		AUTO_FREE char *dir = NULL;

		free(why);
		why = NULL;
		err = settle_sides(found[i].tree->cache, found[i].id, &dir, &why);
		if (!err)
			err = settle_paths(found[i].tree->cache, found[i].id, paths);
		if (!err) {
			*ret_answer = json_pack("{s:b, s:s, s:s%, s:s%}", "ok", 1, "dir", dir, "path", paths->ours,
						strlen(paths->ours), "name", paths->name, strlen(paths->name));
			return 0;
		}
	}
	return say(ret_why, path, why, err);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cmd/daemon.h"

int place_clean(const char *path, char ret[PATH_MAX])
{
	char whole[2 * PATH_MAX] = "";
	size_t len = 0;

	if (path[0] != '/' && !getcwd(whole, PATH_MAX))
		return -errno;
	if (strlen(whole) + 1 + strlen(path) >= sizeof(whole))
		return -ENAMETOOLONG;
	(void)strcat(strcat(whole, "/"), path);
	for (char *name = strtok(whole, "/"); name; name = strtok(NULL, "/")) {
		if (!strcmp(name, "."))
			continue;
		if (!strcmp(name, "..")) {
			while (len && ret[--len] != '/')
				;
			continue;
		}
		if (len + 1 + strlen(name) >= PATH_MAX)
			return -ENAMETOOLONG;
		ret[len++] = '/';
		memcpy(ret + len, name, strlen(name));
		len += strlen(name);
	}
	if (!len)
		ret[len++] = '/';
	ret[len] = '\0';
	return 0;
}

/* What is left of a path below 'top'; the root is "". */
static const char *below(const char *path, const char *top)
{
	return path + (top[1] ? strlen(top) : 0);
}

static const struct daemon_tree *tree_exporting(const struct daemon *daemon, const char *path)
{
	for (size_t i = 0; i < daemon->config->n_trees; i++)
		if (config_is_below(path, daemon->trees[i].config->export))
			return &daemon->trees[i];	/* exports are not nested */
	return NULL;
}

static void put(struct place *ret, const char *path)
{
	(void)snprintf(ret->path, sizeof(ret->path), "%.*s", CML_PATH_MAX - 1, *path ? path : "/");
}

bool place_by_mount(struct daemon *daemon, const char *path, struct place *ret)
{
	const struct mount *best = NULL;
	char export[2 * CML_PATH_MAX];

	daemon_look_at_mounts(daemon);
	pthread_mutex_lock(&daemon->lock);
	/* The nearest one counts. */
	for (size_t i = 0; i < daemon->mounts.n; i++) {
		const struct mount *mount = &daemon->mounts.v[i];

		if (config_is_below(path, mount->point) && (!best || strlen(mount->point) > strlen(best->point)))
			best = mount;
	}
	/* A mount of what is below the export begins there. */
	if (best)
		(void)snprintf(export, sizeof(export), "%s%s", best->export[1] ? best->export : "", below(path, best->point));
	pthread_mutex_unlock(&daemon->lock);
	ret->tree = best ? tree_exporting(daemon, export) : NULL;
	if (ret->tree)
		put(ret, below(export, ret->tree->config->export));
	return ret->tree;
}

bool place_find(struct daemon *daemon, const struct daemon_tree *only, const char *path, struct place *ret)
{
	if (place_by_mount(daemon, path, ret))
		return true;
	ret->tree = tree_exporting(daemon, path);
	if (ret->tree && (!only || only == ret->tree))
		path = below(path, ret->tree->config->export);
	else
		ret->tree = only ? only : daemon->config->n_trees == 1 ? &daemon->trees[0] : NULL;
	put(ret, path);
	return ret->tree;
}

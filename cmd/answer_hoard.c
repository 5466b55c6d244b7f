/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/answer_hoard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "cache/hoard.h"
#include "cmd/answer.h"
#include "cmd/daemon.h"
#include "cmd/place.h"
#include "cmd/status.h"

/* NULL: found; else a refusal. */
static json_t *find_place(struct daemon *daemon, const struct daemon_tree *only, const json_t *request, struct place *ret)
{
	const char *path = json_string_value(json_object_get(request, "path"));

	if (!path || path[0] != '/' || strlen(path) >= CML_PATH_MAX)
		return answer_refuse("the request names no path");
	if (!place_find(daemon, only, path, ret))
		return answer_refuse("%s is on no mount of a tree: give --tree NAME, and the path from its root", path);
	if (only && only != ret->tree)
		return answer_refuse("%s is in tree %s", path, ret->tree->config->name);
	return NULL;
}

static json_t *done(const struct place *place)
{
	return json_pack("{s:b, s:s, s:o}", "ok", 1, "tree", place->tree->config->name, "path", status_text(place->path));
}

json_t *answer_hoard(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	const json_t *depth = json_object_get(request, "depth"), *priority = json_object_get(request, "priority");
	struct place place;
	json_t *refusal = find_place(daemon, only, request, &place);
	int err;

	if (refusal)
		return refusal;
	err = hoard_add(place.tree->cache, place.path, depth ? (uint32_t)json_integer_value(depth) : HOARD_DEPTH,
			priority ? (uint32_t)json_integer_value(priority) : HOARD_PRIORITY);
	if (err)
		return answer_refuse("tree %s: %s cannot be hoarded: %s", place.tree->config->name, place.path, strerror(-err));
	log_info("control: --hoard: tree=%s path=%s", place.tree->config->name, place.path);
	return done(&place);
}

json_t *answer_unhoard(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	struct place place;
	json_t *refusal = find_place(daemon, only, request, &place);
	int err;

	if (refusal)
		return refusal;
	err = hoard_remove(place.tree->cache, place.path);
	if (err == -ENOENT)
		return answer_refuse("tree %s: %s is not hoarded by itself; --hoard-list says what is", place.tree->config->name, place.path);
	if (err == -EPERM)
		return answer_refuse("tree %s: %s is hoarded by %s: take it out there and restart the daemon", place.tree->config->name,
				     place.path, daemon->config->path ? daemon->config->path : "the configuration");
	if (err)
		return answer_refuse("tree %s: %s: %s", place.tree->config->name, place.path, strerror(-err));
	log_info("control: --unhoard: tree=%s path=%s", place.tree->config->name, place.path);
	return done(&place);
}

json_t *answer_hoard_list(struct daemon *daemon, const struct daemon_tree *only, const json_t *request)
{
	json_t *entries = status_hoard_list_json(daemon, only);

	(void)request;
	if (!entries)
		return answer_refuse("what is hoarded cannot be read from the cache");
	return json_pack("{s:b, s:o}", "ok", 1, "hoard", entries);
}

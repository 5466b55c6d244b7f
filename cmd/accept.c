/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/why.h"
#include "cache/cache.h"
#include "replicate/accept.h"
#include "replicate/replicate.h"

static bool is_stopping(void *arg)
{
	return daemon_is_stopping(arg);
}

/* What the user has seen: the identity and position that --status shows. */
static int get_seen(const json_t *request, struct accept_config *config)
{
	const json_t *position = json_object_get(request, "position");

	config->id = json_string_value(json_object_get(request, "id"));
	if (!config->id || !config->id[0] || !json_is_integer(position) || json_integer_value(position) < 0)
		return -EINVAL;
	config->position = (uint64_t)json_integer_value(position);
	return 0;
}

/* The listing, in a file without a name: nobody finds it after a crash, and the user is asked once more. */
static int fetch(struct daemon *daemon, const struct daemon_tree *tree, struct accept_config *config, struct cache_adopt *ret_adopt,
		 char **ret_why)
{
	struct accept_result result;
	int err, fd;

	fd = open(tree->config->cache, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return why_fail(ret_why, -errno, "%s: no file can be made there for the listing: %s", tree->config->cache, strerror(errno));
	config->cache = tree->cache;
	config->url = tree->config->upstream;
	config->fd = fd;
	config->is_cancelled = is_stopping;
	config->arg = daemon;
	err = accept_fetch(config, &result, ret_why);
	if (err) {
		(void)close(fd);	/* nobody needs it */
		return err;
	}
	*ret_adopt = (struct cache_adopt){ .listing_fd = fd, .position = result.position, .has_acls = result.has_acls };
	(void)snprintf(ret_adopt->id, sizeof(ret_adopt->id), "%s", config->id);	/* it was compared with one that fits */
	return 0;
}

int accept_answer(struct daemon *daemon, const struct daemon_tree *tree, const json_t *request, json_t **ret_answer, char **ret_why)
{
	struct accept_config config = { 0 };
	struct replicate_status link;
	struct cache_adopt adopt;
	int err;

	if (!tree && daemon->config->n_trees == 1)
		tree = &daemon->trees[0];
	if (!tree)
		return why_fail(ret_why, -EINVAL, "an upstream is accepted for one tree: name it with --tree");
	if (get_seen(request, &config))
		return why_fail(ret_why, -EINVAL, "the request does not say which upstream, and at which position, was seen");
	replicate_get_status(tree->replicate, &link);
	if (link.state == LINK_OFFLINE)
		return why_fail(ret_why, -ENOTCONN, "tree %s is offline by your word: --online first", tree->config->name);
	err = fetch(daemon, tree, &config, &adopt, ret_why);
	if (err)
		return err;
	log_warn("control: --accept-upstream: tree=%s upstream=%s position=%llu", tree->config->name, adopt.id,
		 (unsigned long long)adopt.position);
	*ret_answer = json_pack("{s:b, s:s, s:I}", "ok", 1, "tree", tree->config->name, "position", (json_int_t)adopt.position);
	daemon_reopen(daemon, tree, &adopt);
	return 0;
}

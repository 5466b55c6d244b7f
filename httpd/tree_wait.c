/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has been published, and waiting for it: under publish_lock. */
#include "httpd/tree.h"

#include "base/clock.h"
#include "base/cond.h"

/* Under publish_lock: until something is published, or for less.  False: the time is over, or the server stops. */
static bool wait_published(struct tree *tree, uint64_t deadline_us)
{
	if (tree->is_stopping || clock_us() >= deadline_us)
		return false;
	cond_wait(&tree->publish_cond, &tree->publish_lock, deadline_us);	/* who called looks why it is over */
	return true;
}

uint64_t tree_wait(struct tree *tree, uint64_t from, uint64_t deadline_us)
{
	uint64_t position;

	pthread_mutex_lock(&tree->publish_lock);
	while (tree->published <= from && wait_published(tree, deadline_us))
		;
	position = tree->published;
	pthread_mutex_unlock(&tree->publish_lock);
	return position;
}

uint64_t tree_commits(struct tree *tree)
{
	uint64_t commits;

	pthread_mutex_lock(&tree->publish_lock);
	commits = tree->commits;
	pthread_mutex_unlock(&tree->publish_lock);
	return commits;
}

void tree_wait_commit(struct tree *tree, uint64_t seen, uint64_t deadline_us)
{
	pthread_mutex_lock(&tree->publish_lock);
	while (tree->commits == seen && wait_published(tree, deadline_us))
		;
	pthread_mutex_unlock(&tree->publish_lock);
}

void tree_stop_waiting(struct tree *tree)
{
	pthread_mutex_lock(&tree->publish_lock);
	tree->is_stopping = true;
	pthread_cond_broadcast(&tree->publish_cond);
	pthread_mutex_unlock(&tree->publish_lock);
}

bool tree_is_stopping(struct tree *tree)
{
	bool is_stopping;

	pthread_mutex_lock(&tree->publish_lock);
	is_stopping = tree->is_stopping;
	pthread_mutex_unlock(&tree->publish_lock);
	return is_stopping;
}

uint64_t tree_oldest(struct tree *tree)
{
	uint64_t oldest;

	pthread_mutex_lock(&tree->publish_lock);
	oldest = tree->oldest;
	pthread_mutex_unlock(&tree->publish_lock);
	return oldest;
}

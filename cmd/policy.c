/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/policy.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "cmd/merger.h"

#define LOOK_EVERY_S 1

struct policy {
	struct cache *cache;
	enum settle_policy which;
	struct merger *merger;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_stopping;	/* under lock */
};

/* True: it is to end. */
static bool pause_is_last(struct policy *policy)
{
	bool is_stopping;

	pthread_mutex_lock(&policy->lock);
	if (!policy->is_stopping)
		cond_wait(&policy->wake, &policy->lock, clock_us() + LOOK_EVERY_S * US_PER_S);	/* woken early: it looks early */
	is_stopping = policy->is_stopping;
	pthread_mutex_unlock(&policy->lock);
	return is_stopping;
}

/* What is still to be merged is not to be settled otherwise. */
static bool is_merged_first(void *arg, uint64_t id)
{
	const struct policy *policy = arg;

	return merger_waits_for(policy->merger, id);
}

static void *policy_run(void *arg)
{
	struct policy *policy = arg;
	bool has_failed = false;

	while (!pause_is_last(policy)) {
		int err = merger_round(policy->merger);

		if (!err)
			err = settle_all(policy->cache, policy->which, is_merged_first, policy);
		if (err && !has_failed)
			log_warn("conflicts cannot be settled by themselves: %s", strerror(-err));
		has_failed = err != 0;
	}
	return NULL;
}

int policy_start(struct cache *cache, enum settle_policy which, struct merger *merger, struct policy **ret_policy)
{
	struct policy *policy;
	int err;

	*ret_policy = NULL;
	if (which == POLICY_KEEP_BOTH && !merger_has_work(merger))
		return 0;
	policy = calloc(1, sizeof(*policy));
	if (!policy)
		return -ENOMEM;
	policy->cache = cache;
	policy->which = which;
	policy->merger = merger;
	(void)pthread_mutex_init(&policy->lock, NULL);		/* these cannot fail */
	(void)cond_init(&policy->wake);
	err = thread_start(&policy->thread, "policy", policy_run, policy);
	if (err) {
		free(policy);
		return err;
	}
	*ret_policy = policy;
	return 0;
}

void policy_stop(struct policy *policy)
{
	if (!policy)
		return;
	thread_stop(policy->thread, &policy->lock, &policy->wake, &policy->is_stopping);
	(void)pthread_cond_destroy(&policy->wake);
	(void)pthread_mutex_destroy(&policy->lock);
	free(policy);
}

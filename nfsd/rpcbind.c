/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <netconfig.h>
#include <netinet/in.h>
#include <pthread.h>
#include <rpc/rpc.h>
#include <rpc/rpcb_clnt.h>
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "nfsd/mount3.h"
#include "nfsd/nfs3.h"
#include "nfsd/nfsacl3.h"
#include "nfsd/rpcbind.h"

#define AGAIN_S 60

struct rpcbind {
	struct sockaddr_storage addr;	/* constant after start */
	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* under lock */
	unsigned refs;			/* the owner and the thread */
	bool is_stopping, is_abandoned;
	struct loop *loop;
	struct loop_job *job;
};

static const struct registration {
	const struct rpc_program *program;
} registrations[] = { { &nfs3_program }, { &mount3_program }, { &nfsacl3_program } };

#define N_REGISTRATIONS ARRAY_SIZE(registrations)

static void rpcbind_put(struct rpcbind *rpcbind)
{
	bool is_last;

	pthread_mutex_lock(&rpcbind->lock);
	is_last = --rpcbind->refs == 0;
	pthread_mutex_unlock(&rpcbind->lock);
	if (!is_last)
		return;
	pthread_cond_destroy(&rpcbind->changed);
	pthread_mutex_destroy(&rpcbind->lock);
	free(rpcbind);
}

enum outcome { NOT_TRIED, REGISTERED, TAKEN, NO_RPCBIND };

static enum outcome register_one(const struct rpcbind *rpcbind, const struct netconfig *netconfig,
				 const struct rpc_program *program)
{
	struct sockaddr_storage addr = rpcbind->addr;
	struct netbuf netbuf = {
		.buf = &addr,
		.len = addr.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
						    sizeof(struct sockaddr_in),
		.maxlen = sizeof(addr),
	};

	rpc_createerr.cf_stat = RPC_SUCCESS;
	/* True also when exactly this is registered already, by ourselves before a crash, say. */
	if (rpcb_set(program->number, program->version, netconfig, &netbuf))
		return REGISTERED;
	return rpc_createerr.cf_stat == RPC_SUCCESS ? TAKEN : NO_RPCBIND;
}

static void report(const struct rpc_program *program, enum outcome outcome)
{
	switch (outcome) {
	case REGISTERED:
		log_info("rpcbind: registered %s version %u", program->name, program->version);
		break;
	case TAKEN:
		log_warn(
			"rpcbind: another server has registered %s version %u; it is left alone, mount "
			"with port= and mountport=",
			program->name, program->version);
		break;
	case NO_RPCBIND:
		log_info(
			"rpcbind: not there, %s version %u is not registered; mounts need port= and mountport=",
			program->name, program->version);
		break;
	case NOT_TRIED:
		break;
	}
}

/* Until told to stop, or a minute is over.  True: stop. */
static bool wait_for_stop(struct rpcbind *rpcbind)
{
	uint64_t until_us = clock_us() + AGAIN_S * US_PER_S;
	bool is_stopping;

	pthread_mutex_lock(&rpcbind->lock);
	while (!rpcbind->is_stopping && clock_us() < until_us)
		cond_wait(&rpcbind->changed, &rpcbind->lock, until_us);
	is_stopping = rpcbind->is_stopping;
	pthread_mutex_unlock(&rpcbind->lock);
	return is_stopping;
}

static void *rpcbind_run(void *arg)
{
	struct rpcbind *rpcbind = arg;
	struct netconfig *netconfig = getnetconfigent(rpcbind->addr.ss_family == AF_INET6 ? "tcp6" :
											    "tcp");
	enum outcome last[N_REGISTRATIONS] = { NOT_TRIED };

	if (!netconfig)
		log_warn("rpcbind: /etc/netconfig does not know TCP; not registered");
	do {
		for (size_t i = 0; netconfig && i < N_REGISTRATIONS; i++) {
			enum outcome outcome = register_one(rpcbind, netconfig,
							    registrations[i].program);

			if (outcome != last[i])
				report(registrations[i].program, outcome);
			last[i] = outcome;
		}
	} while (!wait_for_stop(rpcbind));

	for (size_t i = 0; i < N_REGISTRATIONS; i++) {
		const struct rpc_program *program = registrations[i].program;

		if (last[i] == REGISTERED &&
		    !rpcb_unset(program->number, program->version, netconfig))
			log_info("rpcbind: gone, %s was not unregistered", program->name);
	}
	if (netconfig)
		freenetconfigent(netconfig);

	pthread_mutex_lock(&rpcbind->lock);
	if (!rpcbind->is_abandoned && rpcbind->job)
		loop_post(rpcbind->loop, rpcbind->job);
	pthread_mutex_unlock(&rpcbind->lock);
	rpcbind_put(rpcbind);
	return NULL;
}

int rpcbind_start(const struct sockaddr_storage *addr, struct rpcbind **ret_rpcbind)
{
	struct rpcbind *rpcbind = calloc(1, sizeof(*rpcbind));
	pthread_t thread;
	int err;

	if (!rpcbind)
		return -ENOMEM;
	rpcbind->addr = *addr;
	rpcbind->refs = 2;
	pthread_mutex_init(&rpcbind->lock, NULL);
	(void)cond_init(&rpcbind->changed);	/* cannot fail */
	err = thread_start(&thread, "rpcbind", rpcbind_run, rpcbind);
	if (err) {
		rpcbind->refs = 1;
		rpcbind_put(rpcbind);
		return err;
	}
	(void)pthread_detach(thread);	/* it may hang for as long as rpcbind does */
	*ret_rpcbind = rpcbind;
	return 0;
}

void rpcbind_stop(struct rpcbind *rpcbind, struct loop *loop, struct loop_job *job)
{
	pthread_mutex_lock(&rpcbind->lock);
	rpcbind->loop = loop;
	rpcbind->job = job;
	rpcbind->is_stopping = true;
	pthread_cond_signal(&rpcbind->changed);
	pthread_mutex_unlock(&rpcbind->lock);
}

void rpcbind_free(struct rpcbind *rpcbind)
{
	if (!rpcbind)
		return;
	pthread_mutex_lock(&rpcbind->lock);
	rpcbind->is_abandoned = true;
	rpcbind->is_stopping = true;
	pthread_cond_signal(&rpcbind->changed);
	pthread_mutex_unlock(&rpcbind->lock);
	rpcbind_put(rpcbind);
}

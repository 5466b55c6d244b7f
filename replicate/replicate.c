/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/replicate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/why.h"
#include "cache/apply.h"
#include "cache/cml.h"
#include "cache/fetcher.h"
#include "replicate/doubt.h"
#include "replicate/internal.h"

uint32_t replicate_random(void)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)clock_us();	/* only spreads back-offs */
	return random;
}

/* ---- figures ---- */

static void set_text(char *ret, size_t size, const char *text)
{
	snprintf(ret, size, "%s", text ? text : "");
}

void replicate_hold(struct replicate *r, const char *why)
{
	bool is_new;

	pthread_mutex_lock(&r->lock);
	is_new = strcmp(r->status.held, why ? why : "") != 0;
	set_text(r->status.held, sizeof(r->status.held), why);
	pthread_mutex_unlock(&r->lock);
	if (is_new && why)
		log_warn("replay: the log is held: %s", why);
}

void replicate_note_position(struct replicate *r, uint64_t position)
{
	pthread_mutex_lock(&r->lock);
	r->status.upstream_position = MAX(r->status.upstream_position, position);
	pthread_mutex_unlock(&r->lock);
}

void replicate_note_replay(struct replicate *r, bool is_replaying, uint64_t records, uint64_t bytes)
{
	pthread_mutex_lock(&r->lock);
	r->status.is_replaying = is_replaying;
	r->status.replay_records += records;
	r->status.replay_bytes += bytes;
	pthread_mutex_unlock(&r->lock);
}

void replicate_note_waits(struct replicate *r, const char *why)
{
	pthread_mutex_lock(&r->lock);
	set_text(r->status.waits, sizeof(r->status.waits), why);
	pthread_mutex_unlock(&r->lock);
}

void replicate_note_meter(struct replicate *r)
{
	const struct meter *meter = &r->http.meter;

	pthread_mutex_lock(&r->lock);
	r->status.kind = r->quality.kind;
	r->status.round_trip_us = meter->round_trip_us;
	r->status.up_rate = meter->rate[METER_UP];
	r->status.down_rate = meter->rate[METER_DOWN];
	r->status.sent_bytes = r->http.moved[FLOW_UP];
	pthread_mutex_unlock(&r->lock);
}

void replicate_note_limits(struct replicate *r, uint64_t up, uint64_t down)
{
	pthread_mutex_lock(&r->lock);
	r->status.up_limit = up;
	r->status.down_limit = down;
	pthread_mutex_unlock(&r->lock);
}

void replicate_note_fetched(struct replicate *r, uint64_t bytes)
{
	pthread_mutex_lock(&r->lock);
	r->status.fetch_bytes += bytes;
	pthread_mutex_unlock(&r->lock);
}

static void note_request(struct http *http, bool is_failure)
{
	struct replicate *r = container_of(http, struct replicate, http);

	pthread_mutex_lock(&r->lock);
	r->status.requests++;
	r->status.failures += is_failure;
	pthread_mutex_unlock(&r->lock);
}

static void note_state(struct replicate *r, enum link_state state, const char *why)
{
	pthread_mutex_lock(&r->lock);
	if (r->status.state != state)
		r->since_us = clock_us();
	r->status.state = state;
	set_text(r->status.reason, sizeof(r->status.reason), why);
	pthread_mutex_unlock(&r->lock);
}

void replicate_get_status(struct replicate *r, struct replicate_status *ret)
{
	uint64_t now = clock_us();

	pthread_mutex_lock(&r->lock);
	*ret = r->status;
	ret->since_s = (now - r->since_us) / US_PER_S;
	ret->probe_in_s =
		r->probe_at_us > now ? (r->probe_at_us - now + US_PER_S - 1) / US_PER_S : 0;
	pthread_mutex_unlock(&r->lock);
}

/* ---- the link: what the table says ---- */

static void set_probe_timer(struct replicate *r, uint64_t at_us)
{
	if (at_us == CLOCK_NEVER)
		loop_timer_cancel(r->loop, &r->probe_timer);
	else
		loop_timer_set(r->loop, &r->probe_timer, at_us);
	pthread_mutex_lock(&r->lock);
	r->probe_at_us = at_us == CLOCK_NEVER ? 0 : at_us;
	pthread_mutex_unlock(&r->lock);
}

static void abort_all(struct replicate *r)
{
	set_probe_timer(r, CLOCK_NEVER);
	quality_lost(&r->quality);
	probe_cancel(&r->probe);
	fetch_stop(&r->fetch);
	pull_stop(&r->pull);
	background_stop(&r->background);
	replay_stop(&r->replay);
	cache_link_lost(r->cache);
}

void replicate_probe(struct replicate *r)
{
	set_probe_timer(r, CLOCK_NEVER);
	probe_of_cache(&r->probe, r->cache);
	r->probe.wants_root = !apply_has_upstream(r->cache);
	probe_start(&r->probe);
}

static const char *forbidden(const struct replicate *r)
{
	struct replicate_doubt doubt;

	doubt_look(r->cache, &r->probe.hello, &doubt);
	return doubt_holds(doubt.kind);
}

static void start_all(struct replicate *r)
{
	r->connected_us = clock_us();
	r->was_useful = false;
	pull_start(&r->pull);
	fetch_start(&r->fetch);
	background_start(&r->background);
	replay_start(&r->replay, forbidden(r));
}

void replicate_go_on(struct replicate *r)
{
	quality_follow(&r->quality);
	replay_go_on(&r->replay);
	/* Between two looks at the journal there may be minutes, or none. */
	pull_start(&r->pull);
	background_kick(&r->background);
}

static void wait_for_probe(struct replicate *r, bool is_long)
{
	uint64_t wait_us;

	if (is_long && r->tries < LINK_TRIES_LONG)
		r->tries = LINK_TRIES_LONG;
	/* Whoever hoped for this try is told. */
	fetch_stop(&r->fetch);
	cache_link_lost(r->cache);
	/* Who asked for something has waited in vain. */
	quality_lost(&r->quality);
	wait_us = link_backoff_us(r->tries, replicate_random());
	r->tries++;
	set_probe_timer(r, clock_us() + wait_us);
}

/* A line for each change, and when debugged for each event; of the tries that fail one after the other only the first is news. */
static void log_step(const struct replicate *r, enum link_state to, enum link_event event,
		     const char *why)
{
	if (r->state != to || (event == LINK_FAILED && !r->tries && to == LINK_DISCONNECTED))
		log_info("link: %s%s%s", link_state_name(to), why ? ": " : "", why ? why : "");
	log_debug(LOG_LINK, "link: event: %s on %s, then %s%s%s", link_event_name(event), link_state_name(r->state),
		  link_state_name(to), why ? ": " : "", why ? why : "");
}

void replicate_event(struct replicate *r, enum link_event event, const char *why)
{
	struct link_step step = link_next(r->state, event);
	enum link_state from = r->state;
	char text[256];

	if (r->is_stopping)
		return;
	/* It may be the text of a request that is about to be given up. */
	set_text(text, sizeof(text), why);
	why = text[0] ? text : NULL;
	log_step(r, step.state, event, why);
	if (link_is_up(from) && !link_is_up(step.state) &&
	    (r->was_useful || clock_us() - r->connected_us >= LINK_STEADY_US))
		r->tries = 0;
	if (event == LINK_KICK || event == LINK_USER_ONLINE)
		r->tries = 0;
	if (event == LINK_USER_ONLINE && !link_is_up(from))
		fetch_expect(&r->fetch);
	r->state = step.state;
	if (step.state != from || (why && step.state == LINK_DISCONNECTED))
		note_state(r, step.state, step.state == LINK_CONNECTED ? NULL : why);
	if (step.state == LINK_DISCONNECTED && event == LINK_REFUSED)
		replicate_hold(r, why);
	else if (!link_is_up(step.state))
		replicate_hold(r, NULL);

	if (step.actions & LINK_DO_ABORT)
		abort_all(r);
	if (step.actions & LINK_DO_PROBE)
		replicate_probe(r);
	if (step.actions & (LINK_DO_WAIT | LINK_DO_WAIT_LONG))
		wait_for_probe(r, step.actions & LINK_DO_WAIT_LONG);
	if (step.actions & LINK_DO_START) {
		quality_follow(&r->quality);
		start_all(r);
	}
	if (step.actions & LINK_DO_REPLAY) {
		replay_now(&r->replay);
		/* Who asks for the one wants the other, where it would come in some minutes. */
		if (quality_pace(&r->quality).pull_us)
			pull_start(&r->pull);
	}
	if (step.actions & LINK_DO_PACE)
		replicate_go_on(r);
}

bool replicate_lost_by(struct replicate *r, int err, const char *why)
{
	if (!http_is_lost(err))
		return false;
	replicate_event(r, LINK_LOST, why && *why ? why : strerror(-err));
	return true;
}

static void probe_timer_fired(struct loop_timer *timer)
{
	replicate_event(container_of(timer, struct replicate, probe_timer), LINK_TIMER, NULL);
}

/* ---- who is there ---- */

/* Mark everything as not known and go on from where the upstream is. */
static int relist(struct replicate *r, uint64_t position)
{
	int err = apply_reset(r->cache, position);

	if (!err)
		background_want_tree(&r->background, true);
	return err;
}

/* What the status says, and once for each that is seen what to do about it. */
static void note_doubt(struct replicate *r, const struct replicate_doubt *doubt)
{
	bool is_new;

	pthread_mutex_lock(&r->lock);
	is_new = doubt->kind != r->status.doubt.kind || strcmp(doubt->id, r->status.doubt.id);
	r->status.doubt = *doubt;
	pthread_mutex_unlock(&r->lock);
	if (!is_new || doubt->kind == DOUBT_NONE)
		return;
	log_warn("link: %s is not what this cache knows: known=%s at position %" PRIu64 ", there=%s at position %" PRIu64
		 ": nothing is sent to it, and nothing is lost; bring the right one back, or accept this one: izo-nfsd"
		 " --accept-upstream %s@%" PRIu64, r->http.base, doubt->known_id, doubt->known_position, doubt->id, doubt->position,
		 doubt->id, doubt->position);
}

/* Is it ours, and from where do we go on?  0, or -errno with a sentence. */
static int check_in(struct replicate *r, const struct hello *hello, const char **ret_why)
{
	struct replicate_doubt doubt;
	uint64_t position;
	int err;

	apply_next_mark(r->cache, &hello->mark);
	err = apply_upstream(r->cache, hello->id, hello->position, &r->probe.root);
	doubt_look(r->cache, hello, &doubt);
	note_doubt(r, &doubt);
	if (!err && doubt.kind == DOUBT_PUT_BACK)
		err = -ESTALE;
	*ret_why = err == -EXDEV ? "this cache belongs to another upstream; give that one's URL, "
				   "use another cache directory, or accept this one (see --status)"
		   : err == -ESTALE ? "the upstream was put back to an older state than this cache "
				      "has seen; nothing is exchanged with it until that is settled (see --status)"
				    : "the cache is not able to take the upstream's identity";
	if (!err)
		err = apply_has_acls(r->cache, hello->has_acls);
	if (err)
		return err;
	replicate_note_position(r, hello->position);
	position = apply_position(r->cache);
	*ret_why = "the cache cannot be told to list everything again";
	if (position < hello->position && position + 1 < hello->oldest)
		err = relist(r, hello->position);
	/* Entries of our own are not pulled; here some of them are news. */
	if (!err && forbidden(r) && !r->was_relisted) {
		err = relist(r, hello->position);
		r->was_relisted = !err;
	}
	/* What has been listed before is kept right by the journal. */
	if (!err && !r->was_accepted && !apply_tree_is_listed(r->cache))
		background_want_tree(&r->background, false);
	r->was_accepted |= !err;
	return err;
}

static void probe_done(struct probe *probe, int err)
{
	struct replicate *r = container_of(probe, struct replicate, probe);
	const char *trouble = probe->trouble;
	enum link_event event = LINK_FAILED;
	char why[256];

	if (err) {
		/* A page, a certificate, a password: waiting will not mend it. */
		if (err == -EPROTO || err == -EACCES || err == -EKEYREJECTED)
			event = LINK_REFUSED;
	} else {
		err = check_in(r, &probe->hello, &trouble);
		if (err == -EXDEV || err == -ESTALE)
			event = LINK_REFUSED;
	}
	if (!err) {
		bool is_weak = quality_is_weak(&r->quality, why);

		replicate_event(r, is_weak ? LINK_ACCEPTED_WEAK : LINK_ACCEPTED, is_weak ? why : NULL);
		return;
	}
	snprintf(why, sizeof(why), "%s: %s", r->http.base, trouble);
	replicate_event(r, event, why);
}

/* ---- what other threads ask for ---- */

void replicate_replay_is_idle(struct replicate *r)
{
	if (r->is_stopping)
		loop_stop(r->loop);
}

static void follow_user(struct replicate *r)
{
	if (cml_is_offline(r->cache))
		replicate_event(r, LINK_USER_OFFLINE, "set offline by the user");
	else
		replicate_event(r, LINK_USER_ONLINE,
				r->state == LINK_OFFLINE ? "connecting" : NULL);
}

static void run_commands(struct loop_job *job)
{
	struct replicate *r = container_of(job, struct replicate, command_job);
	unsigned commands;

	pthread_mutex_lock(&r->lock);
	commands = r->commands;
	r->commands = 0;
	r->is_command_posted = false;
	pthread_mutex_unlock(&r->lock);

	if (commands & COMMAND_ASK)
		quality_ask(&r->quality);
	if (commands & COMMAND_KIND)
		quality_follow_user(&r->quality);
	if (commands & COMMAND_FOLLOW)
		follow_user(r);
	if (commands & COMMAND_KICK)
		replicate_event(r, LINK_KICK, NULL);
	if (commands & COMMAND_WAKE)
		replay_wake(&r->replay);
	if (commands & COMMAND_STOP) {
		r->is_stopping = true;
		abort_all(r);
	}
}

static void command(struct replicate *r, unsigned what)
{
	pthread_mutex_lock(&r->lock);
	r->commands |= what;
	if (!r->is_command_posted) {
		r->is_command_posted = true;
		loop_post(r->loop, &r->command_job);
	}
	pthread_mutex_unlock(&r->lock);
}

static void record_appended(void *arg)
{
	struct replicate *r = arg;

	/* Thousands a second; one is enough until the log is looked at again. */
	if (atomic_exchange(&r->replay.wants_wake, false))
		command(r, COMMAND_WAKE);
}

int replicate_set_offline(struct replicate *r, bool is_offline)
{
	int err = cml_set_offline(r->cache, is_offline);

	if (!err)
		command(r, is_offline ? COMMAND_FOLLOW : COMMAND_FOLLOW | COMMAND_ASK);
	return err;
}

int replicate_set_kind(struct replicate *r, const enum link_kind *kind)
{
	int err = cml_set_link_word(r->cache, kind ? (unsigned)*kind + 1 : 0);

	if (!err)
		command(r, COMMAND_KIND);
	return err;
}

int replicate_sync(struct replicate *r)
{
	int err = cml_flush(r->cache);

	/* What is in the log goes anyway. */
	command(r, COMMAND_KICK | COMMAND_ASK);
	return err;
}

/* ---- start and stop ---- */

static void *replicate_run(void *arg)
{
	struct replicate *r = arg;
	int err = loop_run(r->loop);

	if (err)
		log_error("link: the event loop failed, nothing is exchanged with the upstream any "
			  "more: %s",
			  strerror(-err));
	return NULL;
}

static void set_host(struct replicate *r, const char *host)
{
	char name[256] = "";

	if (!host && !gethostname(name, sizeof(name) - 1))
		host = name;
	/* A longer one is cut. */
	snprintf(r->host, sizeof(r->host), "%.*s", (int)sizeof(r->host) - 1, host && *host ? host : "unknown");
	for (char *p = r->host; *p; p++)
		if (*p == '/' || (unsigned char)*p <= ' ')
			*p = '-';
}

static void release(struct replicate *r)
{
	worker_stop(r->worker);
	probe_release(&r->probe);
	fetch_release(&r->fetch);
	pull_release(&r->pull);
	background_release(&r->background);
	replay_release(&r->replay);
	quality_release(&r->quality);
	http_release(&r->http);
	loop_free(r->loop);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void init(struct replicate *r, const struct replicate_config *config)
{
	r->cache = config->cache;
	r->client = cml_client_id(r->cache);
	set_host(r, config->host);
	cml_set_host(r->cache, r->host);
	pthread_mutex_init(&r->lock, NULL);
	r->command_job.run = run_commands;
	r->probe_timer.fire = probe_timer_fired;
	r->probe.http = &r->http;
	r->probe.done = probe_done;
	r->state = LINK_DISCONNECTED;
	r->since_us = clock_us();
	note_state(r, LINK_DISCONNECTED, "connecting");
	replay_init(&r->replay, r);
	background_init(&r->background, r);
}

static void curl_start(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);	/* what fails here fails each request */
}

int replicate_start(const struct replicate_config *config, struct replicate **ret_replicate,
		    char **ret_why)
{
	static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
	struct replicate *r;
	int err;

	if (ret_why)
		*ret_why = NULL;
	(void)pthread_once(&curl_once, curl_start);
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	init(r, config);
	err = loop_new(&r->loop);
	if (err)
		goto fail;
	err = http_init(&r->http, r->loop, config->url);
	if (err)
		goto fail;
	r->http.ended = note_request;
	err = quality_init(&r->quality, r, config);
	if (err)
		goto fail;
	err = pull_init(&r->pull, r);
	if (err)
		goto fail;
	err = worker_start(r->loop, "izo-replay", 1, &r->worker);
	if (err)
		goto fail;
	fetch_init(&r->fetch, r);
	/* Offline is so from the first moment on, not from the thread's first. */
	if (cml_is_offline(r->cache)) {
		r->state = LINK_OFFLINE;
		note_state(r, LINK_OFFLINE, "set offline by the user");
	} else {
		fetch_expect(&r->fetch);
	}
	command(r, COMMAND_FOLLOW);
	err = thread_start(&r->thread, "izo-link", replicate_run, r);
	if (err)
		goto fail;
	cml_set_wakeup(r->cache, record_appended, r);
	*ret_replicate = r;
	return 0;

fail:
	if (err == -EINVAL)
		(void)why_fail(ret_why, err, "'%s' is not the URL of an upstream: it should look like http://HOST:PORT/", config->url);
	else
		(void)why_fail(ret_why, err, "the link to the upstream cannot be started: %s", strerror(-err));
	release(r);
	return err;
}

void replicate_stop(struct replicate *r)
{
	if (!r)
		return;
	cml_set_wakeup(r->cache, NULL, NULL);
	command(r, COMMAND_STOP);
	pthread_join(r->thread, NULL);
	release(r);
}

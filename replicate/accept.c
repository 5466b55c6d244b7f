/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/accept.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "replicate/doubt.h"
#include "replicate/hello.h"
#include "replicate/http.h"
#include "rpcgen/kml_codec.h"

#define LOOK_US (US_PER_S / 5)
#define PIECE (256u << 10)

struct run {
	const struct accept_config *config;
	struct loop *loop;
	struct http http;
	struct probe probe;
	struct http_request request;
	struct loop_timer look;
	struct frames frames;
	struct buf out;			/* not written yet */
	struct accept_result result;
	int err;
	char *why;			/* owned */
};

static void __attribute__((format(printf, 3, 4))) end(struct run *run, int err, const char *format, ...)
{
	va_list args;

	run->err = err;
	if (err) {
		va_start(args, format);
		free(run->why);
		if (vasprintf(&run->why, format, args) < 0)
			run->why = NULL;
		va_end(args);
	}
	loop_stop(run->loop);
}

/* ---- the listing ---- */

static int flush(struct run *run)
{
	int err = fs_write_all(run->config->fd, run->out.data, run->out.len);

	buf_reset(&run->out);
	return err;
}

/* As it came, once it is known to be sound. */
static int frame_came(void *arg, struct slice body)
{
	struct run *run = arg;
	struct kml_listed listed;
	int err = kml_listed_decode(body.data, body.len, &listed);

	if (err)
		return err == -ENOMEM ? err : -EBADMSG;
	kml_listed_release(&listed);
	err = buf_u32be(&run->out, (uint32_t)body.len);
	if (!err)
		err = buf_append(&run->out, body.data, body.len);
	return !err && run->out.len >= PIECE ? flush(run) : err;
}

static int head_came(struct http_request *request)
{
	struct run *run = container_of(request, struct run, request);

	run->result.position = request->position;
	return request->has_position ? 0 : -EBADMSG;
}

static int bytes_came(struct http_request *request, const void *data, size_t len)
{
	struct run *run = container_of(request, struct run, request);

	return frames_feed(&run->frames, data, len, frame_came, run);
}

static void listed(struct http_request *request, int err)
{
	struct run *run = container_of(request, struct run, request);

	if (!err && !run->frames.is_ended)
		err = -ECONNRESET;
	if (!err)
		err = FAULT("accept.listed");
	if (!err)
		err = buf_u32be(&run->out, 0);
	if (!err)
		err = flush(run);
	/* Between the two it may have been put back once more. */
	if (!err && run->result.position < run->config->position)
		err = -ESTALE;
	end(run, err, "%s: its tree could not be listed, nothing is changed: %s", run->http.base,
	    request->trouble[0] ? request->trouble : strerror(-err));
}

static void list(struct run *run)
{
	struct http_request *request = &run->request;
	char root[KML_OID_TEXT];
	int err;

	kml_oid_print(KML_ROOT, root);
	request->method = "GET";
	request->head = head_came;
	request->sink = bytes_came;
	request->done = listed;
	/* A whole tree takes the upstream a while to look at before the first byte. */
	request->stall_s = 4 * HTTP_STALL_S;
	snprintf(request->path, sizeof(request->path), "/izo/v1/list/%s?depth=all", root);
	err = http_start(&run->http, request);
	if (err)
		end(run, err, "%s: %s", run->http.base, strerror(-err));
}

/* ---- who is there ---- */

static void probe_done(struct probe *probe, int err)
{
	struct run *run = container_of(probe, struct run, probe);
	const struct hello *hello = &probe->hello;
	struct replicate_doubt doubt;

	if (err) {
		end(run, err, "%s: %s", run->http.base, probe->trouble[0] ? probe->trouble : strerror(-err));
		return;
	}
	doubt_look(run->config->cache, hello, &doubt);
	if (strcmp(hello->id, run->config->id) || hello->position < run->config->position) {
		end(run, -ESTALE, "%s: that is not what was accepted: it is %s at position %" PRIu64 "; look again with --status",
		    run->http.base, hello->id, hello->position);
	} else if (doubt.kind == DOUBT_NONE) {
		end(run, -EALREADY, "%s: there is nothing to accept: it is the upstream that this cache knows", run->http.base);
	} else {
		run->result.has_acls = hello->has_acls;
		list(run);
	}
}

static void look_fired(struct loop_timer *timer)
{
	struct run *run = container_of(timer, struct run, look);

	if (run->config->is_cancelled(run->config->arg)) {
		end(run, -ECANCELED, "given up: the daemon is told to stop");
		return;
	}
	loop_timer_set(run->loop, timer, clock_us() + LOOK_US);
}

/* ---- start and stop ---- */

static int start(struct run *run)
{
	int err = loop_new(&run->loop);

	if (!err)
		err = http_init(&run->http, run->loop, run->config->url);
	if (err)
		return err;
	probe_of_cache(&run->probe, run->config->cache);
	run->probe.http = &run->http;
	run->probe.done = probe_done;
	run->look.fire = look_fired;
	loop_timer_set(run->loop, &run->look, clock_us() + LOOK_US);
	probe_start(&run->probe);
	return 0;
}

int accept_fetch(const struct accept_config *config, struct accept_result *ret_result, char **ret_why)
{
	struct run *run = calloc(1, sizeof(*run));
	int err;

	*ret_why = NULL;
	if (!run)
		return -ENOMEM;
	run->config = config;
	frames_init(&run->frames);
	buf_init(&run->out, 0);
	err = start(run);
	if (!err)
		err = loop_run(run->loop);
	if (!err)
		err = run->err;
	if (!err)
		*ret_result = run->result;
	*ret_why = run->why;
	probe_release(&run->probe);
	http_cancel(&run->request);
	http_request_release(&run->request);
	frames_release(&run->frames);
	buf_release(&run->out);
	if (run->loop)
		loop_timer_cancel(run->loop, &run->look);
	http_release(&run->http);
	loop_free(run->loop);
	free(run);
	return err;
}

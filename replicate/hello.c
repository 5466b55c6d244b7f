/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replicate/hello.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cache/apply.h"
#include "cache/cml.h"

/* A number that counts something; absent only where that is allowed. */
static bool get_count(const json_t *object, const char *key, bool may_lack, uint64_t *ret_value)
{
	const json_t *value = json_object_get(object, key);

	if (!value) {
		*ret_value = 0;
		return may_lack;
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret_value = (uint64_t)json_integer_value(value);
	return true;
}

/* Absent: an upstream that says nothing of them, or has no such entry any more. */
static bool get_mark(const json_t *object, const char *key, uint64_t position, struct kml_mark *ret_mark)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);
	char *end;

	*ret_mark = (struct kml_mark){ 0 };
	if (!value)
		return true;
	if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
		return false;
	*ret_mark = (struct kml_mark){ position, strtoull(text, &end, 16) };
	return true;
}

static int parse(const json_t *json, uint64_t known, struct hello *hello, const char **ret_why)
{
	const json_t *version = json_object_get(json, "izo");
	const char *id = json_string_value(json_object_get(json, "id"));

	*ret_why = "it is not an izo-httpd";
	if (!json_is_object(json) || !json_is_integer(version))
		return -EPROTO;
	if (json_integer_value(version) != 1) {
		*ret_why = json_integer_value(version) > 1 ?
				   "its izo-httpd speaks a newer protocol than this program" :
				   "its izo-httpd speaks an older protocol than this program";
		return -EPROTO;
	}
	*ret_why = "its identity is malformed";
	if (!id || !id[0] || strlen(id) >= sizeof(hello->id))
		return -EPROTO;
	strcpy(hello->id, id);
	if (!get_count(json, "position", false, &hello->position) ||
	    !get_count(json, "oldest", false, &hello->oldest) ||
	    !get_count(json, "last_seq", true, &hello->last_seq) ||
	    !get_mark(json, "mark", hello->position, &hello->mark) ||
	    !get_mark(json, "known_mark", known, &hello->known_mark))
		return -EPROTO;
	/* Absent: an upstream that knows nothing of them. */
	hello->has_acls = json_is_true(json_object_get(json, "acls"));
	hello->has_deltas = json_is_true(json_object_get(json, "deltas"));
	hello->has_zstd = json_is_true(json_object_get(json, "zstd"));
	hello->has_detach = json_is_true(json_object_get(json, "detach"));
	hello->may_wait = json_is_true(json_object_get(json, "behind"));
	return 0;
}

int hello_parse(const void *data, size_t len, uint64_t known, struct hello *ret_hello, const char **ret_why)
{
	struct hello hello = { 0 };
	json_error_t error;
	json_t *json = json_loadb(data ? data : "", len, JSON_REJECT_DUPLICATES, &error);
	int err;

	*ret_why = "it is not an izo-httpd";
	if (!json)
		return -EPROTO;
	err = parse(json, known, &hello, ret_why);
	json_decref(json);
	if (!err)
		*ret_hello = hello;
	return err;
}

/* ---- the probe ---- */

static void end(struct probe *probe, int err)
{
	probe->is_running = false;
	probe->done(probe, err);
}

/* What a status other than 2xx means here, where all that is asked for must be there. */
static int refine(struct probe *probe, int err)
{
	snprintf(probe->trouble, sizeof(probe->trouble), "%s", probe->request.trouble);
	switch (err) {
	case -ENOENT:
	case -EINVAL:
	case -EIDRM:
	case -EBADE:
	case -ESTALE:
	case -EMSGSIZE:
	case -ERANGE:
	case -EPROTO:
		snprintf(probe->trouble, sizeof(probe->trouble), "it is not an izo-httpd (%s)",
			 probe->request.trouble);
		return -EPROTO;
	case -EACCES:
		return -EACCES;
	}
	return err;
}

static void root_came(struct http_request *request, int err)
{
	struct probe *probe = container_of(request, struct probe, request);

	if (err) {
		end(probe, refine(probe, err));
		return;
	}
	kml_object_release(&probe->root);
	err = kml_object_decode(request->answer.data, request->answer.len, &probe->root);
	if (!err && (!kml_oid_equal(probe->root.oid, KML_ROOT) || probe->root.attr.type != KML_DIR))
		err = -EBADMSG;
	if (err) {
		snprintf(probe->trouble, sizeof(probe->trouble), "its root object is malformed");
		err = -EPROTO;
	}
	end(probe, err);
}

static void hello_came(struct http_request *request, int err)
{
	struct probe *probe = container_of(request, struct probe, request);
	char root[KML_OID_TEXT];
	const char *why;

	if (err) {
		end(probe, refine(probe, err));
		return;
	}
	err = hello_parse(request->answer.data, request->answer.len, probe->known, &probe->hello, &why);
	if (err)
		snprintf(probe->trouble, sizeof(probe->trouble), "%s", why);
	else
		probe->http->says_protocol = request->is_izo;
	if (err || !probe->wants_root) {
		end(probe, err);
		return;
	}
	kml_oid_print(KML_ROOT, root);
	snprintf(request->path, sizeof(request->path), "/izo/v1/object/%s", root);
	request->done = root_came;
	request->is_quick = true;
	err = http_start(probe->http, request);
	if (err) {
		snprintf(probe->trouble, sizeof(probe->trouble), "%s", strerror(-err));
		end(probe, err);
	}
}

void probe_of_cache(struct probe *probe, struct cache *cache)
{
	struct kml_mark mark;

	apply_mark(cache, &mark);
	probe->client = cml_client_id(cache);
	probe->known = mark.position;
}

void probe_start(struct probe *probe)
{
	struct http_request *request = &probe->request;
	int err;

	if (probe->is_running)
		return;
	probe->is_running = true;
	request->method = "GET";
	request->class = FLOW_CONTROL;
	request->is_quick = true;
	request->done = hello_came;
	snprintf(request->path, sizeof(request->path), "/izo/v1/hello?client=%016" PRIx64 "&known=%" PRIu64, probe->client,
		 probe->known);
	err = http_start(probe->http, request);
	if (err) {
		snprintf(probe->trouble, sizeof(probe->trouble), "%s", strerror(-err));
		end(probe, err);
	}
}

void probe_cancel(struct probe *probe)
{
	http_cancel(&probe->request);
	probe->is_running = false;
}

void probe_release(struct probe *probe)
{
	probe_cancel(probe);
	http_request_release(&probe->request);
	kml_object_release(&probe->root);
}

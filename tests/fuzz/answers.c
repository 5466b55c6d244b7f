/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answers: what an upstream says, decoded and taken into a live cache, as replicate/ does it.  Whatever it
 * is, the cache must not end in its error state.
 *
 *	u8 kind		which answer, see below
 *	rest		its own layout, at each function
 *
 * Positions are counted from what the cache has reached, so that they are not all of the past.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/loop.h"
#include "cache/apply.h"
#include "cache/cache.h"
#include "cache/cml.h"
#include "replicate/hello.h"
#include "rpcgen/kml_codec.h"
#include "tests/fuzz/cache_op.h"
#include "tests/fuzz/fuzz.h"

#define INPUTS_PER_CACHE 2000
#define CHUNK 64
#define UPSTREAM "00000000-0000-0000-0000-000000000001"

static struct cache *cache;
static unsigned inputs, names;

/* ---- the cache, kept ---- */

static struct kml_object object(uint64_t number, enum kml_type type)
{
	return (struct kml_object){ .oid = { 0, number }, .data_version = 1, .attr_version = 1,
				    .attr = { .type = type, .mode = 0755, .nlink = 1 } };
}

/* Objects 2 to 9 of the upstream, in the root: a directory, files. */
static void list_root(void)
{
	struct kml_listed listed[9] = { { .object = object(1, KML_DIR) } };
	char name[9][2];
	struct apply_listing *listing;

	for (unsigned i = 1; i < ARRAY_SIZE(listed); i++) {
		snprintf(name[i], sizeof(name[i]), "%c", 'a' + i);
		listed[i] = (struct kml_listed){ .parent = KML_ROOT, .name = { 1, name[i] },
						 .object = object(i + 1, i < 3 ? KML_DIR : KML_REG) };
		listed[i].object.attr.size = 10;
	}
	MUST(!apply_listing_begin(cache, cache_root(cache), 1, true, &listing));
	MUST(!apply_listing_add(listing, listed, ARRAY_SIZE(listed)));
	MUST(!apply_listing_end(listing, 0));
}

static void open_cache(void)
{
	struct cache_config config = { .dir = fuzz_dir_make(), .no_sync = true };
	struct kml_object root = object(1, KML_DIR);

	MUST(!cache_open(&config, &cache, NULL));
	MUST(!apply_upstream(cache, UPSTREAM, 1, &root));
	list_root();
}

static void close_cache(void)
{
	cache_close(cache);
	fuzz_dir_remove();
}

/* ---- hello: its JSON ---- */

static void hello(struct input *in)
{
	struct slice bytes = input_rest(in);
	AUTO_FREE void *copy = input_copy(bytes);
	struct hello hello = { 0 };
	const char *why = NULL;
	int err = hello_parse(copy, bytes.len, 1, &hello, &why);

	MUST(err == 0 || err == -EPROTO);
	MUST(err ? why && !hello.id[0] : hello.id[0] && memchr(hello.id, 0, sizeof(hello.id)));
}

/* ---- frames: u16 where they are cut in two; then the frames ---- */

static int feed(struct input *in, int (*frame)(void *arg, struct slice body), void *arg)
{
	size_t cut = input_u16(in);
	struct slice first = input_bytes(in, cut), second = input_rest(in);
	AUTO_FREE void *one = input_copy(first), *two = input_copy(second);
	struct frames frames;
	int err;

	frames_init(&frames);
	err = frames_feed(&frames, one, first.len, frame, arg);
	if (!err)
		err = frames_feed(&frames, two, second.len, frame, arg);
	frames_release(&frames);
	return err;
}

/* ---- journal: frames of entries ---- */

struct journal {
	struct kml_entry entries[CHUNK];
	size_t n;
	uint64_t base, at;
};

static void take_in(struct journal *journal)
{
	(void)apply_entries(cache, journal->entries, journal->n, journal->at);	/* may refuse */
	for (size_t i = 0; i < journal->n; i++)
		kml_entry_release(&journal->entries[i]);
	journal->n = 0;
}

static int entry_came(void *arg, struct slice body)
{
	struct journal *journal = arg;
	struct kml_entry *entry = &journal->entries[journal->n];

	if (kml_entry_decode(body.data, body.len, entry))
		return -EBADMSG;
	entry->position += journal->base;
	journal->n++;
	if (entry->position <= journal->at || entry->position > INT64_MAX)
		return -EBADMSG;	/* pull.c asks for the first, the second it would have to live with */
	journal->at = entry->position;
	if (journal->n == CHUNK)
		take_in(journal);
	return 0;
}

static void journal(struct input *in)
{
	struct journal journal = { .base = apply_position(cache) };

	journal.at = journal.base;
	if (feed(in, entry_came, &journal) == -EBADMSG && journal.n) {
		journal.n--;	/* the last one is not good */
		kml_entry_release(&journal.entries[journal.n]);
	}
	take_in(&journal);
}

/* ---- listing: u8 bit 0 deep, u8 which inode, u8 position, u8 how it ends; frames of lines ---- */

static int line_came(void *arg, struct slice body)
{
	struct kml_listed listed;
	int err;

	if (kml_listed_decode(body.data, body.len, &listed))
		return -EBADMSG;
	err = apply_listing_add(arg, &listed, 1);
	kml_listed_release(&listed);
	return err;
}

static void listing(struct input *in)
{
	bool is_deep = input_u8(in) & 1;
	uint64_t ino = cache_root(cache) + (is_deep ? 0 : input_u8(in) % 16);
	uint64_t position = apply_position(cache) + input_u8(in);
	bool breaks_off = input_u8(in) & 1;
	struct apply_listing *listing;
	int err;

	if (apply_listing_begin(cache, ino, position, is_deep, &listing))
		return;
	err = feed(in, line_came, listing);
	(void)apply_listing_end(listing, err || breaks_off ? -EIO : 0);	/* may refuse */
}

/* ---- contents of many files: u8 how the wishes end; frames of contents, of inodes by their oids' numbers ---- */

#define GIVEN_MOST 16

struct given {
	struct kml_given v[GIVEN_MOST];
	size_t n;
};

static int content_came(void *arg, struct slice body)
{
	struct given *given = arg;

	if (given->n == GIVEN_MOST || kml_given_decode(body.data, body.len, &given->v[given->n]))
		return -EBADMSG;
	given->n++;
	return 0;
}

static void contents(struct input *in)
{
	int end = -(int)(input_u8(in) % 4) * EIO;
	struct apply_whole wholes[GIVEN_MOST];
	struct given given = { .n = 0 };

	(void)feed(in, content_came, &given);	/* what came before is good */
	for (size_t i = 0; i < given.n; i++)
		wholes[i] = (struct apply_whole){ .ino = cache_root(cache) + given.v[i].oid.number % 16,
						  .version = given.v[i].data_version, .data = given.v[i].bytes.bytes_val,
						  .len = given.v[i].bytes.bytes_len };
	apply_contents(cache, wholes, given.n);
	for (size_t i = 0; i < given.n; i++) {
		apply_content_end(cache, wholes[i].ino, wholes[i].version, 0, wholes[i].err ? wholes[i].err : end);
		kml_given_release(&given.v[i]);
	}
}

/* ---- object: u8 which; nothing: it is gone; else its XDR ---- */

static void one_object(struct input *in)
{
	struct kml_oid oid = { 0, 1 + input_u8(in) % 12 };
	struct slice bytes = input_rest(in);
	AUTO_FREE void *copy = input_copy(bytes);
	struct kml_object got;

	if (!bytes.len) {
		(void)apply_object(cache, &oid, NULL, 0);	/* may refuse */
	} else if (!kml_object_decode(copy, bytes.len, &got)) {
		(void)apply_object(cache, &oid, &got, got.data_version);
		kml_object_release(&got);
	}
}

/* ---- answers to a batch: u8 what is in it; their XDR, in which the seqs are put right ---- */

/* Records of the kinds that what says; some fail, for what an earlier input did. */
static void append_records(uint8_t what)
{
	static const struct attr_change mode = { .set = SET_MODE, .mode = 0700 };
	uint64_t root = cache_root(cache), file, dir = root;
	char text[24], other[24];
	struct slice name = { text, 0 }, to = { other, 0 };

	name.len = (size_t)snprintf(text, sizeof(text), "n%u", names++);
	to.len = (size_t)snprintf(other, sizeof(other), "n%u", names++);
	if (what & 1) {
		(void)wait_for(cache_mkdir(cache, begin(), root, to, &mode));
		dir = op.ino;
	}
	(void)wait_for(cache_create(cache, begin(), dir, name, CREATE_GUARDED, &mode, NULL));
	file = op.ino;
	if (what & 2) {
		(void)wait_for(cache_write(cache, begin(), file, 0, text, name.len, FILE_SYNC));
		(void)wait_for(cache_commit(cache, begin(), file));
	}
	if (what & 4)
		(void)wait_for(cache_setattr(cache, begin(), root + 1 + (what >> 6), &mode, NULL));
	if (what & 8)
		(void)wait_for(cache_rename(cache, begin(), dir, name, root, (struct slice){ "c", 1 }));
	if (what & 16)
		(void)wait_for(cache_remove(cache, begin(), root, (struct slice){ "e", 1 }));
	if (what & 32)
		(void)wait_for(cache_write(cache, begin(), root + 4, 0, text, name.len, FILE_SYNC));
}

static void replay(struct input *in)
{
	struct kml_answers answers;
	struct cml_batch *batch;
	struct slice bytes;
	AUTO_FREE void *copy = NULL;
	size_t n;

	append_records(input_u8(in));
	bytes = input_rest(in);
	copy = input_copy(bytes);
	if (cml_take(cache, CHUNK, 1u << 20, &batch) || !batch)
		return;
	if (kml_answers_decode(copy, bytes.len, &answers)) {
		cml_give_back(cache, batch);
		return;
	}
	n = MIN(batch->n, (size_t)answers.answers.answers_len);
	for (size_t i = 0; i < n; i++) {
		answers.answers.answers_val[i].seq = batch->items[i].record.seq;
		if (answers.answers.answers_val[i].status == KML_RETRY)
			n = i;
	}
	(void)cml_retire(cache, batch, answers.answers.answers_val, n);	/* may refuse */
	kml_answers_release(&answers);
}

/* ---- HTTP as it is on the wire, through curl: u8 bit 0 frames or a body; then the bytes ---- */

static struct http http;
static struct loop_fd listener, served;
static struct http_request request;
static struct slice wire;
static size_t wire_at;
static struct frames http_frames;

static int ignore_frame(void *arg, struct slice body)
{
	(void)arg;
	return body.len == 666 ? -EBADMSG : 0;
}

static int sink(struct http_request *from, const void *data, size_t len)
{
	MUST(from->status >= 200 && from->status < 300);
	return frames_feed(&http_frames, data, len, ignore_frame, NULL);
}

static void serve_ready(struct loop_fd *lfd, uint32_t events)
{
	char data[4096];
	ssize_t n;

	(void)events;
	if (recv(lfd->fd, data, sizeof(data), MSG_DONTWAIT) < 0)
		return;
	n = send(lfd->fd, wire.data, wire.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	wire_at += n > 0 ? (size_t)n : 0;
	loop_del(loop, lfd);
	close(lfd->fd);
	lfd->fd = -1;
}

static void accept_ready(struct loop_fd *lfd, uint32_t events)
{
	int fd = accept4(lfd->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	MUST(served.fd < 0);
	served.fd = fd;
	MUST(!loop_add(loop, &served, EPOLLIN));
}

static void http_ended(struct http *of, bool is_failure)
{
	(void)of, (void)is_failure;
}

static void http_done(struct http_request *of, int err)
{
	MUST(err <= 0 && (err || (of->status >= 200 && of->status < 300)));
	MUST(memchr(of->trouble, 0, sizeof(of->trouble)));
	is_done = true;
	loop_stop(loop);
}

static void start_http(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	char url[64];

	served = (struct loop_fd){ .fd = -1, .ready = serve_ready };
	listener = (struct loop_fd){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
				     .ready = accept_ready };
	MUST(listener.fd >= 0 && !bind(listener.fd, (struct sockaddr *)&addr, len) && !listen(listener.fd, 16));
	MUST(!getsockname(listener.fd, (struct sockaddr *)&addr, &len));
	MUST(!loop_add(loop, &listener, EPOLLIN));
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(addr.sin_port));
	MUST(!http_init(&http, loop, url));
	http.ended = http_ended;
}

static void over_http(struct input *in)
{
	bool has_sink = input_u8(in) & 1;

	wire = input_rest(in);
	frames_init(&http_frames);
	request = (struct http_request){ .method = "GET", .path = "/izo/v1/journal?from=1", .range = "0-9",
					 .sink = has_sink ? sink : NULL, .done = http_done,
					 .answer_limit = 1000, .stall_s = 1 };
	is_done = false;
	MUST(!http_start(&http, &request));
	while (!is_done)
		MUST(!loop_run(loop));
	http_request_release(&request);
	frames_release(&http_frames);
	if (served.fd >= 0) {
		loop_del(loop, &served);
		close(served.fd);
		served.fd = -1;
	}
}

/* ---- */

static void (*const kinds[])(struct input *in) = {
	hello, journal, listing, one_object, replay, over_http, contents,
};

static void ask_for_stale(void)
{
	struct kml_oid oid;
	uint64_t ino;
	bool is_dir;

	for (int i = 0; i < 4; i++)
		if (!apply_next_stale(cache, &ino, &oid, &is_dir))
			return;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	MUST(!loop_new(&loop));
	start_http();
	open_cache();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);
	struct cache_status status;

	if (++inputs % INPUTS_PER_CACHE == 0) {
		close_cache();
		open_cache();
	}
	kinds[input_u8(&in) % ARRAY_SIZE(kinds)](&in);
	ask_for_stale();
	cache_status(cache, &status);
	MUST(!status.is_failed);
	return 0;
}

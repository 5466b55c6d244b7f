/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * requests: izo-httpd's server over a socket, with a live export.  No request makes it answer 500, nor ends with the
 * tree given up, nor changes anything beside the export.
 *
 *	u8 kind		what the rest is, see below
 *	rest		its own layout, at each function
 *
 * In bodies each c1c1c1c1c1c1c1c1, at a place divisible by 4, stands for the id of a client that has not been here
 * before: so that its seqs are new, and its oids name nothing yet; and each c2c2c2c2 for a number that is higher at
 * each input: with it as the high half of its seqs a client can come again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "base/buf.h"
#include "base/compress.h"
#include "httpd/apply.h"
#include "httpd/files.h"
#include "httpd/reconcile.h"
#include "httpd/server.h"
#include "tests/fuzz/fuzz.h"

#define INPUTS_PER_EXPORT 1000
#define NEW_CLIENT "\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1"
#define NEW_SEQ "\xc2\xc2\xc2\xc2"

static char export_path[96];
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static struct tree *tree;
static struct server *server;
static unsigned inputs;
static uint64_t client = 0xf000000000000000;
static struct buf out;

/* ---- the disk need not be waited for: a machine that fails is no part of this ---- */

int fsync(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

int fdatasync(int fd)
{
	return fsync(fd);
}

int syncfs(int fd)
{
	return fsync(fd);
}

/* ---- the export, kept ---- */

static void put(const char *name, const char *content)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", export_path, name);
	file = fopen(path, "w");
	MUST(file && fputs(content, file) >= 0 && !fclose(file));
}

static void open_export(void)
{
	uint64_t changes;
	char path[128], *why;

	snprintf(export_path, sizeof(export_path), "%s/export", fuzz_dir_make());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", fuzz_dir);
	snprintf(path, sizeof(path), "%s/d", export_path);
	MUST(!mkdir(export_path, 0755) && !mkdir(path, 0755));
	put("a", "0123456789");
	put("d/b", "");
	MUST(!tree_open(export_path, &tree, &why));
	MUST(!apply_recover(tree));
	MUST(!reconcile_all(tree, NULL, &changes));
	MUST(!server_start(tree, (struct sockaddr *)&addr, sizeof(addr), &server, &why));
}

/* What is beside the export is as it was: the export and the socket. */
static int count_entry(void *arg, const char *name)
{
	MUST(!strcmp(name, "export") || !strcmp(name, "socket"));
	++*(unsigned *)arg;
	return 0;
}

static void check_outside(void)
{
	int fd = open(fuzz_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned n = 0;

	MUST(fd >= 0 && !file_each(fd, count_entry, &n) && n == 2);
	close(fd);
}

static void close_export(void)
{
	server_stop(server);
	tree_close(tree);
	fuzz_dir_remove();
}

/* ---- making requests ---- */

static void add_spliced(struct slice bytes)
{
	const uint8_t *p = bytes.data;
	size_t at = 0;

	while (at < bytes.len) {
		size_t part = MIN(bytes.len - at, (size_t)4);

		if (bytes.len - at >= 8 && !memcmp(p + at, NEW_CLIENT, 8)) {
			buf_u32be(&out, (uint32_t)(client >> 32));
			buf_u32be(&out, (uint32_t)client);
			part = 8;
		} else if (part == 4 && !memcmp(p + at, NEW_SEQ, 4)) {
			buf_u32be(&out, inputs);
		} else {
			buf_append(&out, p + at, part);
		}
		at += part;
	}
}

static void add_line(const char *start, struct slice text, const char *end)
{
	buf_printf(&out, "%s", start);
	buf_append(&out, text.data, text.len);
	buf_printf(&out, "%s\r\n", end);
}

/* The request as it is. */
static void raw(struct input *in)
{
	struct slice rest = input_rest(in);

	buf_append(&out, rest.data, rest.len);
}

/* A batch, in XDR. */
static void batch(struct input *in)
{
	struct buf whole;

	add_spliced(input_rest(in));
	whole = out;
	buf_init(&out, 0);
	buf_printf(&out, "POST /izo/v1/replay HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		   "Content-Type: application/x-izo-kml\r\nContent-Length: %zu\r\n\r\n", whole.len);
	buf_append(&out, whole.data, whole.len);
	buf_release(&whole);
}

/* u8 length of the path behind /izo/v1/, u8 length of a Range, the two, and an If-Match. */
static void query(struct input *in)
{
	uint8_t flags = input_u8(in);
	size_t path = input_u8(in), range = input_u8(in);

	add_line("GET /izo/v1/", input_bytes(in, path), " HTTP/1.1");
	buf_printf(&out, "Host: x\r\nConnection: close\r\n");
	if (flags & 1)
		buf_printf(&out, "Accept: application/json\r\n");
	if (range)
		add_line("Range: bytes=", input_bytes(in, range), "");
	if (flags & 2)
		add_line("If-Match: \"", input_rest(in), "\"");
	buf_printf(&out, "\r\n");
}

/* u8 which key, u8 length of the query, the query, and the body of a PUT. */
static void upload(struct input *in)
{
	uint8_t key = input_u8(in);
	struct slice text = input_bytes(in, input_u8(in)), body = input_rest(in);

	buf_printf(&out, "PUT /izo/v1/stage/%016" PRIx64 "/key%u?", client - key % 2, key / 2 % 4);
	add_line("", text, " HTTP/1.1");
	buf_printf(&out, "Host: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", body.len);
	buf_append(&out, body.data, body.len);
}

/* Wishes for many contents, in XDR. */
static void wishes(struct input *in)
{
	struct slice body = input_rest(in);

	buf_printf(&out, "POST /izo/v1/contents HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		   "Content-Type: application/x-izo-kml\r\nContent-Length: %zu\r\n\r\n", body.len);
	buf_append(&out, body.data, body.len);
}

/*
 * u8 what: a batch or a PUT, and whether the rest is packed here or is taken for something packed; a batch with the seq it is
 * sent behind.
 */
static void packed(struct input *in)
{
	uint8_t what = input_u8(in), after = what & 4 ? input_u8(in) : 0;
	struct buf whole, plain;

	add_spliced(input_rest(in));
	whole = out;
	if (what & 2) {
		plain = whole;
		buf_init(&whole, 0);
		MUST(!compress_append(&whole, plain.data, plain.len));
		buf_release(&plain);
	}
	buf_init(&out, 0);
	if (what & 1)
		buf_printf(&out, "PUT /izo/v1/stage/%016" PRIx64 "/key?offset=0", client);
	else
		buf_printf(&out, what & 4 ? "POST /izo/v1/replay/%u" : "POST /izo/v1/replay", after);
	buf_printf(&out, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-izo-kml\r\n"
		   "Content-Encoding: zstd\r\nContent-Length: %zu\r\n\r\n", whole.len);
	buf_append(&out, whole.data, whole.len);
	buf_release(&whole);
}

static void (*const kinds[])(struct input *in) = { raw, batch, query, upload, packed, wishes };

/* ---- sending them ---- */

static void check_answer(const struct buf *in)
{
	unsigned status = 0;

	if (!in->len)
		return;		/* cut off: what it sent was no HTTP */
	MUST(in->len >= 12 && !memcmp(in->data, "HTTP/1.", 7));
	for (int i = 9; i < 12; i++)
		status = status * 10 + (in->data[i] - '0');
	MUST(status >= 100 && status < 600 && status != 500);
}

static void ask(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t sent = 0;
	struct buf in;

	MUST(fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	buf_init(&in, 0);
	for (;;) {
		char data[65536];
		ssize_t n = 0;

		if (sent < out.len)
			n = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			sent += (size_t)n;
		if (sent == out.len || (n < 0 && errno != EAGAIN))
			(void)shutdown(fd, SHUT_WR);	/* we are gone, as far as waiting goes */
		if (await(fd, POLLIN | (sent < out.len ? POLLOUT : 0)) & (POLLERR | POLLNVAL))
			break;
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if (n > 0)
			buf_append(&in, data, (size_t)n);
		else if (!n || errno != EAGAIN)
			break;
	}
	close(fd);
	check_answer(&in);
	buf_release(&in);
}

static int broken(void)
{
	int err;

	tree_lock(tree);
	err = tree->broken;
	tree_unlock(tree);
	return err;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	open_export();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = input_of(data, size);

	if (++inputs % INPUTS_PER_EXPORT == 0) {
		close_export();
		open_export();
	}
	client++;
	buf_init(&out, 0);
	kinds[input_u8(&in) % ARRAY_SIZE(kinds)](&in);
	MUST(!buf_error(&out));
	ask();
	buf_release(&out);
	MUST(!broken());
	check_outside();
	return 0;
}

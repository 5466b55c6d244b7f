/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memory: what is asked of a daemon that has a large tree (tree.h) in its cache.
 *
 *   memory start PORT PROGRAM...	start a daemon; prints the ms until it has answered the first GETATTR, and its pid
 *   memory touch PORT COUNT FILE	LOOKUP and GETATTR of random files; handles of some of them into FILE
 *   memory getattr PORT FILE	GETATTR of each handle in FILE, one after the other
 *   memory list PORT		READDIRPLUS of the large directory, all of it
 *   memory pread PAGES FILE		what the disk does by itself: random pages of a file, so many of them one after the other
 *
 * touch, getattr, list and pread print calls (entries) a second, and the latencies' median, 99th percentile and worst, in ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include "bench/figures.h"
#include "bench/tree.h"
#include "tests/nfs/client.h"

#define HANDLES 5000u
#define START_S 120

static uint64_t seed = 1;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (seed >> 33) % n;
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!n || *end || n > 100000000)
		die(text, "not a number");
	return n;
}

/* ---- starting ---- */

/* One that is not listening yet refuses: nothing else tells. */
static bool root_answers(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct client c;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_there = fd >= 0 && !connect(fd, (struct sockaddr *)&to, sizeof(to));

	(void)close(fd);
	if (!is_there)
		return false;
	client_open(&c, port);
	if (nfs3_getattr(&c, &c.root))
		die("GETATTR of the root", "refused");
	client_close(&c);
	return true;
}

static void start(int port, char **argv)
{
	uint64_t begin_ns = now_ns();
	pid_t pid = fork();

	if (pid < 0)
		die("fork", strerror(errno));
	if (!pid) {
		(void)dup2(STDERR_FILENO, STDOUT_FILENO);	/* ours is read for its two numbers */
		execv(argv[0], argv);
		_exit(127);
	}
	while (!root_answers(port)) {
		if (now_ns() - begin_ns > START_S * 1000000000ull)
			die(argv[0], "does not start");
		(void)nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	(void)printf("%.1f %d\n", (double)(now_ns() - begin_ns) / 1e6, (int)pid);
}

/* ---- asking ---- */

static struct {
	uint64_t *ns;
	size_t n;
	uint64_t begin_ns;
} taken;

static void take_time(uint64_t since_ns)
{
	taken.ns = realloc(taken.ns, (taken.n + 1) * sizeof(*taken.ns));
	if (!taken.ns)
		die("memory", "none");
	taken.ns[taken.n++] = now_ns() - since_ns;
}

static void print_times(uint64_t n)
{
	double s = (double)(now_ns() - taken.begin_ns) / 1e9;

	qsort(taken.ns, taken.n, sizeof(*taken.ns), latency_cmp);
	(void)printf("%.0f %.3f %.3f %.3f\n", (double)n / s, (double)taken.ns[taken.n / 2] / 1e6,
		     (double)taken.ns[taken.n * 99 / 100] / 1e6, (double)taken.ns[taken.n - 1] / 1e6);
}

static struct fh look_up(struct client *c, const struct fh *dir, const char *name)
{
	if (nfs3_lookup(c, dir, name))
		die(name, "not found");
	return c->got.fh;
}

static void touch(struct client *c, unsigned count, const char *path)
{
	static struct fh dirs[DIRS + 1];
	FILE *file = fopen(path, "w");
	char name[32];

	if (!file)
		die(path, strerror(errno));
	for (unsigned i = 0; i <= DIRS; i++) {
		dir_name(i, name, sizeof(name));
		dirs[i] = look_up(c, &c->root, name);
	}
	taken.begin_ns = now_ns();
	for (unsigned i = 0; i < count; i++) {
		uint64_t since_ns = now_ns();
		unsigned which = rnd(FILES);
		struct fh fh;

		file_name(which, name, sizeof(name));
		fh = look_up(c, &dirs[dir_of(which)], name);
		if (nfs3_getattr(c, &fh))
			die(name, "GETATTR");
		take_time(since_ns);
		if (i < HANDLES && fwrite(&fh, sizeof(fh), 1, file) != 1)
			die(path, "not written");
	}
	print_times(2 * (uint64_t)count);
	if (fclose(file))
		die(path, strerror(errno));
}

static void getattr_all(struct client *c, const char *path)
{
	FILE *file = fopen(path, "r");
	struct fh fh;

	if (!file)
		die(path, strerror(errno));
	taken.begin_ns = now_ns();
	while (fread(&fh, sizeof(fh), 1, file) == 1) {
		uint64_t since_ns = now_ns();

		if (nfs3_getattr(c, &fh) || c->got.attr.size != FILE_SIZE)
			die("GETATTR", "not as it was made");
		take_time(since_ns);
	}
	(void)fclose(file);
	print_times(taken.n);
}

static void entry(struct client *c, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		  const struct fattr3 *attr)
{
	(void)c;
	(void)fileid;
	(void)cookie;
	if (name[0] != '.' && (!fh || !attr))
		die(name, "without handle or attributes");
}

static void list(struct client *c)
{
	struct fh dir = look_up(c, &c->root, "large");

	c->entry = entry;
	taken.begin_ns = now_ns();
	do {
		uint64_t since_ns = now_ns();

		if (nfs3_readdirplus(c, &dir, c->last_cookie, 128 << 10, 128 << 10))
			die("READDIRPLUS", "refused");
		take_time(since_ns);
	} while (!c->got.is_eof);
	if (c->n_entries < LARGE)
		die("READDIRPLUS", "entries are missing");
	print_times(c->n_entries);
}

static void pread_some(unsigned pages, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	char page[4096];

	if (size < (off_t)sizeof(page))
		die(path, "cannot be read");
	taken.begin_ns = now_ns();
	for (unsigned i = 0; i < HANDLES; i++) {
		uint64_t since_ns = now_ns();

		for (unsigned n = 0; n < pages; n++)
			if (pread(fd, page, sizeof(page), rnd(size / sizeof(page)) * (off_t)sizeof(page)) != sizeof(page))
				die(path, strerror(errno));
		take_time(since_ns);
	}
	(void)close(fd);
	print_times(taken.n);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	struct client c;

	(void)signal(SIGPIPE, SIG_IGN);
	if (!strcmp(what, "start") && argc > 3) {
		start((int)number(argv[2]), argv + 3);
		return 0;
	}
	if (!strcmp(what, "pread") && argc == 4) {
		pread_some(number(argv[2]), argv[3]);
		return 0;
	}
	if (!what[0])
		die("usage", "memory start PORT PROGRAM... | touch PORT COUNT FILE | getattr PORT FILE | list PORT |"
		    " pread PAGES FILE");
	client_open(&c, (int)number(argv[2]));
	if (!strcmp(what, "touch") && argc == 5)
		touch(&c, number(argv[3]), argv[4]);
	else if (!strcmp(what, "getattr") && argc == 4)
		getattr_all(&c, argv[3]);
	else if (!strcmp(what, "list"))
		list(&c);
	else
		die(what, "unknown, or not with these arguments");
	client_close(&c);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * power_work: work that says what has been acknowledged, so that it can be known after the power was cut.
 *
 *   power_work run PORT DIR SEED
 *       Makes directory DIR in the export and works in it until something fails. Operation N follows from SEED and
 *       what the ones before it left. Prints a line "N MS D" when N is acknowledged (0: DIR is there): MS milliseconds
 *       after the machine's start; D is 1 where all up to N is on the disk by that, also with durability async.
 *   power_work model DIR SEED N
 *       What must be there after N operations, in the form of tests/faults/load.c.
 *   power_work touched DIR SEED N TO
 *       The paths, after N operations, of the files that the next ones, up to TO, may have changed in part when the
 *       power was cut: those of which a WRITE was sent.
 */
#include <errno.h>
#include <inttypes.h>
#include <xxhash.h>
#include "tests/nfs/client.h"

#define DIRS 4u
#define SLOTS (DIRS * 10)
#define LARGE 300000u
#define SMALL 20000u
#define PIECE 65536u

enum kind { STORE, OVERWRITE, MOVE, DELETE, LINK, SYMLINK, MKDIR, RMDIR, CHMOD, KINDS };

struct op {
	enum kind kind;
	unsigned a, b;			/* slots */
	uint64_t random;
};

struct object {
	char type;			/* 'f', 'l', 'd' */
	unsigned mode, links, size;
	unsigned char *bytes;
	char target[40];
	bool is_touched;
};

static struct object *slots[SLOTS];
static const char *top;

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* ---- the model ---- */

static struct object *object_new(char type, unsigned mode)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		die("memory", "none");
	o->type = type;
	o->mode = mode;
	o->links = 1;
	return o;
}

/* The struct stays: print_touched() looks at it. */
static void object_drop(struct object *o)
{
	if (!o || --o->links)
		return;
	free(o->bytes);
	o->bytes = NULL;
}

static bool is_of(unsigned slot, char type) { return slots[slot] && slots[slot]->type == type; }

static bool applies(const struct op *op)
{
	switch (op->kind) {
	case STORE:	return !slots[op->a] || is_of(op->a, 'f');
	case OVERWRITE:	return is_of(op->a, 'f') && slots[op->a]->size;
	case MOVE:	return slots[op->a] && slots[op->a] != slots[op->b] &&
			       (!slots[op->b] || (is_of(op->a, 'd') == is_of(op->b, 'd')));
	case DELETE:	return slots[op->a] && !is_of(op->a, 'd');
	case LINK:	return is_of(op->a, 'f') && !slots[op->b];
	case SYMLINK:
	case MKDIR:	return !slots[op->a];
	case RMDIR:	return is_of(op->a, 'd');
	case CHMOD:	return slots[op->a] && !is_of(op->a, 'l');
	case KINDS:	break;
	}
	return false;
}

/* Half of them are files made or written. */
static struct op op_of(uint64_t seed, uint64_t n)
{
	struct op op;

	for (uint64_t i = 0;; i++) {
		uint64_t random = mix(mix(seed * 1000003 + n) + i);
		unsigned kind = (unsigned)(random % (2 * KINDS));

		op.kind = kind < KINDS ? (enum kind)kind : STORE;
		op.a = (unsigned)(random >> 16) % SLOTS;
		op.b = (unsigned)(random >> 32) % SLOTS;
		op.random = mix(random);
		if (applies(&op))
			return op;
	}
}

static unsigned store_size(const struct op *op)
{
	return 1 + (unsigned)((op->random >> 8) % (op->random % 4 ? SMALL : LARGE));
}

static unsigned mode_of(const struct op *op) { return 0600 | ((unsigned)(op->random >> 40) & 0177); }

static void fill(unsigned char *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			seed = mix(seed);
		bytes[i] = (unsigned char)(seed >> (i % 8 * 8));
	}
}

static void model_store(const struct op *op)
{
	struct object *o = slots[op->a];

	if (!o)
		o = slots[op->a] = object_new('f', mode_of(op));
	free(o->bytes);
	o->size = store_size(op);
	o->bytes = malloc(o->size);
	if (!o->bytes)
		die("memory", "none");
	fill(o->bytes, o->size, op->random);
}

static unsigned overwrite_len(const struct op *op)
{
	unsigned size = slots[op->a]->size;

	return size < 4096 ? size : 4096;
}

static void target_of(const struct op *op, char *ret, size_t size)
{
	(void)snprintf(ret, size, "to-%" PRIu64, op->random % 1000000);
}

static void model_apply(const struct op *op)
{
	struct object *o = slots[op->a];

	switch (op->kind) {
	case STORE:
		model_store(op);
		break;
	case OVERWRITE:
		fill(o->bytes, overwrite_len(op), op->random);
		break;
	case MOVE:
		object_drop(slots[op->b]);
		slots[op->b] = o;
		slots[op->a] = NULL;
		break;
	case DELETE:
	case RMDIR:
		slots[op->a] = NULL;
		object_drop(o);
		break;
	case LINK:
		o->links++;
		slots[op->b] = o;
		break;
	case SYMLINK:
		o = slots[op->a] = object_new('l', 0777);
		target_of(op, o->target, sizeof(o->target));
		break;
	case MKDIR:
		slots[op->a] = object_new('d', mode_of(op));
		break;
	case CHMOD:
		o->mode = mode_of(op);
		break;
	case KINDS:
		break;
	}
}

/* ---- what is printed ---- */

static void print_path(unsigned slot)
{
	(void)printf("/%s/d%u/n%u\n", top, slot % DIRS, slot / DIRS);
}

static void print_model(void)
{
	for (unsigned d = 0; d < DIRS; d++)
		(void)printf("d 0755 0 0 - /%s/d%u\n", top, d);
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		const struct object *o = slots[slot];

		if (!o)
			continue;
		if (o->type == 'f')
			(void)printf("f %04o %u %u %016" PRIx64, o->mode, o->links, o->size, (uint64_t)XXH64(o->bytes, o->size, 0));
		else if (o->type == 'l')
			(void)printf("l 0777 1 %zu %s", strlen(o->target), o->target);
		else
			(void)printf("d %04o 0 0 -", o->mode);
		(void)printf(" ");
		print_path(slot);
	}
}

/* The state is that after operation n: goes on to the one after operation 'to'. */
static void print_touched(uint64_t seed, uint64_t n, uint64_t to)
{
	struct object *then[SLOTS];

	memcpy(then, slots, sizeof(then));
	while (++n <= to) {
		struct op op = op_of(seed, n);

		model_apply(&op);
		if (op.kind != STORE && op.kind != OVERWRITE)
			continue;
		slots[op.a]->is_touched = true;
		if (!then[op.a])
			print_path(op.a);	/* it may have been made */
	}
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (then[slot] && then[slot]->is_touched)
			print_path(slot);
}

/* ---- the work ---- */

static struct client c;
static struct fh dirs[DIRS];

static void need(int status, const char *what)
{
	if (status)
		die(what, nfsstat3_to_str(status));
}

static const struct fh *dir_of(unsigned slot) { return &dirs[slot % DIRS]; }

/* One at a time. */
static const char *name_of(unsigned slot)
{
	static char names[2][16];
	static unsigned which;

	which = !which;
	(void)snprintf(names[which], sizeof(names[which]), "n%u", slot / DIRS);
	return names[which];
}

static struct fh find(unsigned slot)
{
	need(nfs3_lookup(&c, dir_of(slot), name_of(slot)), "LOOKUP");
	return c.got.fh;
}

static void do_store(const struct op *op)
{
	static unsigned char bytes[LARGE + 1];
	unsigned size = store_size(op);
	struct fh file;

	if (slots[op->a]) {
		file = find(op->a);
		if (slots[op->a]->size > size)
			need(nfs3_setattr(&c, &file, sattr_size(size), NULL), "SETATTR");
	} else {
		need(nfs3_create(&c, dir_of(op->a), name_of(op->a), GUARDED, sattr_mode(mode_of(op))), "CREATE");
		file = c.got.fh;
	}
	fill(bytes, size, op->random);
	for (unsigned at = 0; at < size; at += PIECE)
		need(nfs3_write(&c, &file, at, bytes + at, size - at < PIECE ? size - at : PIECE, UNSTABLE), "WRITE");
	need(nfs3_commit(&c, &file), "COMMIT");
}

static void do_overwrite(const struct op *op)
{
	unsigned char bytes[4096];
	struct fh file = find(op->a);

	fill(bytes, overwrite_len(op), op->random);
	need(nfs3_write(&c, &file, 0, bytes, overwrite_len(op), FILE_SYNC), "WRITE");
}

static void do_op(const struct op *op)
{
	struct fh file;
	char target[40];

	switch (op->kind) {
	case STORE:
		do_store(op);
		break;
	case OVERWRITE:
		do_overwrite(op);
		break;
	case MOVE:
		need(nfs3_rename(&c, dir_of(op->a), name_of(op->a), dir_of(op->b), name_of(op->b)), "RENAME");
		break;
	case DELETE:
		need(nfs3_remove(&c, dir_of(op->a), name_of(op->a)), "REMOVE");
		break;
	case LINK:
		file = find(op->a);
		need(nfs3_link(&c, &file, dir_of(op->b), name_of(op->b)), "LINK");
		break;
	case SYMLINK:
		target_of(op, target, sizeof(target));
		need(nfs3_symlink(&c, dir_of(op->a), name_of(op->a), target), "SYMLINK");
		break;
	case MKDIR:
		need(nfs3_mkdir(&c, dir_of(op->a), name_of(op->a), mode_of(op)), "MKDIR");
		break;
	case RMDIR:
		need(nfs3_rmdir(&c, dir_of(op->a), name_of(op->a)), "RMDIR");
		break;
	case CHMOD:
		file = find(op->a);
		need(nfs3_setattr(&c, &file, sattr_mode(mode_of(op)), NULL), "SETATTR");
		break;
	case KINDS:
		break;
	}
}

static void say_done(uint64_t n, bool is_on_disk)
{
	(void)printf("%" PRIu64 " %" PRId64 " %d\n", n, now_ms(), is_on_disk);
	(void)fflush(stdout);
}

static void run(int port, uint64_t seed)
{
	struct fh root;

	client_open(&c, port);
	need(nfs3_mkdir(&c, &c.root, top, 0755), "MKDIR");
	root = c.got.fh;
	for (unsigned d = 0; d < DIRS; d++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "d%u", d);
		need(nfs3_mkdir(&c, &root, name, 0755), "MKDIR");
		dirs[d] = c.got.fh;
	}
	say_done(0, false);
	for (uint64_t n = 1;; n++) {
		struct op op = op_of(seed, n);

		do_op(&op);
		say_done(n, op.kind == STORE || op.kind == OVERWRITE);
		model_apply(&op);
	}
}

int main(int argc, char **argv)
{
	uint64_t seed, n;

	if (argc == 5 && !strcmp(argv[1], "run")) {
		top = argv[3];
		run(atoi(argv[2]), strtoull(argv[4], NULL, 10));
	}
	if (!(argc == 5 && !strcmp(argv[1], "model")) && !(argc == 6 && !strcmp(argv[1], "touched"))) {
		(void)fprintf(stderr, "usage: power_work run PORT DIR SEED | model DIR SEED N | touched DIR SEED N TO\n");
		return 2;
	}
	top = argv[2];
	seed = strtoull(argv[3], NULL, 10);
	n = strtoull(argv[4], NULL, 10);
	for (uint64_t i = 1; i <= n; i++) {
		struct op op = op_of(seed, i);

		model_apply(&op);
	}
	if (argc == 6)
		print_touched(seed, n, strtoull(argv[5], NULL, 10));
	else
		print_model();
	return 0;
}

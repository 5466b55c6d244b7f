/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/private.h"

#include "base/clock.h"
#include "tests/torture/model.h"
#include "tests/torture/trace.h"
#include "tests/torture/world.h"

#define TEMP 90			/* n90: what becomes another file by rename */
#define DEPTH_MAX 4
#define PIECE (128u << 10)
#define SIZE_LARGE (5u << 19)	/* beyond what goes inline in a batch (replicate/batch.h) */
#define SIZE_MOST (4u << 20)
#define HANG_MS 5000		/* nothing here waits for a link */

static struct model models[CLIENTS];

/* What one step works on. */
struct work {
	int c;
	struct model *model;
	struct client *nfs;
	struct chance *chance;
	int dir, name;			/* of the model; name -1: there is none yet */
	unsigned number;
};

static struct model_object *object_of(const struct work *w, int name)
{
	return &w->model->objects[w->model->names[name].object];
}

static const struct fh *dir_fh(const struct work *w, int dir)
{
	return &w->model->objects[dir].fh;
}

static const char *path_of(const struct work *w, int name)
{
	return model_path(w->model, w->model->names[name].dir, w->model->names[name].number);
}

static const char *name_text(unsigned number)
{
	static char texts[4][MODEL_NAME_LEN];
	static unsigned turn;
	char *text = texts[turn++ % 4];

	(void)snprintf(text, MODEL_NAME_LEN, "n%u", number);
	return text;
}

static void must(const struct work *w, int status, const char *what, const char *path)
{
	if (status)
		trace_fail("%s p%d/%s: %s", what, w->c, path, nfsstat3_to_str(status));
}

/* ---- calls without an answer ---- */

static void write_whole(int c, const struct model_object *object)
{
	struct client *nfs = world_nfs(c);

	for (size_t done = 0; done < object->size;) {
		uint32_t n = (uint32_t)MIN((size_t)PIECE, object->size - done);
		int status = nfs3_write(nfs, &object->fh, done, object->bytes + done, n, FILE_SYNC);

		/* It was the last name, and the call was done. */
		if (status == NFS3ERR_STALE && object->is_going)
			return;
		if (status)
			trace_fail("WRITE, again, in p%d: %s", c, status == CALL_LOST ? "no answer" : nfsstat3_to_str(status));
		done += nfs->got.count;
	}
}

void private_recovered(int c)
{
	for (int i = 0; i < MODEL_OBJECTS; i++) {
		struct model_object *object = &models[c].objects[i];

		if (object->kind == MODEL_FILE && object->is_loose)
			write_whole(c, object);
		object->is_loose = false;
	}
}

static void recover(const struct work *w)
{
	trace("%d: no answer", w->c);
	world_settle();
	if (!world_was_killed(w->c))
		trace_fail("a connection ended, and nobody had killed that daemon");
	private_recovered(w->c);
}

static int look(const struct work *w, int dir, unsigned number)
{
	int status;

	while ((status = nfs3_lookup(w->nfs, dir_fh(w, dir), name_text(number))) == CALL_LOST)
		recover(w);
	return status;
}

/* ---- writing ---- */

static void commit(const struct work *w, struct model_object *object)
{
	int status;

	if (!object->is_loose)
		return;
	status = nfs3_commit(w->nfs, &object->fh);
	if (status == CALL_LOST)
		recover(w);		/* writes all of it again */
	else
		must(w, status, "COMMIT", "");
	object->is_loose = false;
}

static void write_bytes(const struct work *w, struct model_object *object, size_t offset, size_t len, enum stable_how how,
			bool is_committed)
{
	bool was_loose = object->is_loose;
	size_t end = offset + len;

	if (end > object->size)
		model_resize(object, end);
	for (size_t i = offset; i < end; i += 8) {
		uint64_t word = chance_next(w->chance);

		memcpy(object->bytes + i, &word, MIN(end - i, (size_t)8));
	}
	object->has_mtime = false;
	object->is_loose = true;
	for (size_t done = offset; done < end;) {
		int status = nfs3_write(w->nfs, &object->fh, done, object->bytes + done, (uint32_t)MIN(end - done, (size_t)PIECE), how);

		if (status == CALL_LOST) {
			recover(w);
			return;
		}
		must(w, status, "WRITE", "");
		done += w->nfs->got.count;
	}
	if (how != UNSTABLE)
		object->is_loose = was_loose;
	if (is_committed)
		commit(w, object);
}

static size_t some_length(struct chance *chance)
{
	if (chance_one_in(chance, 40))
		return SIZE_LARGE / 2 + chance_below(chance, SIZE_LARGE / 2);
	if (chance_one_in(chance, 8))
		return 1 + chance_below(chance, 200000);
	return 1 + chance_below(chance, 8000);
}

static void write_some(const struct work *w, struct model_object *object, const char *path)
{
	size_t size = object->size, offset = 0, len = some_length(w->chance);
	enum stable_how how = chance_one_in(w->chance, 3) ? FILE_SYNC : UNSTABLE;
	bool is_committed = !chance_one_in(w->chance, 4);

	switch (chance_below(w->chance, 4)) {
	case 0:		/* over what is there */
		offset = chance_below(w->chance, (unsigned)size + 1);
		break;
	case 1:		/* behind it */
		offset = size;
		break;
	case 2:		/* a hole before it */
		offset = size + chance_below(w->chance, chance_one_in(w->chance, 4) ? 1000000 : 20000);
		break;
	default:
		break;
	}
	if (offset + len > SIZE_MOST)
		offset = 0;
	trace("%d: write %s at %zu, %zu bytes, %s%s", w->c, path, offset, len, how == UNSTABLE ? "UNSTABLE" : "FILE_SYNC",
	      is_committed ? ", COMMIT" : "");
	write_bytes(w, object, offset, len, how, is_committed);
}

/* ---- making ---- */

static int make_file(const struct work *w, int dir, unsigned number)
{
	unsigned mode = 0600 + chance_below(w->chance, 64);
	int object = model_make(w->model, dir, number, MODEL_FILE, mode), status;

	if (object < 0)
		return -1;
	trace("%d: create %s", w->c, model_path(w->model, dir, number));
	while ((status = nfs3_create(w->nfs, dir_fh(w, dir), name_text(number), GUARDED, sattr_mode(mode))) == CALL_LOST) {
		recover(w);
		if (!look(w, dir, number)) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, "CREATE", model_path(w->model, dir, number));
	w->model->objects[object].fh = w->nfs->got.fh;
	return object;
}

static void do_create(const struct work *w)
{
	int object = make_file(w, w->dir, w->number);

	if (object >= 0 && !chance_one_in(w->chance, 10))
		write_some(w, &w->model->objects[object], model_path(w->model, w->dir, w->number));
}

static void do_mkdir(const struct work *w)
{
	unsigned mode = 0700 + chance_below(w->chance, 64);
	int object, status;

	if (model_depth(w->model, w->dir) >= DEPTH_MAX)
		return;
	object = model_make(w->model, w->dir, w->number, MODEL_DIR, mode);
	if (object < 0)
		return;
	trace("%d: mkdir %s", w->c, model_path(w->model, w->dir, w->number));
	while ((status = nfs3_mkdir(w->nfs, dir_fh(w, w->dir), name_text(w->number), mode)) == CALL_LOST) {
		recover(w);
		if (!look(w, w->dir, w->number)) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, "MKDIR", model_path(w->model, w->dir, w->number));
	w->model->objects[object].fh = w->nfs->got.fh;
}

static void do_symlink(const struct work *w)
{
	int object = model_make(w->model, w->dir, w->number, MODEL_SYMLINK, 0777), status;
	char *target;

	if (object < 0)
		return;
	target = w->model->objects[object].target;
	(void)snprintf(target, sizeof(w->model->objects->target), "to-%u", chance_below(w->chance, 1000000));
	trace("%d: symlink %s", w->c, model_path(w->model, w->dir, w->number));
	while ((status = nfs3_symlink(w->nfs, dir_fh(w, w->dir), name_text(w->number), target)) == CALL_LOST) {
		recover(w);
		if (!look(w, w->dir, w->number)) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, "SYMLINK", model_path(w->model, w->dir, w->number));
	w->model->objects[object].fh = w->nfs->got.fh;
}

static void do_link(const struct work *w)
{
	int from = model_file(w->model, chance_below(w->chance, 1000)), status;

	if (from < 0 || !model_link(w->model, w->model->names[from].object, w->dir, w->number))
		return;
	trace("%d: link %s to %s", w->c, path_of(w, from), model_path(w->model, w->dir, w->number));
	while ((status = nfs3_link(w->nfs, &object_of(w, from)->fh, dir_fh(w, w->dir), name_text(w->number))) == CALL_LOST) {
		recover(w);
		if (!look(w, w->dir, w->number)) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, "LINK", model_path(w->model, w->dir, w->number));
}

/* ---- moving ---- */

static void rename_to(const struct work *w, int name, int to_dir, unsigned to_number)
{
	struct model_name from = w->model->names[name];
	int over = model_find(w->model, to_dir, to_number), status;

	/* RFC 1813: two names of one file, nothing is done. */
	if (over >= 0 && w->model->names[over].object == from.object)
		return;
	trace("%d: rename %s to %s%s", w->c, path_of(w, name), model_path(w->model, to_dir, to_number),
	      over >= 0 ? ", over what is there" : "");
	if (over >= 0)
		object_of(w, over)->is_going = true;
	while ((status = nfs3_rename(w->nfs, dir_fh(w, from.dir), name_text(from.number), dir_fh(w, to_dir),
				     name_text(to_number))) == CALL_LOST) {
		recover(w);
		if (look(w, from.dir, from.number) == NFS3ERR_NOENT) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, "RENAME", model_path(w->model, to_dir, to_number));
	if (over >= 0)
		object_of(w, over)->is_going = false;
	model_rename(w->model, name, to_dir, to_number);
}

/* How editors save: a new file takes the place. */
static void do_save(const struct work *w)
{
	int object = make_file(w, w->dir, TEMP);

	if (object < 0)
		return;
	write_some(w, &w->model->objects[object], "n90");
	rename_to(w, model_find(w->model, w->dir, TEMP), w->dir, w->number);
}

/* Another name becomes this one; or this one another. */
static void do_bring(const struct work *w)
{
	int from = model_file(w->model, chance_below(w->chance, 1000));

	if (from >= 0)
		rename_to(w, from, w->dir, w->number);
}

static void do_rename(const struct work *w)
{
	int to_dir = chance_one_in(w->chance, 2) ? w->dir : model_dir(w->model, chance_below(w->chance, 1000)), over;
	unsigned to_number = chance_below(w->chance, MODEL_PER_DIR);
	const struct model_object *object = object_of(w, w->name), *other;
	bool is_dir = object->kind == MODEL_DIR;

	if (is_dir && (model_is_below(w->model, to_dir, w->model->names[w->name].object) ||
		       model_depth(w->model, to_dir) >= DEPTH_MAX))
		return;
	over = model_find(w->model, to_dir, to_number);
	other = over >= 0 ? object_of(w, over) : NULL;
	if (other && ((other->kind == MODEL_DIR) != is_dir ||
		      (is_dir && !model_is_empty(w->model, w->model->names[over].object))))
		return;
	rename_to(w, w->name, to_dir, to_number);
}

static void do_remove(const struct work *w)
{
	bool is_dir = object_of(w, w->name)->kind == MODEL_DIR;
	const char *name = name_text(w->number);
	int status;

	if (is_dir && !model_is_empty(w->model, w->model->names[w->name].object))
		return;
	trace("%d: %s %s", w->c, is_dir ? "rmdir" : "remove", path_of(w, w->name));
	object_of(w, w->name)->is_going = true;
	while ((status = is_dir ? nfs3_rmdir(w->nfs, dir_fh(w, w->dir), name) :
				  nfs3_remove(w->nfs, dir_fh(w, w->dir), name)) == CALL_LOST) {
		recover(w);
		if (look(w, w->dir, w->number) == NFS3ERR_NOENT) {
			status = NFS3_OK;
			break;
		}
	}
	must(w, status, is_dir ? "RMDIR" : "REMOVE", path_of(w, w->name));
	object_of(w, w->name)->is_going = false;
	model_remove(w->model, w->name);
}

/* ---- attributes ---- */

static void set(const struct work *w, struct model_object *object, struct sattr3 sattr)
{
	int status;

	commit(w, object);
	while ((status = nfs3_setattr(w->nfs, &object->fh, sattr, NULL)) == CALL_LOST)
		recover(w);
	must(w, status, "SETATTR", path_of(w, w->name));
}

static void do_chmod(const struct work *w)
{
	struct model_object *object = object_of(w, w->name);
	unsigned mode = (object->kind == MODEL_DIR ? 0700 : 0600) + chance_below(w->chance, 64);

	if (object->kind == MODEL_SYMLINK)
		return;
	trace("%d: chmod %o %s", w->c, mode, path_of(w, w->name));
	set(w, object, sattr_mode(mode));
	object->mode = mode;
}

static void do_touch(const struct work *w)
{
	struct model_object *object = object_of(w, w->name);
	struct sattr3 sattr = sattr_mtime(chance_time(w->chance));

	object->mtime = sattr.mtime.set_mtime_u.mtime;
	trace("%d: mtime %u.%09u %s", w->c, object->mtime.seconds, object->mtime.nseconds, path_of(w, w->name));
	set(w, object, sattr);
	object->has_mtime = true;
}

static void do_truncate(const struct work *w)
{
	struct model_object *object = object_of(w, w->name);
	size_t size = chance_one_in(w->chance, 3) ? object->size + chance_below(w->chance, 50000) :
						    chance_below(w->chance, (unsigned)object->size + 1);

	size = MIN(size, (size_t)SIZE_MOST);
	trace("%d: truncate %s, %zu bytes to %zu", w->c, path_of(w, w->name), object->size, size);
	set(w, object, sattr_size(size));
	model_resize(object, size);
	object->has_mtime = false;
}

static void do_write(const struct work *w)
{
	write_some(w, object_of(w, w->name), path_of(w, w->name));
}

/* ---- looking ---- */

static void check_content(const struct work *w, const struct model_object *object)
{
	for (size_t done = 0; done < object->size;) {
		int status;

		while ((status = nfs3_read(w->nfs, &object->fh, done, PIECE)) == CALL_LOST)
			recover(w);
		must(w, status, "READ", path_of(w, w->name));
		if (!w->nfs->got.count)
			trace_fail("READ p%d/%s ends at %zu of %zu", w->c, path_of(w, w->name), done, object->size);
		for (size_t i = 0; i < w->nfs->got.count; i++)
			if ((unsigned char)w->nfs->got.data[i] != object->bytes[done + i])
				trace_fail("READ p%d/%s: byte %zu of %zu is not what was written", w->c, path_of(w, w->name),
					   done + i, object->size);
		done += w->nfs->got.count;
	}
}

static void do_check(const struct work *w)
{
	const struct model_object *object = object_of(w, w->name);
	const struct fattr3 *attr = &w->nfs->got.attr;
	int status = look(w, w->dir, w->number);

	trace("%d: look at %s", w->c, path_of(w, w->name));
	must(w, status, "LOOKUP", path_of(w, w->name));
	if (!same_fh(&w->nfs->got.fh, &object->fh))
		trace_fail("p%d/%s has another handle than when it was made", w->c, path_of(w, w->name));
	while ((status = nfs3_getattr(w->nfs, &object->fh)) == CALL_LOST)
		recover(w);
	must(w, status, "GETATTR", path_of(w, w->name));
	if (attr->mode != object->mode || (object->kind == MODEL_FILE && attr->size != object->size) ||
	    (object->kind != MODEL_DIR && attr->nlink != object->nlink))
		trace_fail("p%d/%s: mode %o size %llu links %u, should be mode %o size %zu links %u", w->c, path_of(w, w->name),
			   attr->mode, (unsigned long long)attr->size, attr->nlink, object->mode, object->size, object->nlink);
	if (object->has_mtime && !same_time(attr->mtime, object->mtime))
		trace_fail("p%d/%s: mtime %u.%09u, should be %u.%09u", w->c, path_of(w, w->name), attr->mtime.seconds,
			   attr->mtime.nseconds, object->mtime.seconds, object->mtime.nseconds);
	if (object->kind == MODEL_FILE)
		check_content(w, object);
}

static void count_name(struct client *nfs, const char *name, uint64_t fileid, uint64_t cookie, const struct fh *fh,
		       const struct fattr3 *attr)
{
	unsigned *n = nfs->entry_arg;

	(void)fileid, (void)cookie, (void)fh, (void)attr;
	if (strcmp(name, ".") && strcmp(name, ".."))
		(*n)++;
}

static void do_list(const struct work *w)
{
	unsigned n = 0, want = 0;
	int status;

	trace("%d: list %s", w->c, model_path(w->model, w->dir, 0));
	do {
		n = 0;
		w->nfs->entry = count_name;
		w->nfs->entry_arg = &n;
		status = nfs3_readdir(w->nfs, dir_fh(w, w->dir), 0, 32768);
		if (status == CALL_LOST)
			recover(w);
	} while (status == CALL_LOST);
	must(w, status, "READDIR", model_path(w->model, w->dir, 0));
	for (int i = 0; i < MODEL_NAMES; i++)
		want += w->model->names[i].is_used && w->model->names[i].dir == w->dir;
	if (n != want)
		trace_fail("the directory of p%d/%s has %u names, should have %u", w->c, model_path(w->model, w->dir, 0), n, want);
}

/* ---- a step ---- */

typedef void action(const struct work *w);

static action *const on_nothing[] = { do_create, do_create, do_create, do_mkdir, do_symlink, do_link, do_save, do_bring };
static action *const on_file[] = { do_write, do_write, do_write, do_truncate, do_chmod, do_touch, do_remove, do_remove, do_rename,
				   do_save, do_save, do_check, do_check };
static action *const on_other[] = { do_remove, do_rename, do_chmod, do_check, do_list };

void private_step(int c, struct chance *chance)
{
	struct work w = { .c = c, .model = &models[c], .nfs = world_nfs(c), .chance = chance };
	uint64_t began_us = clock_us();
	const struct model_object *object;

	w.dir = model_dir(w.model, chance_below(chance, 1000));
	w.number = chance_below(chance, MODEL_PER_DIR);
	w.name = model_find(w.model, w.dir, w.number);
	if (w.name < 0) {
		on_nothing[chance_below(chance, ARRAY_SIZE(on_nothing))](&w);
	} else {
		object = object_of(&w, w.name);
		if (object->kind == MODEL_FILE)
			on_file[chance_below(chance, ARRAY_SIZE(on_file))](&w);
		else if (object->kind == MODEL_DIR || !chance_one_in(chance, 2))
			on_other[chance_below(chance, ARRAY_SIZE(on_other))](&w);
		else
			do_save(&w);
	}
	/* A restart after a kill is no hang. */
	if (clock_us() - began_us > HANG_MS * US_PER_MS)
		trace("%d: that took %llu ms", c, (unsigned long long)((clock_us() - began_us) / US_PER_MS));
}

void private_committed(int c)
{
	for (int i = 0; i < MODEL_OBJECTS; i++)
		models[c].objects[i].is_loose = false;
}

void private_begin(int c)
{
	struct client *nfs = world_nfs(c);
	char name[16];

	(void)snprintf(name, sizeof(name), "p%d", c);
	if (nfs3_lookup(nfs, &nfs->root, name))
		trace_fail("%s is not to be seen on its client", name);
	model_begin(&models[c], &nfs->got.fh);
}

void private_tree(int c, struct tree *tree)
{
	char prefix[16];

	(void)snprintf(prefix, sizeof(prefix), "p%d", c);
	model_tree(&models[c], prefix, tree);
}

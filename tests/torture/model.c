/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/torture/model.h"

#include <limits.h>
#include "tests/torture/trace.h"

void model_begin(struct model *model, const struct fh *root)
{
	*model = (struct model){ 0 };
	model->objects[0] = (struct model_object){ .kind = MODEL_DIR, .mode = 0755, .nlink = 1, .fh = *root };
}

int model_find(const struct model *model, int dir, unsigned number)
{
	for (int i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].is_used && model->names[i].dir == dir && model->names[i].number == number)
			return i;
	return -1;
}

static int name_new(struct model *model, int dir, unsigned number, int object)
{
	for (int i = 0; i < MODEL_NAMES; i++)
		if (!model->names[i].is_used) {
			model->names[i] = (struct model_name){ true, dir, object, number };
			return i;
		}
	return -1;
}

int model_make(struct model *model, int dir, unsigned number, enum model_kind kind, unsigned mode)
{
	int object = 1;

	while (object < MODEL_OBJECTS && model->objects[object].kind != MODEL_NONE)
		object++;
	if (object == MODEL_OBJECTS || name_new(model, dir, number, object) < 0)
		return -1;
	model->objects[object] = (struct model_object){ .kind = kind, .mode = mode, .nlink = 1, .dir = dir };
	return object;
}

bool model_link(struct model *model, int object, int dir, unsigned number)
{
	if (name_new(model, dir, number, object) < 0)
		return false;
	model->objects[object].nlink++;
	return true;
}

void model_remove(struct model *model, int name)
{
	struct model_object *object = &model->objects[model->names[name].object];

	model->names[name].is_used = false;
	if (--object->nlink)
		return;
	free(object->bytes);
	*object = (struct model_object){ 0 };
}

void model_rename(struct model *model, int name, int to_dir, unsigned to_number)
{
	int over = model_find(model, to_dir, to_number);
	struct model_object *object = &model->objects[model->names[name].object];

	if (over >= 0)
		model_remove(model, over);
	model->names[name].dir = to_dir;
	model->names[name].number = to_number;
	if (object->kind == MODEL_DIR)
		object->dir = to_dir;
}

void model_resize(struct model_object *object, size_t size)
{
	unsigned char *bytes = realloc(object->bytes, size + 1);

	if (!bytes)
		trace_fail("no memory");
	if (size > object->size)
		memset(bytes + object->size, 0, size - object->size);
	object->bytes = bytes;
	object->size = size;
}

bool model_is_empty(const struct model *model, int dir)
{
	for (int i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].is_used && model->names[i].dir == dir)
			return false;
	return true;
}

bool model_is_below(const struct model *model, int dir, int above)
{
	for (; dir; dir = model->objects[dir].dir)
		if (dir == above)
			return true;
	return !above;
}

unsigned model_depth(const struct model *model, int dir)
{
	unsigned depth = 0;

	for (; dir; dir = model->objects[dir].dir)
		depth++;
	return depth;
}

int model_dir(const struct model *model, unsigned nth)
{
	int dirs[MODEL_OBJECTS];
	unsigned n = 0;

	for (int i = 0; i < MODEL_OBJECTS; i++)
		if (model->objects[i].kind == MODEL_DIR)
			dirs[n++] = i;
	return dirs[nth % n];
}

int model_file(const struct model *model, unsigned nth)
{
	int files[MODEL_NAMES];
	unsigned n = 0;

	for (int i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].is_used && model->objects[model->names[i].object].kind == MODEL_FILE)
			files[n++] = i;
	return n ? files[nth % n] : -1;
}

static size_t path_put(const struct model *model, int dir, char *path, size_t size)
{
	size_t n;

	if (!dir)
		return 0;
	n = path_put(model, model->objects[dir].dir, path, size);
	for (int i = 0; i < MODEL_NAMES; i++)
		if (model->names[i].is_used && model->names[i].object == dir)
			n += (size_t)snprintf(path + n, size - n, "n%u/", model->names[i].number);
	return n;
}

const char *model_path(const struct model *model, int dir, unsigned number)
{
	static char paths[4][PATH_MAX];		/* a line of the trace has no more of them */
	static unsigned turn;
	char *path = paths[turn++ % 4];
	size_t n = path_put(model, dir, path, PATH_MAX);

	(void)snprintf(path + n, PATH_MAX - n, "n%u", number);
	return path;
}

void model_tree(const struct model *model, const char *prefix, struct tree *tree)
{
	for (int i = 0; i < MODEL_NAMES; i++) {
		const struct model_object *object = &model->objects[model->names[i].object];
		struct tree_entry *entry;
		char path[PATH_MAX];

		if (!model->names[i].is_used)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", prefix, model_path(model, model->names[i].dir, model->names[i].number));
		entry = tree_add(tree, path);
		entry->mode = object->mode;
		entry->type = object->kind == MODEL_FILE ? 'f' : object->kind == MODEL_DIR ? 'd' : 'l';
		entry->nlink = object->kind == MODEL_DIR ? 0 : object->nlink;
		if (object->has_mtime)
			entry->mtime_ns = (int64_t)object->mtime.seconds * 1000000000 + object->mtime.nseconds;
		if (object->kind == MODEL_FILE)
			tree_set_content(entry, object->size ? object->bytes : (const void *)"", object->size);
		else if (object->kind == MODEL_SYMLINK)
			tree_set_content(entry, object->target, strlen(object->target));
	}
	tree_sort(tree);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --export-log with no daemon: from the cache's directory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cmd/export.h"

struct dead {
	struct export_source source;
	struct cml_dead *dead;
	uint64_t warned_ino;		/* its content file is missing, and that was said */
};

static int begin(struct export_source *source, struct cml_export_head *ret_head, char **ret_why)
{
	(void)ret_why;
	return cml_dead_head(container_of(source, struct dead, source)->dead, ret_head);
}

static int next(struct export_source *source, struct cml_exported *ret_exported, char **ret_why)
{
	(void)ret_why;
	return cml_dead_next(container_of(source, struct dead, source)->dead, ret_exported);
}

static int read_content(struct export_source *source, const struct cml_exported *exported, void *data, size_t len, uint64_t offset)
{
	struct dead *dead = container_of(source, struct dead, source);
	bool is_missing = false;
	int err = cml_dead_read(dead->dead, exported, data, len, offset, &is_missing);

	/* So it is as well when the file was only made longer, and never written. */
	if (!err && is_missing && dead->warned_ino != exported->ino)
		log_warn("%s: the cache has no content file of it: what it should have is zeros here", exported->saved.path);
	if (is_missing)
		dead->warned_ino = exported->ino;
	return err;
}

static int look(struct export_source *source, struct cml_exported *io_exported, char **ret_why)
{
	(void)source, (void)io_exported, (void)ret_why;
	return 0;	/* nobody writes to it */
}

/* The disk of a dead machine may be mounted so that nothing can be written to it. */
static int mark(struct export_source *source)
{
	int err = cml_dead_mark(container_of(source, struct dead, source)->dead);

	if (err == -EROFS || err == -EACCES || err == -EPERM || err == -ENOSPC) {
		log_warn("the cache cannot be marked as exported (%s): when the file has been replayed, start no daemon on this cache any more",
			 strerror(-err));
		err = 0;
	}
	return err;
}

static void dead_free(struct export_source *source)
{
	struct dead *dead = container_of(source, struct dead, source);

	cml_dead_close(dead->dead);
	free(dead);
}

int export_dead(const char *dir, struct export_source **ret_source, char **ret_why)
{
	struct dead *dead = calloc(1, sizeof(*dead));
	int err;

	*ret_why = NULL;
	if (!dead)
		return -ENOMEM;
	dead->source = (struct export_source){ begin, next, read_content, look, mark, dead_free };
	err = cml_dead_open(dir, &dead->dead, ret_why);
	if (err) {
		free(dead);
		return err;
	}
	*ret_source = &dead->source;
	return 0;
}

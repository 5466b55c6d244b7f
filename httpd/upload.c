/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "httpd/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/list.h"

#define WRITE_STEP (8u << 20)

struct upload {
	struct list node;	/* under lock */
	struct tree *tree;
	char name[KML_KEY_MAX + 32];
	int fd;
	uint64_t offset;
	uint64_t written;	/* below that, the disk has been told to write */
	bool is_over;		/* under lock: another has taken over */
};

/* Held over a write into the page cache, never over a sync. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list writers = { &writers, &writers };

bool upload_key_is_good(const char *key)
{
	size_t len = strlen(key);

	return len && len <= KML_KEY_MAX &&
	       strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") ==
		       len;
}

static void file_name(uint64_t client, const char *key, char name[KML_KEY_MAX + 32])
{
	snprintf(name, KML_KEY_MAX + 32, "up-%016llx-%s", (unsigned long long)client, key);
}

static void take_over(struct tree *tree, const char *name)
{
	struct upload *upload;

	list_each(upload, &writers, node) {
		if (upload->tree == tree && !strcmp(upload->name, name))
			upload->is_over = true;
	}
}

static int open_at(struct tree *tree, const char *name, uint64_t offset)
{
	struct stat st;
	int fd, err = 0;

	/*
	 * A store may have given this very file its place in the tree, and the server then died
	 * before it removed this name: it is not to be written any more.
	 */
	if (fstatat(tree->stage_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!S_ISREG(st.st_mode) || st.st_nlink > 1))
		(void)unlinkat(tree->stage_fd, name, 0);	/* opening tells what is wrong */
	fd = openat(tree->stage_fd, name, O_RDWR | (offset ? 0 : O_CREAT) | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return errno == ENOENT ? -ERANGE : -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if ((uint64_t)st.st_size < offset)
		err = -ERANGE;
	else if ((uint64_t)st.st_size > offset && ftruncate(fd, (off_t)offset) < 0)
		err = -errno;
	if (err) {
		(void)close(fd);
		return err;
	}
	return fd;
}

int upload_open(struct tree *tree, uint64_t client, const char *key, uint64_t offset,
		struct upload **ret_upload)
{
	struct upload *upload;
	int err = FAULT("upload.open");

	if (err)
		return err;
	if (offset > INT64_MAX)
		return -ERANGE;
	upload = calloc(1, sizeof(*upload));
	if (!upload)
		return -ENOMEM;
	upload->tree = tree;
	upload->offset = upload->written = offset;
	file_name(client, key, upload->name);
	pthread_mutex_lock(&lock);
	take_over(tree, upload->name);
	upload->fd = open_at(tree, upload->name, offset);
	if (upload->fd >= 0)
		list_append(&writers, &upload->node);
	pthread_mutex_unlock(&lock);
	if (upload->fd < 0) {
		err = upload->fd;
		free(upload);
		return err;
	}
	*ret_upload = upload;
	return 0;
}

/*
 * What has come is on its way to the disk while the rest comes: else the link would be idle at the end, for as long as the disk takes
 * for all of it.
 */
static void start_writing(struct upload *upload)
{
	if (upload->offset - upload->written < WRITE_STEP)
		return;
	/* Only begins it; what goes wrong shows when it is synced. */
	(void)sync_file_range(upload->fd, (off_t)upload->written, (off_t)(upload->offset - upload->written),
			      SYNC_FILE_RANGE_WRITE);
	upload->written = upload->offset;
}

int upload_write(struct upload *upload, const void *data, size_t len)
{
	int err = FAULT("upload.write");

	if (err)
		return err;
	pthread_mutex_lock(&lock);
	err = upload->is_over ? -ESTALE : fs_pwrite_all(upload->fd, data, len, upload->offset);
	if (!err)
		upload->offset += len;
	pthread_mutex_unlock(&lock);
	if (!err)
		start_writing(upload);
	return err;
}

int upload_sync(struct upload *upload)
{
	int err = FAULT("upload.sync");

	if (err)
		return err;
	if (fdatasync(upload->fd) < 0 || fsync(upload->tree->stage_fd) < 0)
		return -errno;
	return 0;
}

void upload_close(struct upload *upload)
{
	if (!upload)
		return;
	pthread_mutex_lock(&lock);
	list_del(&upload->node);
	pthread_mutex_unlock(&lock);
	(void)close(upload->fd);	/* upload_sync() has told what is wrong */
	free(upload);
}

int upload_size(struct tree *tree, uint64_t client, const char *key, uint64_t *ret_size)
{
	char name[KML_KEY_MAX + 32];
	struct stat st;

	file_name(client, key, name);
	if (fstatat(tree->stage_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int upload_delete(struct tree *tree, uint64_t client, const char *key)
{
	char name[KML_KEY_MAX + 32];

	upload_seal(tree, client, key, name);
	return unlinkat(tree->stage_fd, name, 0) < 0 ? -errno : 0;
}

void upload_seal(struct tree *tree, uint64_t client, const char *key,
		 char ret_name[KML_KEY_MAX + 32])
{
	file_name(client, key, ret_name);
	pthread_mutex_lock(&lock);
	take_over(tree, ret_name);
	pthread_mutex_unlock(&lock);
}

int upload_place(struct tree *tree, uint64_t client, const char *key, const char *from)
{
	char name[KML_KEY_MAX + 32];
	int err = 0;

	file_name(client, key, name);
	pthread_mutex_lock(&lock);
	take_over(tree, name);
	if (renameat(tree->stage_fd, from, tree->stage_fd, name) < 0)
		err = -errno;
	pthread_mutex_unlock(&lock);
	if (!err && fsync(tree->stage_fd) < 0)
		err = -errno;
	return err;
}

struct expiry {
	struct tree *tree;
	int64_t before_s;
};

static int expire_one(void *arg, const char *name)
{
	const struct expiry *expiry = arg;
	struct stat st;

	if (strncmp(name, "up-", 3) ||
	    fstatat(expiry->tree->stage_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (st.st_nlink > 1 || st.st_mtime < expiry->before_s)
		(void)unlinkat(expiry->tree->stage_fd, name, 0);	/* next time */
	return 0;
}

void upload_expire(struct tree *tree)
{
	struct expiry expiry = { tree, file_now().sec - UPLOAD_KEPT_S };

	/* what is left is found the next time */
	(void)file_each(tree->stage_fd, expire_one, &expiry);
}

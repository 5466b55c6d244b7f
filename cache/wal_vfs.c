/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The system's VFS is "unix-excl": the files are this process's own (cache.db is locked), so that its connections agree in
 * memory, without system calls for each lock.
 *
 * Why this is safe: other connections take a frame from the log's file only once the index that they share has the
 * transaction, which SQLite sets after the write of its last frame has returned; this connection's own reads write out
 * what is gathered first.  What was gathered and could not be written is forgotten: SQLite goes back to before the transaction
 * then, and writes the next one to the same place.
 *
 * The format of the log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 */
#include "cache/wal_vfs.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define NAME "izo-wal"
#define ROOM (64u << 10)	/* bytes gathered at most; the system's VFS takes less than 128 KiB in one write */
#define GROW (1 << 20)		/* bytes that the file is longer by, when it has to be longer */
#define FRAME_HEADER 24
#define FRAME_COMMIT 4		/* where in it: the database's size in pages at a transaction's end, else 0 */

struct wal_file {
	sqlite3_file base;	/* first: what SQLite sees */
	unsigned char *gathered;
	size_t len;
	sqlite3_int64 at;	/* of its first byte in the file */
	sqlite3_int64 size;	/* it has at least so many bytes */
	bool is_end;		/* the header that came last ends a transaction; its page is to come */
	/* The system's, longer than it says.  SQLite's memory for files is aligned to 8 bytes, not more. */
	_Alignas(sqlite3_int64) sqlite3_file inner;
};

static struct wal_file *wal_of(sqlite3_file *file)
{
	return container_of(file, struct wal_file, base);
}

/* ---- the file ---- */

/*
 * A sync of a file that has grown waits for the file system's journal as well; of one that has been written anew in its
 * place, for the bytes alone.  So the file grows by large pieces of zeros, which end the log for who reads it.
 */
static void make_room(struct wal_file *wal, sqlite3_int64 end)
{
	static const unsigned char zeros[64u << 10];
	const sqlite3_io_methods *inner = wal->inner.pMethods;
	sqlite3_int64 to = end + GROW;

	if (end <= wal->size)
		return;
	if (inner->xFileSize(&wal->inner, &wal->size) != SQLITE_OK || end <= wal->size)
		return;
	/* On a full disk it is what is to be written that fails. */
	for (sqlite3_int64 at = end; at < to; at += (sqlite3_int64)sizeof(zeros)) {
		if (inner->xWrite(&wal->inner, zeros, (int)sizeof(zeros), at) != SQLITE_OK)
			return;
		wal->size = at + (sqlite3_int64)sizeof(zeros);
	}
}

static int write_out(struct wal_file *wal)
{
	size_t len = wal->len;

	wal->len = 0;
	wal->is_end = false;
	if (!len)
		return SQLITE_OK;
	make_room(wal, wal->at + (sqlite3_int64)len);
	return wal->inner.pMethods->xWrite(&wal->inner, wal->gathered, (int)len, wal->at);
}

static int wal_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
	struct wal_file *wal = wal_of(file);
	size_t len = (size_t)n;
	bool is_end = wal->is_end;
	int rc = SQLITE_OK;

	if (wal->len && (offset != wal->at + (sqlite3_int64)wal->len || wal->len + len > ROOM))
		rc = write_out(wal);
	if (rc != SQLITE_OK)
		return rc;
	if (len > ROOM)
		return wal->inner.pMethods->xWrite(&wal->inner, data, n, offset);
	if (!wal->len)
		wal->at = offset;
	memcpy(wal->gathered + wal->len, data, len);
	wal->len += len;
	if (len != FRAME_HEADER)
		return is_end ? write_out(wal) : SQLITE_OK;
	wal->is_end = memcmp((const unsigned char *)data + FRAME_COMMIT, "\0\0\0\0", 4);
	return SQLITE_OK;
}

static int wal_read(sqlite3_file *file, void *data, int n, sqlite3_int64 offset)
{
	struct wal_file *wal = wal_of(file);
	int rc = write_out(wal);

	return rc != SQLITE_OK ? rc : wal->inner.pMethods->xRead(&wal->inner, data, n, offset);
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct wal_file *wal = wal_of(file);
	int rc = write_out(wal);

	wal->size = 0;
	return rc != SQLITE_OK ? rc : wal->inner.pMethods->xTruncate(&wal->inner, size);
}

static int wal_sync(sqlite3_file *file, int flags)
{
	struct wal_file *wal = wal_of(file);
	int rc = write_out(wal);

	return rc != SQLITE_OK ? rc : wal->inner.pMethods->xSync(&wal->inner, flags);
}

static int wal_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	struct wal_file *wal = wal_of(file);
	int rc = write_out(wal);

	return rc != SQLITE_OK ? rc : wal->inner.pMethods->xFileSize(&wal->inner, ret_size);
}

/* What is gathered still is of a transaction that has not ended. */
static int wal_close(sqlite3_file *file)
{
	struct wal_file *wal = wal_of(file);

	free(wal->gathered);
	return wal->inner.pMethods->xClose(&wal->inner);
}

static int wal_lock(sqlite3_file *file, int level)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xLock(&wal->inner, level);
}

static int wal_unlock(sqlite3_file *file, int level)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xUnlock(&wal->inner, level);
}

static int wal_check_lock(sqlite3_file *file, int *ret_has)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xCheckReservedLock(&wal->inner, ret_has);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xFileControl(&wal->inner, op, arg);
}

static int wal_sector_size(sqlite3_file *file)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xSectorSize(&wal->inner);
}

static int wal_device(sqlite3_file *file)
{
	struct wal_file *wal = wal_of(file);

	return wal->inner.pMethods->xDeviceCharacteristics(&wal->inner);
}

static const sqlite3_io_methods wal_methods = {
	.iVersion = 1,	/* without shared memory and mmap, which are the database's, not the log's */
	.xClose = wal_close,
	.xRead = wal_read,
	.xWrite = wal_write,
	.xTruncate = wal_truncate,
	.xSync = wal_sync,
	.xFileSize = wal_file_size,
	.xLock = wal_lock,
	.xUnlock = wal_unlock,
	.xCheckReservedLock = wal_check_lock,
	.xFileControl = wal_control,
	.xSectorSize = wal_sector_size,
	.xDeviceCharacteristics = wal_device,
};

/* ---- the file system ---- */

static sqlite3_vfs *system_vfs(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	sqlite3_vfs *inner = system_vfs(vfs);
	struct wal_file *wal;
	int rc;

	if (!(flags & SQLITE_OPEN_WAL))
		return inner->xOpen(inner, name, file, flags, ret_flags);
	wal = wal_of(file);
	memset(wal, 0, sizeof(*wal));
	rc = inner->xOpen(inner, name, &wal->inner, flags, ret_flags);
	/*
	 * Without that property SQLite may write a frame in parts, and its end would not be known.  Every file of the
	 * system's VFS has it, unless a URI asks otherwise.
	 */
	if (rc == SQLITE_OK &&
	    !(wal->inner.pMethods->xDeviceCharacteristics(&wal->inner) & SQLITE_IOCAP_POWERSAFE_OVERWRITE))
		rc = SQLITE_CANTOPEN;
	if (rc == SQLITE_OK) {
		wal->gathered = malloc(ROOM);
		rc = wal->gathered ? SQLITE_OK : SQLITE_NOMEM;
	}
	if (rc == SQLITE_OK)
		file->pMethods = &wal_methods;
	else if (wal->inner.pMethods)
		(void)wal->inner.pMethods->xClose(&wal->inner);
	return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	return system_vfs(vfs)->xDelete(system_vfs(vfs), name, sync_dir);
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret_has)
{
	return system_vfs(vfs)->xAccess(system_vfs(vfs), name, flags, ret_has);
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *ret_name)
{
	return system_vfs(vfs)->xFullPathname(system_vfs(vfs), name, size, ret_name);
}

static int vfs_randomness(sqlite3_vfs *vfs, int n, char *ret_bytes)
{
	return system_vfs(vfs)->xRandomness(system_vfs(vfs), n, ret_bytes);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	return system_vfs(vfs)->xSleep(system_vfs(vfs), us);
}

static int vfs_current_time(sqlite3_vfs *vfs, double *ret_days)
{
	return system_vfs(vfs)->xCurrentTime(system_vfs(vfs), ret_days);
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *ret_text)
{
	return system_vfs(vfs)->xGetLastError(system_vfs(vfs), size, ret_text);
}

static sqlite3_vfs wal_vfs_;
static bool is_registered;

static void register_vfs(void)
{
	sqlite3_vfs *inner = sqlite3_vfs_find(WAL_VFS_SYSTEM);

	if (!inner)
		return;
	wal_vfs_ = (sqlite3_vfs){
		.iVersion = 1,
		.szOsFile = (int)offsetof(struct wal_file, inner) + inner->szOsFile,
		.mxPathname = inner->mxPathname,
		.zName = NAME,
		.pAppData = inner,
		.xOpen = vfs_open,
		.xDelete = vfs_delete,
		.xAccess = vfs_access,
		.xFullPathname = vfs_full_pathname,
		.xRandomness = vfs_randomness,
		.xSleep = vfs_sleep,
		.xCurrentTime = vfs_current_time,
		.xGetLastError = vfs_last_error,
	};
	is_registered = sqlite3_vfs_register(&wal_vfs_, 0) == SQLITE_OK;
}

const char *wal_vfs(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, register_vfs);	/* cannot fail */
	return is_registered ? NAME : WAL_VFS_SYSTEM;
}

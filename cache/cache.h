/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache: the one door.  What nfsd/ may ask of a cached tree.
 *
 * One struct cache is one tree: a directory with cache.db and objects/ (docs/DISK-FORMAT.md).
 * Operations carry RFC 1813's names and meaning without its types.
 *
 * Waiting.  Every operation gives
 *	0		done; the results are in op; done() is not called
 *	CACHE_WAITS	done() will be called once, on op->loop; op->err tells how it ended
 *	-errno		refused, nothing happened, done() is not called; wcc in op is valid all the same
 * Between CACHE_WAITS and done(), op and everything passed by pointer (names, data, buffers) belong
 * to the cache.  Nothing waits longer than op->deadline_us for the network: it ends in -EIO.
 * Nothing here blocks the calling thread but short reads of cache.db and of the page cache.
 *
 * Durability.  A change is answered after the transaction that holds both it and its log record has
 * committed; with DURABILITY_SYNC that is on stable storage.
 *
 * Errors that callers tell apart: -ESTALE the object is gone; -EACCES, -EPERM, -ENOENT, -EEXIST,
 * -ENOTDIR, -EISDIR, -ENOTEMPTY, -ENAMETOOLONG, -EINVAL, -EXDEV, -EMLINK, -EFBIG, -EROFS as a
 * local file system means them; -ENOSPC, -EDQUOT; -EIO: not here and not to be had now, or the cache
 * is in its error state; -ECANCELED: guard of setattr did not hold (NFS3ERR_NOT_SYNC).
 *
 * Threads: each operation may be called from any loop thread; op->loop must be the caller's loop.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "base/list.h"
#include "base/loop.h"
#include "cache/types.h"

struct cache;
struct iovec;

#define CACHE_WAITS 1
#define CACHE_TOKEN_LEN 16

/* The upstream that the cache is to go on with, whatever it followed before (adopt.h). */
struct cache_adopt {
	int listing_fd;			/* of its whole tree: frames of kml_listed (docs/PROTOCOL.md 2, 5), from the file's beginning */
	char id[40];
	uint64_t position;		/* of that listing */
	bool has_acls;
	int err;			/* set by cache_open(): 0, or why the cache was opened as it was */
};

struct cache_config {
	const char *dir;		/* the cache directory; made 0700 when missing */
	enum durability durability;
	bool no_sync;			/* tests only: never fsync */
	bool no_fold;			/* the log keeps what could be folded (fold.h) */
	uint64_t gather_us;		/* how long notes of what was fetched are gathered (fetched.h); 0: a second */
	/* Of content, on disk; and what is to stay free there: 0: any amount, nothing.  See space.h. */
	uint64_t content_limit, floor_bytes;
	unsigned floor_percent;		/* of the file system; with floor_bytes too, the smaller counts */
	/* Of which files the content is kept as it was before it is changed, and up to which size: base.h. */
	const char *const *base_patterns;
	size_t n_base_patterns;
	uint64_t base_limit;		/* 0: of none */
	/*
	 * Tests only: a cache that has no upstream yet starts with its root listed and empty, so that it works
	 * with no fetcher.  Else the root of a new cache is unknown until apply_upstream() and a listing.
	 */
	bool starts_empty;
	/* NULL: none.  What cannot be carried out is logged, and the cache opened as it was. */
	struct cache_adopt *adopt;
};

/*
 * What an operation has waited for, in microseconds.  Added up over all operations that are begun with one struct
 * cache_op: the caller makes it zero.  What never waits costs no look at the clock.
 */
struct cache_waited {
	uint64_t commit_us;	/* for the writer's transaction, and the syncs before it */
	uint64_t fetch_us;	/* for a listing or for content from upstream */
	uint64_t loop_us;	/* for its loop, when either was over */
};

struct cache_op {
	/* the caller's; constant while it waits */
	void (*done)(struct cache_op *op);
	struct loop *loop;
	uint64_t deadline_us;		/* clock_us(); for waiting on the network */
	struct cred cred;
	/*
	 * The duplicate request cache's mark of this call.  Stored with the change in its
	 * transaction; a later operation with the same token changes nothing and gives the
	 * first one's result (ino, attr; wcc without 'before'), also after a restart.
	 */
	bool has_token;
	uint8_t token[CACHE_TOKEN_LEN];
	struct page_pipe *pages;	/* cache_read(): an empty one, that gets the bytes in place of 'data' if it can; or NULL */

	/* results */
	int err;			/* in done(): 0 or -errno */
	uint64_t ino;			/* the object found or made */
	bool has_attr;
	struct attr attr;		/* of the object (after) */
	struct wcc wcc[2];		/* [0] object or directory changed; [1] rename's target directory, link's directory */
	uint32_t count;			/* bytes read or written */
	bool is_eof;
	uint32_t access;		/* enum access_bits granted */
	enum stability committed;	/* of a write: the truth */
	struct cache_waited waited;

	/* the cache's */
	struct {
		struct cache *cache;
		struct list node;
		struct loop_job job;
		int (*again)(struct cache_op *op);	/* what to do when the wait is over */
		const void *args[4];
		uint64_t num[6];
		uint64_t object;	/* whose attributes are told of a failure, in 'attr'; 0: nobody's */
		int refusal;		/* what it gets unless it was carried out before */
		void *extra;
		uint64_t *waits;	/* which of 'waited' it waits for; NULL: for nothing */
		uint64_t since_us;	/* since when; or when that was over */
	} priv;
};

/*
 * Open, making it when it is new.  Recovers what a crash left.
 * -EBUSY: another daemon has it; -EPROTO: a newer format; -EUCLEAN: damaged.  *ret_why (may be
 * NULL) gets one sentence for the user, to be freed.
 */
int cache_open(const struct cache_config *config, struct cache **ret_cache, char **ret_why);
/* Waits until everything queued is committed.  No operation may be under way. */
void cache_close(struct cache *cache);

/* ---- facts ---- */

uint64_t cache_root(const struct cache *cache);
/* A number that names this tree in handles: random, made with the cache, kept for ever. */
uint32_t cache_tree_id(const struct cache *cache);
/* The secret for handles, as old as the cache. */
void cache_handle_key(const struct cache *cache, uint8_t ret_key[32]);
/* RFC 1813 3.3.7: changes at each start and whenever unstable data may have been lost. */
void cache_write_verifier(struct cache *cache, uint8_t ret_verifier[8]);

struct cache_fsstat {
	uint64_t total_bytes, free_bytes, avail_bytes;
	uint64_t total_files, free_files, avail_files;
};
/* Of the cache's disk, with its limit and floor: available is what may be written. */
int cache_fsstat(struct cache *cache, struct cache_fsstat *ret);

/* ---- operations on objects.  ino: from a handle; -ESTALE when it is gone. ---- */

int cache_getattr(struct cache *cache, struct cache_op *op, uint64_t ino);
/* guard: NULL, or the ctime that the object must have (-ECANCELED). */
int cache_setattr(struct cache *cache, struct cache_op *op, uint64_t ino,
		  const struct attr_change *change, const struct timespec *guard);
/*
 * Access control lists, as programs see them: where there is none, what the mode stands for.  *ret_acls (on success
 * only) is the caller's to free(); never waits.  -EOPNOTSUPP: of a symlink.
 */
int cache_getacl(struct cache *cache, struct cache_op *op, uint64_t ino, struct acls **ret_acls);
/*
 * Set those that 'set' says (enum acl_set).  An empty default list is none; an access list must not be
 * empty, and sets the mode.  acls is borrowed until the operation is over; only op->attr, no wcc.
 * -EOPNOTSUPP: the upstream's file system has none, or it is a symlink.  -EINVAL: not a list.  -EACCES: a default
 * list for what is no directory.
 */
int cache_setacl(struct cache *cache, struct cache_op *op, uint64_t ino, unsigned set,
		 const struct acls *acls);
/* op->access: which of 'want' are granted. */
int cache_access(struct cache *cache, struct cache_op *op, uint64_t ino, uint32_t want);
/* op->count bytes of link text into text (room for CACHE_TARGET_MAX). */
int cache_readlink(struct cache *cache, struct cache_op *op, uint64_t ino, char *text);
/* op->count, op->is_eof.  Content that is not here is fetched; without a link that is -EIO at once. */
int cache_read(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t offset,
	       void *data, uint32_t len);
/* op->count, op->committed.  data is borrowed until the operation is over. */
int cache_write(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t offset,
		const void *data, uint32_t len, enum stability want);
int cache_commit(struct cache *cache, struct cache_op *op, uint64_t ino);

/*
 * An operation that the caller itself refuses, with err (which it gives): what is to be told all the same of objects as they
 * are, in op->attr of 'object', in op->wcc[0] and [1] of 'first' and 'second'.  0: of none; one that is gone is left out.
 */
int cache_refuse(struct cache *cache, struct cache_op *op, int err, uint64_t object, uint64_t first, uint64_t second);

/* ---- operations on names.  dir: of the directory.  Names are checked here. ---- */

/* op->ino, op->attr; the directory's attributes in op->wcc[0].after.  "." and ".." work. */
int cache_lookup(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name);
/* CREATE_EXCLUSIVE: verifier[8] instead of change. */
int cache_create(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		 enum create_how how, const struct attr_change *change, const uint8_t *verifier);
int cache_mkdir(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		const struct attr_change *change);
int cache_symlink(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		  struct slice target, const struct attr_change *change);
int cache_mknod(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name,
		enum file_type type, uint32_t major, uint32_t minor, const struct attr_change *change);
int cache_remove(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name);
int cache_rmdir(struct cache *cache, struct cache_op *op, uint64_t dir, struct slice name);
int cache_rename(struct cache *cache, struct cache_op *op, uint64_t from_dir, struct slice from,
		 uint64_t to_dir, struct slice to);
/* op->attr of the object, op->wcc[1] of the directory. */
int cache_link(struct cache *cache, struct cache_op *op, uint64_t ino, uint64_t dir, struct slice name);

/* One entry of a listing; attr is NULL unless attributes were asked for. */
struct cache_dirent {
	struct slice name;
	uint64_t ino;
	uint64_t cookie;	/* to go on after this entry; 1 and 2 are "." and ".." */
	const struct attr *attr;
};

/*
 * List a directory from after 'cookie' (0: from the start, with "." and "..").
 *
 * emit() is called once per entry, in order; it gives false when the entry did not fit, which ends
 * the listing there.  It must not call the cache.  op->is_eof: the end was reached.  Cookies are never
 * reused, so a listing may go on across any change.  The directory's attributes: op->attr.  Cookies are at most
 * CACHE_COOKIE_MAX; behind a larger one there is nothing.
 */
#define CACHE_COOKIE_MAX ((uint64_t)INT64_MAX)
int cache_readdir(struct cache *cache, struct cache_op *op, uint64_t dir, uint64_t cookie, bool want_attrs,
		  bool (*emit)(void *arg, const struct cache_dirent *entry), void *arg);

#endif

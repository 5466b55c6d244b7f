/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cache/access.h"

#include <errno.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "cache/acl.h"

bool access_in_group(const struct cred *cred, uint32_t gid)
{
	if (cred->gid == gid)
		return true;
	for (uint32_t i = 0; i < cred->ngroups && i < CRED_GROUPS_MAX; i++) {
		if (cred->groups[i] == gid)
			return true;
	}
	return false;
}

/* want: of enum access_want, all of them. */
static bool is_granted(const struct cred *cred, const struct inode_values *v, unsigned want)
{
	unsigned bits = v->mode & 7;

	if (cred->uid == 0)
		bits = 6 | (v->type == TYPE_DIR || (v->mode & 0111) ? 1 : 0);
	else if (cred->uid == v->uid)
		bits = v->mode >> 6 & 7;
	else if (v->acls && v->acls->access.n)
		return acl_grants(cred, v, want);
	else if (access_in_group(cred, v->gid))
		bits = v->mode >> 3 & 7;
	return (bits & want) == want;
}

int access_check(const struct cred *cred, const struct inode_values *v, unsigned want)
{
	return is_granted(cred, v, want) ? 0 : -EACCES;
}

int access_read(const struct cred *cred, const struct inode_values *v)
{
	if (cred->uid == v->uid)
		return 0;
	return is_granted(cred, v, WANT_READ) || is_granted(cred, v, WANT_EXEC) ? 0 : -EACCES;
}

int access_write(const struct cred *cred, const struct inode_values *v)
{
	return cred->uid == v->uid ? 0 : access_check(cred, v, WANT_WRITE);
}

uint32_t access_bits(const struct cred *cred, const struct inode_values *v, uint32_t want)
{
	uint32_t granted = 0;

	if (is_granted(cred, v, WANT_READ))
		granted |= ACCESS_READ;
	if (v->type == TYPE_DIR) {
		if (is_granted(cred, v, WANT_EXEC))
			granted |= ACCESS_LOOKUP;
		if (is_granted(cred, v, WANT_WRITE | WANT_EXEC))
			granted |= ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE;
	} else {
		if (is_granted(cred, v, WANT_WRITE))
			granted |= ACCESS_MODIFY | ACCESS_EXTEND;
		if (is_granted(cred, v, WANT_EXEC))
			granted |= ACCESS_EXECUTE;
	}
	return granted & want;
}

int access_change_dir(const struct cred *cred, const struct inode_values *dir)
{
	return access_check(cred, dir, WANT_WRITE | WANT_EXEC);
}

int access_sticky(const struct cred *cred, const struct inode_values *dir,
		  const struct inode_values *v)
{
	if (!(dir->mode & S_ISVTX) || cred->uid == 0 || cred->uid == dir->uid ||
	    cred->uid == v->uid)
		return 0;
	return -EPERM;
}

uint32_t access_without_suid(uint32_t mode)
{
	mode &= ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

bool access_write_kills_suid(const struct cred *cred, const struct inode_values *v)
{
	return cred->uid != 0 && v->type == TYPE_REG && access_without_suid(v->mode) != v->mode;
}

static int check_owner(const struct cred *cred, const struct inode_values *v,
		       const struct attr_change *change)
{
	if (cred->uid == 0)
		return 0;
	if (change->set & SET_UID && (change->uid != v->uid || cred->uid != v->uid))
		return -EPERM;
	if (change->set & SET_GID &&
	    (cred->uid != v->uid || (change->gid != v->gid && !access_in_group(cred, change->gid))))
		return -EPERM;
	return 0;
}

int access_setattr(const struct cred *cred, const struct inode_values *v,
		   struct attr_change *change)
{
	bool is_owner = cred->uid == 0 || cred->uid == v->uid;
	uint32_t mode, gid;
	int err;

	err = check_owner(cred, v, change);
	if (err)
		return err;
	if (change->set & (SET_MODE | SET_ATIME | SET_MTIME) && !is_owner)
		return -EPERM;
	if (change->set & (SET_ATIME_NOW | SET_MTIME_NOW) && !is_owner) {
		err = access_check(cred, v, WANT_WRITE);
		if (err)
			return err;
	}
	if (change->set & SET_SIZE) {
		err = access_write(cred, v);
		if (err)
			return err;
	}

	mode = change->set & SET_MODE ? change->mode & 07777 : v->mode;
	gid = change->set & SET_GID ? change->gid : v->gid;
	/*
	 * A program's rights are those its owner and group gave it: when these or its bytes change,
	 * they end.
	 */
	if (v->type != TYPE_DIR && !(change->set & SET_MODE) && change->set & (SET_UID | SET_GID))
		mode = access_without_suid(mode);
	if (change->set & SET_SIZE && !(change->set & SET_MODE) && access_write_kills_suid(cred, v))
		mode = access_without_suid(mode);
	if (change->set & SET_MODE && v->type != TYPE_DIR && cred->uid != 0 &&
	    !access_in_group(cred, gid))
		mode &= ~(uint32_t)S_ISGID;
	if (change->set & SET_MODE || mode != v->mode) {
		change->set |= SET_MODE;
		change->mode = mode;
	}
	return 0;
}

int access_new(const struct cred *cred, const struct inode_values *dir,
	       const struct attr_change *change, uint32_t mode_default, int64_t now,
	       struct inode_values *v)
{
	unsigned set = change ? change->set : 0;

	v->mode = set & SET_MODE ? change->mode & 07777 : mode_default;
	v->uid = cred->uid;
	v->gid = dir->mode & S_ISGID ? dir->gid : cred->gid;
	if (set & SET_UID && change->uid != v->uid) {
		if (cred->uid != 0)
			return -EPERM;
		v->uid = change->uid;
	}
	if (set & SET_GID && change->gid != v->gid) {
		if (cred->uid != 0 && !access_in_group(cred, change->gid))
			return -EPERM;
		v->gid = change->gid;
	}
	if (v->type == TYPE_DIR && dir->mode & S_ISGID)
		v->mode |= S_ISGID;
	else if (v->type != TYPE_DIR && cred->uid != 0 && !access_in_group(cred, v->gid))
		v->mode &= ~(uint32_t)S_ISGID;
	v->atime = set & SET_ATIME ? clock_ns(change->atime) : now;
	v->mtime = set & SET_MTIME ? clock_ns(change->mtime) : now;
	v->ctime = now;
	return 0;
}

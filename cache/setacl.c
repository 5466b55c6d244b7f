/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations on access control lists. */
#include "cache/setacl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "cache/access.h"
#include "cache/acl.h"
#include "cache/cache.h"
#include "cache/internal.h"
#include "cache/op.h"
#include "cache/record.h"

/* Arguments in op->priv: num[0] inode, num[2] enum acl_set, args[0] the lists. */

static int getacl_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	struct acls **ret_acls = op->priv.extra;
	struct inode *inode;
	int err = 0;

	pthread_mutex_lock(&cache->lock);
	inode = inode_get(cache, op->priv.num[0], &err);
	if (inode) {
		op_result_now(op, inode);
		err = inode->v.type == TYPE_LNK ? -EOPNOTSUPP
						: acls_show(inode->v.acls, inode->v.mode, ret_acls);
	}
	inode_put(cache, inode);
	pthread_mutex_unlock(&cache->lock);
	return err;
}

int cache_getacl(struct cache *cache, struct cache_op *op, uint64_t ino, struct acls **ret_acls)
{
	op_begin(cache, op, getacl_again);
	op->priv.num[0] = ino;
	op->priv.extra = ret_acls;
	return getacl_again(op);
}

int setacl_log(struct change *change, struct inode_edit *edit)
{
	struct kml_record record = { 0 };
	struct kml_setacl *setacl = &record.body.kml_body_u.setacl;
	uint64_t seq;
	int err;

	if (!edit->v.links_up)
		return 0;
	record.body.op = KML_SETACL;
	setacl->oid = edit->v.oid;
	setacl->mode = edit->v.mode;
	setacl->acls = acls_to_kml(edit->v.acls);	/* borrowed: cml_append() encodes it at once */
	setacl->attr_base = edit->v.attr_version;
	err = cml_append(change, edit->inode->ino, &record, NULL, &seq);
	if (!err)
		EDIT(edit, attr_seq, seq);
	return err;
}

static int check_setacl(const struct cred *cred, const struct inode_values *v, unsigned set,
			const struct acls *wanted)
{
	if (v->type == TYPE_LNK)
		return -EOPNOTSUPP;
	if (cred->uid != 0 && cred->uid != v->uid)
		return -EPERM;
	if (set & ACL_SET_DEFAULT && wanted->def.n && v->type != TYPE_DIR)
		return -EACCES;		/* what setxattr() says of it, too */
	return 0;
}

/* A group that one is not in must not be given to others by a program of one's own. */
static uint32_t new_mode(const struct cred *cred, const struct inode_values *v, uint32_t bits)
{
	uint32_t mode = (v->mode & ~0777u) | bits;

	if (v->type != TYPE_DIR && cred->uid != 0 && !access_in_group(cred, v->gid))
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

/* wanted: full lists, a copy of our own. */
static int setacl_edit(struct change *change, struct inode_edit *edit, unsigned set,
		       struct acls *wanted)
{
	const struct cred *cred = &change->op->cred;
	struct acl *access = set & ACL_SET_ACCESS ? &wanted->access : NULL;
	struct acl *def = set & ACL_SET_DEFAULT && edit->v.type == TYPE_DIR ? &wanted->def : NULL;
	uint32_t mode = edit->v.mode;
	struct acls *kept = NULL;
	int err = 0;

	if (access)
		err = acl_sort(access);
	if (!err && def && def->n)
		err = acl_sort(def);
	if (!err)
		err = acls_keep(access, def, edit->v.acls, &kept);
	if (err)
		return err;
	if (access)
		mode = new_mode(cred, &edit->v, acl_mode(access));
	/* The kernel's client says once more what a new object has inherited already. */
	if (mode == edit->v.mode && acls_equal(kept, edit->v.acls)) {
		free(kept);
		return 0;
	}
	if (mode != edit->v.mode)
		EDIT(edit, mode, mode);
	inode_edit_acls(edit, kept);
	inode_edit_touch(change, edit);
	return setacl_log(change, edit);
}

static int setacl_run(struct change *change)
{
	struct cache_op *op = change->op;
	const struct acls *given = op->priv.args[0];
	unsigned set = op->priv.num[2];
	struct inode_edit *edit;
	struct acls *wanted;
	int err;

	edit = inode_edit(change, op->priv.num[0], &err);
	if (!edit)
		return err;
	err = check_setacl(&op->cred, &edit->v, set, given);
	if (!err)
		err = acls_copy(given, &wanted);
	if (!err) {
		err = setacl_edit(change, edit, set, wanted);
		free(wanted);
	}
	if (!err)
		op_result(op, edit);
	return err;
}

static int setacl_again(struct cache_op *op)
{
	struct cache *cache = op->priv.cache;
	bool has_acls;

	pthread_mutex_lock(&cache->lock);
	has_acls = cache->has_acls;
	pthread_mutex_unlock(&cache->lock);
	return has_acls ? op_submit(op, setacl_run) : op_refuse_new(op, -EOPNOTSUPP);
}

int cache_setacl(struct cache *cache, struct cache_op *op, uint64_t ino, unsigned set,
		 const struct acls *acls)
{
	op_begin(cache, op, setacl_again);
	op->priv.num[0] = op->priv.object = ino;
	op->priv.num[2] = set;
	op->priv.args[0] = acls;
	return setacl_again(op);
}

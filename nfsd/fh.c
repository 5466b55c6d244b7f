/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <blake2.h>
#include <string.h>
#include "nfsd/fh.h"
#include "nfsd/xdr.h"

#define FH_MAC_AT 16

static void fh_mac(const uint8_t key[FH_KEY_LEN], const uint8_t *fh,
		   uint8_t ret_mac[FH_LEN - FH_MAC_AT])
{
	/* It fails for lengths that are out of range only. */
	int err = blake2s(ret_mac, fh, key, FH_LEN - FH_MAC_AT, FH_MAC_AT, FH_KEY_LEN);

	assert(!err);
}

void fh_seal(const uint8_t key[FH_KEY_LEN], uint32_t tree, uint64_t ino, uint8_t ret_fh[FH_LEN])
{
	xdr_store_u32(ret_fh, (uint32_t)FH_FORMAT << 24);
	xdr_store_u32(ret_fh + 4, tree);
	xdr_store_u32(ret_fh + 8, (uint32_t)(ino >> 32));
	xdr_store_u32(ret_fh + 12, (uint32_t)ino);
	fh_mac(key, ret_fh, ret_fh + FH_MAC_AT);
}

bool fh_tree(struct slice fh, uint32_t *ret_tree)
{
	const uint8_t *p = fh.data;

	if (fh.len != FH_LEN || xdr_load_u32(p) != (uint32_t)FH_FORMAT << 24)
		return false;
	*ret_tree = xdr_load_u32(p + 4);
	return true;
}

bool fh_open(const uint8_t key[FH_KEY_LEN], struct slice fh, uint64_t *ret_ino)
{
	const uint8_t *p = fh.data;
	uint8_t mac[FH_LEN - FH_MAC_AT];
	unsigned differs = 0;

	fh_mac(key, p, mac);
	for (size_t i = 0; i < sizeof(mac); i++)
		differs |= mac[i] ^ p[FH_MAC_AT + i];
	if (differs)
		return false;
	*ret_ino = (uint64_t)xdr_load_u32(p + 8) << 32 | xdr_load_u32(p + 12);
	return true;
}

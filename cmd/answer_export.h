/* SPDX-License-Identifier: GPL-2.0-or-later */
/* answer_export: the daemon's part of --export-log (export.h); bytes are in hexadecimal.  NULL: out of memory. */
#ifndef CMD_ANSWER_EXPORT_H
#define CMD_ANSWER_EXPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct daemon_tree;

/* Each gives the members of its answer, or -errno in *ret_err. */
json_t *answer_export_begin(const struct daemon_tree *tree, int *ret_err);
/* most 0: as many as an answer takes. */
json_t *answer_export_records(const struct daemon_tree *tree, uint64_t after, uint64_t last_seq, uint64_t most, int *ret_err);
json_t *answer_export_look(const struct daemon_tree *tree, uint64_t ino, uint64_t write_gen);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * listing: a directory or a subtree in one streamed answer (docs/PROTOCOL.md 5).
 *
 * What is sent is of one snapshot of the tables, made in pieces as the peer takes them; directories that are still to
 * come wait in an unlinked file when they are many.  So memory is bounded whatever the tree's size.
 */
#ifndef HTTPD_LISTING_H
#define HTTPD_LISTING_H

#include "httpd/request.h"

int listing_answer(struct request *request);

#endif

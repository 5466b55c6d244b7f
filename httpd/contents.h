/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * contents: many small files in one answer (docs/PROTOCOL.md 6).
 *
 * What the client has asked for and does not get is left out, for whatever reason: it is not there, has another version by
 * now, is too large, or is just being written.  Each content that is sent is whole, and was read while the file was of
 * its version (content.h (1), (2)); so nothing is ever broken off for what one file does.
 */
#ifndef HTTPD_CONTENTS_H
#define HTTPD_CONTENTS_H

#include "httpd/request.h"

#define CONTENTS_MAX (64u << 10)	/* bytes of a request: KML_WISHES_MAX wishes take less than half */

int contents_begin(struct request *request);
int contents_answer(struct request *request);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bandwidth: the key of that name: "[HH:MM-HH:MM] [up=RATE] [down=RATE]", a line for each limit. */
#ifndef CMD_BANDWIDTH_H
#define CMD_BANDWIDTH_H

#include "cmd/config.h"

/* Adds what the value says.  -EINVAL: it is not one, or a second one without times; nothing is changed; -ENOMEM. */
int bandwidth_parse(const char *value, struct config_limits *limits);

#endif

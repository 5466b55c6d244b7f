/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int why_fail(char **why, int err, const char *format, ...)
{
	char *text;
	va_list args;

	if (!why)
		return err;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	free(*why);
	*why = text;
	return err;
}

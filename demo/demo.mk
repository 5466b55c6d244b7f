# SPDX-License-Identifier: GPL-2.0-or-later
# "make demo": see demo/demo.

.PHONY: demo
demo:
	@demo/demo

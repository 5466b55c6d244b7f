# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make install [PREFIX=/usr/local] [DESTDIR=]     programs, manuals, units, init scripts, sample files
#   make uninstall                                  the same, but what was configured stays
#
# What is in /etc already is never written over: a sample goes beside it. Nothing is started.

SYSCONFDIR	?= /etc
LOCALSTATEDIR	?= /var
# systemd reads both; /etc/systemd/system would stand above what a package brings later.
UNITDIR		?= $(if $(filter /usr,$(PREFIX)),/lib/systemd/system,$(PREFIX)/lib/systemd/system)
MANDIR		?= $(PREFIX)/share/man
DOCDIR		?= $(PREFIX)/share/doc/izo

INSTALL_PROGS	:= $(PROGS)
INSTALL_UNITS	:= izo-nfsd.service izo-httpd.service
INSTALL_INITS	:= izo-nfsd izo-httpd
INSTALL_MAN8	:= izo-nfsd.8 izo-httpd.8
INSTALL_MAN5	:= izo-nfsd.conf.5
INSTALL_DOCS	:= izo-nfsd.conf fstab.example

in_dest		= $(DESTDIR)$(1)
# A file of /etc: FROM, TO. One that is there stays.
define install_etc
	$(Q)if [ -e '$(call in_dest,$(2))' ]; then echo '  kept $(call in_dest,$(2))'; \
	else install -D -m $(or $(3),644) $(1) '$(call in_dest,$(2))'; fi

endef
# Programs are named with their path in units and init scripts.
with_prefix	= sed 's|@SBINDIR@|$(PREFIX)/sbin|g'

.PHONY: install uninstall
install: $(INSTALL_PROGS:%=$(B)/%)
	$(Q)install -d '$(call in_dest,$(PREFIX)/sbin)' '$(call in_dest,$(MANDIR)/man8)' '$(call in_dest,$(MANDIR)/man5)' \
		'$(call in_dest,$(DOCDIR))' '$(call in_dest,$(UNITDIR))' '$(call in_dest,$(SYSCONFDIR)/init.d)'
	$(Q)install -m 755 $(INSTALL_PROGS:%=$(B)/%) '$(call in_dest,$(PREFIX)/sbin)'
	$(Q)install -m 644 $(INSTALL_MAN8:%=man/%) '$(call in_dest,$(MANDIR)/man8)'
	$(Q)install -m 644 $(INSTALL_MAN5:%=man/%) '$(call in_dest,$(MANDIR)/man5)'
	$(Q)install -m 644 $(INSTALL_DOCS:%=dist/%) '$(call in_dest,$(DOCDIR))'
	$(Q)set -e; for unit in $(INSTALL_UNITS); do \
		$(with_prefix) dist/$$unit > '$(call in_dest,$(UNITDIR))'/$$unit; \
		chmod 644 '$(call in_dest,$(UNITDIR))'/$$unit; done
	$(Q)set -e; for name in $(INSTALL_INITS); do \
		$(with_prefix) dist/$$name.init > '$(call in_dest,$(SYSCONFDIR)/init.d)'/$$name; \
		chmod 755 '$(call in_dest,$(SYSCONFDIR)/init.d)'/$$name; done
	$(call install_etc,dist/izo-nfsd.conf,$(SYSCONFDIR)/izo-nfsd.conf)
	$(call install_etc,dist/nfsmount.conf.d/izo.conf,$(SYSCONFDIR)/nfsmount.conf.d/izo.conf)
	$(Q)install -d -m 700 '$(call in_dest,$(LOCALSTATEDIR)/cache/izo)'
	$(Q)[ -d '$(call in_dest,/imports)' ] || install -d -m 755 '$(call in_dest,/imports)'
# Mode 000: what is written there while nothing is mounted would vanish under the mount. One that is mounted is
# not ours to touch, and looking at it may wait for the daemon.
	$(Q)grep -qs ' $(call in_dest,/imports/server) ' /proc/self/mounts || [ -d '$(call in_dest,/imports/server)' ] || \
		install -d -m 000 '$(call in_dest,/imports/server)'

uninstall:
	$(Q)rm -f $(INSTALL_PROGS:%='$(call in_dest,$(PREFIX)/sbin/%)')
	$(Q)rm -f $(INSTALL_MAN8:%='$(call in_dest,$(MANDIR)/man8/%)') $(INSTALL_MAN5:%='$(call in_dest,$(MANDIR)/man5/%)')
	$(Q)rm -f $(INSTALL_UNITS:%='$(call in_dest,$(UNITDIR)/%)')
	$(Q)rm -f $(INSTALL_INITS:%='$(call in_dest,$(SYSCONFDIR)/init.d/%)')
	$(Q)rm -f $(INSTALL_DOCS:%='$(call in_dest,$(DOCDIR)/%)')
	$(Q)rmdir '$(call in_dest,$(DOCDIR))' 2> /dev/null || true
# As installed: gone. Changed by its owner: his.
	$(Q)set -e; for file in izo-nfsd.conf nfsmount.conf.d/izo.conf; do \
		if cmp -s dist/$$file '$(call in_dest,$(SYSCONFDIR))'/$$file; then rm -f '$(call in_dest,$(SYSCONFDIR))'/$$file; \
		elif [ -e '$(call in_dest,$(SYSCONFDIR))'/$$file ]; then echo "  kept $(call in_dest,$(SYSCONFDIR))/$$file"; fi; done
	@echo '  kept $(call in_dest,$(LOCALSTATEDIR)/cache/izo), which may hold changes that were not replayed, and $(call in_dest,/imports)'

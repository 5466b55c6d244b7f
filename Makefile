# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make            build both programs into build/plain
#   make check      all tests (installs nothing; see README)
#   make SAN=address|thread    the same with sanitizers (and fault points); with address goes undefined
#   make SAN=fuzz fuzz    the fuzz targets, by clang
#   make FAULTS=1   with fault points, into build/faults
#   make V=1        show the commands

.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: all programs unit clean FORCE
all: programs

BUILD	?= build
SAN	?=
FAULTS	?= $(if $(SAN),1)
# libFuzzer is clang's.  The xdr_*() of libtirpc are called through another type than theirs, as all of XDR is.
SAN_FLAGS := -fsanitize=$(SAN:address=address,undefined) -fno-omit-frame-pointer
ifeq ($(SAN),fuzz)
CC	:= clang
SAN_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=function -fno-omit-frame-pointer
endif
B	:= $(BUILD)/$(or $(SAN),$(if $(FAULTS),faults,plain))
Q	:= $(if $(V),,@)
say	= $(if $(V),,@printf '  %-4s %s\n' $(1) $@)

VERSION := $(shell cat VERSION)
PREFIX	?= /usr/local

# What only calls other scripts must work before the packages are there.
PKG_CONFIG := $(if $(filter-out check check-% demo clean,$(or $(MAKECMDGOALS),all)),pkg-config,true)
PKGS	:= libtirpc libcurl sqlite3 libmicrohttpd inih jansson libb2 libxxhash libzstd
WARN	:= -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes -Wwrite-strings -Wno-missing-field-initializers -Werror
# What is only tested: quick to build, and with what a stack trace needs. With less optimization gcc takes more for uninitialized than is.
CFLAGS	?= $(if $(FAULTS),-O1 $(if $(filter fuzz,$(SAN)),,-Wno-maybe-uninitialized),-O2) $(if $(SAN),-g1,-g)
SYSTEMD	:= $(shell $(PKG_CONFIG) --exists libsystemd && echo libsystemd)
# System headers of the packages are taken as such: their warnings are not ours.
INCLUDES := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(PKGS) $(SYSTEMD)))
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -I$(B) $(INCLUDES) -pthread \
	      -DIZO_VERSION='"$(VERSION)"' $(if $(SYSTEMD),-DHAVE_SYSTEMD) \
	      $(WARN) $(CFLAGS) $(if $(FAULTS),-DIZO_FAULTS) \
	      $(if $(SAN),$(SAN_FLAGS)) $(if $(filter address fuzz,$(SAN)),-fno-sanitize-recover=undefined)
# librsync has no .pc file.
LDLIBS	:= $(shell $(PKG_CONFIG) --libs $(PKGS) $(SYSTEMD)) -lrsync -pthread

# ---- libraries: one a folder; a program is its file in cmd/ and the libraries it names, in order ----

LIBS	:= base cache nfsd replicate httpd
src	= $(wildcard $(1)/*.c)
PROGS	:= izo-nfsd izo-httpd
# Files of cmd/ besides the program's own.
izo-nfsd_CMD	:= accept accept_ask answer answer_export answer_hoard bandwidth check command config control ctl daemon export export_dead export_live hex hoard key\
		   listener live merger mounts options place policy progress records replay report report_space resolve service settle status status_space sync top
izo-httpd_CMD	:= options service
izo-nfsd_LIBS	:= nfsd replicate cache rpcgen base
izo-httpd_LIBS	:= httpd rpcgen base

programs: $(PROGS:%=$(B)/%)

# ---- rpcgen ----

XDR	:= kml nfs3 mount3 nfsacl3
XDR_H	:= $(XDR:%=$(B)/rpcgen/%.h)
.PRECIOUS: $(B)/rpcgen/%.h $(B)/rpcgen/%_xdr.c
$(B)/rpcgen/%.h: rpcgen/%.x
	$(call say,GEN)
	$(Q)mkdir -p $(@D) && rm -f $@ && cd rpcgen && rpcgen -h -o $(abspath $@) $(<F)
$(B)/rpcgen/%_xdr.c: rpcgen/%.x $(B)/rpcgen/%.h
	$(call say,GEN)
	$(Q)mkdir -p $(@D) && rm -f $@ && cd rpcgen && rpcgen -c -o $(abspath $@) $(<F)
# What rpcgen makes does not survive our warnings.
$(B)/rpcgen/%_xdr.o: $(B)/rpcgen/%_xdr.c $(B)/flags
	$(call say,CC)
	$(Q)$(CC) $(filter-out $(WARN),$(ALL_CFLAGS)) -I$(B)/rpcgen -w -c -o $@ $<

# ---- C ----

$(B)/%.o: %.c $(B)/flags | $(XDR_H)
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -MD -MP -c -o $@ $<
$(B)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS)' > $@

define library
.PHONY: lib-$(1)
lib-$(1): $(B)/lib$(1).a
$(B)/lib$(1).a: $(patsubst %.c,$(B)/%.o,$(call src,$(1))) $(2)
	$$(call say,AR)
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach l,$(LIBS),$(eval $(call library,$(l),)))
# rpcgen/*.c is ours; the rest of that library is generated.
$(eval $(call library,rpcgen,$(XDR:%=$(B)/rpcgen/%_xdr.o)))

define program
$(B)/$(1): $(B)/cmd/$(1).o $(patsubst %,$(B)/cmd/%.o,$($(1)_CMD)) $(foreach l,$($(1)_LIBS),$(B)/lib$(l).a)
	$$(call say,LINK)
	$$(Q)$$(CC) $$(ALL_CFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach p,$(PROGS),$(eval $(call program,$(p))))

# ---- tests ----
# tests/unit/test_LAYER_THING.c is one cmocka program; it links every library of its layer and below.

UNITS	:= $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
unit: $(UNITS)
layer	= $(word 2,$(subst _, ,$(notdir $(1))))
layer_libs_base		:= base
layer_libs_rpcgen	:= rpcgen base
layer_libs_cache	:= cache rpcgen base
layer_libs_invariant	:= cache rpcgen base
layer_libs_nfsd		:= nfsd cache rpcgen base
layer_libs_replicate	:= replicate cache rpcgen base
layer_libs_httpd	:= httpd rpcgen base
# cmd/ is no library: these of its files stand on base/ alone.
layer_libs_cmd		:= base
layer_objs_cmd		:= $(patsubst %,$(B)/cmd/%.o,bandwidth config control ctl key mounts progress report report_space top)
define unit_test
$(1): $(1:$(B)/tests/%=$(B)/tests/unit/%.o) $(layer_objs_$(call layer,$(1))) $(foreach l,$(layer_libs_$(call layer,$(1))),$(B)/lib$(l).a)
	$$(call say,LINK)
	$$(Q)mkdir -p $$(@D) && $$(CC) $$(ALL_CFLAGS) -o $$@ $$^ $$(LDLIBS) -lcmocka
endef
$(foreach u,$(UNITS),$(eval $(call unit_test,$(u))))

include tests/check.mk
include tests/fuzz/fuzz.mk
include dist/install.mk
include demo/demo.mk

clean:
	rm -rf $(BUILD)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

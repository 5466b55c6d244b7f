# SPDX-License-Identifier: GPL-2.0-or-later
# make SAN=fuzz fuzz: the targets of tests/fuzz/, each from one file and what it fuzzes.

FUZZ	:= record calls kml requests answers settings blobs rdiff
fuzz_objs_record	:= nfsd/conn nfsd/block
fuzz_libs_record	:= base
fuzz_libs_calls		:= nfsd cache rpcgen base
fuzz_libs_kml		:= httpd rpcgen base
fuzz_libs_requests	:= httpd rpcgen base
fuzz_libs_answers	:= replicate cache rpcgen base
fuzz_objs_settings	:= $(patsubst %,cmd/%,config control ctl key mounts report report_space bandwidth)
fuzz_libs_settings	:= base
fuzz_libs_blobs		:= nfsd cache rpcgen base
fuzz_libs_rdiff		:= httpd rpcgen base

define fuzz_target
$(B)/tests/fuzz/$(1): $(B)/tests/fuzz/$(1).o $(patsubst %,$(B)/%.o,$(fuzz_objs_$(1))) \
			$(foreach l,$(fuzz_libs_$(1)),$(B)/lib$(l).a)
	$$(call say,LINK)
	$$(Q)$$(CC) $$(ALL_CFLAGS) -fsanitize=fuzzer -o $$@ $$^ $$(LDLIBS)
endef
$(foreach t,$(FUZZ),$(eval $(call fuzz_target,$(t))))
$(eval $(call test_program,tests/fuzz/seeds,rpcgen base,))

.PHONY: fuzz
fuzz: $(FUZZ:%=$(B)/tests/fuzz/%) $(B)/tests/fuzz/seeds

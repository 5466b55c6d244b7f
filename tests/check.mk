# SPDX-License-Identifier: GPL-2.0-or-later
# The programs that tests and bench use, and the test goals.

# PROGRAM: LIBRARIES OF OURS, SYSTEM LIBRARIES
TEST_PROGRAMS	:=
define test_program
TEST_PROGRAMS += $(B)/$(1)
$(B)/$(1): $(B)/$(1).o $(foreach l,$(2),$(B)/lib$(l).a)
	$$(call say,LINK)
	$$(Q)$$(CC) $$(ALL_CFLAGS) -o $$@ $$^ $(3) $$(LDLIBS)
endef
TOOLS	:= $(patsubst %.c,%,$(wildcard tests/lib/*.c tests/nfs/*.c tests/faults/*.c tests/kernel/*.c bench/*.c))
# libnfs hands out lists whose members are not aligned, which is its affair.
# "private": the file of flags must not differ because of it.
$(TOOLS:%=$(B)/%.o): private ALL_CFLAGS += $(if $(filter address,$(SAN)),-fno-sanitize=alignment)
$(foreach t,$(TOOLS),$(eval $(call test_program,$(t),cache rpcgen base,-lnfs)))
HTTP_TOOLS := $(patsubst %.c,%,$(wildcard tests/http/*.c))
$(foreach t,$(HTTP_TOOLS),$(eval $(call test_program,$(t),rpcgen base,)))
TORTURE	:= $(patsubst %.c,$(B)/%.o,$(wildcard tests/torture/*.c))
$(TORTURE): private ALL_CFLAGS += $(if $(filter address,$(SAN)),-fno-sanitize=alignment)
TEST_PROGRAMS += $(B)/tests/torture/torture
$(B)/tests/torture/torture: $(TORTURE) $(B)/libbase.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ -lnfs $(LDLIBS)

.PHONY: check check-unit check-lint check-quick check-long test-programs http-tools
# The benchmarks are for what is installed.
test-programs: $(if $(FAULTS),$(filter-out $(B)/bench/%,$(TEST_PROGRAMS)),$(TEST_PROGRAMS))
# All that is wanted of the build with fault points when the scripts' own programs are another's.
http-tools: $(HTTP_TOOLS:%=$(B)/%)
check:
	@tests/check all
check-unit check-lint check-quick check-long:
	@tests/check $(@:check-%=%)

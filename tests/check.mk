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
TOOLS	:= $(patsubst %.c,%,$(wildcard tests/lib/*.c tests/nfs/*.c tests/faults/*.c tests/kernel/*.c tests/http/*.c bench/*.c))
$(foreach t,$(TOOLS),$(eval $(call test_program,$(t),cache rpcgen base,-lnfs)))
TORTURE	:= $(patsubst %.c,$(B)/%.o,$(wildcard tests/torture/*.c))
TEST_PROGRAMS += $(B)/tests/torture/torture
$(B)/tests/torture/torture: $(TORTURE) $(B)/libbase.a
	$(call say,LINK)
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ -lnfs $(LDLIBS)

.PHONY: check check-unit check-lint check-quick check-long test-programs
# Of the plain build; the programs that they are tried on are any build's.
test-programs: $(TEST_PROGRAMS)
check:
	@tests/check all
check-unit check-lint check-quick check-long:
	@tests/check $(@:check-%=%)

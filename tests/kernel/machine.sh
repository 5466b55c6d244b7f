# SPDX-License-Identifier: GPL-2.0-or-later
#
# machine.sh: for tests/kernel/test_*, after daemon.sh: a machine of tests/lib/vm with what "make install" makes in
# /job/root, and disks: two, at /var/cache/izo and /exports, or one.
#
# IZO_KEEP=DIR keeps the programs' logs and the console there.

here=$(cd "$(dirname "$0")" && pwd)
export IZO_TOP IZO_SLOW
command -v linux.uml > /dev/null || command -v linux > /dev/null || skip_all "no user-mode-linux here (apt-get install user-mode-linux)"

# machine_new SIZE [MOUNTPOINT]: of each disk; with MOUNTPOINT there is one, mounted there.
machine_new()
{
	local place image

	disks=()
	mkdir "$T/job"
	make -s -C "$IZO_TOP" BUILD="$(dirname "$IZO_BUILD")" DESTDIR="$T/job/root" install > "$T/install.log" 2>&1 || {
		sed 's/^/# /' "$T/install.log"
		give_up "make install DESTDIR"
	}
	for place in ${2:-/var/cache/izo /exports}; do
		image=$T/disk-${#disks[@]}.img
		truncate -s "$1" "$image"
		mkfs.ext4 -q -F "$image" || give_up "mkfs.ext4"
		disks+=(-d "$image=$place")
	done
}

# machine_run SECONDS MEMORY SCRIPT [ARGUMENT...]: its status. SECONDS are those of an ordinary machine.
machine_run()
{
	local limit=$1 memory=$2 status

	shift 2
	"$IZO_TOP/tests/lib/vm" -t $((limit * IZO_SLOW)) -m "$memory" "${disks[@]}" "$T/job" "$@"
	status=$?
	if [ -n "${IZO_KEEP:-}" ]; then
		mkdir -p "$IZO_KEEP"
		cp "$T/job/console" "$T"/job/*.log "$T"/job/cache.db* "$IZO_KEEP" 2> /dev/null
	fi
	[ $status -eq 0 ] || tail -n 20 "$T/job/console" | sed 's/^/# /'
	return $status
}

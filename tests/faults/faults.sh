# SPDX-License-Identifier: GPL-2.0-or-later
#
# faults.sh: what the tests of faults share. To be sourced after daemon.sh.
#
#	start_proxy link up		URL[link] leads to what URL[up] leads to, through tests/lib/proxy
#	link link once 500 for POST	and does so to it; see there
#	nfs nfsd put /f < FILE		one thing done in the export of izo-nfsd "nfsd"; see nfs_do.c
#	start_loads nfsd 3; ...; end_loads; compare_load nfsd "$T/export" w1

TOOLS=$IZO_BUILD/tests/faults

# pause MILLISECONDS: for how long a fault lasts, or when it comes. No wait for an event.
pause()
{
	nap "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
}

ms_now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# within SECONDS COMMAND...: it gives 0, and takes no longer (on an ordinary machine).
within()
{
	local limit=$1 began took status

	shift
	began=$(ms_now)
	"$@"
	status=$?
	took=$(($(ms_now) - began))
	[ $took -le $((limit * IZO_SLOW * 1000)) ] || { echo "took $took ms: $*" && return 1; }
	return $status
}

# ---- the link ----

# start_proxy NAME TO [OPTION...]
start_proxy()
{
	local name=$1 to=$2

	shift 2
	start "$name" serving "$IZO_BUILD/tests/lib/proxy" --listen 127.0.0.1:0 --to "${ADDR[$to]}" \
		--control "$T/$name.fifo" "$@" || return 1
	ADDR[$name]=$(served_at "$name")
	URL[$name]=http://${ADDR[$name]}/
}

# link NAME COMMAND...: give the proxy a command and wait until it is in force.
link()
{
	local name=$1 n

	shift
	n=$(($(grep -cE '^(done|bad) ' "$T/$name.log") + 1))
	echo "$*" > "$T/$name.fifo"
	wait_until 10 has_said "$name" "^(done|bad) $n:" && has_said "$name" "^done $n:" && return
	echo "# the proxy did not take: $*"
	return 1
}

# link_count NAME FIELD: connections, requests, up, down, hits.
link_count()
{
	link "$1" count
	sed -n "s/^done .*: count .*\b$2=\([0-9]*\).*/\1/p" "$T/$1.log" | tail -n 1
}

# ---- the daemon ----

status_of() { izo "$1" --status --json | jq -r ".trees[0].$2"; }

status_is() { [ "$(status_of "$1" "$2")" = "$3" ]; }

status_matches() { status_of "$1" "$2" | grep -qE -- "$3"; }

# kick NAME: try the link now, and replay; whatever comes of it.
kick() { timeout "$((IZO_SLOW > 1)).5" "$PROGRAMS/izo-nfsd" --control "${CONTROL[$1]}" --sync > "$T/.kick" 2>&1 || :; }

kicked_connected() { status_is "$1" state connected || { kick "$1"; false; }; }

# connected NAME: it is, or becomes so when told to try.
connected() { wait_until 40 kicked_connected "$1"; }

# met NFSD LINK MODE...: puts the mode in force until a request has failed of it. (Not the first, perhaps: curl itself
# tries once more when a connection that it kept is cut before the answer. And what is no error for HTTP is not counted.)
met()
{
	local nfsd=$1 link=$2 hits failures

	shift 2
	failures=$(status_of "$nfsd" failures)
	hits=$(link_count "$link" hits)
	link "$link" "$@" && wait_until 30 has_met "$nfsd" "$failures" "$link" "$hits"
}

has_met()
{
	local more=$(($(link_count "$3" hits) - $4))

	[ $more -ge 3 ] && return
	[ $more -ge 1 ] && [ "$(status_of "$1" failures)" -gt "$2" ] && return
	kick "$1"
	return 1
}

tree_is_listed() { cat "$T/$1.log" "$T/$1.log.old" 2> /dev/null | grep -q "the whole tree is listed"; }

nfs() { local name=$1; shift; "$TOOLS/nfs_do" "${PORT[$name]}" /imports "$@"; }

# put NAME PATH FILE: the file's content becomes that of a local one.
put() { nfs "$1" put "$2" < "$3"; }

# nfs_says NAME PATH TEXT: the file's content is that text and a newline.
nfs_says() { [ "$(nfs "$1" cat "$2")" = "$3" ]; }

# ---- a load that knows what must be there ----

loads=()

# start_loads NFSD NUMBER: so many workers, each in a directory of its own, until end_loads.
start_loads()
{
	local w

	loads=()
	for ((w = 1; w <= $2; w++)); do
		timeout $((600 * IZO_SLOW)) "$TOOLS/load" run "${PORT[$1]}" /imports "w$w" $((seed * 10 + w)) 1000000 "$T/stop" \
			"$T/model.w$w" > "$T/load.w$w" 2> "$T/load-error.w$w" &
		loads+=($!)
	done
}

# some_ended: one of them has, so it has found something wrong.
some_ended()
{
	local pid

	for pid in "${loads[@]}"; do
		has_ended "$pid" && return 0
	done
	return 1
}

all_ended()
{
	local pid

	for pid in "${loads[@]}"; do
		has_ended "$pid" || return 1
	done
}

end_loads()
{
	local w status

	touch "$T/stop"
	wait_until 120 all_ended
	for ((w = 1; w <= ${#loads[@]}; w++)); do
		wait "${loads[w - 1]}"
		status=$?
		[ $status -eq 0 ] || sed 's/^/# /' "$T/load-error.w$w"
		[ $status -eq 0 ]
		result $? "worker $w: every operation succeeds, once ($(cat "$T/load.w$w") done)"
	done
}

# compare_load NFSD UP_DIR NAME: both sides of that directory against its model.
compare_load()
{
	"$TOOLS/load" scan-nfs "${PORT[$1]}" /imports "$3" > "$T/nfs.$3" 2>&1
	check "$3: the mount is as it was left" diff "$T/model.$3" "$T/nfs.$3"
	"$TOOLS/load" scan "$2" "$3" > "$T/up.$3" 2>&1
	check "$3: the upstream is too" diff "$T/model.$3" "$T/up.$3"
}

# ---- what must hold in the end ----

# journal UP [FROM]: all records in it, "CLIENT SEQ OP" each.
journal()
{
	local from=${2:-0} page last

	while :; do
		page=$(curl -sf -H 'Accept: application/json' "${URL[$1]}izo/v1/journal?from=$from&wait=0&max=5000") || return 1
		last=$(jq '[.[].position] | max // 0' <<< "$page")
		[ "$last" -gt "$from" ] || return 0
		jq -r '.[] | "\(.client) \(.seq) \(.op)"' <<< "$page"
		from=$last
	done
}

# clean NFSD UP UP_DIR: no conflict with oneself, no record twice.
clean()
{
	is "$(find "$3" -name '*.conflict-*' | head -n 3)" "" "nobody is in conflict with himself"
	is "$(izo "$1" --conflicts --json | jq -r '.[] | "\(.path): \(.what)"')" "" "nor does the list of conflicts say so"
	journal "$2" > "$T/journal" && grep -qv '^[^ ]* 0 ' "$T/journal"
	result $? "the journal has $(grep -vc '^[^ ]* 0 ' "$T/journal") records of clients"
	is "$(grep -v '^[^ ]* 0 ' "$T/journal" | cut -d ' ' -f 1,2 | sort | uniq -d | head -n 3)" "" \
		"none of them is there twice"
}

# SPDX-License-Identifier: GPL-2.0-or-later
#
# daemon.sh: what test scripts that run the programs share. To be sourced by bash:
#
#	. "$(dirname "$0")/../lib/daemon.sh"
#	mkdir "$T/export"
#	start_httpd up "$T/export"
#	start_nfsd nfsd "${URL[up]}" "$T/cache"
#	check "a file arrives" izo nfsd --sync
#	done_testing
#
# $T is a directory of the test's own; it goes, and every process started here ends, when the script
# does. Each process has a name of the test's choice; what it prints is in $T/NAME.log. Programs are
# taken from $PROGRAMS ($IZO_PROGRAMS, or $IZO_BUILD), which a test may set to another build's directory ($IZO_FAULTS_BUILD); the
# tests' own tools always from $IZO_BUILD.

set -u
shopt -s lastpipe

IZO_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
IZO_BUILD=${IZO_BUILD:-$IZO_TOP/build/plain}
PROGRAMS=${PROGRAMS:-${IZO_PROGRAMS:-$IZO_BUILD}}
IZO_SLOW=${IZO_SLOW:-1}	# so many times as slow as an ordinary machine (tests/check): limits are multiplied by it
# A step that is only to come to an end has hung after so many seconds: far more than it takes in a machine of user-mode Linux that is
# given a third of a processor.
HANGS=$((900 * IZO_SLOW))
T=$(mktemp -d "${TMPDIR:-/tmp}/izo-$(basename "$0")-XXXXXX") || exit 1

# nap SECONDS: without a process for it. From this descriptor nothing ever comes. (One made anew each time is a process each
# time, and bash may take a new process for one of those when its number comes again: then it waits for ever.)
exec {silence}<> <(:)
nap()
{
	read -r -t "$1" -u "$silence"
	return 0	# and not what read gave
}

# ---- TAP ----

tap_n=0 tap_failed=0

# result STATUS WHAT: one test's verdict.
result()
{
	tap_n=$((tap_n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tap_n - $2"
	else
		echo "not ok $tap_n - $2"
		tap_failed=$((tap_failed + 1))
	fi
	return "$1"
}

# check WHAT COMMAND...: the command gives 0; what it prints is shown when it does not.
check()
{
	local what=$1 status

	shift
	"$@" > "$T/.output" 2>&1 < /dev/null
	status=$?
	[ $status -eq 0 ] || sed 's/^/# /' "$T/.output"
	result $status "$what"
}

# check_not WHAT COMMAND...: the command fails (and was not killed by a signal).
check_not()
{
	local what=$1 status

	shift
	"$@" > "$T/.output" 2>&1 < /dev/null
	status=$?
	if [ $status -ne 0 ] && [ $status -lt 126 ]; then
		result 0 "$what"
	else
		echo "# exit status $status"
		sed 's/^/# /' "$T/.output"
		result 1 "$what"
	fi
}

# is GOT WANT WHAT: both are the same text.
is()
{
	if [ "$1" = "$2" ]; then
		result 0 "$3"
	else
		printf '%s\n' "got:  $1" "want: $2" | sed 's/^/# /'
		result 1 "$3"
	fi
}

# tap COMMAND...: the command prints TAP; its tests become ours.
tap()
{
	local line status

	"$@" > "$T/.tap" 2>&1 < /dev/null
	status=$?
	while IFS= read -r line; do
		case $line in
		'ok '*' # SKIP'*)
			line=${line#ok * - }
			skip "${line%% # SKIP*}" "${line##*# SKIP }" ;;
		'ok '*)		result 0 "${line#ok * - }" ;;
		'not ok '*)	result 1 "${line#not ok * - }" ;;
		'1..'*)		;;
		*)		echo "# ${line#\# }" ;;
		esac
	done < "$T/.tap"
	if [ $status -ne 0 ] && ! grep -q '^not ok ' "$T/.tap"; then
		result 1 "$(basename "$1") ends well (exit status $status)"
	fi
	return $status
}

# skip WHAT WHY
skip()
{
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

# skip_all WHY: the whole script cannot run here.
skip_all()
{
	skip "$(basename "$0")" "$1"
	echo "1..$tap_n"
	exit 0
}

# give_up WHY: what the rest builds upon does not work.
give_up()
{
	result 1 "$1"
	echo "1..$tap_n"
	exit 1
}

# Ends the script. Counts as a test that no program crashed and no sanitizer spoke.
done_testing()
{
	local name reports

	for name in "${!PID[@]}"; do
		stop "$name" || { [ $? -eq 143 ] || result 1 "$name ends well when told to stop"; }
	done
	reports=$(grep -lE 'ERROR: [A-Za-z]+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed' \
		  "$T"/*.log 2> /dev/null)
	[ -z "$reports" ] || for name in $reports; do tail -n 40 "$name" | sed 's/^/# /'; done
	[ -z "$reports" ]
	result $? "no program complained of itself"
	echo "1..$tap_n"
	[ $tap_failed -eq 0 ]
	exit
}

# ---- waiting ----

# fewer N: of so many of a kind, how many on this machine.
fewer() { echo $((($1 + IZO_SLOW - 1) / IZO_SLOW)); }

# wait_until SECONDS COMMAND...: until the command gives 0; fails when it does not in that time (on an ordinary machine).
wait_until()
{
	local end=$((${EPOCHREALTIME/[.,]/} + $1 * IZO_SLOW * 1000000))

	shift
	until "$@" > /dev/null 2>&1; do
		[ "${EPOCHREALTIME/[.,]/}" -lt $end ] || return 1
		nap 0.02
	done
}

# ---- processes ----

declare -A PID URL ADDR PORT CONTROL COMMAND

is_running() { [ -n "${PID[$1]:-}" ] && kill -0 "${PID[$1]}" 2> /dev/null; }

has_said() { grep -qE -- "$2" "$T/$1.log"; }

# What NAME has printed since it was started last.
said_or_ended() { has_said "$1" "$2" || ! is_running "$1"; }

# start NAME PATTERN COMMAND...: run it until it prints a line with PATTERN (or fail after 30 s).
# What an earlier process of this name printed is kept in NAME.log.old.
start()
{
	local name=$1 pattern=$2

	shift 2
	[ ! -f "$T/$name.log" ] || cat "$T/$name.log" >> "$T/$name.log.old"
	: > "$T/$name.log"
	"$@" >> "$T/$name.log" 2>&1 < /dev/null &
	PID[$name]=$!
	if wait_until 30 said_or_ended "$name" "$pattern" && has_said "$name" "$pattern"; then
		return 0
	fi
	echo "# $name did not start: $*"
	tail -n 20 "$T/$name.log" | sed 's/^/# /'
	return 1
}

# stop NAME [SIGNAL]: end it, at first gently; gives its exit status.
stop()
{
	local name=$1 pid=${PID[$1]:-} status

	[ -n "$pid" ] || return 0
	unset "PID[$name]"
	kill "-${2:-TERM}" "$pid" 2> /dev/null
	if ! wait_until 30 has_ended "$pid"; then
		echo "# $name does not stop, killed"
		kill -KILL "$pid" 2> /dev/null
	fi
	wait "$pid" 2> /dev/null
	status=$?
	return $status
}

# The build that has fault points: $PROGRAMS when it is one, as all are but the plain one; nothing when there is none.
programs_with_faults()
{
	local dir

	for dir in "$PROGRAMS" "${IZO_FAULTS_BUILD:-}"; do
		grep -q IZO_FAULT "$dir/izo-nfsd" 2> /dev/null && echo "$dir" && return
	done
}

# A process of ours that has ended is a zombie until it is waited for.
has_ended()
{
	local stat

	{ read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 0
	stat=${stat##*) }
	[ "${stat%% *}" = Z ]
}

# kill9 NAME: as a crash would end it.
kill9()
{
	local pid=${PID[$1]:-}

	[ -n "$pid" ] || return 0
	unset "PID[$1]"
	kill -KILL "$pid" 2> /dev/null
	{ wait "$pid"; } 2> /dev/null
	return 0
}

cleanup()
{
	local name

	[ $BASHPID -eq $$ ] || return	# a subshell that ends of an error has nothing to clean
	for name in "${!PID[@]}"; do
		stop "$name" > /dev/null
	done
	chmod -R u+rwX "$T" 2> /dev/null
	[ -n "${KEEP:-}" ] && echo "# kept: $T" || rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The address and port in the line with which a program says that it serves.
served_at() { grep -m 1 serving "$T/$1.log" | grep -oE '[0-9.]+:[0-9]+' | tail -n 1; }

# start_httpd NAME DIR [OPTION...]: sets URL[NAME] and PORT[NAME]. Started again it takes its old port.
start_httpd()
{
	local name=$1 dir=$2

	shift 2
	start "$name" serving "$PROGRAMS/izo-httpd" --foreground --listen "127.0.0.1:${PORT[$name]:-0}" \
		"$@" "$dir" || return 1
	ADDR[$name]=$(served_at "$name")
	PORT[$name]=${ADDR[$name]##*:}
	URL[$name]=http://${ADDR[$name]}/
}

# start_nfsd NAME UPSTREAM_URL CACHE_DIR [OPTION...]: sets PORT[NAME]. Started again it takes its old port.
start_nfsd()
{
	local name=$1 url=$2 cache=$3

	shift 3
	CONTROL[$name]=$T/$name.sock
	start "$name" serving "$PROGRAMS/izo-nfsd" --foreground --upstream "$url" --cache "$cache" \
		--export /imports --listen "127.0.0.1:${PORT[$name]:-0}" --no-rpcbind \
		--allow-unprivileged-ports --control "${CONTROL[$name]}" "$@" || return 1
	ADDR[$name]=$(served_at "$name")
	PORT[$name]=${ADDR[$name]##*:}
}

# izo NAME OPTION...: ask the running izo-nfsd NAME (--status, --sync, --offline, ...).
izo()
{
	local name=$1

	shift
	timeout $((120 * IZO_SLOW)) "$PROGRAMS/izo-nfsd" --control "${CONTROL[$name]}" "$@"
}

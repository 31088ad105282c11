#!/bin/sh
# ggatec, ggated and ggatel against a FreeBSD kernel, for root. Needs what base
# has: mdconfig, dd, md5, gnop, zpool.
#
#	sh tests/freebsd/ggate.sh [TEST]...	default: all
#
# GGATEC, GGATED, GGATEL name the programs (default: target/release, after
# `make`); BASE_GGATEC, BASE_GGATED, BASE_GGATEL those that they are mixed with
# (default: /sbin). Each test has a time limit and cleans up after itself, also
# when something hangs. Prints `N passed, N failed`; exits 1 if any failed.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
: "${GGATEC:=$root/target/release/ggatec}"
: "${GGATED:=$root/target/release/ggated}"
: "${GGATEL:=$root/target/release/ggatel}"
: "${BASE_GGATEC:=/sbin/ggatec}"
: "${BASE_GGATED:=/sbin/ggated}"
: "${BASE_GGATEL:=/sbin/ggatel}"

# Longest time for one test and for one command in it, in seconds.
TEST_LIMIT=300
LIMIT=60

# ---- what the tests use

fail() {
	echo "FAILED: $*"
	exit 1
}

# Runs a command that may hang. In the foreground: else it would wait for the
# daemons that the command leaves behind.
limit() {
	timeout --foreground -k 5 "$LIMIT" "$@"
}

must() {
	limit "$@" || fail "exit status $? of: $*"
}

must_not() {
	limit "$@" && fail "should have failed: $*"
	return 0
}

# Polls until a command succeeds: until DESCRIPTION COMMAND...
until_() {
	what=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt $((LIMIT * 5)) ] || fail "waited in vain for $what"
		sleep 0.2
	done
}

# A memory disk of a size, filled with random bytes; its name is in $md.
new_md() {
	md=$(mdconfig -a -t malloc -s "$1") || fail "mdconfig"
	echo "$md" >>"$scratch/mds"
	must dd if=/dev/random of="/dev/$md" bs=1m 2>/dev/null
}

# The lowest unit without a node, in $unit.
new_unit() {
	unit=0
	while [ -e "/dev/ggate$unit" ]; do
		unit=$((unit + 1))
	done
	echo "$unit" >>"$scratch/units"
}

# Something in the background that is killed at the end; its pid is in $pid.
background() {
	"$@" >>background.log 2>&1 &
	pid=$!
	echo "$pid" >>"$scratch/pids"
}

# Starts a server (first argument) of what is listed in the file `exports`.
# File names are relative on purpose.
start_server() {
	must "$1" -p "$port" -F ggated.pid exports
	cat ggated.pid >>"$scratch/pids"
}

kill_server() {
	kill -9 "$(cat ggated.pid)" || fail "kill"
}

export_rw() {
	echo "127.0.0.1 RW $1" >exports
}

node() {
	until_ "/dev/ggate$unit" test -e "/dev/ggate$unit"
}

# Creates and prints nothing: create_silently PROGRAM ARGUMENT...
create_silently() {
	printed=$(limit "$@" 2>&1) || fail "exit status $? of: $*: $printed"
	[ -z "$printed" ] || fail "$* printed: $printed"
}

destroy() {
	must "$GGATEC" destroy -f -u "$unit"
	until_ "the end of ggate$unit" test ! -e "/dev/ggate$unit"
}

same() {
	first=$(limit md5 -q "$1") || fail "md5 $1"
	shift
	for other; do
		sum=$(limit md5 -q "$other") || fail "md5 $other"
		[ "$first" = "$sum" ] || fail "$other differs"
	done
}

# Imports /dev/$md with two programs: chain SERVER CLIENT; the source of the
# data is in $source.
chain() {
	new_md 16m
	source=/dev/$md
	new_md 16m
	new_unit
	export_rw "/dev/$md"
	start_server "$1"
	create_silently "$2" create -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
	node
}

copy() {
	must dd if="$source" of="/dev/ggate$unit" bs="$1" 2>/dev/null
	same "$source" "/dev/$md" "/dev/ggate$unit"
}

# ---- base's five

test_ggated() {
	chain "$GGATED" "$GGATEC"
	copy 1m
}

test_ggatel_file() {
	must dd if=/dev/random of=work bs=1m count=1 2>/dev/null
	must dd if=/dev/random of=source bs=1m count=1 2>/dev/null
	new_unit
	create_silently "$GGATEL" create -u "$unit" work
	node
	must dd if=source of="/dev/ggate$unit" bs=64k 2>/dev/null
	same source work "/dev/ggate$unit"
}

test_ggatel_md() {
	new_md 1m
	must dd if=/dev/random of=source bs=1m count=1 2>/dev/null
	new_unit
	create_silently "$GGATEL" create -u "$unit" "/dev/$md"
	node
	must dd if=source of="/dev/ggate$unit" bs=64k 2>/dev/null
	same source "/dev/$md" "/dev/ggate$unit"
}

# The protocol has no DELETE: it fails, and the data stays.
test_ggatec_trim() {
	chain "$GGATED" "$GGATEC"
	copy 1m
	must_not trim -f "/dev/ggate$unit"
	same "$source" "/dev/$md" "/dev/ggate$unit"
}

test_ggate_flush() {
	new_md 128m
	must gnop create "/dev/$md"
	echo "$md.nop" >>"$scratch/nops"
	export_rw "/dev/$md.nop"
	new_unit
	start_server "$GGATED"
	create_silently "$GGATEC" create -p "$port" -u "$unit" 127.0.0.1 "/dev/$md.nop"
	node
	pool=highgate$$
	echo "$pool" >>"$scratch/pools"
	must zpool create -f "$pool" "/dev/ggate$unit"
	must zpool export "$pool"
	flushes=$(gnop list "$md.nop" | awk '/Flushes/ { print $2; exit }')
	[ "${flushes:-0}" -gt 0 ] || fail "no FLUSH arrived"
}

# ---- ours

test_large_writes() {
	chain "$GGATED" "$GGATEC"
	for size in 128k 129k 512k 1m 4m; do
		must dd if="$source" of="/dev/ggate$unit" bs=$size conv=sync \
		    count=1 2>/dev/null
	done
	copy 1m
}

test_list() {
	chain "$GGATED" "$GGATEC"
	limit "$GGATEC" list | grep -qx "ggate$unit" || fail "not listed"
	limit "$GGATEC" list -u "$unit" | grep -qx "ggate$unit" || fail "not listed with -u"
	limit "$GGATEL" list -v -u "$unit" >long || fail "list -v"
	for part in "NAME: ggate$unit" "info: 127.0.0.1:$port /dev/$md" \
	    "access: read-write" "mediasize: 16777216 (16M)" "sectorsize: 512"; do
		grep -qF "$part" long || fail "list -v lacks \`$part': $(cat long)"
	done
	if [ -x "$BASE_GGATEC" ]; then
		limit "$BASE_GGATEC" list -v -u "$unit" >base || fail "base's list -v"
		diff base long || fail "base's list differs"
	fi
}

test_forced_destroy() {
	chain "$GGATED" "$GGATEC"
	background sleep 1000 3<"/dev/ggate$unit"
	must_not "$GGATEC" destroy -u "$unit"
	[ -e "/dev/ggate$unit" ] || fail "it is gone"
	must "$GGATEC" destroy -f -u "$unit"
	kill "$pid"
	until_ "its end" test ! -e "/dev/ggate$unit"
	must_not "$GGATEC" destroy -f -u "$unit"
}

test_rescue() {
	new_md 16m
	source=/dev/$md
	new_md 16m
	new_unit
	export_rw "/dev/$md"
	start_server "$GGATED"
	background "$GGATEC" create -v -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
	serving=$pid
	node
	background dd if="$source" of="/dev/ggate$unit" bs=64k
	writing=$pid
	kill -9 "$serving" || fail "kill"
	sleep 1
	create_silently "$GGATEC" rescue -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
	wait "$writing" || fail "the writer noticed: $(cat background.log)"
	same "$source" "/dev/$md" "/dev/ggate$unit"
}

test_server_restarts_under_load() {
	chain "$GGATED" "$GGATEC"
	for size in 4k 16k 64k; do
		background dd if="$source" of="/dev/ggate$unit" bs=$size
		writing=$pid
		for round in 1 2 3; do
			sleep 0.3
			kill_server
			start_server "$GGATED"
		done
		wait "$writing" || fail "the writer noticed (round $round): $(cat background.log)"
		same "$source" "/dev/$md" "/dev/ggate$unit"
	done
}

# Client and server on one host, over and over: the deadlock of GEOM's taste.
test_create_destroy_50_times() {
	new_md 8m
	export_rw "/dev/$md"
	start_server "$GGATED"
	round=0
	while [ $round -lt 50 ]; do
		new_unit
		create_silently "$GGATEC" create -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
		node
		destroy
		round=$((round + 1))
	done
}

# The same when the server dies while the new provider is tasted.
test_server_restarts_during_the_taste() {
	new_md 8m
	export_rw "/dev/$md"
	round=0
	while [ $round -lt 10 ]; do
		new_unit
		start_server "$GGATED"
		create_silently "$GGATEC" create -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
		kill_server
		start_server "$GGATED"
		node
		destroy
		kill_server
		round=$((round + 1))
	done
}

# A ggatel that is killed while its provider is tasted ends, and is rescued.
test_ggatel_killed_during_the_taste() {
	new_md 8m
	round=0
	while [ $round -lt 10 ]; do
		new_unit
		background "$GGATEL" create -v -u "$unit" "/dev/$md"
		until_ "ggate$unit" sh -c "'$GGATEL' list | grep -qx ggate$unit || test -e /dev/ggate$unit"
		kill -9 "$pid" || fail "kill"
		create_silently "$GGATEL" rescue -u "$unit" "/dev/$md"
		node
		destroy
		round=$((round + 1))
	done
}

test_signals_and_pid_file() {
	chain "$GGATED" "$GGATEC"
	[ "$(stat -f %Lp ggated.pid)" = 600 ] || fail "mode of the pid file"
	must_not "$GGATED" -p "$((port + 1000))" -F ggated.pid exports
	server=$(cat ggated.pid)
	kill -INFO "$server" || fail "SIGINFO"
	kill -HUP "$server" || fail "SIGHUP"
	copy 1m
	kill "$server" || fail "SIGTERM"
	until_ "the end of ggated" test ! -e ggated.pid
}

# ---- with base's programs

test_base_server() {
	chain "$BASE_GGATED" "$GGATEC"
	copy 1m
}

test_base_client() {
	chain "$GGATED" "$BASE_GGATEC"
	copy 1m
}

test_base_ggatel_rescues_ours() {
	must dd if=/dev/random of=work bs=1m count=1 2>/dev/null
	new_unit
	background "$GGATEL" create -v -u "$unit" work
	node
	kill -9 "$pid" || fail "kill"
	background "$BASE_GGATEL" rescue -v -u "$unit" work
	same work "/dev/ggate$unit"
	must "$BASE_GGATEL" destroy -f -u "$unit"
}

# ---- running them

# The lines of a list of things to clean up.
each() {
	[ -e "$scratch/$1" ] && cat "$scratch/$1"
	rm -f "$scratch/$1"
}

clean_up() {
	for pool in $(each pools); do
		zpool list "$pool" >/dev/null 2>&1 && limit zpool destroy -f "$pool"
	done
	# First of all the gates: what hangs, hangs on them.
	for unit in $(each units); do
		limit "$GGATEC" destroy -f -u "$unit" >/dev/null 2>&1
	done
	for pid in $(each pids); do
		kill -9 "$pid" 2>/dev/null
	done
	for nop in $(each nops); do
		limit gnop destroy -f "$nop" >/dev/null 2>&1
	done
	for md in $(each mds); do
		tries=0
		# The disk is released some time after its last user ended.
		until mdconfig -d -u "$md" 2>/dev/null || [ $tries -ge 50 ]; do
			tries=$((tries + 1))
			sleep 0.2
		done
	done
}

# Runs one test; it fails when it takes too long, whatever it hangs in.
run() {
	port=$((port + 1))
	mkdir "$scratch/work"
	(
		cd "$scratch/work" || exit 1
		(trap - EXIT INT TERM; "test_$1")
		echo $? >"$scratch/status"
	) >"$scratch/log" 2>&1 &
	waited=0
	while [ ! -s "$scratch/status" ] && [ $waited -lt $((TEST_LIMIT * 5)) ]; do
		waited=$((waited + 1))
		sleep 0.2
	done
	if [ -s "$scratch/status" ] && [ "$(cat "$scratch/status")" = 0 ]; then
		passed=$((passed + 1))
		echo "passed: $1"
	else
		failed=$((failed + 1))
		echo "failed: $1"
		[ -s "$scratch/status" ] || {
			echo "	still runs after $TEST_LIMIT s; threads that wait for GEOM:"
			procstat -kka 2>/dev/null | grep -E 'g_wait|gread|ggwait' | sed 's/^/	/'
		}
		sed 's/^/	/' "$scratch/log"
	fi
	clean_up
	rm -rf "$scratch/work" "$scratch/status" "$scratch/log"
}

[ "$(uname)" = FreeBSD ] || { echo "$0: this is not FreeBSD" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "$0: you are not root" >&2; exit 1; }
for program in "$GGATEC" "$GGATED" "$GGATEL"; do
	[ -x "$program" ] || { echo "$0: no $program; run make first" >&2; exit 1; }
done
unset GGATE_RUNDIR
# What is to be cleaned up is kept in files: tests run in shells of their own.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ggate.XXXXXX") || exit 1
trap 'clean_up; rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

if [ $# -eq 0 ]; then
	set -- ggated ggatel_file ggatel_md ggatec_trim ggate_flush \
	    large_writes list forced_destroy rescue server_restarts_under_load \
	    create_destroy_50_times server_restarts_during_the_taste \
	    ggatel_killed_during_the_taste signals_and_pid_file
	[ ! -x "$BASE_GGATED" ] || set -- "$@" base_server
	[ ! -x "$BASE_GGATEC" ] || set -- "$@" base_client
	[ ! -x "$BASE_GGATEL" ] || set -- "$@" base_ggatel_rescues_ours
fi
port=33080 passed=0 failed=0
for name; do
	run "$name"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

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
# shellcheck source=tests/freebsd/lib.sh
. "$(dirname "$0")/lib.sh"
: "${GGATED:=$programs/ggated}"
: "${GGATEL:=$programs/ggatel}"
: "${BASE_GGATEC:=/sbin/ggatec}"
: "${BASE_GGATED:=/sbin/ggated}"
: "${BASE_GGATEL:=/sbin/ggatel}"

# ---- what the tests use

# The lowest unit without a node, in $unit.
new_unit() {
	unit=0
	while [ -e "/dev/ggate$unit" ]; do
		unit=$((unit + 1))
	done
	echo "$unit" >>"$scratch/units"
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

# Imports /dev/$md with two programs: chain SERVER CLIENT; the source of the
# data is in $source.
chain() {
	new_random_md 16m
	source=/dev/$md
	new_random_md 16m
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
	new_random_md 1m
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
	new_random_md 16m
	source=/dev/$md
	new_random_md 16m
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
	new_random_md 8m
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
	new_random_md 8m
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
	new_random_md 8m
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

begin "$GGATEC" "$GGATED" "$GGATEL"
if [ $# -eq 0 ]; then
	set -- ggated ggatel_file ggatel_md ggatec_trim ggate_flush \
	    large_writes list forced_destroy rescue server_restarts_under_load \
	    create_destroy_50_times server_restarts_during_the_taste \
	    ggatel_killed_during_the_taste signals_and_pid_file
	[ ! -x "$BASE_GGATED" ] || set -- "$@" base_server
	[ ! -x "$BASE_GGATEC" ] || set -- "$@" base_client
	[ ! -x "$BASE_GGATEL" ] || set -- "$@" base_ggatel_rescues_ours
fi
run_all "$@"

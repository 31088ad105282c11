#!/bin/sh
# Our hastd and hastctl together with base's on one FreeBSD host, for root:
# base's hastd is in a jail that shares everything but name and address.
#
#	sh tests/freebsd/interop.sh [TEST]...	default: all
#
# HASTD, HASTCTL, GGATEC name our programs (default: target/release, after
# `make`); BASE_HASTD, BASE_HASTCTL base's (default: /sbin). Each test says
# what it proves, has a time limit, and cleans up after itself, also when
# something hangs. Prints `N passed, N failed`; exits 1 if any failed.
#
# What base does wrong by itself is left out: it forgets writes that were
# under way when a connection broke, and dies when it is copied to in mode
# async (spec/hast-known-problems.md, K1 and K6).
set -u
: "${TEST_LIMIT:=600}"
# shellcheck source=tests/freebsd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/freebsd/nodes.sh
. "$(dirname "$0")/nodes.sh"

# ---- what the tests use

# Random bytes, zeros, and text, so that every compression has its turn.
write_everything() {
	must dd if=/dev/random of="$(device "$1")" bs=1m count=8 2>/dev/null
	must dd if=/dev/zero of="$(device "$1")" bs=1m seek=8 count=8 2>/dev/null
	[ -s text ] || {
		yes "$name" | head -c 8388608 >text
	}
	must dd if=text of="$(device "$1")" bs=1m seek=16 2>/dev/null
}

# The bytes of a provider.
sum() {
	limit dd if="$(device "$1")" bs=1m 2>/dev/null | md5
}

stop() {
	for one; do
		kill "$(daemon "$one")" || fail "kill"
		wait "$(daemon "$one")"
	done
}

# A secondary goes away, misses something, and comes back. Base notices only
# when it sends.
misses_something() {
	crash "$2"
	until_ "notice" is_field "$1" status degraded
	must dd if=/dev/random of="$(device "$1")" bs=64k seek=32 count=64 conv=notrunc 2>/dev/null
	start "$2"
	role "$2" secondary
	until_ "node $1 in sync" in_sync "$1"
}

# In one mode, with all checksums and compressions: exchange MODE PRIMARY SECONDARY
exchange() {
	for pair in none/none crc32/hole sha256/lzf; do
		settings="replication $1
checksum ${pair%/*}
compression ${pair#*/}"
		pair "$2" "$3"
		write_everything "$2"
		until_ "node $2 in sync ($pair)" in_sync "$2"
		[ "$pair" != sha256/lzf ] || misses_something "$2" "$3"
		end_roles "$2" "$3"
		same_data "$2" "$3"
		stop "$2" "$3"
	done
}

# ---- each in both roles

test_base_alone() {
	proves "base's hastd works with itself here; if not, the other failures say nothing about ours"
	exchange fullsync basea baseb
}

test_base_secondary_fullsync() {
	proves "base's secondary keeps a copy of our primary in mode fullsync"
	exchange fullsync a baseb
}

test_base_secondary_memsync() {
	proves "base's secondary keeps a copy of our primary in mode memsync"
	exchange memsync a baseb
}

test_base_secondary_async() {
	proves "base's secondary keeps a copy of our primary in mode async"
	exchange async a baseb
}

test_base_primary_fullsync() {
	proves "our secondary keeps a copy of base's primary in mode fullsync"
	exchange fullsync baseb a
}

test_base_primary_memsync() {
	proves "our secondary keeps a copy of base's primary in mode memsync"
	exchange memsync baseb a
}

test_base_primary_async() {
	proves "our secondary keeps a copy of base's primary in mode async"
	exchange async baseb a
}

# The first node dies, the second one takes over, the first one comes back
# and gets its role back: fail_over NODE NODE
fail_over() {
	pair "$1" "$2"
	write_everything "$1"
	until_ "node $1 in sync" in_sync "$1"
	crash "$1"
	role "$2" primary
	until_ "the provider on node $2" test -e "$(device "$2")"
	must dd if=/dev/random of="$(device "$2")" bs=64k seek=16 count=64 conv=notrunc 2>/dev/null
	there=$(sum "$2")
	start "$1"
	role "$1" secondary
	until_ "node $2 in sync" in_sync "$2"
	end_roles "$2"
	roles "$1" "$2"
	[ "$(sum "$1")" = "$there" ] || fail "the data differs"
	end_roles "$1" "$2"
	same_data "$1" "$2"
}

test_fails_over_to_base() {
	proves "base takes over from us, and we from base, without loss"
	fail_over a baseb
}

test_fails_over_to_ours() {
	proves "we take over from base, and base from us, without loss"
	fail_over baseb a
}

# ---- disks that move

# Both nodes have the same component, and nobody else.
alone() {
	announce a baseb
	new_md 32m
	{
		for one in a baseb; do
			echo "/dev/$md" >"$one.disk"
			control "$one"
		done
		echo "resource $name {"
		section a none
		section baseb none
		echo "}"
	} >hast.conf
	install_configuration a baseb
}

same_dump() {
	hastctl a dump "$name" >ours || fail "dump"
	hastctl baseb dump "$name" >base || fail "base's dump"
	diff base ours || fail "they differ"
}

# Serves the component on a node; its bytes are $1, if it says so.
serve() {
	role "$1" primary
	until_ "the provider" test -e "$(device "$1")"
	[ -z "$2" ] || [ "$(sum "$1")" = "$2" ] || fail "the data differs"
}

created_by() {
	alone
	start a
	start baseb
	hastctl "$1" create "$name" || fail "create"
	same_dump
	there=
	for server in baseb a baseb a; do
		serve "$server" "$there"
		write_everything "$server"
		must dd if=/dev/random of="$(device "$server")" bs=64k count=16 conv=notrunc 2>/dev/null
		there=$(sum "$server")
		end_roles "$server"
		same_dump
	done
}

test_disk_made_by_base() {
	proves "a component created by base's hastctl is served by both, in turn, and both tell the same of it"
	created_by baseb
}

test_disk_made_by_ours() {
	proves "a component created by our hastctl is served by both, in turn, and both tell the same of it"
	created_by a
}

# ---- tools

# The same question, to the same daemon, of both tools.
same_answer() {
	hastctl a "$@" >ours
	ours=$?
	hastctl baseb "$@" >base
	base=$?
	[ $ours = $base ] || fail "$*: exit status $ours, base's $base"
	diff base ours || fail "$*: another answer"
}

# From the daemons of both nodes.
same_answers() {
	for control in "$PWD/a.ctl" "$PWD/baseb.ctl"; do
		sed "s|control .*|control $control|" hast.conf >a.conf
		cp a.conf baseb.conf
		for resource in "$name" all nosuch; do
			same_answer list "$resource"
			same_answer status "$resource"
		done
	done
	install_configuration a baseb
}

test_tools() {
	proves "either hastctl gets the same answers from either hastd"
	pair a baseb
	same_answers
	end_roles a baseb
	same_answers
}

# ---- running them

begin "$HASTD" "$HASTCTL" "$GGATEC"
kldstat -q -m g_gate || kldload geom_gate || exit 1
if ! [ -x "$BASE_HASTD" ] || ! [ -x "$BASE_HASTCTL" ]; then
	echo "$0: no $BASE_HASTD, or no $BASE_HASTCTL: nobody to work with" >&2
	set --
elif [ $# -eq 0 ]; then
	set -- base_alone base_secondary_fullsync base_secondary_memsync \
	    base_secondary_async base_primary_fullsync base_primary_memsync \
	    base_primary_async fails_over_to_base fails_over_to_ours \
	    disk_made_by_base disk_made_by_ours tools
fi
run_all "$@"

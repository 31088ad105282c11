#!/bin/sh
# A HAST pair on one FreeBSD host, over and over, for root: primary, secondary
# and whoever uses the provider wait for one event queue of GEOM, which waits
# for them. Prints how long a primary takes until its provider is there and
# until the pair is complete; when something hangs, who waits for what.
#
#	sh tests/freebsd/deadlock.sh [TEST]...	default: all
#
# HASTD, HASTCTL, GGATEC name the programs (default: target/release, after
# `make`), ROUNDS how often each test goes round. Cleans up after itself.
# Prints `N passed, N failed`; exits 1 if any failed.
set -u
: "${ROUNDS:=20}"
: "${TEST_LIMIT:=900}"
# shellcheck source=tests/freebsd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/freebsd/nodes.sh
. "$(dirname "$0")/nodes.sh"

# No round takes longer, in seconds, unless something hangs.
ROUND_LIMIT=60

# What a quiet host must achieve, in seconds. Base takes 10 and 21.
NODE_LIMIT=1
COMPLETE_LIMIT=3

# ---- what the tests use

nodes() {
	new_disks 32m a b
	configure a b
	start a
	start b
	cat >appear <<'END'
"$1" role -c "$2" primary "$3" || exit 1
until [ -e "$4" ]; do sleep 0.02; done
END
	cat >complete <<'END'
/usr/bin/time -p -o node.time sh appear "$@" || exit 1
until "$1" list -c "$2" "$3" | grep -q 'status: complete'; do sleep 0.02; done
END
}

# Components that were never used: opened for writing and closed, twice each.
create() {
	for one in a b; do
		must dd if=/dev/zero of="$(disk "$one")" bs=64k count=1 2>/dev/null
		hastctl "$one" create "$name" || fail "create"
	done
}

# Makes node a primary, and notes how long that takes: a line of `measured` has
# the seconds until the provider is there, and until the pair is complete.
measure() {
	must /usr/bin/time -p -o complete.time sh complete "$HASTCTL" a.conf "$name" "$(device a)"
	echo "$(seconds node.time) $(seconds complete.time)" >>measured
}

seconds() {
	awk '$1 == "real" { print $2 }' "$1"
}

# For people; fails if a limit is exceeded: times_below NODE COMPLETE
times_below() {
	awk -v node="$1" -v complete="$2" '
		{ n += $1; c += $2 }
		$1 > worst { worst = $1 }
		$2 > slowest { slowest = $2 }
		END {
			printf "measured: %d rounds; provider after %.2f s (worst %.2f), complete after %.2f s (worst %.2f)\n",
			    NR, n / NR, worst, c / NR, slowest
			exit worst >= node || slowest >= complete
		}' measured || fail "too slow: less than $1 s and $2 s are expected"
}

# Goes round; if that hangs, says where: rounds COMMAND
rounds() {
	round=0
	while [ $round -lt "$ROUNDS" ]; do
		round=$((round + 1))
		bounded "$ROUND_LIMIT" "$1"
		status=$?
		[ $status != 124 ] || {
			wait_channels
			fail "round $round hangs"
		}
		[ $status = 0 ] || fail "round $round"
	done
}

write_and_read() {
	must dd if=/dev/random of=written bs=64k count=16 2>/dev/null
	must dd if=written of="$(device a)" bs=64k 2>/dev/null
	limit dd if="$(device a)" bs=64k count=16 2>/dev/null | cmp - written || fail "read something else"
}

# Gives the event queue work: disks that come, are tasted, and go.
begin_load() {
	new_md 4m
	background load "$md"
	new_md 4m
	background load "$md"
}

load() {
	while :; do
		dd if=/dev/zero of="/dev/$1" bs=4k count=8
		extra=$(mdconfig -a -t malloc -s 1m) || continue
		echo "$extra" >>"$scratch/mds"
		sysctl -n kern.geom.conftxt
		mdconfig -d -u "$extra"
	done >/dev/null 2>&1
}

# ---- rounds

one_round() {
	create
	role b secondary --wait
	measure
	write_and_read
	end_roles a b
}

test_times() {
	proves "on a quiet host a primary's provider is there, and the pair complete, in a moment"
	nodes
	rounds one_round
	times_below $NODE_LIMIT $COMPLETE_LIMIT
}

test_load() {
	proves "create, roles, destroy hang on nothing while disks come and go"
	nodes
	begin_load
	rounds one_round
	times_below $ROUND_LIMIT $ROUND_LIMIT
}

# The secondary opens its component while the primary's provider is tasted.
late_secondary() {
	role a primary
	role b secondary
	until_ "the provider" test -e "$(device a)"
	write_and_read
	until_ "the pair" is_field a status complete
	end_roles b a
}

test_late_secondary() {
	proves "a secondary may begin while the provider of its primary is tasted"
	nodes
	create
	rounds late_secondary
}

killed_primary() {
	role b secondary --wait
	role a primary
	# In the taste, or close to it.
	# shellcheck disable=SC2046 # one word each
	kill -9 $(workers a)
	until_ "the provider" test -e "$(device a)"
	write_and_read
	end_roles a b
}

test_killed_primary() {
	proves "a primary's worker that is killed while its provider is tasted ends, and its successor serves on"
	nodes
	create
	rounds killed_primary
}

killed_secondary() {
	role b secondary --wait
	role a primary
	# shellcheck disable=SC2046 # one word each
	kill -9 $(workers b)
	until_ "the provider" test -e "$(device a)"
	write_and_read
	until_ "the pair" is_field a status complete
	end_roles a b
}

test_killed_secondary() {
	proves "a taste survives the death of the secondary's worker"
	nodes
	create
	rounds killed_secondary
}

missing_secondary() {
	role a primary
	until_ "the provider" test -e "$(device a)"
	write_and_read
	end_roles a
}

test_missing_secondary() {
	proves "a provider appears although the other node is down"
	nodes
	create
	crash b
	rounds missing_secondary
}

switch_roles() {
	roles a b
	end_roles a
	roles b a
	end_roles b
}

test_switched_roles() {
	proves "roles switch under load, there and back"
	nodes
	create
	begin_load
	rounds switch_roles
}

# Each node is primary of one resource and secondary of the other: what is
# tasted on one waits for the other, and the other way round.
crosswise() {
	hastctl a role secondary "$name-2" || fail "role"
	role b secondary
	hastctl b role primary "$name-2" || fail "role"
	role a primary
	until_ "one provider" test -e "$(device a)"
	until_ "the other provider" test -e "/dev/hast/$name-2-b"
	write_and_read
	hastctl a role init all || fail "role init on node a"
	hastctl b role init all || fail "role init on node b"
	until_ "the end of one provider" test ! -e "$(device a)"
	until_ "the end of the other provider" test ! -e "/dev/hast/$name-2-b"
}

test_crosswise() {
	proves "two nodes that are primary and secondary of each other hang on nothing"
	nodes
	create
	for one in a b; do
		new_md 32m
		echo "/dev/$md" >"$one.disk"
		echo "$name-2-$one" >>"$scratch/providers"
	done
	{
		echo "resource $name-2 {"
		section a "$(address b):$port"
		section b "$(address a):$port"
		echo "}"
	} | sed "s/name $name-/name $name-2-/" >>hast.conf
	install_configuration a b
	for one in a b; do
		hastctl "$one" create "$name-2" || fail "create"
		kill -HUP "$(daemon "$one")" || fail "kill"
		until_ "the other resource" hastctl "$one" status "$name-2"
	done
	rounds crosswise
}

# ---- running them

begin "$HASTD" "$HASTCTL" "$GGATEC"
if [ $# -eq 0 ]; then
	set -- times load late_secondary killed_primary killed_secondary \
	    missing_secondary switched_roles crosswise
fi
run_all "$@"

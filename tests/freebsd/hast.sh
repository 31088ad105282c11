#!/bin/sh
# hastd and hastctl on a FreeBSD host, for root: both nodes of a pair on it,
# with memory disks. Needs what base has.
#
#	sh tests/freebsd/hast.sh [TEST]...	default: all
#
# HASTD, HASTCTL, GGATEC name the programs (default: target/release, after
# `make`). Each test says what it proves, has a time limit, and cleans up after
# itself, also when something hangs. Prints `N passed, N failed`; exits 1 if
# any failed.
set -u
# shellcheck source=tests/freebsd/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/freebsd/nodes.sh
. "$(dirname "$0")/nodes.sh"

# ---- roles, data, take-over

test_loads_the_kernel_module() {
	proves "hastd loads geom_gate where it is missing"
	! kldstat -q -m g_gate || must kldunload geom_gate
	pair a b
	kldstat -q -m g_gate || fail "it is not there"
}

replicates() {
	settings="replication $1"
	pair a b
	is_field a replication "$1" || fail "the mode is $(field a replication)"
	begin_io a
	some_io 100
	end_io a
	until_ "node a in sync" in_sync a
	# And back again, from the other side.
	end_roles a
	roles b a
	begin_io b
	some_io 100
	end_io b
	until_ "node b in sync" in_sync b
	end_roles b a
	same_data a b
}

test_fullsync() {
	proves "in mode fullsync what is written on either node is on both"
	replicates fullsync
}

test_memsync() {
	proves "in mode memsync what is written on either node is on both"
	replicates memsync
}

test_async() {
	proves "in mode async what is written on either node is on both"
	replicates async
}

test_files_as_components() {
	proves "components may be files; the kernel then serves no reads by itself"
	for one in a b; do
		must truncate -s 32m "$one.img"
		echo "$PWD/$one.img" >"$one.disk"
	done
	bring_up a b
	begin_io a
	some_io
	end_io a
	[ -z "$(gate "$name-a" read_provider)" ] || fail "direct reads"
	end_roles a b
	same_data a b
}

test_deleted_ranges() {
	proves "what a client deletes is deleted on both nodes"
	pair a b
	must dd if=/dev/random of="$(device a)" bs=1m count=16 2>/dev/null
	must trim -q -f -o 4m -l 8m "$(device a)"
	until_ "node a in sync" in_sync a
	end_roles a b
	same_data a b
}

test_ufs_moves_with_the_role() {
	proves "a file system written on one node is whole on the other, there and back"
	pair a b
	new_files a
	unmount
	end_roles a
	roles b a
	check_files b
	mount_provider b
	must dd if=/dev/random of=mnt/files/more bs=1m count=4 2>/dev/null
	checksums mnt >sums
	unmount
	end_roles b
	roles a b
	check_files a
}

test_killed_worker() {
	proves "kill -9 of a primary's worker is no I/O error: its successor takes the provider over"
	pair a b
	begin_io a
	for round in 1 2 3 4 5; do
		old=$(worker a)
		kill -9 "$old" || fail "kill"
		until_ "another worker (round $round)" is_another_worker a "$old"
		some_io
	done
	end_io a
	grep -q "recovered" a.log || fail "no provider was taken over"
	until_ "node a in sync" in_sync a
	end_roles a b
	same_data a b
}

test_killed_worker_under_ufs() {
	proves "a mounted file system survives kill -9 of the worker below it"
	pair a b
	new_files a
	for round in 1 2 3; do
		background dd if=/dev/random of="mnt/files/round$round" bs=64k count=64
		writing=$pid
		old=$(worker a)
		kill -9 "$old" || fail "kill"
		wait "$writing" || fail "whoever wrote noticed: $(cat background.log)"
		until_ "another worker" is_another_worker a "$old"
	done
	checksums mnt >sums
	unmount
	end_roles a
	roles b a
	check_files b
}

test_killed_daemon() {
	proves "kill -9 of hastd is no I/O error: the next one takes the provider over"
	pair a b
	begin_io a
	for round in 1 2 3; do
		orphans=$(workers a)
		kill -9 "$(daemon a)" || fail "kill"
		for orphan in $orphans; do
			until_ "the end of worker $orphan" sh -c "! kill -0 $orphan"
		done
		[ -e "$(device a)" ] || fail "the provider went with hastd"
		start a
		role a primary
		some_io
	done
	end_io a
	until_ "node a in sync" in_sync a
	end_roles a b
	same_data a b
}

test_killed_secondary() {
	proves "kill -9 of a secondary's worker, or of its node, is no I/O error; it gets what it missed"
	pair a b
	begin_io a
	for round in 1 2 3; do
		old=$(worker b)
		kill -9 "$old" || fail "kill"
		some_io
		until_ "another worker" is_another_worker b "$old"
	done
	crash b
	until_ "notice" is_field a status degraded
	some_io
	start b
	role b secondary
	until_ "both connections" is_field a status complete
	end_io a
	until_ "node a in sync" in_sync a
	end_roles a b
	same_data a b
}

# The dead primary of this test comes back as such: its clients' requests are
# finished, and both nodes have written alone.
test_dead_primary_and_split_brain() {
	proves "a secondary takes over from a dead primary; when that comes back as primary the split-brain is found, told, and resolved"
	hook
	pair a b
	new_files a -o sync
	background sh -c 'while [ ! -e stop ]; do
		dd if=/dev/random of=mnt/load bs=64k count=16 || exit 1
	done'
	load=$pid
	until_ "the load" test -s mnt/load
	crash a
	role b primary
	until_ "the provider on node b" test -e "$(device b)"
	limit fsck_ffs -y "$(device b)" >fsck.out || fail "fsck: $(cat fsck.out)"
	mkdir other
	echo "$PWD/other" >>"$scratch/mounts"
	must mount "$(device b)" other
	files_are_there other
	must dd if=/dev/random of=other/alone bs=1m count=1 2>/dev/null
	must umount other

	start a
	role a primary
	touch stop
	wait "$load" || fail "whoever wrote noticed: $(cat background.log)"
	unmount
	role a init
	role a secondary
	until_ "the hook on node b" grep -qx "split-brain $name" hooks
	is_field b status degraded || fail "node b says $(field b status)"
	hastctl b status -v "$name" | grep -q 'split-brain' || fail "status does not tell"
	begin_io b
	hastctl a resolve --discard-local --yes "$name" || fail "resolve"
	until_ "node b in sync" in_sync b
	end_io b
	end_roles b a
	same_data a b
}

# ---- direct reads

has_direct_reads() {
	[ "$(gate "$name-$1" read_provider)" = "$(basename "$(disk "$1")")" ]
}

has_no_direct_reads() {
	[ -z "$(gate "$name-$1" read_provider)" ]
}

test_direct_reads() {
	proves "the kernel serves reads from the local disk while that is good, and hastd does while it is not"
	new_disks 32m a b
	must gnop create "$(disk a)"
	nop=$(basename "$(disk a)").nop
	echo "$nop" >>"$scratch/nops"
	echo "/dev/$nop" >a.disk
	bring_up a b
	must dd if=/dev/random of="$(device a)" bs=1m count=16 2>/dev/null
	until_ "direct reads" has_direct_reads a
	[ "$(gate "$name-a" read_offset)" = "$(hastctl a dump "$name" | sed -n 's/.*localoff: //p')" ] ||
	    fail "they begin at $(gate "$name-a" read_offset)"
	before=$(field a reads)
	must dd if="$(device a)" of=first bs=1m count=16 2>/dev/null
	[ "$(field a reads)" = "$before" ] || fail "they reach hastd"

	# The local disk fails; the data is on the other node only.
	must gnop configure -w 100 "$nop"
	must dd if=/dev/random of=second bs=1m count=16 2>/dev/null
	must dd if=second of="$(device a)" bs=1m 2>/dev/null
	has_no_direct_reads a || fail "the kernel reads what is old"
	limit dd if="$(device a)" bs=1m count=16 2>/dev/null | cmp - second || fail "old data was read"
	[ "$(field a reads)" -gt "$before" ] || fail "whoever served that"

	# It works again: what it missed is copied to it.
	must gnop configure -w 0 "$nop"
	role a init
	role a primary
	until_ "node a in sync" in_sync a
	until_ "direct reads" has_direct_reads a
	limit dd if="$(device a)" bs=1m count=16 2>/dev/null | cmp - second || fail "old data was read"
	end_roles a b
	same_data a b
}

test_direct_reads_of_a_stale_primary() {
	proves "a node that becomes primary with old data serves the other node's until it has it"
	pair a b
	crash a
	until_ "the end of node a" sh -c "! pgrep -f 'hastd: $name \\(primary\\)'"
	role b primary
	until_ "the provider on node b" test -e "$(device b)"
	must dd if=/dev/random of=newer bs=1m count=24 2>/dev/null
	must dd if=newer of="$(device b)" bs=1m 2>/dev/null
	end_roles b
	role b secondary
	start a
	# The provider is there already, and so are direct reads.
	role a primary --wait
	limit dd if="$(device a)" bs=1m count=24 2>/dev/null | cmp - newer || fail "old data was read"
	until_ "node a in sync" in_sync a
	until_ "direct reads" has_direct_reads a
	limit dd if="$(device a)" bs=1m count=24 2>/dev/null | cmp - newer || fail "old data was read"
	end_roles a b
	same_data a b
}

# ---- privileges

# Rights by which a descriptor would lead to other files: lookup, create,
# execute, link, rename, unlink and so on.
PATH_RIGHTS='lo|cr|fe|ls|lt|rs|rt|sl|un|md|mf|mn|ba|ca|cd'

is_sandboxed() {
	hast=$(id -u hast) || fail "no user hast"
	procstat -s "$1" >cred || fail "procstat -s"
	awk -v uid="$hast" -v gid="$(id -g hast)" 'NR == 2 {
		ok = $3 == uid && $4 == uid && $5 == uid && $6 == gid && $7 == gid && $8 == gid
		ok = ok && $10 == "C" && $NF ~ "^" gid "(," gid ")*$"
	} END { exit !ok }' cred || fail "worker $1 is not the user hast in capability mode: $(cat cred)"
	jail=$(ps -o jid= -p "$1" | tr -d ' ')
	[ "$jail" -gt 0 ] || fail "worker $1 is in no jail"
	[ "$(jls -j "$jail" path)" = "$(eval echo ~hast)" ] || fail "its root is $(jls -j "$jail" path)"
	jls -j "$jail" host.hostname | grep -qF "$2" || fail "it is called $(jls -j "$jail" host.hostname)"
	# The first three lead nowhere, or to the log.
	procstat -fC "$1" | awk -v rights="^($PATH_RIGHTS)\$" '
		$3 ~ /^[0-9]+$/ && $3 > 2 && $4 == "v" {
			split($6, has, ",")
			for (right in has)
				if (has[right] ~ rights) { print; next }
		}' >open
	[ ! -s open ] || fail "descriptors of worker $1 allow too much: $(cat open)"
}

test_sandbox() {
	proves "workers run as user hast, in a jail, in capability mode, with descriptors that lead nowhere"
	pair a b
	is_sandboxed "$(worker a)" "hastd: $name (primary)"
	is_sandboxed "$(worker b)" "hastd: $name (secondary"
	# What it takes to work is left.
	begin_io a
	some_io 100
	must dd if=/dev/zero of="$(device a)" bs=4k seek="$BLOCKS" count=1 conv=notrunc 2>/dev/null
	end_io a
	old=$(worker b)
	kill -9 "$old" || fail "kill"
	until_ "another worker" is_another_worker b "$old"
	until_ "node a in sync" in_sync a
	end_roles a
}

# ---- scripts around it

# A hook on both nodes that notes its arguments in `hooks`.
hook() {
	cat >hook <<END
#!/bin/sh
echo "\$@" >>$PWD/hooks
env >$PWD/hook.env
id -u >>$PWD/hook.env
END
	chmod 755 hook
	: >hooks
	settings="exec $PWD/hook"
}

has_hook() {
	until_ "hook: $*" grep -qx "$*" hooks
}

test_hooks() {
	proves "hooks get base's arguments and a clean environment"
	hook
	SECRET_OF_THE_DAEMON=1
	export SECRET_OF_THE_DAEMON
	pair a b
	has_hook role "$name" init primary
	has_hook role "$name" init secondary
	has_hook connect "$name"
	crash b
	must dd if=/dev/random of="$(device a)" bs=1m count=4 2>/dev/null
	has_hook disconnect "$name"
	start b
	role b secondary
	has_hook syncstart "$name"
	has_hook syncdone "$name"
	role a init
	has_hook role "$name" primary init
	grep -qx 0 hook.env || fail "not run by root"
	! grep -q SECRET hook.env || fail "the environment is the daemon's"
	grep -q '^PATH=/sbin:' hook.env || fail "no PATH"
}

test_titles() {
	proves "fail-over scripts find what they look for: titles of processes, the device, exit statuses"
	pair a b
	pgrep -f "hastd: $name \\(primary\\)" || fail "no title of a primary"
	pgrep -f "hastd: $name \\(secondary\\)" || fail "no title of a secondary"
	[ "$(stat -f %HT "$(device a)")" = "Character Device" ] || fail "no character device"
	[ "$(stat -f %Su:%Sg:%Lp "$(device a)")" = root:operator:640 ] || fail "odd owner or mode"
	role a init
	until_ "the end of the title of a primary" sh -c "! pgrep -f 'hastd: $name \\(primary\\)'"
	until_ "the end of the title of a secondary" sh -c "! pgrep -f 'hastd: $name \\(secondary\\)'"
	is_field b role secondary || fail "node b is $(field b role)"
	[ -z "$(worker b)" ] || fail "a secondary without primary has no worker in base"
	hastctl a role primary nosuch
	status=$?
	[ $status = 1 ] || fail "an unknown resource: exit status $status"
}

is_unknown() {
	! hastctl "$1" status "$2"
}

test_reload() {
	proves "SIGHUP changes what can be changed under load, and a bad file changes nothing"
	settings="replication fullsync"
	pair a b
	begin_io a
	old=$(worker a)
	sed 's/^replication .*/replication async/' hast.conf >new.conf && mv new.conf hast.conf
	install_configuration a b
	kill -HUP "$(daemon a)" "$(daemon b)" || fail "kill"
	until_ "the new mode" is_field a replication async
	some_io
	[ "$(worker a)" = "$old" ] || fail "the worker was replaced"

	echo "resource {" >>a.conf
	kill -HUP "$(daemon a)" || fail "kill"
	until_ "a complaint" grep -q 'not reloaded' a.log
	# hastctl reads the file, too.
	cp hast.conf a.conf
	is_field a replication async || fail "the mode changed"
	some_io

	cat >>a.conf <<END
resource $name-more {
	on a {
		local $PWD/more.img
		remote none
	}
}
END
	kill -HUP "$(daemon a)" || fail "kill"
	until_ "one more resource" hastctl a status "$name-more"
	cp hast.conf a.conf
	kill -HUP "$(daemon a)" || fail "kill"
	until_ "one resource less" is_unknown a "$name-more"
	end_io a
	until_ "node a in sync" in_sync a
	end_roles a b
	same_data a b
}

test_if_closed() {
	proves "role --if-closed leaves a provider that is open alone, and its clients unharmed"
	pair a b
	begin_io a
	background sleep 1000 3<"$(device a)"
	holder=$pid
	for round in 1 2 3 4 5; do
		hastctl a role --if-closed secondary "$name"
		status=$?
		[ $status = 16 ] || fail "exit status $status (round $round)"
		is_field a role primary || fail "node a is $(field a role)"
		some_io
	done
	end_io a
	kill "$holder"
	wait "$holder"
	until_ "the change of role" hastctl a role --if-closed secondary "$name"
	until_ "the end of the provider" test ! -e "$(device a)"
	is_field a role secondary || fail "node a is $(field a role)"
}

test_termination() {
	proves "SIGTERM ends hastd in order and in time although its provider is open"
	pair a b
	background sleep 1000 3<>"$(device a)"
	must dd if=/dev/random of="$(device a)" bs=1m count=8 2>/dev/null
	ours=$(workers a)
	kill "$(daemon a)" || fail "kill"
	until_ "the end of hastd" sh -c "! kill -0 $(daemon a)"
	wait "$(daemon a)" || fail "exit status $?"
	until_ "the end of the provider" test ! -e "$(device a)"
	for one in $ours; do
		! kill -0 "$one" 2>/dev/null || fail "worker $one is left"
	done
	[ ! -e a.ctl ] || fail "the control socket is left"
	grep -qi 'open' a.log || fail "the log does not tell that it was open"
	kill "$pid"
	start a
	roles b a
	end_roles b a
	same_data a b
}

test_zfs() {
	proves "a pool on the provider survives kill -9 of the worker, and moves to the other node"
	new_disks 128m a b
	bring_up a b
	pool=$name
	echo "$pool" >>"$scratch/pools"
	must zpool create -f -o cachefile=none -m "$PWD/mnt" "$pool" "$(device a)"
	mkdir mnt/files
	must dd if=/dev/random of=mnt/files/one bs=1m count=16 2>/dev/null
	background dd if=/dev/random of=mnt/files/two bs=64k count=256
	writing=$pid
	old=$(worker a)
	kill -9 "$old" || fail "kill"
	wait "$writing" || fail "whoever wrote noticed: $(cat background.log)"
	until_ "another worker" is_another_worker a "$old"
	checksums mnt >sums
	must zpool export "$pool"
	end_roles a
	roles b a
	must zpool import -d /dev/hast -o cachefile=none "$pool"
	files_are_there mnt
	must zpool scrub -w "$pool"
	zpool status -x "$pool" | grep -q 'is healthy' || fail "$(zpool status "$pool")"
	must zpool export "$pool"
}

# ---- running them

begin "$HASTD" "$HASTCTL" "$GGATEC"
if [ $# -eq 0 ]; then
	set -- fullsync memsync async files_as_components deleted_ranges \
	    ufs_moves_with_the_role killed_worker killed_worker_under_ufs \
	    killed_daemon killed_secondary dead_primary_and_split_brain \
	    direct_reads direct_reads_of_a_stale_primary sandbox hooks titles \
	    reload if_closed termination
	# A part of the kernel cannot be missing.
	if ! kldstat -q -m g_gate || kldstat -q -n geom_gate.ko; then
		set -- loads_the_kernel_module "$@"
	fi
	! kldload -n zfs 2>/dev/null || set -- "$@" zfs
fi
run_all "$@"

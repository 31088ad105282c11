# Two HAST nodes on this host; to be sourced after lib.sh.
#
# Node `a` and node `b` are ours. `basea` and `baseb` are base's hastd, which
# knows itself by the host's name and therefore sits in a jail that has
# another one. A node's files are NODE.conf, NODE.log, NODE.disk (the path of
# its component) and NODE.daemon (a pid).

: "${HASTD:=$programs/hastd}"
: "${HASTCTL:=$programs/hastctl}"
: "${BASE_HASTD:=/sbin/hastd}"
: "${BASE_HASTCTL:=/sbin/hastctl}"

# The resource. Its provider is called otherwise on each node: here both are
# on one host.
name=highgate$$

# Added to hast.conf, outside of everything.
settings=

# Blocks of 4 KiB that are scribbled on.
BLOCKS=4096

# Not 127.0.0.1, which in a jail means the jail's own address.
address() {
	case $1 in
	a | basea) echo 127.0.0.2 ;;
	*) echo 127.0.0.3 ;;
	esac
}

device() {
	echo "/dev/hast/$name-$1"
}

disk() {
	cat "$1.disk"
}

# Gives nodes a memory disk each: new_disks SIZE NODE...
new_disks() {
	size=$1
	shift
	for one; do
		new_md "$size"
		echo "/dev/$md" >"$one.disk"
	done
}

# Gives these nodes their addresses, and has their providers cleaned up.
announce() {
	for one; do
		echo "$name-$one" >>"$scratch/providers"
		ifconfig lo0 | grep -qw "$(address "$one")" || {
			must ifconfig lo0 alias "$(address "$one")/32"
			address "$one" >>"$scratch/aliases"
		}
	done
}

# The configuration of both nodes: configure NODE NODE
configure() {
	announce "$@"
	{
		echo "$settings"
		echo "timeout 5"
		control "$1"
		control "$2"
		echo "resource $name {"
		section "$1" "$(address "$2"):$port"
		section "$2" "$(address "$1"):$port"
		echo "}"
	} >hast.conf
	install_configuration "$@"
}

control() {
	cat <<END
on $1 {
	control $PWD/$1.ctl
	listen $(address "$1"):$port
}
END
}

section() {
	cat <<END
	on $1 {
		name $name-$1
		local $(disk "$1")
		remote $2
		source $(address "$1")
	}
END
}

# On these nodes: hast.conf, and who is who, which is ours and base ignores.
install_configuration() {
	for one; do
		cp hast.conf "$one.conf"
		echo "node $one" >"$one.conf.ext"
	done
}

# hastctl NODE COMMAND ARGUMENT...
hastctl() {
	on=$1 command=$2
	shift 2
	case $on in
	base*)
		new_jail "$on"
		limit jexec "$name-$on" "$BASE_HASTCTL" "$command" -c "$PWD/$on.conf" "$@"
		;;
	*) limit "$HASTCTL" "$command" -c "$on.conf" "$@" ;;
	esac
}

# Starts the daemon of a node, in the foreground as far as it knows, so that
# its log is a file here.
start() {
	case $1 in
	base*)
		new_jail "$1"
		jexec "$name-$1" "$BASE_HASTD" -F -c "$PWD/$1.conf" -P "$PWD/$1.pid" >>"$1.log" 2>&1 &
		;;
	*)
		"$HASTD" -F -c "$1.conf" -P "$1.pid" >>"$1.log" 2>&1 &
		;;
	esac
	echo $! >"$1.daemon"
	echo $! >>"$scratch/daemons"
	until_ "hastd of node $1" hastctl "$1" status
}

# A jail for base's programs, unless there is one: with all files and disks of
# this host, but a host name and an address of its own.
new_jail() {
	jls -j "$name-$1" >/dev/null 2>&1 && return
	must jail -c name="$name-$1" path=/ host.hostname="$1" ip4.addr="$(address "$1")" \
	    children.max=20 persist
	echo "$name-$1" >>"$scratch/jails"
}

daemon() {
	cat "$1.daemon"
}

# The workers of a node, whatever they do.
workers() {
	pgrep -P "$(daemon "$1")"
}

# The worker that hastctl knows of.
worker() {
	field "$1" workerpid
}

is_another_worker() {
	another=$(worker "$1")
	[ -n "$another" ] && [ "$another" != "$2" ]
}

# Kills a node as a power cut would, as far as its processes go.
crash() {
	# The daemon last: its workers would be gone before they are killed.
	# shellcheck disable=SC2046 # one word each
	kill -9 $(workers "$1") "$(daemon "$1")" || fail "kill"
	wait "$(daemon "$1")"
	rm -f "$1.pid"
}

# role NODE ROLE [OPTION]...
role() {
	on=$1 to=$2
	shift 2
	hastctl "$on" role "$@" "$to" "$name" || fail "exit status $? of: role $to on node $on"
}

# What `hastctl list` says: field NODE NAME
field() {
	hastctl "$1" list "$name" | sed -n "s/^ *$2: //p"
}

is_field() {
	[ "$(field "$1" "$2")" = "$3" ]
}

# Whether a primary and its secondary have the same data.
in_sync() {
	case $(hastctl "$1" list "$name") in
	*"status: complete"*"dirty: 0 "*) ;;
	*) return 1 ;;
	esac
}

# Makes the first node primary, the second one secondary, and waits until both
# have the same data.
roles() {
	role "$2" secondary
	role "$1" primary
	until_ "the provider on node $1" test -e "$(device "$1")"
	until_ "node $1 in sync" in_sync "$1"
}

# Two nodes with memory disks, from nothing to a provider: pair NODE NODE
pair() {
	new_disks 32m "$@"
	bring_up "$@"
}

# The same with the components that they have.
bring_up() {
	configure "$@"
	for one; do
		hastctl "$one" create "$name" || fail "create on node $one"
		start "$one"
	done
	roles "$@"
}

# All roles away; a primary gives its provider up.
end_roles() {
	for one; do
		role "$one" init
		until_ "the end of the provider on node $one" test ! -e "$(device "$one")"
	done
}

# The data of a component: what is behind metadata and map.
data() {
	offset=$(hastctl "$1" dump "$name" | sed -n 's/.*localoff: //p')
	limit dd if="$(disk "$1")" bs="${offset:?}" skip=1 2>/dev/null
}

# Both components have the same data, byte by byte.
same_data() {
	[ "$(data "$1" | md5)" = "$(data "$2" | md5)" ] ||
	    fail "the components of nodes $1 and $2 differ"
}

# ---- load

# Writes random pieces to random places of node's provider, in the background,
# until end_io.
begin_io() {
	rm -f stop pieces
	must dd if=/dev/random of=source bs=4k count=256 2>/dev/null
	must dd if=/dev/zero of=shadow bs=4k count=$BLOCKS 2>/dev/null
	must dd if=shadow of="$(device "$1")" bs=1m 2>/dev/null
	background scribble "$(device "$1")"
	writing=$pid
	until_ "the first piece" test -s pieces
}

# What fsx does, in sh: the file `shadow` shows what must be on the device.
# Ends with the file `stop`, and with status 0 if no call has failed and
# everything that was read back was right.
scribble() {
	awk -v seed=$$ -v blocks=$BLOCKS 'BEGIN {
		srand(seed)
		for (;;) {
			count = 1 + int(rand() * 32)
			print int(rand() * (blocks - count)), int(rand() * (256 - count)), count
		}
	}' | while read -r at from count; do
		[ ! -e stop ] || exit 0
		for file in "$1" shadow; do
			dd if=source skip="$from" of="$file" seek="$at" bs=4k count="$count" \
			    conv=notrunc 2>dd.log || { cat dd.log; exit 1; }
		done
		dd if=shadow skip="$at" of=piece bs=4k count="$count" 2>/dev/null
		dd if="$1" skip="$at" bs=4k count="$count" 2>dd.log | cmp - piece ||
		    { cat dd.log; exit 1; }
		echo "$at $count" >>pieces
	done
}

# Waits until some more pieces were written.
some_io() {
	wanted=$(($(wc -l <pieces) + ${1:-20}))
	until_ "more pieces" has_written "$wanted"
}

has_written() {
	[ "$(wc -l <pieces)" -ge "$1" ]
}

# Nobody noticed anything, and everything is there: end_io NODE
end_io() {
	touch stop
	wait "$writing" || fail "whoever wrote noticed: $(cat background.log)"
	limit dd if="$(device "$1")" bs=4k count=$BLOCKS 2>/dev/null | cmp - shadow ||
	    fail "the provider does not hold what was written"
}

# ---- file systems

# Mounts the provider of a node at `mnt`: mount_provider NODE [OPTION]...
mount_provider() {
	on=$1
	shift
	mkdir -p mnt
	echo "$PWD/mnt" >>"$scratch/mounts"
	must mount "$@" "$(device "$on")" mnt
}

unmount() {
	must umount mnt
}

# A file system on a node's provider, mounted, with files in it; their
# checksums are in `sums`.
new_files() {
	must newfs -U "$(device "$1")" >/dev/null
	mount_provider "$@"
	mkdir mnt/files
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		must dd if=/dev/random of=mnt/files/$n bs=1000 count=$((n * n)) 2>/dev/null
	done
	checksums mnt >sums
}

checksums() {
	(cd "$1/files" && find . -type f -exec md5 -r {} + | sort -k 2)
}

# All files are in the file system that is mounted there.
files_are_there() {
	checksums "$1" | cmp - sums || fail "files differ"
}

# The file system of a node was left in order, and everything is in it.
check_files() {
	must fsck_ffs -n "$(device "$1")" >fsck.out
	! grep -q 'NOT CLEAN\|INCONSISTEN' fsck.out || fail "$(cat fsck.out)"
	mount_provider "$1"
	files_are_there mnt
	unmount
}

# ---- GEOM

# What GEOM knows of a gate: gate PROVIDER ELEMENT
gate() {
	limit sysctl -n kern.geom.confxml | awk -v geom="$1" -v element="$2" '
		function text() {
			sub(/^[^>]*>/, "")
			sub(/<.*/, "")
			return $0
		}
		/<class id=/ { getline; class = text(); next }
		/<geom id=/ { found = ""; next }
		class != "GATE" { next }
		/<name>/ && found == "" { found = text(); next }
		found == geom && index($0, "<" element ">") { print text() }'
}

# ---- afterwards

clean_up_more() {
	for daemon in $(each daemons); do
		# shellcheck disable=SC2046 # one word each
		kill -9 "$daemon" $(pgrep -P "$daemon")
	done
	for jail in $(each jails); do
		bounded 20 jail -r "$jail"
	done
	each providers | sort -u >"$scratch/orphans"
	[ ! -s "$scratch/orphans" ] || bounded 60 sweep
	for address in $(each aliases); do
		ifconfig lo0 -alias "$address"
	done
}

# Destroys the providers that nobody serves any more: role init does it by
# name.
sweep() {
	LIMIT=20
	cd "$scratch" || exit 1
	{
		echo "control $scratch/sweep.ctl"
		echo "listen 127.0.0.1:$port"
		while read -r orphan; do
			echo "resource $orphan { on sweep { local /dev/null remote none } }"
		done <orphans
	} >sweep.conf
	echo "node sweep" >sweep.conf.ext
	"$HASTD" -F -c sweep.conf -P sweep.pid &
	sweeping=$!
	until_ "hastd" limit "$HASTCTL" status -c sweep.conf
	limit "$HASTCTL" role -c sweep.conf init all
	kill "$sweeping"
	wait "$sweeping"
}

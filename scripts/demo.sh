#!/bin/sh
# Two HAST nodes on this machine, before your eyes: what is written to one is
# on both, whichever dies. `make demo` builds the programs first;
# `make demo KEEP=1` leaves the pair running.
#
# Linux only: each node's provider is a socket that speaks NBD. Nothing
# outside a temporary folder is touched. For FreeBSD: tests/freebsd/hast.sh.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
keep=${KEEP:-0}
PATH=$top/target/release:$PATH:/sbin:/usr/sbin
exec 3>&1 # for commands shown while their output is captured

step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
run() {
	printf '   $ %s\n' "$*" >&3
	"$@" 3>&-
}
die() {
	printf '\ndemo: FAILED: %s\n' "$*" >&2
	exit 1
}

[ "$(uname -s)" = Linux ] || die "on FreeBSD run tests/freebsd/hast.sh as root"
tools="mkfs.ext4 e2fsck debugfs nbdcopy fio"
for tool in $tools; do
	command -v "$tool" >/dev/null || { sh scripts/setup.sh; break; }
done
for tool in $tools; do
	command -v "$tool" >/dev/null || die "$tool is missing"
done
for program in hastd hastctl; do
	[ -x "target/release/$program" ] || die "$program is not built; run make"
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/highgate-demo.XXXXXX")
GGATE_RUNDIR=$dir/run
export GGATE_RUNDIR
mkdir "$GGATE_RUNDIR"
cd "$dir"

# The processes of a node: the daemon and its workers.
pids() {
	node=$1
	daemon=$(cat "$node.pid" 2>/dev/null) || return 0
	[ -n "$daemon" ] || return 0
	echo "$daemon"
	ps -o pid= --ppid "$daemon" || :
}

clean_up() {
	status=$?
	trap - EXIT
	if [ "$keep" = 1 ] && [ "$status" -eq 0 ]; then
		exit 0
	fi
	if [ "$status" -ne 0 ]; then
		tail -n 20 a.log b.log 2>/dev/null || :
	fi
	# Whatever went wrong, nothing stays behind.
	for node in a b; do
		for pid in $(pids "$node"); do
			kill -9 "$pid" 2>/dev/null || :
		done
	done
	cd "$top"
	rm -rf "$dir"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# Starts the daemon of a node. It stays in the foreground, so that its log is
# a file here.
start() {
	run hastd -F -c "$1.conf" -P "$1.pid" >>"$1.log" 2>&1 &
	tries=0
	until hastctl status -c "$1.conf" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 100 ] || die "hastd of node $1 does not answer"
		sleep 0.1
	done
}

# Kills a node as a power cut would, as far as its processes go.
murder() {
	# shellcheck disable=SC2046 # one word each
	run kill -9 $(pids "$1")
	rm -f "$1.pid"
}

# Waits until a primary and its secondary are the same, and shows the way.
wait_for_sync() {
	tries=0
	last=
	until hastctl status --json -c "$1.conf" data | grep -q '"state": *"complete"'; do
		# Of each state, and of each step of the way, one line.
		now=$(hastctl status -v -c "$1.conf" data | sed -n 's/^  \(state\|progress\): */   /p' | tail -n 1)
		[ "${now%% for *}" = "${last%% for *}" ] || printf '%s\n' "$now"
		last=$now
		tries=$((tries + 1))
		[ "$tries" -lt 1200 ] || die "node $1 does not get in sync"
		sleep 0.1
	done
	hastctl status -v -c "$1.conf" data | sed 's/^/   /'
}

uri() { echo "nbd+unix:///?socket=$GGATE_RUNDIR/hast/$1"; }

# Writes blocks that know what they are to a range behind the file system, and
# reads them back.
scribble() {
	run fio --name="$2" --ioengine=nbd --uri="$(uri "$1")" --rw=randwrite --bs=4k --iodepth=16 \
		--offset=160m --size=32m --verify=crc32c --verify_fatal=1 --end_fsync=1 \
		--output=fio.log >/dev/null || { cat fio.log; die "fio found an error"; }
	say "$(grep -o 'err= *[0-9]*' fio.log | head -n 1)"
}

step "Two components, and one configuration for both nodes"
truncate -s 1536M a.img b.img
port=$((20000 + $$ % 10000))
cat >hast.conf <<END
on a {
	control $dir/a.ctl
	listen 127.0.0.1:$port
}
on b {
	control $dir/b.ctl
	listen 127.0.0.2:$port
}
timeout 5
resource data {
	on a {
		local $dir/a.img
		remote 127.0.0.2:$port
		source 127.0.0.1
	}
	on b {
		name data-b
		local $dir/b.img
		remote 127.0.0.1:$port
		source 127.0.0.2
	}
}
END
for node in a b; do
	cp hast.conf "$node.conf"
	# Who is who; on two machines the host's name says it.
	echo "node $node" >"$node.conf.ext"
	run hastctl create -c "$node.conf" data
done

step "Both daemons; b keeps the copy, a serves the provider"
start a
start b
run hastctl role -c b.conf secondary data
run hastctl role -c a.conf --wait primary data
wait_for_sync a
run hastctl status -c a.conf

step "A file system over real files is written through the provider"
mkdir files
(cd "$top" && cp -R README.md docs ggate hast-core hastd "$dir/files")
dd if=/dev/urandom of=files/random bs=1048576 count=64 2>/dev/null
(cd files && find . -type f -exec sha256sum {} +) >sums
run mkfs.ext4 -q -F -d files disk.img 128M
run nbdcopy --flush disk.img "$(uri data)"
say "$(wc -l <sums) files. Beside it, fio writes and verifies:"
scribble data one

step "The secondary dies; writes go on"
murder b
scribble data two
# A little everywhere, so that there is much to copy.
run fio --name=everywhere --ioengine=nbd --uri="$(uri data)" --rw=randwrite --bs=4k --iodepth=16 \
	--offset=200m --size=1300m --io_size=32m --output=fio.log >/dev/null || { cat fio.log; die "fio found an error"; }
hastctl status -v -c a.conf data | sed 's/^/   /'

step "It comes back, and gets what it missed"
start b
run hastctl role -c b.conf secondary data
wait_for_sync a

step "The primary dies; the secondary takes over"
murder a
run hastctl role -c b.conf --wait primary data
hastctl status -v -c b.conf data | sed 's/^/   /'
run nbdcopy "$(uri data-b)" out.img
run e2fsck -fn out.img
mkdir out
debugfs -R 'rdump / out' out.img >/dev/null 2>&1
(cd out && sha256sum --quiet -c ../sums) || die "files differ"
say "All $(wc -l <sums) files are there, every byte the same."
scribble data-b three

step "The old primary comes back as secondary"
start a
run hastctl role -c a.conf secondary data
wait_for_sync b

if [ "$keep" = 1 ]; then
	step "Left running for you"
	say "provider:  $(uri data-b)"
	say "first:     cd $dir; export GGATE_RUNDIR=$GGATE_RUNDIR PATH=$top/target/release:\$PATH"
	say "look:      hastctl status -v -c b.conf; hastctl list -c b.conf"
	say "copy out:  nbdcopy '$(uri data-b)' copy.img"
	say "switch:    hastctl role -c b.conf secondary data; hastctl role -c a.conf primary data"
	say "end it:    hastctl stop -c a.conf; hastctl stop -c b.conf; rm -r $dir"
	exit 0
fi

step "Both components, byte by byte"
for node in b a; do
	run hastctl role -c "$node.conf" init all
done
offset=$(hastctl dump -c a.conf data | sed -n 's/.*localoff: //p')
[ "$offset" = "$(hastctl dump -c b.conf data | sed -n 's/.*localoff: //p')" ] || die "the components differ in shape"
run cmp -i "$offset" a.img b.img
for node in a b; do
	run hastctl stop -c "$node.conf"
done
printf '\ndemo: everything is as it should be\n'

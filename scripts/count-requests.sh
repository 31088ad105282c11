#!/bin/sh
# Counts, under callgrind, the instructions of our programs for a request of
# 4 KiB: a read and a write through ggatec and ggated, and a write through both
# workers of a pair in fullsync. One request is in flight at a time, so that
# requests never meet and the counts repeat. What a connection of a client costs
# is not in them: they are the difference of COUNT and of twice as many requests.
set -eu
cd "$(dirname "$0")/.."
: "${COUNT:=2000}"

for tool in valgrind fio; do
	command -v "$tool" >/dev/null || {
		echo "$tool is needed: sh scripts/setup.sh" >&2
		exit 1
	}
done
cargo build --release --locked -q -p ggatec -p ggated -p hastd
cargo build --release --locked -q -p bench --bin counted_hastd
programs=$PWD/${CARGO_TARGET_DIR:-target}/release

dir=$(mktemp -d)
pids=
unprivileged=
# Workers end with their daemons.
trap 'kill $pids 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir"
mkdir run
GGATE_RUNDIR=$dir/run
export GGATE_RUNDIR

# wait_for COMMAND...: until it succeeds, for 30 s.
wait_for() {
	tries=300
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || {
			echo "waited in vain: $*" >&2
			cat ./*.log >&2
			exit 1
		}
		sleep 0.1
	done
}

# instructions PID: of a process, since this was asked the last time.
instructions() {
	number=1
	while [ -e "out.$1.$number" ]; do
		number=$((number + 1))
	done
	# Not callgrind_control, which does not know a worker by its title; and
	# as the user of the process, which has to be woken up for it.
	# shellcheck disable=SC2086
	$unprivileged vgdb --pid="$1" dump >/dev/null 2>&1
	wait_for grep -q '^totals: ' "out.$1.$number"
	sed -n 's/^totals: //p' "out.$1.$number"
}

# requests SOCKET PATTERN NUMBER
requests() {
	fio --name=count --ioengine=nbd --uri="nbd+unix:///?socket=$1" --rw="$2" \
	    --bs=4k --iodepth=1 --number_ios="$3" --size=16m --norandommap \
	    --randrepeat=1 --output=fio.out
}

# count SOCKET PATTERN NAME PID NAME PID: prints what each of both does for one.
count() {
	# Everything is touched once before.
	for times in 1 1 2; do
		requests "$1" "$2" $((COUNT * times)) 2>/dev/null
		eval "first$times=$(instructions "$4") second$times=$(instructions "$6")"
	done
	# shellcheck disable=SC2154
	echo "$2 4 KiB: $3 $(((first2 - first1) / COUNT))," \
	    "$5 $(((second2 - second1) / COUNT)) instructions"
}

is_in_sync() {
	"$programs/hastctl" status --json -c a.conf data | tr -d ' \n' |
		grep -q '"state":"complete"'
}

callgrind="--callgrind-out-file=$dir/out.%p"
truncate -s 16M disk.img
echo "127.0.0.1 RW $dir/disk.img" >exports
port=$((20000 + $$ % 10000))
valgrind --tool=callgrind "$callgrind" \
    "$programs/ggated" -v -p "$port" -F ggated.pid exports >ggated.log 2>&1 &
ggated=$!
pids=$ggated
wait_for grep -q "Listen on port" ggated.log
valgrind --tool=callgrind "$callgrind" \
    "$programs/ggatec" create -v -p "$port" 127.0.0.1 "$dir/disk.img" \
    >ggatec.log 2>&1 &
ggatec=$!
pids="$pids $ggatec"
wait_for test -S run/ggate0
count "$dir/run/ggate0" randread ggatec "$ggatec" ggated "$ggated"
count "$dir/run/ggate0" randwrite ggatec "$ggatec" ggated "$ggated"

# A copy: not everybody may be allowed to run what is below somebody's home.
cp "$programs/counted_hastd" .
cat >hast.conf <<EOF
replication fullsync
on a { control $dir/a.ctl listen 127.0.0.1:$((port + 1)) }
on b { control $dir/b.ctl listen 127.0.0.1:$((port + 2)) }
resource data {
	on a { name data local $dir/data.a remote 127.0.0.1:$((port + 2)) }
	on b { name data-b local $dir/data.b remote 127.0.0.1:$((port + 1)) }
}
EOF
for node in b a; do
	cp hast.conf "$node.conf"
	echo "node $node" >"$node.conf.ext"
	truncate -s 17M "data.$node"
	"$programs/hastctl" create -c "$node.conf" data
done
# As root a worker would leave the file system, and could not write its counts.
if [ "$(id -u)" = 0 ]; then
	chown -R 65534:65534 .
	unprivileged="setpriv --reuid=65534 --regid=65534 --clear-groups"
fi
for node in b a; do
	role=primary
	[ "$node" = a ] || role=secondary
	# shellcheck disable=SC2086
	CALLGRIND="$callgrind" $unprivileged ./counted_hastd -F \
	    -c "$node.conf" -P "$dir/$node.pid" >"$node.log" 2>&1 &
	eval "$role=$!"
	pids="$pids $!"
	wait_for grep -q "Started successfully" "$node.log"
	"$programs/hastctl" role -c "$node.conf" "$role" data
done
wait_for is_in_sync
# shellcheck disable=SC2154
count "$dir/run/hast/data" randwrite primary "$(pgrep -P "$primary")" \
    secondary "$(pgrep -P "$secondary")"

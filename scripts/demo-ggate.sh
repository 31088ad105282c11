#!/bin/sh
# A gate from server to client on this machine, before your eyes. `make demo`
# builds the programs first; `make demo KEEP=1` leaves everything running.
#
# As any user, nothing outside a temporary folder is touched. On FreeBSD it
# takes root: the provider is a real one, /dev/ggateN.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
keep=${KEEP:-0}
system=$(uname -s)
PATH=$top/target/release:$PATH:/sbin:/usr/sbin
exec 3>&1 # for commands shown while their output is captured
buffers="-S 4194304 -R 4194304"

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

case $system in
Linux) tools="mkfs.ext4 e2fsck nbdcopy qemu-img" ;;
FreeBSD) tools="makefs fsck_ffs dd" ;;
*) die "there is no demo for $system yet" ;;
esac
for tool in $tools; do
	command -v "$tool" >/dev/null || { sh scripts/setup.sh; break; }
done
for tool in $tools; do
	command -v "$tool" >/dev/null || die "$tool is missing"
done
for program in ggatec ggated; do
	[ -x "target/release/$program" ] || die "$program is not built; run make"
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/highgate-demo.XXXXXX")
GGATE_RUNDIR=$dir/run
export GGATE_RUNDIR
mkdir "$GGATE_RUNDIR"
cd "$dir"
unit=
copy=

server_pid() { cat ggated.pid 2>/dev/null; }

clean_up() {
	status=$?
	trap - EXIT
	[ -z "$copy" ] || kill "$copy" 2>/dev/null || :
	if [ "$keep" = 1 ] && [ "$status" -eq 0 ]; then
		exit 0
	fi
	[ -z "$unit" ] || ggatec destroy -f -u "$unit" >/dev/null 2>&1 || :
	# Whatever went wrong, nothing stays behind.
	if pid=$(server_pid); then
		kill -9 "$pid" 2>/dev/null || :
	fi
	cd "$top"
	rm -rf "$dir"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# What differs between the two systems: the file system, and the client.
case $system in
Linux)
	make_disk() { : >"$2" && run mkfs.ext4 -q -F -d "$1" "$2" 128M; }
	check_disk() { run e2fsck -fn "$1"; }
	provider() { echo "nbd+unix:///?socket=$GGATE_RUNDIR/ggate$unit"; }
	copy_out() { run nbdcopy "$(provider)" "$1"; }
	# Small requests, so that there is time to do harm; a flush in the end.
	copy_in() { nbdcopy --flush --connections=1 --requests=4 --request-size=4096 "$1" "$(provider)"; }
	compare() { run qemu-img compare -f raw -F raw "$1" "$(provider)"; }
	;;
FreeBSD)
	make_disk() { run makefs -s 128m "$2" "$1" >/dev/null; }
	check_disk() { run fsck_ffs -fn "$1"; }
	provider() { echo "/dev/ggate$unit"; }
	copy_out() { run dd if="$(provider)" of="$1" bs=1m status=none; }
	copy_in() { dd if="$1" of="$(provider)" bs=4k status=none; }
	compare() { run cmp "$1" "$(provider)"; }
	;;
esac

# A tree of real files, $1, of about 100 MB, so that most of the disk is data.
fill() {
	mkdir "$1"
	(cd "$top" && cp -R README.md docs ggate ggatec ggated "$dir/$1")
	dd if=/dev/urandom of="$1/data" bs=1048576 count=96 2>/dev/null
}

serve() {
	# shellcheck disable=SC2086 # the options are several words
	run ggated $buffers -a 127.0.0.1 -p "$1" -F ggated.pid gg.exports
}

step "A file system over real files, to be exported"
fill first
make_disk first disk.img
cp disk.img first.img

step "The server exports it"
echo "127.0.0.1 RW $dir/disk.img" >gg.exports
say "exports file: $(cat gg.exports)"
port=$((20000 + $$ % 10000))
tries=0
until serve "$port"; do
	tries=$((tries + 1))
	[ "$tries" -lt 5 ] || die "ggated does not start"
	port=$((port + 1))
	say "(port taken?)"
done

step "The client makes a provider of it"
# shellcheck disable=SC2086 # the options are several words
gate=$(run ggatec create $buffers -p "$port" 127.0.0.1 "$dir/disk.img")
say "$gate"
unit=${gate#ggate}
case $unit in
'' | *[!0-9]*) unit=; die "ggatec create said '$gate'" ;;
esac
ggatec list -v

step "Somebody else's program copies it out"
copy_out out.img
run cmp first.img out.img
say "Every byte is the same."

step "It copies another disk in, and in the middle ggated is killed"
fill second
make_disk second second.img
tries=0
while :; do
	copy_in second.img &
	copy=$!
	sleep 0.3
	killed=$(server_pid)
	run kill -9 "$killed"
	if kill -0 "$copy" 2>/dev/null; then
		break
	fi
	wait "$copy" || die "the copy ended with an error"
	tries=$((tries + 1))
	[ "$tries" -lt 5 ] || die "the copy is always done before the kill"
	say "The copy was faster than the kill; once more."
	serve "$port"
done
say "The copy waits; its requests are kept. A new ggated:"
sleep 0.5
kill -0 "$copy" 2>/dev/null || die "the copy did not wait for the server"
serve "$port"
wait "$copy" || die "the copy ended with an error"
copy=
say "The copy went on and ended without an error."

step "Nothing was lost"
compare second.img
run cmp second.img disk.img
check_disk disk.img

if [ "$keep" = 1 ]; then
	step "Left running for you"
	say "provider:  $(provider)"
	say "first:     export GGATE_RUNDIR=$GGATE_RUNDIR PATH=$top/target/release:\$PATH"
	say "look:      ggatec list -v"
	say "copy:      nbdcopy '$(provider)' copy.img"
	say "end it:    ggatec destroy -u $unit && kill $(server_pid) && rm -r $dir"
	exit 0
fi

step "The end"
run ggatec destroy -u "$unit"
left=$(ggatec list -u "$unit")
[ -z "$left" ] || die "$left is still there"
unit=
printf '\ndemo: everything is as it should be\n'

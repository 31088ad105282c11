#!/bin/sh
# The rc scripts on a FreeBSD host, for root: each started, reloaded, asked and
# stopped, with something in use; ours, and base's with our programs.
#
#	sh tests/freebsd/rc.sh [TEST]...	default: all
#
# Scripts are run from copies in which their configuration, pid files and
# programs are those of the test: nothing of the host's is touched, and neither
# hastd nor ggated may run on it. HASTD, HASTCTL, GGATED, GGATEC name the
# programs (default: target/release, after `make`). Prints `N passed, N
# failed`; exits 1 if any failed.
set -u
# shellcheck source=tests/freebsd/lib.sh
. "$(dirname "$0")/lib.sh"
: "${HASTD:=$programs/hastd}"
: "${HASTCTL:=$programs/hastctl}"
: "${GGATED:=$programs/ggated}"

# ---- what the tests use

# A script with files of its own: script FROM; its name is in $script. What
# rc.conf would say is in `rc.conf`.
script() {
	script=$PWD/${1##*/}
	sed -e "s|%%PREFIX%%/sbin|$programs|g" \
	    -e "s|/etc/hast.conf|$PWD/hast.conf|g" \
	    -e "s|/var/run/\([a-z]*\).pid|$PWD/\1.pid|g" \
	    -e "s|/var/run/\${name}.pid|$PWD/\${name}.pid|g" \
	    -e "s|^load_rc_config.*|&; . $PWD/rc.conf|" "$1" >"$script"
	: >rc.conf
}

setting() {
	echo "$*" >>rc.conf
}

# Calls it as rc(8) and service(8) do: in the environment of boot.
service_() {
	limit env -i PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/ sh "$script" "$@"
}

service_must() {
	service_ "$@" >said 2>&1 || fail "exit status $? of $script $*: $(cat said)"
}

service_must_not() {
	! service_ "$@" >said 2>&1 || fail "$script $* should have failed: $(cat said)"
}

# A resource without another node.
hast_conf() {
	new_md 32m
	cat >hast.conf <<-END
	control $PWD/hastctl
	pidfile $PWD/hastd.pid
	listen 127.0.0.1:$port
	resource data {
		on here {
			name rc$$
			local /dev/$md
			remote none
		}
	}
	END
	echo "node here" >hast.conf.ext
	must "$HASTCTL" create -c "$PWD/hast.conf" data
	# Base's script and ours call it without a configuration.
	cat >hastctl.sh <<-END
	#!/bin/sh
	verb=\$1
	shift
	exec "$HASTCTL" "\$verb" -c "$PWD/hast.conf" "\$@"
	END
	chmod +x hastctl.sh
	setting hastd_enable=YES
	setting "hastd_program=$HASTD"
	setting "hastd_flags='-c $PWD/hast.conf'"
	setting "hastctl=$PWD/hastctl.sh"
}

hastd_is_started_reloaded_and_stopped() {
	script "$1"
	hast_conf
	service_must_not status
	service_must start
	cat hastd.pid >>"$scratch/pids"
	daemon=$(cat hastd.pid)
	service_must status
	grep -qw "$daemon" said || fail "another pid: $(cat said)"
	service_must_not start
	must ./hastctl.sh role --wait primary data
	until_ "the provider" test -c "/dev/hast/rc$$"
	must newfs "/dev/hast/rc$$" >/dev/null
	mkdir mnt
	echo "$PWD/mnt" >>"$scratch/mounts"
	must mount "/dev/hast/rc$$" mnt
	must dd if=/dev/random of=mnt/file bs=64k count=16 2>/dev/null

	# In use: a reload changes nothing for whoever uses it.
	sed 's/^resource/timeout 7\n&/' hast.conf >new && mv new hast.conf
	service_must reload
	must dd if=/dev/random of=mnt/file bs=64k count=16 2>/dev/null
	[ "$(cat hastd.pid)" = "$daemon" ] || fail "it is another daemon"
	must fsync mnt/file

	must umount mnt
	service_must stop
	[ ! -e "/dev/hast/rc$$" ] || fail "the provider is still there"
	! kill -0 "$daemon" 2>/dev/null || fail "the daemon still runs"
	service_must_not status
}

test_hastd() {
	proves "our rc.d/hastd starts, reloads with a mounted file system, and stops in order"
	hastd_is_started_reloaded_and_stopped "$root/rc.d/hastd"
}

test_base_hastd() {
	proves "base's rc.d/hastd does the same with our programs named in rc.conf"
	hastd_is_started_reloaded_and_stopped /etc/rc.d/hastd
}

# A server of one disk.
ggated_conf() {
	new_random_md 8m
	echo "127.0.0.1 RW /dev/$md" >gg.exports
	setting ggated_enable=YES
	setting "ggated_program=$GGATED"
	setting "ggated_config=$PWD/gg.exports"
	setting "ggated_flags='-a 127.0.0.1 -p $port -F $PWD/ggated.pid'"
}

test_ggated() {
	proves "our rc.d/ggated reloads and restarts below a provider in use"
	script "$root/rc.d/ggated"
	ggated_conf
	service_must start
	service_must status
	new_gate
	background dd if="/dev/ggate$unit" of=/dev/null bs=4k
	reading=$pid
	echo "127.0.0.1 RO /dev/null" >>gg.exports
	service_must reload
	service_must restart
	cat ggated.pid >>"$scratch/pids"
	wait "$reading" || fail "the reader noticed: $(cat background.log)"
	must "$GGATEC" destroy -u "$unit"
	service_must stop
	service_must_not status
}

test_base_ggated() {
	proves "base's rc.d/ggated starts and stops our ggated"
	script /etc/rc.d/ggated
	ggated_conf
	service_must start
	cat ggated.pid >>"$scratch/pids"
	service_must status
	new_gate
	must dd if="/dev/ggate$unit" of=/dev/null bs=1m 2>/dev/null
	must "$GGATEC" destroy -u "$unit"
	service_must stop
	service_must_not status
}

free_unit() {
	unit=0
	while [ -e "/dev/ggate$unit" ]; do
		unit=$((unit + 1))
	done
	echo "$unit" >>"$scratch/units"
}

new_gate() {
	free_unit
	must "$GGATEC" create -p "$port" -u "$unit" 127.0.0.1 "/dev/$md"
	until_ "/dev/ggate$unit" test -c "/dev/ggate$unit"
}

test_ggatec() {
	proves "rc.d/ggatec creates what is listed, leaves alone what is in use, unmounts at shutdown"
	script "$root/rc.d/ggated"
	ggated_conf
	service_must start
	cat ggated.pid >>"$scratch/pids"
	script "$root/rc.d/ggatec"
	free_unit
	setting ggatec_enable=YES
	setting "ggatec_program=$GGATEC"
	setting "ggatec_units=$unit"
	setting "ggatec_$unit='-p $port 127.0.0.1 /dev/$md'"
	service_must_not status
	service_must start
	[ -c "/dev/ggate$unit" ] || fail "start returned too early"
	service_must status
	must newfs "/dev/ggate$unit" >/dev/null
	mkdir mnt
	echo "$PWD/mnt" >>"$scratch/mounts"
	must mount "/dev/ggate$unit" mnt
	service_must_not stop
	mount -p | grep -q "^/dev/ggate${unit}[[:space:]]" || fail "it was unmounted"

	# A ggatec that died is replaced; nobody notices.
	must pkill -KILL -f "ggatec create .*-u $unit .*-p $port "
	service_must rescue
	must dd if=/dev/random of=mnt/file bs=64k count=16 2>/dev/null

	service_must faststop
	! mount -p | grep -q "^/dev/ggate${unit}[[:space:]]" || fail "it is still mounted"
	until_ "its end" test ! -e "/dev/ggate$unit"
}

# ---- running them

begin "$HASTD" "$HASTCTL" "$GGATED" "$GGATEC"
for daemon in hastd ggated; do
	! pgrep -q -x "$daemon" || { echo "$0: $daemon runs on this host" >&2; exit 1; }
done

# The providers of a killed daemon are orphans, which only the next one ends.
clean_up_more() {
	[ -e "/dev/hast/rc$$" ] || return 0
	bounded 20 "$HASTD" -c "$work/hast.conf"
	bounded 20 "$HASTCTL" role -c "$work/hast.conf" --wait init all
	bounded 20 "$HASTCTL" stop -c "$work/hast.conf"
}

if [ $# -eq 0 ]; then
	set -- hastd ggated ggatec
	[ ! -e /etc/rc.d/hastd ] || set -- "$@" base_hastd
	[ ! -e /etc/rc.d/ggated ] || set -- "$@" base_ggated
fi
run_all "$@"

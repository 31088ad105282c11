# What the tests for a FreeBSD host share; to be sourced by one of them.
#
# A test is a function `test_NAME`. It runs in a shell of its own, in an empty
# folder, for a limited time, and is cleaned up after, also when it hangs: what
# is to be cleaned up stands in files below $scratch, one thing a line.
# `proves TEXT`, its first command, says what it is for.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
programs=$root/target/release
: "${GGATEC:=$programs/ggatec}"

# Longest time for one test and for one command in it, in seconds.
: "${TEST_LIMIT:=300}"
LIMIT=60

# ---- what tests use

proves() {
	echo "$*" >"$scratch/proves"
}

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

# Polls until a command succeeds: until_ DESCRIPTION COMMAND...
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

# Runs a command, or a function, for at most so many seconds. What it waits for
# may be impossible to kill; then it is left behind. The status is 124.
bounded() {
	seconds=$1
	shift
	ended=$(mktemp "$scratch/ended.XXXXXX") || return 1
	(
		(
			trap - EXIT HUP INT PIPE TERM
			# The only way for a shell to know its own pid.
			# shellcheck disable=SC2016
			sh -c 'echo $PPID' >"$ended.pid"
			"$@"
		)
		echo $? >"$ended"
	) &
	waited=0
	while [ ! -s "$ended" ] && [ $waited -lt $((seconds * 5)) ]; do
		waited=$((waited + 1))
		sleep 0.2
	done
	[ -s "$ended" ] || {
		kill -9 "$(cat "$ended.pid")"
		return 124
	}
	return "$(cat "$ended")"
}

# A memory disk of a size, all zeros; its name is in $md.
new_md() {
	md=$(mdconfig -a -t malloc -s "$1") || fail "mdconfig"
	echo "$md" >>"$scratch/mds"
}

# The same, filled with random bytes.
new_random_md() {
	new_md "$1"
	must dd if=/dev/random of="/dev/$md" bs=1m 2>/dev/null
}

# Something in the background that is killed at the end; its pid is in $pid.
background() {
	"$@" >>background.log 2>&1 &
	pid=$!
	echo "$pid" >>"$scratch/pids"
}

# All of these hold the same bytes.
same() {
	first=$(limit md5 -q "$1") || fail "md5 $1"
	shift
	for other; do
		sum=$(limit md5 -q "$other") || fail "md5 $other"
		[ "$first" = "$sum" ] || fail "$other differs"
	done
}

# ---- running tests

# The lines of a list of things to clean up.
each() {
	[ -e "$scratch/$1" ] && cat "$scratch/$1"
	rm -f "$scratch/$1"
}

# File systems go while their providers are served, if they can. Next are the
# gates: what hangs, hangs on them. A script may have more of its own.
clean_up() {
	for pool in $(each pools); do
		bounded 20 zpool destroy -f "$pool"
	done
	for mount in $(each mounts); do
		bounded 20 umount "$mount" || echo "$mount" >>"$scratch/stuck"
	done
	clean_up_more
	for unit in $(each units); do
		bounded 20 "$GGATEC" destroy -f -u "$unit"
	done
	for pid in $(each pids); do
		kill -9 "$pid"
	done
	for mount in $(each stuck); do
		bounded 20 umount -f "$mount"
	done
	for nop in $(each nops); do
		bounded 20 gnop destroy -f "$nop"
	done
	for md in $(each mds); do
		# The disk is released some time after its last user ended.
		bounded 20 sh -c "while mdconfig -l | grep -qw $md; do mdconfig -d -u $md; sleep 0.2; done"
	done
} >/dev/null 2>&1

clean_up_more() {
	:
}

# Who waits for what, when something hangs. Even asking may hang.
wait_channels() {
	echo "threads that wait for GEOM, or GEOM for them:"
	bounded 20 procstat -kka | grep -E 'g_wait|gread|ggwait|g_topology'
	echo "processes:"
	bounded 20 ps -axww -o pid,ppid,state,wchan,command |
	    grep -E 'hast|ggat|geom|mdconfig|gnop|zpool|mount|[ /]dd '
}

in_work() {
	cd "$work" && "$1"
}

# Not what is mounted there, should that have been left.
remove() {
	bounded 20 rm -rfx "$@"
}

# Runs one test; it fails when it takes too long, whatever it hangs in.
run() {
	port=$((port + 1))
	work=$(mktemp -d "$scratch/work.XXXXXX") || exit 1
	bounded "$TEST_LIMIT" in_work "test_$1" >"$scratch/log" 2>&1
	status=$?
	about=$1
	[ ! -s "$scratch/proves" ] || about="$1: $(cat "$scratch/proves")"
	if [ $status = 0 ]; then
		passed=$((passed + 1))
		echo "passed: $about"
		# What a test measured.
		grep '^measured: ' "$scratch/log" | sed 's/^/	/'
	else
		failed=$((failed + 1))
		echo "failed: $about"
		[ $status != 124 ] || {
			echo "still runs after $TEST_LIMIT s"
			wait_channels
		} 2>&1 | sed 's/^/	/'
		sed 's/^/	/' "$scratch/log"
		for file in "$work"/*.log; do
			[ ! -s "$file" ] || tail -n 20 "$file" | sed "s|^|	$(basename "$file"): |"
		done
	fi
	clean_up
	remove "$work" "$scratch/log" "$scratch/proves"
	rm -f "$scratch"/ended.*
}

# Makes sure that tests can run, of these programs.
begin() {
	[ "$(uname)" = FreeBSD ] || { echo "$0: this is not FreeBSD" >&2; exit 1; }
	[ "$(id -u)" = 0 ] || { echo "$0: you are not root" >&2; exit 1; }
	for program; do
		[ -x "$program" ] || { echo "$0: no $program; run make first" >&2; exit 1; }
	done
	unset GGATE_RUNDIR
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/highgate.XXXXXX") || exit 1
	work=$scratch/work
	trap 'clean_up; remove "$work" && rm -rf "$scratch"' EXIT
	trap 'exit 1' HUP INT PIPE TERM
	port=33080 passed=0 failed=0
}

# Runs these tests and sums up; the last command of a script.
run_all() {
	for test; do
		run "$test"
	done
	echo "$passed passed, $failed failed"
	[ $failed -eq 0 ]
}

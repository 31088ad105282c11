#!/bin/sh
# Installs into an empty folder and takes everything away again, with GNU make
# and with BSD make, and compares with the port's list of files.
set -eu
cd "$(dirname "$0")/.."
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

fail() {
	echo "test-install: $make: $*" >&2
	exit 1
}

# Ports compress manuals.
sh scripts/install.sh -l | sed 's|^share/man/.*|&.gz|' | sort >"$stage/plist"
make=port/pkg-plist
diff "$stage/plist" port/pkg-plist || fail "is not what scripts/install.sh -l lists"

for make in ${MAKES:-make bmake}; do
	command -v "$make" >/dev/null || fail "it is missing; run scripts/setup.sh"
	$make install DESTDIR="$stage/$make" PREFIX=/opt/highgate >/dev/null
	root=$stage/$make/opt/highgate
	sh scripts/install.sh -l | sort >"$stage/expected"
	(cd "$root" && find . -type f) | sed 's|^\./||' | sort >"$stage/found"
	diff "$stage/expected" "$stage/found" || fail "other files than it lists"
	(cd "$stage/$make" && find . -type f) | grep -v '^\./opt/highgate/' && fail "files outside of PREFIX"
	for program in ggatec ggated ggatel hastctl hastd; do
		[ -x "$root/sbin/$program" ] || fail "$program cannot be run"
	done
	# The usage text: it is the right program.
	"$root/sbin/hastctl" help | grep -q 'hastctl create' || fail "hastctl help"
	if grep -rlI '%%' "$root/etc" "$root/share/examples"; then
		fail "these do not say where they are"
	fi
	for script in "$root"/etc/rc.d/* "$root"/share/examples/hast/rc "$root/share/examples/hast/hast-switch"; do
		sh -n "$script" || fail "$script"
		grep -q /opt/highgate "$script" || fail "$script does not know PREFIX"
	done
	# Again, over what is there: nothing is in the way.
	$make install DESTDIR="$stage/$make" PREFIX=/opt/highgate >/dev/null
	$make uninstall DESTDIR="$stage/$make" PREFIX=/opt/highgate >/dev/null
	left=$(find "$stage/$make" -type f)
	[ -z "$left" ] || fail "left behind: $left"
	echo "test-install: $make: ok"
done

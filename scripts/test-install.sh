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

# The port installs the same, with its own makefile, as far as it can be read
# without the ports tree.
make=port/Makefile
bmake=$(command -v bmake || command -v make)
mkdir "$stage/mk"
: >"$stage/mk/bsd.port.mk"
port() {
	"$bmake" -r -m "$stage/mk" -f port/Makefile "$@"
}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
[ "$(port -V DISTVERSION)" = "$version" ] || fail "has not version $version"
port do-install WRKSRC=. STAGEDIR="$stage/port" PREFIX=/usr/local SETENV=env SH=sh \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}" STRIP_CMD=: >/dev/null
(cd "$stage/port/usr/local" && find . -type f) | sed -e 's|^\./||' -e 's|^share/man/.*|&.gz|' |
    sort >"$stage/found"
diff port/pkg-plist "$stage/found" || fail "installs other files than its list has"

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
	if grep -rlI '%%PREFIX%%' "$root/etc" "$root/share/examples"; then
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

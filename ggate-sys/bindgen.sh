#!/bin/sh
# Makes src/bindings.rs anew from FreeBSD's own headers.
#
#	ggate-sys/bindgen.sh [OUTPUT]
#
# Needs libclang. On FreeBSD the headers are those in /usr/include; elsewhere
# FREEBSD_INCLUDE names a folder with the layout of zig's lib/libc/include.
# ARCH is amd64 (default) or arm64; the result is the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/src/bindings.rs}

case ${ARCH:=amd64} in
amd64) cpu=x86_64 ;;
arm64) cpu=aarch64 ;;
*) echo "bindgen.sh: ARCH is amd64 or arm64, not $ARCH" >&2; exit 1 ;;
esac

if [ "$(uname -s)" = FreeBSD ]; then
	set -- "--target=$cpu-unknown-freebsd"
	headers=/usr/include
elif [ -n "${FREEBSD_INCLUDE:-}" ]; then
	set -- "--target=$cpu-unknown-freebsd14" -nostdinc \
	    "-I$FREEBSD_INCLUDE/$cpu-freebsd-none" \
	    "-I$FREEBSD_INCLUDE/generic-freebsd" -D__FreeBSD_version=1400097
	headers=$FREEBSD_INCLUDE/generic-freebsd
else
	echo "bindgen.sh: FREEBSD_INCLUDE must name FreeBSD's headers here" >&2
	exit 1
fi
if ! [ -f "$headers/geom/gate/g_gate.h" ]; then
	echo "bindgen.sh: no geom/gate/g_gate.h in $headers" >&2
	exit 1
fi

# A failure must not leave half a file behind.
new=$output.new
trap 'rm -f "$new"' EXIT
cargo run -q --locked --manifest-path "$here/bindgen/Cargo.toml" \
    --target-dir "$here/../target/bindgen" -- \
    "$here/bindgen/wrapper.h" "$@" >"$new"
mv "$new" "$output"

#!/bin/sh
# Makes ggate-sys/src/bindings.rs anew, for both architectures, and compares it
# with the committed file. Missing libclang or headers are a failure.
set -eu
cd "$(dirname "$0")/.."
. scripts/sdk.sh
if [ "$(uname -s)" != FreeBSD ] && [ -z "${FREEBSD_INCLUDE:-}" ]; then
	use_sdk "the drift test"
	# The generator itself is built for this machine.
	unset RUSTUP_TOOLCHAIN
fi
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
for ARCH in amd64 arm64; do
	export ARCH
	sh ggate-sys/bindgen.sh "$new/$ARCH.rs"
	if ! diff -u ggate-sys/src/bindings.rs "$new/$ARCH.rs"; then
		echo "test-drift: $ARCH: the headers and ggate-sys/src/bindings.rs differ" >&2
		exit 1
	fi
	echo "test-drift: $ARCH: ok"
done

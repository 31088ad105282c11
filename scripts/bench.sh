#!/bin/sh
# Highgate beside nbdkit, qemu-nbd and what the machine can do; bench/src/main.rs
# says what is measured and how. Arguments:
# [--quick] [--runs N] [--seconds N] [GROUP | ROW]...
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
# Programs as `make build` makes them: not another time with what bench needs
# of their libraries.
make build
cargo build --release --locked -p bench
# A file in memory: no disk is measured.
if [ -z "${TMPDIR:-}" ] && [ -d /dev/shm ]; then
	TMPDIR=/dev/shm
fi
# One that fails leaves its files, gigabytes of memory, to whoever started it.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 1' INT TERM
"${CARGO_TARGET_DIR:-target}/release/bench" "$@" || exit 1

#!/bin/sh
# The chain of ggatec and ggated beside nbdkit's; bench/src/main.rs says what is
# measured and how. Arguments: [--quick] [--runs N] [--seconds N] [ROW]...
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
cargo build --release --locked -p ggatec -p ggated -p hastd -p bench
# A file in memory: no disk is measured.
if [ -z "${TMPDIR:-}" ] && [ -d /dev/shm ]; then
	TMPDIR=/dev/shm
	export TMPDIR
fi
exec "${CARGO_TARGET_DIR:-target}/release/bench" "$@"

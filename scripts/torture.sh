#!/bin/sh
# Two nodes of which everything fails, with fio beside: hastd/tests/torture.rs.
#
#	scripts/torture.sh [SECONDS]	default: ten minutes
#
# TORTURE_SEED repeats the faults of another run.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
cargo build --locked --workspace --bins
TORTURE_SECONDS=${1:-600}
TORTURE_FIO=1
export TORTURE_SECONDS TORTURE_FIO
exec cargo test --locked -p hastd --test torture -- --nocapture

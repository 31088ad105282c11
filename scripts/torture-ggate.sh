#!/bin/sh
# fio verify over a link that fails in every way: tests/clients/torture.rs.
#
#	scripts/torture-ggate.sh [SECONDS]	default: ten minutes
#
# TORTURE_SEED repeats the faults of another run.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
cargo build --locked --workspace --bins
TORTURE_SECONDS=${1:-600}
export TORTURE_SECONDS
exec cargo test --locked -p clients torture -- --nocapture

#!/bin/sh
# Whole programs with other people's clients. The tests find the programs in
# the folder that cargo put them into.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
cargo build --locked --workspace --bins
# Without the test `load`, which compares speeds: make load.
exec cargo test --locked -p clients --test clients

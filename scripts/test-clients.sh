#!/bin/sh
# Whole programs with other people's clients. The tests find the programs in
# the folder that cargo put them into.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
cargo build --locked --workspace --bins
exec cargo test --locked -p clients

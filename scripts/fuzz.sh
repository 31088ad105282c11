#!/bin/sh
# Fuzzes every parser, SECONDS_EACH seconds each (60), and fails on the first
# crash. Installs cargo-fuzz if it is missing; needs nightly and a C++ compiler.
#
#	scripts/fuzz.sh [TARGET]...	default: all of them
set -eu
cd "$(dirname "$0")/.."
: "${SECONDS_EACH:=60}"
[ $# -gt 0 ] || set -- nv messages metadata lzf handshake \
    wire nbd exports gates arguments config

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --version 0.13.2
# Inputs found on the way stay out of the committed seeds.
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target; do
	echo "== $target, $SECONDS_EACH s"
	mkdir "$found/$target"
	cargo +nightly fuzz run "$target" "$found/$target" "fuzz/corpus/$target" -- \
	    -max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=1024 \
	    -verbosity=0 -print_final_stats=1
done

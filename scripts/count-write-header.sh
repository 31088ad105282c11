#!/bin/sh
# Counts the instructions it takes to encode and decode the header of a WRITE,
# under callgrind, and fails if they are more than LIMIT.
set -eu
cd "$(dirname "$0")/.."
: "${LIMIT:=2000}"
times=1000

command -v valgrind >/dev/null || {
	echo "valgrind is needed: apt-get install valgrind, pkg install valgrind" >&2
	exit 1
}
cargo build --release --locked -q -p hast-core --example write_header
out=$(mktemp)
trap 'rm -f "$out" "$out.log"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$out" \
    --toggle-collect='*write_header::write_header*' \
    target/release/examples/write_header 2>"$out.log"
total=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$out.log")
[ "${total:-0}" -gt 0 ] || {
	cat "$out.log" >&2
	exit 1
}
each=$((total / times))
echo "encode and decode of a WRITE header: $each instructions"
[ "$each" -le "$LIMIT" ]

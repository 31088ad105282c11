#!/bin/sh
# Formatting, lints and documentation, of the workspace and of the generator
# that stands outside of it.
set -eu
cd "$(dirname "$0")/.."
generator="--manifest-path ggate-sys/bindgen/Cargo.toml"

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps \
    --document-private-items
# $generator is two words.
# shellcheck disable=SC2086
cargo fmt $generator --check
# shellcheck disable=SC2086
cargo clippy --locked $generator --target-dir target/bindgen -- -D warnings
for script in scripts/*.sh ggate-sys/*.sh tests/freebsd/*.sh; do
	sh -n "$script"
done

# A document that names a test names one that exists.
sed -n '/one by one/,$p' docs/differences.md | grep -o '`[a-z0-9_:]*_[a-z0-9_:]*`' | tr -d '`' |
while read -r name; do
	grep -rqs --include='*.rs' -e "fn ${name##*::}\b" ggate ggatec ggated ggatel tests ||
	    case $name in
	    *::tests | wire_*) ;;
	    *) echo "docs/differences.md: there is no test $name" >&2; exit 1 ;;
	    esac
done

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
for script in scripts/*.sh ggate-sys/*.sh; do
	sh -n "$script"
done

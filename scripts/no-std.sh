#!/bin/sh
# Builds hast-core for a target that has no standard library: a crate that says
# no_std and has a dependency with std still builds on the host.
set -eu
cd "$(dirname "$0")/.."
. scripts/sdk.sh
if ! [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/core" ]; then
	use_sdk "building core"
fi
exec cargo +nightly build --locked -Zbuild-std=core,alloc \
    --target aarch64-unknown-none -p hast-core

#!/bin/sh
# Lints everything for FreeBSD, tests included; builds and links the programs.
#
#	scripts/freebsd.sh [-p PACKAGE]...	default: the whole workspace
#
# Takes rustup's FreeBSD target where one is installed, else the SDK that
# FREEBSD_SDK names. TARGETS overrides the list of targets.
set -eu
cd "$(dirname "$0")/.."
. scripts/sdk.sh
[ $# -gt 0 ] || set -- --workspace
: "${TARGETS:=x86_64-unknown-freebsd aarch64-unknown-freebsd}"

# Of `test`, the standard library needs a panic that unwinds; the build of the
# library (-Zbuild-std) fails when the profile says otherwise.
CARGO_PROFILE_DEV_PANIC=unwind
export CARGO_PROFILE_DEV_PANIC

for target in $TARGETS; do
	echo "== $target"
	(
		if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
			FREEBSD_BUILD_STD=
			build=build
			cargo=cargo
		else
			use_sdk "$target"
			build=zigbuild
			cargo="cargo-zigbuild"
		fi
		# $FREEBSD_BUILD_STD is a list of options.
		# shellcheck disable=SC2086
		set -- $FREEBSD_BUILD_STD --locked --target "$target" "$@"
		# Only nightly's clippy wants assert_eq for large buffers, too,
		# which would print both of them.
		"$cargo" clippy "$@" --all-targets -- -D warnings \
		    -A unknown_lints -A clippy::manual_assert_eq
		# That it links does not depend on how much it is optimised.
		"$cargo" "$build" "$@"
	)
done

#!/bin/sh
# Formatting, lints and documentation, of the workspace and of the generator
# that stands outside of it; all shell scripts, and the manuals.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
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

# Whatever says that it is for a shell.
scripts=$(grep -rlE --exclude-dir=target --exclude-dir=.git \
    -e '^#!/(bin/sh|usr/bin/env bash)' -e '^# shellcheck shell=sh' .)
for script in $scripts; do
	case $(head -n 1 "$script") in
	*bash) bash -n "$script" ;;
	*) sh -n "$script" ;;
	esac
done
for script in */*.sh */*/*.sh; do
	sh -n "$script" # those that are sourced, too
done
# shellcheck disable=SC2086 # a list
shellcheck -x $scripts
mandoc -T lint -W warning man5/*.5 man8/*.8

# The port's list of files is what gets installed. Ports compress manuals.
sh scripts/install.sh -l | sed 's|^share/man/.*|&.gz|' | sort | diff - port/pkg-plist ||
    { echo "port/pkg-plist: not what scripts/install.sh -l lists" >&2; exit 1; }

# A document that names a test names one that exists.
# shellcheck disable=SC2016 # backquotes that mean themselves
sed -n '/one by one/,$p' docs/differences.md | grep -o '`[a-z0-9_:]*_[a-z0-9_:]*`' | tr -d '`' |
while read -r name; do
	grep -rqs --include='*.rs' -e "fn ${name##*::}\b" ggate ggatec ggated ggatel tests ||
	    case $name in
	    *::tests | wire_*) ;;
	    *) echo "docs/differences.md: there is no test $name" >&2; exit 1 ;;
	    esac
done

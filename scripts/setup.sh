#!/bin/sh
# Installs on Debian what the tests with real clients, the drift test, the
# demo and the FreeBSD SDK need. Quiet when everything is there.
set -eu
wanted="make fio qemu-utils libnbd-bin nbdkit e2fsprogs libclang-dev python3-venv xz-utils valgrind procps mandoc shellcheck bmake zsh tcsh"

if ! command -v dpkg-query >/dev/null; then
	# Elsewhere a test that misses a program names it.
	echo "setup.sh: no Debian; please install what these packages hold: $wanted" >&2
	exit 0
fi
missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "setup.sh: missing packages; as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# $missing is a list.
# shellcheck disable=SC2086
apt-get -qq -y --no-install-recommends install $missing >/dev/null

#!/bin/sh
# All tests for a FreeBSD host, as root: each script, whatever became of the
# ones before it.
set -u
cd "$(dirname "$0")/.." || exit 1

failed=
for script in ggate hast interop deadlock rc; do
	echo "== $script"
	sh "tests/freebsd/$script.sh" || failed="$failed $script"
done
[ -z "$failed" ] || {
	echo "failed:$failed" >&2
	exit 1
}

#!/bin/sh
# Builds the simulator with each of base's bugs re-introduced and prints the
# first seed that finds it. Fails if 10,000 seeds do not.
set -eu
cd "$(dirname "$0")/.."
unfound=0
[ $# -gt 0 ] || set -- k1 k3 k4 k5 k7 k8 k10 k12 k13 k15
for bug; do
	RUSTFLAGS="--cfg hast_bug=\"$bug\"" cargo build --quiet --release --locked \
	    --target-dir target/bugs -p sim
	start=0
	while :; do
		if found=$(target/bugs/release/sim --seeds 250 --start $start); then
			start=$((start + 250))
			if [ $start -ge 10000 ]; then
				echo "$bug: not found by 10,000 seeds" >&2
				unfound=1
				break
			fi
		else
			echo "$bug: $(echo "$found" | sed -n 1p)"
			break
		fi
	done
done
exit $unfound

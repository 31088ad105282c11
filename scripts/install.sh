#!/bin/sh
# Installs what is built, or takes it away again, below $DESTDIR$PREFIX.
#
#	scripts/install.sh		install
#	scripts/install.sh -u		uninstall
#	scripts/install.sh -l		list the files, relative to PREFIX
#
# Base's programs and rc scripts stay as they are. BIN names the folder of the
# programs (target/release), RC_SCRIPTS what goes to etc/rc.d: on a system
# without base's own hastd and ggated, "ggatec ggated hastd".
set -eu
cd "$(dirname "$0")/.."
: "${DESTDIR=}" "${PREFIX:=/usr/local}" "${RC_SCRIPTS:=ggatec}"
: "${BIN:=${CARGO_TARGET_DIR:-target}/release}"

case ${1:-} in
'' | -u | -l) action=${1:--i} ;;
*)
	echo "usage: scripts/install.sh [-u | -l]" >&2
	exit 64
	;;
esac

# file MODE FROM TO
file() {
	to=$DESTDIR$PREFIX/$3
	case $action in
	-l) echo "$3" ;;
	-u) rm -f "$to" ;;
	-i)
		mkdir -p "${to%/*}"
		install -m "$1" "$2" "$to"
		;;
	esac
}

# The same for texts that say where they are installed.
text() {
	case $action in
	-i)
		mkdir -p "$DESTDIR$PREFIX/${3%/*}"
		sed "s|%%PREFIX%%|$PREFIX|g" "$2" >"$made"
		file "$1" "$made" "$3"
		;;
	*) file "$@" ;;
	esac
}

made=$(mktemp)
trap 'rm -f "$made"' EXIT

for program in ggatec ggated ggatel hastctl hastd; do
	file 0555 "$BIN/$program" "sbin/$program"
	file 0444 "share/completions/$program.bash" "share/bash-completion/completions/$program"
	file 0444 "share/completions/_$program" "share/zsh/site-functions/_$program"
done
file 0444 share/completions/highgate.csh share/examples/highgate/completions.csh
for page in man5/*.5 man8/*.8; do
	file 0444 "$page" "share/man/$page"
done
for script in $RC_SCRIPTS; do
	text 0555 "rc.d/$script" "etc/rc.d/$script"
done
text 0555 share/examples/hast/hast-switch share/examples/hast/hast-switch
text 0444 share/examples/hast/hast-switch.conf share/examples/hast/hast-switch.conf
text 0444 share/examples/hast/devd.conf share/examples/hast/devd.conf
text 0555 share/examples/hast/rc share/examples/hast/rc
for guide in docs/*.md; do
	file 0444 "$guide" "share/doc/highgate/${guide#docs/}"
done

if [ "$action" = -i ] && [ -z "$DESTDIR" ]; then
	cat <<-END

	Installed below $PREFIX. Base's daemons are started as before until rc.conf names these:

	    sysrc hastd_program=$PREFIX/sbin/hastd hastctl=$PREFIX/sbin/hastctl
	    sysrc ggated_program=$PREFIX/sbin/ggated

	Before you do: $PREFIX/share/doc/highgate/migrating.md.
	END
fi

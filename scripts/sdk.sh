# To be sourced. use_sdk prepares cross-compiling to FreeBSD: $FREEBSD_SDK names
# a folder with a program `setup` that prints the environment, among it
#
#	FREEBSD_INCLUDE		FreeBSD's headers, laid out like zig's lib/libc/include
#	FREEBSD_BUILD_STD	cargo's options for building the standard library
#	PATH			with cargo-zigbuild
use_sdk() {
	if ! [ -x "${FREEBSD_SDK:-}/setup" ]; then
		echo "$1 needs the FreeBSD SDK: set FREEBSD_SDK to its folder" >&2
		exit 1
	fi
	# To the SDK itself the variable means its cache.
	sdk_environment=$(sdk=$FREEBSD_SDK; unset FREEBSD_SDK; "$sdk/setup") || exit 1
	eval "$sdk_environment"
	RUSTUP_TOOLCHAIN=nightly
	export RUSTUP_TOOLCHAIN
}

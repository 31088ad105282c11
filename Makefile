# Works with every POSIX make (GNU and BSD); the logic is in scripts/.
#
# On FreeBSD, `make`, `make test` and `make install` need nothing but the
# package rust. On Debian, scripts/setup.sh installs what the others need.
.POSIX:

PREFIX = /usr/local
DESTDIR =

build: ## release programs, in target/release
	cargo build --release --locked -p ggatec -p ggated -p ggatel -p hastd

demo: build ## two HAST nodes, on this machine
	sh scripts/demo.sh

demo-ggate: build ## a gate from server to client, on this machine
	sh scripts/demo-ggate.sh

test: ## everything that needs no other software
	cargo test --workspace --exclude clients --locked --no-fail-fast
	cargo run --release --locked -p sim -- --seeds 1000
	cargo run --release --locked -p sim -- --base secondary --seeds 300

test-clients: ## whole programs with fio, qemu, libnbd, nbdkit
	sh scripts/test-clients.sh

torture: ## ten minutes of two nodes of which everything fails
	sh scripts/torture.sh

torture-ggate: ## ten minutes of fio over a link that fails in every way
	sh scripts/torture-ggate.sh

load: ## idle, half-open and unread connections slow nobody down
	cargo build --locked --workspace --bins
	cargo test --locked -p clients --test load --test load_hast

bench: ## side by side with nbdkit
	sh scripts/bench.sh

test-drift: ## the committed bindings against FreeBSD's headers
	sh scripts/test-drift.sh

test-freebsd: build ## the programs against this FreeBSD's kernel and base's programs, as root
	sh scripts/test-freebsd.sh

check: ## formatting, clippy, documentation
	sh scripts/check.sh

freebsd: ## lint, build and link for FreeBSD amd64 and arm64
	sh scripts/freebsd.sh

no-std: ## hast-core really has no std
	sh scripts/no-std.sh

SEEDS = 100000
START = 0
sim: ## HAST in the simulator: SEEDS seeds from START on
	cargo run --release --locked -p sim -- --seeds $(SEEDS) --start $(START)

sim-bugs: ## the simulator finds every bug that is re-introduced
	sh scripts/sim-bugs.sh

fuzz: ## every parser, 60 s each
	sh scripts/fuzz.sh

count: ## instructions to encode and decode the header of a WRITE, and per request
	sh scripts/count-write-header.sh
	sh scripts/count-requests.sh

install: build ## programs, manuals, examples, completions below $(DESTDIR)$(PREFIX)
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh scripts/install.sh

uninstall: ## takes all of it away
	DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" sh scripts/install.sh -u

test-install: build ## install and uninstall, with GNU make and BSD make
	sh scripts/test-install.sh

clean:
	cargo clean

.PHONY: build demo demo-ggate test test-clients torture torture-ggate load bench test-drift test-freebsd check freebsd no-std sim sim-bugs fuzz count install uninstall test-install clean

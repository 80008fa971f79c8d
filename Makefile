# The same entries for people and for CI. `make demo` and `make test` need stable Rust, Python 3,
# Node, C and C++ compilers and openssl; each works alone.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: demo test soak test-rust test-threads test-sanitizers test-python test-node test-conformance lint bench fuzz dist-c dist-c-small test-dist-c dist-node dist-python stubs-python simulate

## The tutorial for two devices, against the emulator.
demo:
	$(CARGO) run --package dps-cli -- quickstart

## Everything, one after the other: two builds at once would only wait for each other.
test: lint
	$(MAKE) test-rust
	$(MAKE) test-dist-c TESTS="symbols:: samples:: forms:: blocking pkcs12"
	$(MAKE) test-threads
	$(MAKE) test-python
	$(MAKE) test-node
	$(MAKE) test-conformance

## Core, emulator, command, C library, and what crosses rooms.
test-rust:
	$(CARGO) test --workspace

## Formatting, clippy, and exactly one crypto provider.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet --package dps-c --no-default-features --features small -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps
	@if $(CARGO) tree --workspace --edges normal,build --prefix none | grep '^ring '; then \
		echo 'ring is compiled beside aws-lc-rs: turn the default features of what pulls it in off' >&2; \
		exit 1; \
	fi
	@$(CARGO) metadata --no-deps --format-version 1 | python3 -c "import json, sys; \
		bad = [p['name'] for p in json.load(sys.stdin)['packages'] if p['license'] != 'MIT OR Apache-2.0']; \
		sys.exit(f'without the license: {bad}' if bad else 0)"

## Figures beside Microsoft's SDKs, in one run; they go to docs/figures.md. Builds and installs what
## it compares into target/bench. `DPS_BENCH=quick make bench` measures each thing once.
bench:
	CARGO="$(CARGO)" sh benches/prepare.sh
	$(CARGO) bench --package dps-benches

## Where threads meet, in core and the bindings, in every order of events that loom finds; with a lock
## file of their own.
test-threads:
	$(CARGO) test --quiet --manifest-path tests/loom/Cargo.toml --target-dir target/loom

## The address and leak sanitizers over the Rust code itself, where a nightly toolchain is present;
## `make test` has the C compiler's over the C library's programs and the Python extension.
test-sanitizers:
	./tests/robustness/sanitizers.sh

## The fuzz targets, driven by cargo-fuzz where it and a nightly toolchain are present.
fuzz:
	./fuzz/run.sh

## The C library as a prefix tree in dist/c; `make dist-c C_PROFILE=dev` builds fast and large.
C_PROFILE ?= c-dist
dist-c:
	CARGO="$(CARGO)" bindings-c/packaging/dist.sh dist/c $(C_PROFILE)

## The C library's tests on that tree, as users get it: link-time optimisation and flags of its own
## make it another library than the one that the workspace's tests build. `make test` runs those that
## its flags could break: symbols, links, samples, encrypted keys.
test-dist-c: dist-c
	DPS_C_PREFIX="$(CURDIR)/dist/c" $(CARGO) test --package dps-tests --test bindings_c -- $(TESTS)

## The C library for firmware, in dist/c-small: the same header and symbols, less in them.
C_SMALL_PROFILE ?= c-dist-small
dist-c-small:
	CARGO="$(CARGO)" bindings-c/packaging/dist.sh dist/c-small $(C_SMALL_PROFILE) small

## The npm packages, in dist/node; PROFILE=dev for a quick build.
dist-node:
	PROFILE=$(or $(PROFILE),bindings-dist) sh bindings-node/dist.sh

## The Node module's tests, on its packages in an empty project.
test-node:
	PROFILE=$(or $(PROFILE),dev) sh bindings-node/test.sh

## The Python wheel and source distribution, in dist/python; PROFILE=dev for a quick build.
dist-python:
	PROFILE=$(or $(PROFILE),bindings-dist) sh bindings-python/dist.sh

## The Python package's tests, on its wheel.
test-python:
	PROFILE=$(or $(PROFILE),dev) sh bindings-python/test.sh

## The committed stubs of the Python package, made anew.
stubs-python:
	PROFILE=$(or $(PROFILE),dev) sh bindings-python/stubs.sh

## A million devices against the service's quotas, in virtual time; minutes. Writes docs/scale*.
simulate:
	$(CARGO) run --release --package dps-simulation

## One suite for every language, and the deliberate faults that it must find. It uses the wheel of
## test-python, the project of test-node and the C library, so it comes after them;
## `cargo test --workspace` leaves it out. `make test-conformance ONLY=throttled` runs some cases.
test-conformance:
	$(CARGO) build --quiet --package dps-c
	$(CARGO) build --quiet --package dps-conformance
	$(CARGO) run --quiet --package dps-conformance --bin conformance -- $(ONLY)

## The soak for an hour; `cargo test` runs it for half a minute. DPS_SOAK_SEED repeats a run's decisions.
soak:
	DPS_SOAK_SECONDS=$${DPS_SOAK_SECONDS:-3600} $(CARGO) test --package dps-tests --test soak

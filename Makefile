# The same entries for people and for CI. `make demo` and `make test` need stable Rust, Python 3,
# Node, a C compiler and openssl; each works alone.

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: demo test lint bench

## The tutorial for two devices, against the emulator.
demo:
	$(CARGO) build --package dps-cli
	./target/debug/dps quickstart

## Everything.
test: lint
	$(CARGO) test --workspace

## Formatting, clippy, and exactly one crypto provider.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --no-deps
	@if $(CARGO) tree --workspace --edges normal,build --prefix none | grep '^ring '; then \
		echo 'ring is compiled beside aws-lc-rs: turn the default features of what pulls it in off' >&2; \
		exit 1; \
	fi
	@for manifest in core emulator cli samples/rust tests; do \
		grep -q 'license.workspace = true' $$manifest/Cargo.toml || { echo "$$manifest names no license" >&2; exit 1; }; \
	done

## Figures, side by side in one run; they go to docs/figures.md.
bench:
	$(CARGO) bench --package dps-benches

#!/bin/sh
# The tests of core with the Rust code itself under the address and leak sanitizers. The C library's
# programs and the Python extension have the C compiler's sanitizers in `make test`.
set -eu
cd "$(dirname "$0")/../.."

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'NOT SANITIZED: the sanitizers of Rust need a nightly toolchain (rustup toolchain install nightly).' >&2
    exit 1
fi
# With a target named, build scripts and macros, which have no use for them, go without.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=-Zsanitizer=address cargo +nightly test --package dps-core --lib \
    --target "$host" --target-dir target/sanitized

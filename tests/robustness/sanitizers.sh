#!/bin/sh
# With the Rust code itself under the address and leak sanitizers: the tests of core, and the programs
# of C over the C library. In `make test` these programs, and the Python extension, have the C
# compiler's sanitizers, which see what C does.
set -eu
cd "$(dirname "$0")/../.."

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'NOT SANITIZED: the sanitizers of Rust need a nightly toolchain (rustup toolchain install nightly).' >&2
    exit 1
fi
# With a target named, build scripts and macros, which have no use for them, go without.
host=$(rustc -vV | sed -n 's/^host: //p')
sanitized() {
    RUSTFLAGS=-Zsanitizer=address cargo +nightly "$@" --target "$host" --target-dir target/sanitized
}
sanitized test --package dps-core --lib

# As cargo leaves them, not as `make dist-c` lays them out: what registers a library's globals with
# the sanitizer is nothing that its users call. The runtime is the C compiler's, which has all that
# Rust's instrumented code asks for.
sanitized build --package dps-c
prefix=target/sanitized/prefix
mkdir -p "$prefix/include" "$prefix/lib"
cp bindings-c/include/*.h "$prefix/include/"
cp "target/sanitized/$host/debug/libdps_core.a" "target/sanitized/$host/debug/libdps_core.so" "$prefix/lib/"
# Not what links without a sanitizer, and not what looks at the libraries themselves.
DPS_C_PREFIX="$PWD/$prefix" cargo test --package dps-tests --test bindings_c -- \
    programs:: chains:: forms:: nulls:: --skip the_linked_hsm

#!/bin/sh
# Builds the C library and lays it out as a prefix tree: include/, lib/, lib/pkgconfig/,
# lib/cmake/dps_core/, share/dps_core/.
#
#   dist.sh PREFIX [CARGO_PROFILE [small]]
#
# The small build has the same header and symbols; docs/figures-c.md says what it leaves out.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
root=$(cd "$here/.." && pwd)
prefix=$1
profile=${2:-c-dist}
case ${3:-full} in
full) features='--features full' ;;
small) features='--no-default-features --features small' ;;
*)
    echo "$0: $3 is no build of the library: small is" >&2
    exit 2
    ;;
esac
cargo=${CARGO:-cargo}
version=$(sed -n 's/^#define DPS_VERSION "\(.*\)"$/\1/p' "$here/include/dps_core.h")
major=${version%%.*}
minor=$(echo "$version" | cut -d. -f2)
soname=libdps_core.so.$major.$minor
case $profile in
dev) built=debug ;;
*) built=$profile ;;
esac
target=${CARGO_TARGET_DIR:-$root/target}/$built

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake/dps_core" "$prefix/share/dps_core"
prefix=$(cd "$prefix" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What firmware is not to carry. No exception passes through C: its unwind tables would be dead
# weight. Of Curve25519 AWS-LC keeps the portable code alone, without two copies for newer
# processors (0.4 MB). Of AES and SHA-2 the crates that open encrypted keys do the same; TLS does
# not use them.
case $profile in
c-dist)
    export AWS_LC_SYS_CFLAGS="-fno-asynchronous-unwind-tables -fno-unwind-tables \
-DMY_ASSEMBLER_IS_TOO_OLD_FOR_ADX_AVX2"
    export RUSTFLAGS="--cfg aes_backend=\"soft\" --cfg aes_backend_soft=\"compact\" \
--cfg sha2_backend=\"soft\" --cfg sha2_backend_soft=\"compact\""
    ;;
c-dist-small)
    export CFLAGS="${CFLAGS-} -fno-asynchronous-unwind-tables -fno-unwind-tables"
    # With a frame pointer a function's unwind table need not follow each push: 50 KB. The messages
    # of panics name source files, which need not say where cargo kept them: 14 KB.
    separator=$(printf '\037')
    flags=-Cforce-frame-pointers=yes
    for sources in "${CARGO_HOME:-${HOME-}/.cargo}"/registry/src/*/; do
        flags="$flags$separator--remap-path-prefix=$sources="
    done
    export CARGO_ENCODED_RUSTFLAGS="$flags"
    ;;
esac

# The linker is told the soname here, since a build script could not tell it for this kind alone.
# shellcheck disable=SC2086 # one argument for each word is what is wanted
(cd "$root" && "$cargo" rustc --quiet --package dps-c --lib --profile "$profile" $features -- \
    -C "link-arg=-Wl,-soname,$soname")

# In the archive everything but dps_* becomes local, so that it can stand beside another copy of
# aws-lc, OpenSSL, or a second static library of Rust: one relocatable object, then its symbols.
# What no dps_* function needs is left out; the sections of the rest stay apart, so that a program's
# own --gc-sections still drops what it does not use. Section groups are dissolved, or a second
# library's group of the same name would be thrown away for ours.
roots=$(nm -D --defined-only "$target/libdps_core.so" | sed -n 's/.* \(dps_[a-z0-9_]*\)$/-u \1/p')
# shellcheck disable=SC2086 # one argument for each word is what is wanted
ld -r --force-group-allocation --gc-sections $roots "$target/libdps_core.a" -o "$work/dps_core.o"
# What only left-out sections referred to is still named, and objcopy would take it for needed.
objdump -t "$work/dps_core.o" | awk '$2 == "l" && $3 == "*UND*" { print $5 }' > "$work/unreferred"
objcopy --strip-symbols="$work/unreferred" "$work/dps_core.o"
objcopy --wildcard --keep-global-symbol='dps_*' "$work/dps_core.o"
# The bitcode that std carries for LTO is of no use to a linker of C, and confuses its plug-ins.
objcopy --strip-debug --remove-section .llvmbc --remove-section .llvmcmd "$work/dps_core.o"
rm -f "$prefix/lib/libdps_core.a"
ar crs "$prefix/lib/libdps_core.a" "$work/dps_core.o"

objcopy --strip-debug "$target/libdps_core.so" "$prefix/lib/$soname"
ln -sf "$soname" "$prefix/lib/libdps_core.so"

cp "$here"/include/*.h "$prefix/include/"
cp "$root"/LICENSE "$root"/LICENSE-* "$prefix/share/dps_core/"

# What rustc names for a static link; tests/bindings_c/symbols.rs asserts it.
native='-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc'
fill() {
    sed -e "s|@VERSION@|$version|g" -e "s|@VERSION_MAJOR@|$major|g" -e "s|@VERSION_MINOR@|$minor|g" \
        -e "s|@SONAME@|$soname|g" -e "s|@NATIVE_LIBS@|$native|g" "$here/packaging/$1.in" > "$2/$1"
}
fill dps_core.pc "$prefix/lib/pkgconfig"
fill dps_core-static.pc "$prefix/lib/pkgconfig"
fill dps_core-config.cmake "$prefix/lib/cmake/dps_core"
fill dps_core-config-version.cmake "$prefix/lib/cmake/dps_core"

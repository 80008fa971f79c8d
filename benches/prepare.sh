#!/bin/sh
# Builds and installs what `make bench` compares, into target/bench: our packages in release, and
# Microsoft's SDKs in the versions that tests/interop pins.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
bench=${CARGO_TARGET_DIR:-$root/target}/bench
pins=$root/tests/interop

need() {
    command -v "$1" >/dev/null || { echo "make bench needs $1, which is not installed" >&2; exit 1; }
}
for command in python3 node npm cc make; do need "$command"; done
mkdir -p "$bench"

# Microsoft's SDKs, anew when their pins or the interpreter change.
fresh() {
    [ "$2" = "$(cat "$1/complete" 2>/dev/null)" ] && return 1
    rm -rf "$1" && mkdir -p "$1"
}
wanted="$(python3 --version) $(cat "$pins/python/requirements.txt")"
if fresh "$bench/microsoft-python" "$wanted"; then
    python3 -m venv "$bench/microsoft-python"
    "$bench/microsoft-python/bin/pip" install -q --disable-pip-version-check -r "$pins/python/requirements.txt"
    printf '%s' "$wanted" >"$bench/microsoft-python/complete"
fi
wanted="$(node --version) $(cat "$pins/node/package.json")"
if fresh "$bench/microsoft-node" "$wanted"; then
    cp "$pins/node/package.json" "$bench/microsoft-node"
    (cd "$bench/microsoft-node" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error)
    printf '%s' "$wanted" >"$bench/microsoft-node/complete"
fi

# Ours, as a user gets them.
make -C "$root" dist-python OUT="$bench/wheel"
[ -d "$bench/python" ] || python3 -m venv "$bench/python"
"$bench/python/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --force-reinstall \
    "$bench"/wheel/*.whl

make -C "$root" dist-node OUT="$bench/tarballs" WORK="$bench/node-work"
rm -rf "$bench/node" && mkdir -p "$bench/node"
echo '{ "private": true }' >"$bench/node/package.json"
(cd "$bench/node" && npm install --offline --ignore-scripts --no-package-lock --no-audit --no-fund \
    --loglevel=error "$bench"/tarballs/*.tgz)

sh "$root/bindings-c/packaging/dist.sh" "$bench/c"
mkdir -p "$bench/c-programs"
for program in device fleet reconnect telemetry; do
    cc -std=c99 -D_DEFAULT_SOURCE -O2 -I"$bench/c/include" "$root/benches/c/$program.c" \
        -o "$bench/c-programs/$program" -Wl,--gc-sections -s "$bench/c/lib/libdps_core.a" \
        -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
done

# The command as `make demo` builds it.
(cd "$root" && "${CARGO:-cargo}" build --quiet --package dps-cli)
cp "${CARGO_TARGET_DIR:-$root/target}/debug/dps" "$bench/dps"

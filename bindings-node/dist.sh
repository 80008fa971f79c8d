#!/bin/sh
# Builds the npm packages into dist/node: `make dist-node`, or `make dist-node PROFILE=dev`, which
# builds fast and large.
#
# OUT is another folder for the packages, WORK another for what they are made in; both absolute.
# The tools come from npm, pinned in tools/package.json; nothing of them is in the packages.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
work=${WORK:-$root/target/node}
out=${OUT:-$root/dist/node}
tools=$root/target/node/tools
profile=${PROFILE:-bindings-dist}

need() {
    command -v "$1" >/dev/null || { echo "the Node packages need $1, which is not installed" >&2; exit 1; }
}
need node
need npm
need cargo
need strip

mkdir -p "$work" "$tools"
if ! cmp -s "$here/tools/package.json" "$tools/installed.json"; then
    rm -rf "$tools" && mkdir -p "$tools"
    cp "$here/tools/package.json" "$tools/package.json"
    (cd "$tools" && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error) || {
        echo 'the build tools of the Node packages could not be installed from npm' >&2
        exit 1
    }
    cp "$here/tools/package.json" "$tools/installed.json"
fi

# Cargo builds its profile dev in a folder of another name, where napi does not look.
case $profile in
    dev) flags='' ;;
    *) flags="--profile $profile" ;;
esac
# shellcheck disable=SC2086
"$tools/node_modules/.bin/napi" build $flags --platform --no-js --cwd "$here" \
    --target-dir "$root/target" --output-dir "$work/build" --dts index.d.ts

pack() {
    cp "$root/LICENSE" "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$1"
    (cd "$1" && npm pack --silent --pack-destination "$out")
}
rm -rf "$work/stage" "$out"
mkdir -p "$work/stage/dps-core" "$out"
cp -r "$here/npm/linux-x64-gnu" "$work/stage/linux-x64-gnu"
cp "$work/build/dps-core.linux-x64-gnu.node" "$work/stage/linux-x64-gnu"
case $profile in
    dev) ;;
    *) strip --strip-unneeded "$work/stage/linux-x64-gnu/dps-core.linux-x64-gnu.node" ;;
esac
cp "$here/package.json" "$here/README.md" "$here/index.js" "$work/build/index.d.ts" "$work/stage/dps-core"
pack "$work/stage/linux-x64-gnu"
pack "$work/stage/dps-core"

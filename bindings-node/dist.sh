#!/bin/sh
# Builds the npm packages into dist/node: `make dist-node`, or `make dist-node PROFILE=dev`.
#
# The tools come from npm, pinned in tools/package.json; nothing of them is in the packages.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
work=$root/target/node
tools=$work/tools
profile=${PROFILE:-release}

need() {
    command -v "$1" >/dev/null || { echo "the Node packages need $1, which is not installed" >&2; exit 1; }
}
need node
need npm
need cargo

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

case $profile in
    release) flags='--release --strip' ;;
    dev) flags='' ;;
    *) echo "PROFILE is release or dev, not $profile" >&2; exit 1 ;;
esac
# shellcheck disable=SC2086
"$tools/node_modules/.bin/napi" build $flags --platform --no-js --cwd "$here" \
    --target-dir "$root/target" --output-dir "$work/build" --dts index.d.ts

pack() {
    cp "$root/LICENSE" "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$1"
    (cd "$1" && npm pack --silent --pack-destination "$root/dist/node")
}
rm -rf "$work/stage" "$root/dist/node"
mkdir -p "$work/stage/dps-core" "$root/dist/node"
cp -r "$here/npm/linux-x64-gnu" "$work/stage/linux-x64-gnu"
cp "$work/build/dps-core.linux-x64-gnu.node" "$work/stage/linux-x64-gnu"
cp "$here/package.json" "$here/README.md" "$here/index.js" "$work/build/index.d.ts" "$work/stage/dps-core"
pack "$work/stage/linux-x64-gnu"
pack "$work/stage/dps-core"

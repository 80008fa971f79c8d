#!/bin/sh
# Builds the packages, installs them into an empty project, and runs the tests there: `make test-node`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
project=$root/target/node/project

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
    exec node --test ${1+"$@"} test/*.test.mjs

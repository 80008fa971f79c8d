#!/bin/sh
# Tests the wheel that dist.sh builds, installed where nothing of this package was before.
set -eu
cd "$(dirname "$0")"
tools=$(sh tools.sh)
"${CARGO:-cargo}" build --quiet --package dps-cli
sh dist.sh
"$tools/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --force-reinstall ../dist/python/*.whl
"$tools/bin/python" -m pytest "$@"

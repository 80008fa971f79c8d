#!/bin/sh
# Writes the committed stubs anew, from the built module.
set -eu
cd "$(dirname "$0")"
tools=$(sh tools.sh)
sh dist.sh
"$tools/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --force-reinstall ../dist/python/*.whl
"$tools/bin/python" tools/stubs.py python/dps_core "$PROFILE"

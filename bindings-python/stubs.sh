#!/bin/sh
# Writes the committed stubs anew, from the built module.
set -eu
cd "$(dirname "$0")"
tools=$(sh tools.sh)
sh dist.sh
"$tools/bin/pip" install -q --disable-pip-version-check --no-index --no-deps --force-reinstall ../dist/python/*.whl
"$tools/bin/maturin" generate-stubs --quiet --profile "$PROFILE" --out ../target/python-tools/stubs
cp ../target/python-tools/stubs/dps_core/_dps_core.pyi python/dps_core/
"$tools/bin/python" tools/exception_stubs.py >../target/python-tools/exceptions.pyi
cp ../target/python-tools/exceptions.pyi python/dps_core/

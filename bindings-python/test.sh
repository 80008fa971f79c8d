#!/bin/sh
# Tests the wheel that dist.sh builds, in a fresh virtual environment that sees the tools too.
set -eu
cd "$(dirname "$0")"
tools=$(sh tools.sh)
"${CARGO:-cargo}" build --quiet --package dps-cli
sh dist.sh
fresh=$(dirname "$tools")/fresh
rm -rf "$fresh"
"$tools/bin/python" -m venv --without-pip "$fresh"
# Into the tools' environment too, where tests/conformance finds it.
for python in "$fresh/bin/python" "$tools/bin/python"; do
    "$tools/bin/python" -m pip --python "$python" install -q --disable-pip-version-check \
        --no-index --no-deps --force-reinstall ../dist/python/*.whl
done
ln -s "$tools/bin/maturin" "$fresh/bin/"
# Searched after the environment's own packages.
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
"$tools/bin/python" -c "$packages" >"$("$fresh/bin/python" -c "$packages")/tools.pth"
"$fresh/bin/python" -m pytest "$@"

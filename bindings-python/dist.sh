#!/bin/sh
# Builds the wheel and the source distribution into dist/python, with the profile $PROFILE.
set -eu
cd "$(dirname "$0")"
tools=$(sh tools.sh)
out=../dist/python
rm -rf "$out"
case $PROFILE in
    release) strip=true ;;
    *) strip=false ;;
esac
"$tools/bin/maturin" build --quiet --profile "$PROFILE" --strip "$strip" --out "$out"
"$tools/bin/maturin" sdist --out "$out"
ls "$out"

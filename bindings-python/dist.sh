#!/bin/sh
# Builds the wheel and the source distribution with the profile $PROFILE into the folder $OUT, which
# is dist/python unless told.
set -eu
out=${OUT:-$(dirname "$0")/../dist/python}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
tools=$(sh tools.sh)
rm -f "$out"/dps_core-*.whl "$out"/dps_core-*.tar.gz
case $PROFILE in
    dev) strip=false ;;
    *) strip=true ;;
esac
"$tools/bin/maturin" build --quiet --profile "$PROFILE" --strip "$strip" --out "$out"
"$tools/bin/maturin" sdist --out "$out"
ls "$out"

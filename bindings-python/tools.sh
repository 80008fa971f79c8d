#!/bin/sh
# Installs the pinned tools into target/python-tools, once, and prints that environment's folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "there is no $python: install Python 3.9 or newer" >&2; exit 1; }
folder=$here/../target/python-tools
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
wanted="$("$python" --version) $(cat "$here/requirements-dev.txt")"
if [ "$wanted" != "$(cat "$folder/complete" 2>/dev/null)" ]; then
    rm -rf "$folder/venv" "$folder/complete"
    "$python" -m venv "$folder/venv" ||
        { echo "$python cannot make a virtual environment: install its venv module" >&2; exit 1; }
    "$folder/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements-dev.txt" ||
        { echo "the tools of bindings-python/requirements-dev.txt could not be installed" >&2; exit 1; }
    printf '%s' "$wanted" >"$folder/complete"
fi
echo "$folder/venv"

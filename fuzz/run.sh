#!/bin/sh
# Drives every fuzz target for SECONDS_EACH (60) seconds. New inputs go to fuzz/found, which is not
# committed; what is worth keeping goes to fuzz/corpus, where `make test` runs it.
set -eu
cd "$(dirname "$0")"

if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo 'NOT FUZZED: a nightly toolchain and cargo-fuzz are needed (cargo +nightly install cargo-fuzz).' >&2
    echo 'The same targets run under `make test`, over the corpus and mutations of it.' >&2
    exit 1
fi
for corpus in corpus/*/; do
    target=$(basename "$corpus")
    mkdir -p "found/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "found/$target" "$corpus" -- \
        -max_total_time="${SECONDS_EACH:-60}" -rss_limit_mb=4096 -timeout=30
done

"""The other tests once more under the address and leak sanitizers of the C compiler: every
``malloc`` and ``free`` of this package, of Rust's and of CPython's, is watched, without another
build of any."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# What makes, uses, refuses and gives up every kind of object. Those that measure memory or fork are
# not for a process in which everything is slower and larger.
WATCHED = ["batch", "bad_input", "cancellation", "chain", "disconnecting", "hub", "signers"]

# What the sanitizers make a process end in that has misused or leaked memory.
FOUND = 97

# Only this process is watched, not the commands that the tests run.
PYTEST = """
import os, sys
for name in ("ASAN_OPTIONS", "LD_PRELOAD", "PYTHONMALLOC"):
    del os.environ[name]
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""

# malloc and free, called as a faulty extension would.
LEAK = """
import ctypes, dps_core
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc(1234)
"""
FREED_TWICE = """
import ctypes, dps_core
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
address = libc.malloc(1234)
libc.free(address)
libc.free(address)
"""


def watched(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    compiler = ["cc", "-print-file-name=libasan.so"]
    runtime = subprocess.run(compiler, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(runtime).is_absolute(), "the C compiler has no libasan"
    environment = {
        **os.environ,
        "ASAN_OPTIONS": f"detect_leaks=1:exitcode={FOUND}",
        "LD_PRELOAD": runtime,
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_the_sanitizers_find_what_they_are_for() -> None:
    for script, words in ((LEAK, "1234 byte(s) leaked"), (FREED_TWICE, "attempting double-free")):
        done = watched(script)
        assert done.returncode == FOUND, done.stderr
        assert words in done.stderr


def test_nothing_is_leaked_or_freed_twice() -> None:
    alone = watched("import asyncio, pytest, ssl, subprocess, threading")
    if alone.returncode == FOUND:
        pytest.skip(f"NOT CHECKED: this Python leaks by itself\n{alone.stderr}")
    tests = Path(__file__).parent
    options = ["-p", "no:cacheprovider", "--rootdir", str(tests.parent)]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return watched(PYTEST, *options, str(tests / f"test_{name}.py"))

    # They wait for the most part, so they wait together.
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(run, WATCHED):
            assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}"
            assert " passed" in done.stdout

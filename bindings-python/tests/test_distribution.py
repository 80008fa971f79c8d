"""The wheel, the source distribution and the types in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT, wheel

BINDING = ROOT / "bindings-python"
PACKAGE = BINDING / "python" / "dps_core"
SAMPLES = sorted((ROOT / "samples" / "python").glob("*.py"))
# Which profile the tests' wheel was built with: its dependencies are compiled already.
PROFILE = os.environ.get("PROFILE", "dev")


def tool(*arguments: str | Path, cwd: Path = BINDING) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    with zipfile.ZipFile(wheel()) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "cp39-abi3" in wheel().name
    package = {Path(name).name for name in names if name.startswith("dps_core/")}
    assert package == {path.name for path in PACKAGE.iterdir() if path.is_file()} | {
        "_dps_core.abi3.so"
    }
    assert "Requires-Dist" not in metadata
    assert "Requires-Python: >=3.9" in metadata


def test_the_source_distribution_builds(tmp_path: Path) -> None:
    (sdist,) = (ROOT / "dist" / "python").glob("dps_core-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = ["maturin", "build", "--profile", PROFILE, "--offline"]
    subprocess.run(
        [sys.executable, "-m", *build, "--out", tmp_path / "out"],
        cwd=source,
        env=os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")},
        check=True,
        capture_output=True,
    )
    (built,) = (tmp_path / "out").glob("*.whl")
    assert built.name == wheel().name


def test_the_stubs_are_those_of_the_built_module(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, BINDING / "tools" / "stubs.py", tmp_path, PROFILE],
        check=True,
        capture_output=True,
    )
    for name in ("_dps_core.pyi", "exceptions.pyi"):
        generated = (tmp_path / name).read_text()
        assert (PACKAGE / name).read_text() == generated, "run `make stubs-python`"


def test_the_stubs_are_what_python_sees() -> None:
    # Which classes may share a layout is written for newer checkers than mypy.
    tool("mypy.stubtest", "dps_core", "--ignore-disjoint-bases")


@pytest.mark.parametrize("paths", [SAMPLES, ["python/dps_core", "tests", "tools"]])
def test_types_are_complete(paths: list[str | Path]) -> None:
    tool("mypy", "--strict", *paths)


def test_the_style_is_kept() -> None:
    checked: list[str | Path] = ["python", "tests", "tools", *SAMPLES]
    checked += ["--config", "pyproject.toml"]
    tool("ruff", "check", *checked)
    tool("ruff", "format", "--check", *checked)

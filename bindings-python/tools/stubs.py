"""Writes the stubs of the built and installed package into a folder.

stubs.py FOLDER PROFILE
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import exception_stubs

BINDING = Path(__file__).parents[1]


def tool(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", *arguments], cwd=BINDING, check=True)


def main() -> None:
    folder, profile = Path(sys.argv[1]).absolute(), sys.argv[2]
    with tempfile.TemporaryDirectory() as made:
        tool("maturin", "generate-stubs", "--quiet", "--profile", profile, "--out", made)
        native = (Path(made) / "dps_core" / "_dps_core.pyi").read_text()
    stubs = {"_dps_core.pyi": native, "exceptions.pyi": exception_stubs.text()}
    for name, text in stubs.items():
        (folder / name).write_text(text)
    paths = [folder / name for name in stubs]
    # In the style of whatever else is here.
    tool("ruff", "check", "--quiet", "--config", "pyproject.toml", "--fix", "--exit-zero", *paths)
    tool("ruff", "format", "--quiet", "--config", "pyproject.toml", *paths)


if __name__ == "__main__":
    main()

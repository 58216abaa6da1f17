"""recc works from a wheel, from an editable install, and from the repository's root without installing.

Each way runs in an interpreter that has nothing but lark, sympy, mpmath and NumPy: no torch.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = ("lark", "sympy", "mpmath", "numpy")

PROBE = """
import sys
import numpy as np
import recc
for absent in ("torch", "triton"):
    assert absent not in sys.modules
op = recc.compile("recurrence total(d)\\n input x[d]\\n state s[d]\\n s[t] = s[t-1] + x[t]\\n output y[t] = s[t]")
y = op.reference(x=np.ones((1, 5, 2)))
assert np.array_equal(np.asarray(y)[0, :, 0], [1, 2, 3, 4, 5]), y
print(recc.__file__)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, links kept, so that a build leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("recc", "backends", "grammar"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the required packages and no other."""
    folder = tmp_path_factory.mktemp("libraries")
    for name in REQUIRED:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        package = Path(spec.origin).parent
        (folder / name).symlink_to(package)
        bundled = package.parent / f"{name}.libs"
        if bundled.exists():
            (folder / bundled.name).symlink_to(bundled)
    return folder


def pip(*arguments: str | Path, python: Path | None = None) -> None:
    into = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *into, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def empty_environment(folder: Path) -> Path:
    """An environment without any package; its interpreter."""
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def run(command: list[str | Path], libraries: Path, folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(libraries), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", reason="a wheel is built with setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, tree)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_real_files_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert not any(entry.external_attr >> 28 == 0xA for entry in archive.infolist()), "a link in the wheel"
    assert not [n for n in names if n.startswith(("backends/", "grammar/", "tests/"))]
    tracked = {p.relative_to(ROOT) for p in (ROOT / "recc").rglob("*.py")}
    tracked |= {"recc" / p.relative_to(ROOT) for top in ("backends", "grammar") for p in (ROOT / top).rglob("*.*")}
    tracked |= {p.relative_to(ROOT) for p in (ROOT / "recc").rglob("*.recc")} | {Path("recc/py.typed")}
    wanted = {
        str(p)
        for p in tracked
        if "__pycache__" not in p.parts and p.suffix in (".py", ".recc", ".lark", ".h", ".typed")
    }
    assert not wanted - names
    assert "recc/grammar/recc.lark" in names


def test_a_wheel_in_an_empty_environment(wheel: Path, libraries: Path, tmp_path: Path) -> None:
    python = empty_environment(tmp_path / "env")
    pip("install", "--no-deps", "--no-index", wheel, python=python)
    assert str(tmp_path / "env") in run([python, "-c", PROBE], libraries, tmp_path)
    program = tmp_path / "total.recc"
    program.write_text("recurrence total\n input x\n state s\n s[t] = s[t-1] + x[t]\n output y[t] = s[t]\n")
    assert "total" in run([python.parent / "recc", "check", program], libraries, tmp_path)


def test_an_editable_install(tree: Path, libraries: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="an editable install is built with setuptools")
    python = empty_environment(tmp_path / "env")
    site = next((tmp_path / "env").glob("lib/*/site-packages"))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", tree, "--target", tmp_path / "editable")
    for entry in (tmp_path / "editable").iterdir():
        if entry.suffix in (".pth", ".py"):
            shutil.copy(entry, site / entry.name)
    assert str(tree) in run([python, "-c", PROBE], libraries, tmp_path)


def test_from_the_root_without_installing(tree: Path, libraries: Path, tmp_path: Path) -> None:
    python = empty_environment(tmp_path / "env")
    assert str(tree) in run([python, "-c", PROBE], libraries, tree)

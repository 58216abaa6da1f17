"""What all tests share: one thread for torch, a folder for built kernels, `--update-golden`.

The tests may run in several processes at once (`make test`), whose kernels then go to one folder.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Arrays are too small for a second thread, and the cores are shared. A test that needs threads asks for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Triton decides when it is imported whether its own functions are for GPUs or for its interpreter, which the tests
# of emitted Triton use (tests/triton/conftest.py). Parts of torch import it, so it is done here, before any of them.
if importlib.util.find_spec("triton") is not None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton.language")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--update-golden: several tests may write one file, so run in one process (-n0)")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What the collection leaves stays until the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """What was kept from the garbage collector it may take now: libraries tell of what is never freed."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Built kernels and emitted modules go to a folder of the session, unless `RECC_CACHE` names one."""
    if os.environ.get("RECC_CACHE"):
        yield
        return
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # above the folders of the processes
    os.environ["RECC_CACHE"] = str(session / "kernels")
    yield
    del os.environ["RECC_CACHE"]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """A function that compares a text with a file, or writes the file under `--update-golden`."""
    update = request.config.getoption("--update-golden")

    def check(path: Path, actual: str) -> None:
        if update:
            path.write_text(actual, encoding="utf-8")
        assert path.exists(), f"{path} is missing: run pytest --update-golden and read what it wrote"
        assert actual == path.read_text(encoding="utf-8")

    return check

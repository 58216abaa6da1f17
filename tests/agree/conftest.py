"""Kernels built by these tests go to a folder of the session, unless `RECC_CACHE` names one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if os.environ.get("RECC_CACHE"):
        yield
        return
    os.environ["RECC_CACHE"] = str(tmp_path_factory.mktemp("kernels"))
    yield
    del os.environ["RECC_CACHE"]

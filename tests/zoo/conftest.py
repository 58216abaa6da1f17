"""Kernels of the zoo are built quickly: how well they are optimised is for other tests, which build some of them."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(autouse=True)
def quickly_built(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is not None:
        monkeypatch.setenv("RECC_CC", "cc -O1")

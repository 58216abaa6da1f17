"""Modules emitted by these tests go to a folder of the session; arrays are too small for more than one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.agree.conftest import cache


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


__all__ = ["cache"]

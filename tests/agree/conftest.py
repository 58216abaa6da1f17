"""Kernels built by these tests go to a folder of the session."""

from tests.conftest import cache

__all__ = ["cache"]

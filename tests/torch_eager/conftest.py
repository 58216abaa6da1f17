"""Modules emitted by these tests go to a folder of the session, unless `RECC_CACHE` names one."""

from tests.agree.conftest import cache

__all__ = ["cache"]

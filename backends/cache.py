"""The folder where emitted sources and what is built of them are kept, and the folder of edited ones.

`RECC_CACHE` is the folder (default `~/.cache/recc`; if that cannot be written, a passing folder, with a
warning). `RECC_OVERRIDE=DIR` names a folder of hand-edited copies: a file there with the name of an emitted
one is taken in its place.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

from recc.errors import UsageError


def cache_folder() -> Path:
    """Where built kernels are kept: `RECC_CACHE`, or `recc` in the user's cache. It may not exist yet."""
    named = os.environ.get("RECC_CACHE")
    if named:
        return Path(named)
    usual = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(usual) if usual else Path.home() / ".cache") / "recc"
    except RuntimeError:  # a user without a home
        return passing_folder("the user has no home folder")


def writable_folder(folder: Path) -> Path:
    """The folder, made if need be; or a passing one with a warning. Raises `UsageError` for one set by `RECC_CACHE`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as problem:
        reason = f"{folder}: {problem.strerror}"
        if os.environ.get("RECC_CACHE"):
            raise UsageError("RECC_CACHE", "a folder that can be written", reason) from None
        return passing_folder(reason)


@cache
def passing_folder(reason: str) -> Path:
    """A folder that goes when this process ends."""
    warnings.warn(
        f"recc keeps built kernels for this process only, because it cannot write them ({reason}); "
        "set RECC_CACHE to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )
    folder = tempfile.mkdtemp(prefix="recc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def edited_copy(name: str, ending: str) -> Path | None:
    """The hand-edited text of a kernel, if there is one. Raises `UsageError` if `RECC_OVERRIDE` is no folder."""
    folder = os.environ.get("RECC_OVERRIDE")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise UsageError("RECC_OVERRIDE", "a folder with edited kernels", f"{folder!r}, which is none")
    path = Path(folder) / f"{name}{ending}"
    return path if path.exists() else None


__all__ = ["cache_folder", "edited_copy", "passing_folder", "writable_folder"]

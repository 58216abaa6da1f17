"""Emitted Python modules: each is kept as a file in the cache folder, and loaded from there."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from recc.backends.cache import cache_folder, edited_copy, writable_folder
from recc.errors import UsageError


@dataclass(frozen=True)
class Emitted:
    """A loaded module, its text and where that lies."""

    functions: ModuleType
    source: str
    path: Path


def emitted(label: str, source: str) -> Emitted:
    """Keeps and loads a module, or the edited copy of it that `RECC_OVERRIDE` has.

    The file is named after `label` and a hash of the text; tools that read the text of functions find it there.
    Raises `UsageError` for an edited module that does not load.
    """
    name = f"{label}_{_digest(source)}"
    edited = edited_copy(name, ".py")
    if edited is not None:
        source = edited.read_text(encoding="utf-8")
        name = f"{name}_{_digest(source)[:8]}"
    path = _kept(name, source)
    return Emitted(_load(name, path, edited), source, path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(name: str, source: str) -> Path:
    """The file of a module, written if it is not there."""
    path = cache_folder() / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != source:
        path = writable_folder(path.parent) / path.name
        partial = path.with_suffix(f".{id(source):x}.part")
        partial.write_text(source, encoding="utf-8")
        partial.replace(path)
    return path


def _load(name: str, path: Path, edited: Path | None) -> ModuleType:
    """The module, under a name of its own among Python's modules: tracers look functions' globals up there."""
    known = sys.modules.get(f"recc_emitted_{name}")
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(f"recc_emitted_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as problem:  # a module that was edited may raise anything
        del sys.modules[module.__name__]
        if edited is None:
            raise
        actual = f"{type(problem).__name__}: {problem}"
        raise UsageError(f"the edited module {edited}", "Python that runs", actual) from problem
    return module


__all__ = ["Emitted", "emitted"]

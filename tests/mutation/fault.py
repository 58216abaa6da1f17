"""A fault and the ways of planting one: in emitted text, in the text of a function, or in a table of rules."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal, Protocol
from unittest import mock

from recc.fuzz.ways.program import Way

Emitted = Literal["c", "torch", "triton"]


class NotThere(Exception):
    """What a fault is to replace is nowhere: the fault has to follow the code that it was written for."""


@dataclass
class Planted:
    """How often the place of a fault was met while it was planted."""

    places: int = 0


class Patch(Protocol):
    """How a fault is planted."""

    def planted(self, count: Planted) -> Any:
        """A context in which the fault is there."""


@dataclass(frozen=True)
class InText:
    """Replaces text of emitted modules or kernels: regular expressions and what comes in place of each.

    `only` is a text that a module or kernel must have to be changed; `first` changes one place of each alone.
    """

    of: Emitted
    changes: tuple[tuple[str, str], ...]
    only: str = ""
    first: bool = False

    @contextmanager
    def planted(self, count: Planted) -> Iterator[None]:
        """While this holds, what is emitted has the fault."""

        def changed(source: str) -> str:
            if self.only not in source:
                return source
            for pattern, text in self.changes:
                source, found = re.subn(pattern, text, source, count=int(self.first))
                count.places += found
            return source

        with _builder_of(self.of, changed):
            yield


@contextmanager
def _builder_of(of: Emitted, changed: Callable[[str], str]) -> Iterator[None]:
    if of == "c":
        launch = importlib.import_module("recc.backends.c_cpu.launch")
        right = launch.build
        with mock.patch.object(launch, "build", lambda source, label: right(changed(source), label)):
            yield
        return
    place = importlib.import_module({"torch": "recc.backends.torch_eager.module",
                                     "triton": "recc.backends.triton_gpu.build"}[of])  # fmt: skip
    load = place.emitted
    with mock.patch.object(place, "emitted", lambda label, source, *more: load(label, changed(source), *more)):
        yield


@dataclass(frozen=True)
class InCode:
    """Replaces text of a function of recc, named `module:name` or `module:class.name`.

    The function keeps its identity, so that whoever holds it runs the changed code.
    """

    function: str
    old: str
    new: str

    @contextmanager
    def planted(self, count: Planted) -> Iterator[None]:
        """While this holds, the function has the fault. Raises `NotThere` where its text is another by now."""
        function = _plain(_found(self.function))
        right = function.__code__
        function.__code__ = _changed(function, self.old, self.new)
        count.places += 1
        try:
            yield
        finally:
            function.__code__ = right


@dataclass(frozen=True)
class InTable:
    """Puts another value into a mapping of recc, named `module:name`."""

    table: str
    key: Any
    value: Any

    @contextmanager
    def planted(self, count: Planted) -> Iterator[None]:
        """While this holds, the table has the fault. Raises `NotThere` where it has no such key."""
        table = _found(self.table)
        if self.key not in table:
            raise NotThere(f"{self.table} has no {self.key!r}")
        with mock.patch.dict(table, {self.key: self.value}):
            count.places += 1
            yield


@dataclass(frozen=True)
class Wrapped:
    """Puts something else in the place of a function of recc: what `make` gives for the right one."""

    function: str
    make: Callable[[Any], Any]

    @contextmanager
    def planted(self, count: Planted) -> Iterator[None]:
        """While this holds, the function is another. Raises `NotThere` where there is none."""
        holder, name = _holder(self.function)
        with mock.patch.object(holder, name, self.make(getattr(holder, name))):
            count.places += 1
            yield


@dataclass(frozen=True)
class Fault:
    """A fault: where it is, what it does, and the programs and ways in which it is looked for.

    `programs` are names of the zoo, or `SEED/NUMBER` for random ones. `escapes` tells why nobody can see it from
    outside, or why the fuzzer does not, where that is known.
    """

    name: str
    where: str
    says: str
    patch: Patch
    programs: tuple[str, ...]
    ways: tuple[Way, ...]
    escapes: str = field(default="", compare=False)


def way(text: str) -> Way:
    """A way as `backend form chunk`."""
    backend, form, *chunk = text.split()
    return Way(backend, form, int(chunk[0]) if chunk else None)


def ways(*texts: str) -> tuple[Way, ...]:
    """Ways as `backend form chunk`."""
    return tuple(way(text) for text in texts)


def _holder(path: str) -> tuple[Any, str]:
    module, _, names = path.partition(":")
    found: Any = importlib.import_module(module)
    *inside, last = names.split(".")
    for name in inside:
        found = getattr(found, name, None)
    if not hasattr(found, last):
        raise NotThere(path)
    return found, last


def _found(path: str) -> Any:
    holder, name = _holder(path)
    return inspect.getattr_static(holder, name)


def _plain(found: Any) -> FunctionType:
    """The function behind a property or a cache."""
    for inner in ("func", "fget", "__wrapped__", "__func__"):
        found = getattr(found, inner, None) or found
    assert isinstance(found, FunctionType), found
    return found


def _changed(function: FunctionType, old: str, new: str) -> Any:
    """The code of a function with a part of its text replaced."""
    text = textwrap.dedent(inspect.getsource(function))
    if old not in text:
        raise NotThere(f"{function.__qualname__} has no `{old}`")
    text = text[re.search(r"^def ", text, re.M).start() :].replace(old, new)  # type: ignore[union-attr]  # a function has one
    made: dict[str, Any] = {}
    # Annotations stay text: names in them need not be known at run time.
    exec(compile("from __future__ import annotations\n" + text, "<fault>", "exec"), function.__globals__, made)
    code = made[function.__name__].__code__
    if len(code.co_freevars) != len(function.__code__.co_freevars):
        raise NotThere(f"{function.__qualname__} takes part of what is around it")
    return code


__all__ = ["Fault", "InCode", "InTable", "InText", "NotThere", "Planted", "Wrapped", "way", "ways"]

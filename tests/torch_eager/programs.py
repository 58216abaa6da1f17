"""The programs of the agreement tests, run by the torch backend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from recc.runtime.op import Op
from tests.agree.cases import Program, programs


@dataclass(frozen=True)
class TorchProgram(Program):
    """A program with the op of one form, and of one size of chunks, on the torch backend."""

    form: str = "sequential"
    chunk: int | None = None

    @property
    def op(self) -> Op:
        return _op(self.name, self.form, self.chunk)


@cache
def _op(name: str, form: str, chunk: int | None) -> Op:
    return Op(programs()[name].rec, backend="torch", form=form, chunk_size=chunk)


def by_torch(name: str, form: str = "sequential", chunk: int | None = None) -> TorchProgram:
    """The program of a name."""
    return TorchProgram(name, programs()[name].rec, form, chunk)


__all__ = ["TorchProgram", "by_torch"]

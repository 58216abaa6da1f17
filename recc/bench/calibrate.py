"""Measures what the cost model knows of a device, and prints it beside the numbers that it uses.

    python -m recc.bench.calibrate

Each number of `recc.forms.device.Device` is measured by the operation that it is about, on arrays that are
neither tiny nor beyond the caches. The defaults were taken this way, rounded to one digit. They need not
be those of the machine at hand: choices hang on ratios between forms, and stay the same if all rates differ alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from math import log2

import torch

from recc.bench.report import Table
from recc.bench.timing import race
from recc.forms.device import DEVICES
from recc.pipeline import compile

_OPS = 64  # operations of a chain
_CHAIN = """
recurrence chain(d)
    input  x[d]
    param  a[d]
    state  h[d]
    h[t] = a * (a * (a * (a * h[t-1] + x[t]) + x[t]) + x[t]) + x[t]
    output y[t] = h[t]
"""


def rates(seconds: float = 0.5) -> dict[str, float]:
    """Every number of a device that can be measured, by the name of its field."""
    ways: dict[str, tuple[Callable[[], object], Callable[[float], float]]] = {
        name: way(name) for name, way in _WAYS.items()
    }
    with torch.no_grad():
        times = race({name: run for name, (run, _) in ways.items() if name != "launch_back"}, seconds)
    times |= race({"launch_back": ways["launch_back"][0]}, seconds)
    found = {name: of(times[name].median) for name, (_, of) in ways.items()}
    found["launch_back"] -= found["launch"]
    return found


Way = tuple[Callable[[], object], Callable[[float], float]]


def _products(_: str) -> Way:
    count, n = 32, 64
    a, b = torch.randn(count, n, n), torch.randn(count, n, n)
    return lambda: torch.bmm(a, b), lambda s: count * n**3 / s


def _matrix(_: str) -> Way:
    count, n = 4096, 4
    a, b = torch.randn(count, n, n), torch.randn(count, n, n)
    return lambda: torch.bmm(a, b), lambda s: s / count


def _solves(_: str) -> Way:
    count, n = 64, 64
    a, b = torch.eye(n).repeat(count, 1, 1), torch.randn(count, n, n)
    return (
        lambda: torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True),
        lambda s: count * n**3 / 2 / s,
    )


def _scalars(_: str) -> Way:
    a = torch.rand(1 << 16)
    return lambda: torch.tanh(a), lambda s: 4 * a.numel() / s  # tanh counts as four additions


def _transforms(_: str) -> Way:
    a = torch.randn(64, 4096)
    return lambda: torch.fft.rfft(a), lambda s: a.numel() * log2(4096) / s


def _bandwidth(_: str) -> Way:
    a, b = torch.randn(1 << 20), torch.randn(1 << 20)
    return lambda: torch.add(a, b), lambda s: 12 * a.numel() / s


def _fresh(_: str) -> Way:
    a = torch.randn(1 << 24)
    return lambda: torch.neg(a), lambda s: 4 * a.numel() / s


def _launch(_: str) -> Way:
    a, b = torch.randn(8, 1, 64), torch.randn(8, 64)

    def run() -> object:
        x = b
        for _ in range(_OPS):
            x = x * a.transpose(0, 1).squeeze(0)
        return x

    return run, lambda s: s / _OPS


def _launch_back(_: str) -> Way:
    a, b = torch.randn(8, 1, 64), torch.randn(8, 64, requires_grad=True)

    def run() -> object:
        x = b
        for _ in range(_OPS):
            x = x * a.transpose(0, 1).squeeze(0)
        return torch.autograd.grad(x.sum(), b)

    return run, lambda s: s / _OPS


def _kernel(_: str) -> Way:
    op, d, steps = compile(_CHAIN, backend="c"), 256, 1024
    x, a = torch.randn(1, steps, d), torch.rand(d)
    return lambda: op(x, a), lambda s: 8 * steps * d / s


_WAYS: dict[str, Callable[[str], Way]] = {
    "products": _products,
    "matrix": _matrix,
    "solves": _solves,
    "scalars": _scalars,
    "transforms": _transforms,
    "bandwidth": _bandwidth,
    "fresh": _fresh,
    "launch": _launch,
    "launch_back": _launch_back,
    "kernel": _kernel,
}


def table(seconds: float = 0.5) -> Table:
    """The measured numbers beside those that the model uses."""
    device, measured = DEVICES["cpu"], rates(seconds)
    rows = []
    for field in fields(device):
        used = getattr(device, field.name)
        if isinstance(used, (int, float)):
            found = measured.get(field.name)
            rows.append((field.name, f"{used:.2g}", "" if found is None else f"{found:.2g}"))
    return Table("What the cost model knows of the CPU", ("", "used", "measured"), tuple(rows))


if __name__ == "__main__":
    print(table().text())


__all__ = ["rates", "table"]

"""Time, memory and host time of a function on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from recc.bench.gpu.rivals import Arguments, Contender

Run = Callable[[], object]

#: Milliseconds that a time is taken over, and that the device is kept busy before.
_REPEAT, _WARM = 100, 25
#: Calls in a row, and how often, for the time of the host.
_CALLS, _ROWS = 40, 9
#: Bytes of the copy that gives the bandwidth: far more than any cache has.
_COPY = 1 << 30


class Clock:
    """Times runs on a device: by events on a GPU, by this machine's clock elsewhere."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.cuda = device == "cuda"

    def milliseconds(self, run: Run) -> float:
        """The median time of a run, with a cold cache on a GPU."""
        run()
        self.wait()
        if self.cuda:
            from triton.testing import do_bench

            return float(do_bench(run, warmup=_WARM, rep=_REPEAT, return_mode="median"))
        return median(self._timed(run) for _ in range(3)) * 1e3

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.cuda:
            torch.cuda.synchronize()

    def bandwidth(self) -> float:
        """Bytes per second of a copy within the device, read and written ones both counted."""
        source = torch.randn((_COPY if self.cuda else _COPY >> 6) // 4, device=self.device)
        target = torch.empty_like(source)
        took = self.milliseconds(lambda: target.copy_(source))
        return 2 * source.numel() * source.element_size() / took * 1e3

    def memory(self, run: Run) -> int | None:
        """The most bytes that a run has allocated at once, beyond what was there; `None` off a GPU."""
        if not self.cuda:
            return None
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return int(torch.cuda.max_memory_allocated() - before)

    def host_microseconds(self, run: Run) -> float:
        """How long a call keeps the host, which does not wait for the device."""
        for _ in range(5):
            run()
        rows = []
        for _ in range(_ROWS if self.cuda else 3):
            self.wait()
            calls = _CALLS if self.cuda else 2
            began = perf_counter()
            for _ in range(calls):
                run()
            rows.append((perf_counter() - began) / calls)
        self.wait()
        return median(rows) * 1e6

    def _timed(self, run: Run) -> float:
        began = perf_counter()
        run()
        return perf_counter() - began


def leaves(contender: Contender, arguments: Arguments) -> dict[str, Tensor]:
    """What a contender is given, with gradients for all that varies with time."""
    given = contender.prepare(arguments)
    return {n: t.detach().clone().requires_grad_(t.dim() > 1) for n, t in given.items()}


def forward(contender: Contender, given: Arguments) -> Callable[[], Tensor]:
    """A run that keeps nothing for a backward pass."""

    def go() -> Tensor:
        with torch.no_grad():
            return contender.run(given)

    return go


def both(contender: Contender, given: Arguments, weight: Tensor) -> Callable[[], Sequence[Tensor]]:
    """A run forward and backward: the gradients of the output's product with `weight`."""
    wanted = [t for t in given.values() if t.requires_grad]

    def go() -> Sequence[Tensor]:
        return torch.autograd.grad(contender.run(given), wanted, weight)

    return go


def gradients(contender: Contender, given: Arguments, weight: Tensor) -> dict[str, Tensor]:
    """The same by name."""
    names = [n for n, t in given.items() if t.requires_grad]
    return dict(zip(names, both(contender, given, weight)(), strict=True))


def facts(device: str) -> dict[str, Any]:
    """What a device is."""
    if device != "cuda":
        return {"name": "no GPU"}
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "processors": found.multi_processor_count,
        "memory": found.total_memory,
        "cuda": torch.version.cuda,
    }


__all__ = ["Clock", "Run", "both", "facts", "forward", "gradients", "leaves"]

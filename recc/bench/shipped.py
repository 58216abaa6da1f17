"""Functions in plain torch that other packages ship for a recurrence of ours, and torch's own ways to run one.

A module of fla-core is loaded from its file: its package would bring in Triton.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recc.bench.rivals import Tensors

Function = Callable[[Tensors], Tensor]


def shipped(folder: str, name: str) -> Any:
    """A function of fla-core's module `ops/<folder>/naive.py`, or `None` if it is not installed."""
    found = importlib.util.find_spec("fla")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("einops") is None:
        return None
    path = Path(next(iter(found.submodule_search_locations))) / "ops" / folder / "naive.py"
    spec = importlib.util.spec_from_file_location(f"_recc_bench_{folder}", path) if path.exists() else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name, None)


def chunked_scalar_gate() -> Function | None:
    """The chunked function for a scalar decay."""
    function = shipped("simple_gla", "naive_chunk_simple_gla")
    return function and (lambda of: function(of["q"], of["k"], of["v"], of["g"], scale=1.0)[0])


def stepwise_vector_gate() -> Function | None:
    """The function for a decay per row: fla-core has no chunked one of it in plain torch. It scales q by K^-1/2."""
    function = shipped("gla", "naive_recurrent_gla")
    return function and (lambda of: function(of["q"] * of["q"].shape[-1] ** 0.5, of["k"], of["v"], of["g"])[0])


def chunked_correction() -> Function | None:
    """The chunked function for a scalar decay and a correction along one key."""
    function = shipped("gated_delta_rule", "naive_chunk_gated_delta_rule")
    return function and (lambda of: function(of["q"], of["k"], of["v"], g=of["g"], beta=of["beta"], scale=1.0)[0])


def transform(of: Tensors) -> Tensor:
    """Constant poles by hand: the response of all steps at once, then a convolution by FFT."""
    u = of["u"]
    steps = u.shape[1]
    power = torch.complex(of["size"], of["phase"]).unsqueeze(-1) * torch.arange(steps, dtype=u.dtype)
    kernel = 2 * torch.einsum("dn,dnt->dt", of["C"], torch.exp(power)).real
    spectrum = torch.fft.rfft(u.transpose(1, 2), n=2 * steps) * torch.fft.rfft(kernel, n=2 * steps)
    y: Tensor = torch.fft.irfft(spectrum, n=2 * steps)[..., :steps]
    return y.transpose(1, 2) + of["D"] * u


def log_depth(of: Tensors) -> Tensor:
    """h[t] = a[t] h[t-1] + x[t] by torch's own `associative_scan`."""
    from torch._higher_order_ops.associative_scan import associative_scan

    def combine(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    found: Any = associative_scan(combine, (of["a"], of["x"]), 1, combine_mode="generic")
    h: Tensor = found[1]
    return h


__all__ = [
    "Function",
    "chunked_correction",
    "chunked_scalar_gate",
    "log_depth",
    "shipped",
    "stepwise_vector_gate",
    "transform",
]

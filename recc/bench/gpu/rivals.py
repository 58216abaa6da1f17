"""The functions of other packages that compute what a family computes, on the same tensors.

None of them scales: `scale=1` throughout. A package that is not there is left out, with a remark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

Arguments = Mapping[str, Tensor]

#: For each family: the module of fla-core and its function.
_FLA = {
    "no_gate": ("fla.ops.linear_attn", "chunk_linear_attn"),
    "constant_gate": ("fla.ops.simple_gla", "chunk_simple_gla"),
    "scalar_gate": ("fla.ops.simple_gla", "chunk_simple_gla"),
    "vector_gate": ("fla.ops.gla", "chunk_gla"),
    "plain_correction": ("fla.ops.delta_rule", "chunk_delta_rule"),
    "correction": ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
    "vector_correction": ("fla.ops.kda", "chunk_kda"),
    "log_scan": ("fla.ops.hgrn", "chunk_hgrn"),
}


def _as_they_are(of: Arguments) -> Arguments:
    return of


@dataclass(frozen=True)
class Contender:
    """A way to compute a family: `prepare` is done once and is not timed, `run` gives the output."""

    name: str
    run: Callable[[Arguments], Tensor]
    prepare: Callable[[Arguments], Arguments] = _as_they_are


@dataclass(frozen=True)
class Missing:
    """A contender that is not there, and why."""

    name: str
    reason: str


def fla(family: str) -> Contender | Missing:
    """The function of fla-core."""
    folder, name = _FLA[family]
    try:
        function: Any = getattr(import_module(folder), name)
    except (ImportError, AttributeError) as problem:
        return Missing("fla-core", str(problem))
    if family == "log_scan":
        return Contender(name, lambda of: _first(function(of["x"], of["g"])))
    if family == "no_gate":
        return Contender(name, lambda of: _first(function(**of, scale=1.0, normalize=False)))
    if family == "constant_gate":
        return Contender(
            name,
            lambda of: _first(function(of["q"], of["k"], of["v"], g_gamma=of["logs"], scale=1.0)),
            lambda of: {**{n: of[n] for n in ("q", "k", "v")}, "logs": of["gamma"].log()},
        )
    return Contender(name, lambda of: _first(function(**of, scale=1.0)))


def mamba(family: str) -> Contender | Missing:
    """The scan of mamba-ssm, which has one decay per head and step."""
    if family != "scalar_gate":
        return Missing("mamba-ssm", "it has no such function")
    try:
        function: Any = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    except (ImportError, AttributeError) as problem:
        return Missing("mamba-ssm", str(problem))

    def prepare(of: Arguments) -> Arguments:
        # There the drive is multiplied by the step size, which here is minus the log of the decay.
        step = -of["g"].float()
        drive = (of["v"] / step.unsqueeze(-1)).to(of["v"].dtype)
        return {"drive": drive, "step": step, "B": of["k"], "C": of["q"]}

    def run(of: Arguments) -> Tensor:
        rate = torch.full((of["step"].shape[-1],), -1.0, device=of["step"].device)
        return _first(function(of["drive"], of["step"], rate, of["B"], of["C"], chunk_size=128))

    return Contender("mamba_chunk_scan_combined", run, prepare)


def _first(result: Any) -> Tensor:
    found: Tensor = result[0] if isinstance(result, tuple) else result
    return found


def versions() -> dict[str, str]:
    """The versions of the packages that figures depend on, or that they are not there."""
    found = {}
    for name in ("torch", "triton", "fla-core", "mamba-ssm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not there"
    return found


__all__ = ["Arguments", "Contender", "Missing", "fla", "mamba", "versions"]

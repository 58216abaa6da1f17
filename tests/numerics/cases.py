"""Programs, hostile data for them, and their steps written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

import recc
from tests.numerics.reference import run
from tests.texts import attention_text

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Tensors = Mapping[str, Tensor]
Rng = np.random.Generator
K, V = 4, 3


@dataclass(frozen=True)
class Program:
    """A program with one state and one output.

    `steps` gives the output and the states before the first and after every step (see `reference.run`)
    from arguments by name; `initial` is among them.
    """

    text: str
    state: str
    shape: tuple[int, ...]
    steps: Callable[[Tensors], tuple[Tensor, Tensor]]
    complex: bool = False

    def compile(self, form: str, chunk: int | None, backend: str = "torch") -> Any:
        """The callable."""
        return _compiled(self.text, form, chunk, backend)


@cache
def _compiled(text: str, form: str, chunk: int | None, backend: str) -> Any:
    return recc.compile(text, backend=backend, form=form, chunk_size=chunk)


def outer(k: Tensor, v: Tensor) -> Tensor:
    """`k ⊗ v`."""
    return k.unsqueeze(-1) * v.unsqueeze(-2)


def read(a: Tensors, states: Tensor, before: bool = False) -> Tensor:
    """`sum[i](q[t] * S)`."""
    return torch.einsum("bti,btij->btj", a["q"], states[:, :-1] if before else states[:, 1:])


def attention(decay: Callable[[Tensors], Tensor], before: bool = False) -> Callable[[Tensors], tuple[Tensor, Tensor]]:
    """The steps of a decaying sum of `k ⊗ v`. `decay` gives `[B, T, K or 1, V or 1]`."""

    def steps(a: Tensors) -> tuple[Tensor, Tensor]:
        states = run(decay(a), outer(a["k"], a["v"]), a["initial"])
        return read(a, states, before), states

    return steps


def delta(decay: Callable[[Tensors], Tensor]) -> Callable[[Tensors], tuple[Tensor, Tensor]]:
    """The steps of a delta rule on a state that decays first. `decay` gives `[B, T, K or 1]`."""

    def steps(a: Tensors) -> tuple[Tensor, Tensor]:
        d, beta = decay(a), a["beta"].unsqueeze(-1)
        u, w = -beta * a["k"], a["k"] * d
        states = run(d.unsqueeze(-1), outer(beta * a["k"], a["v"]), a["initial"], u, w)
        return read(a, states), states

    return steps


def low_rank(a: Tensors) -> tuple[Tensor, Tensor]:
    """The steps of `exp(g) S + a (b · S) + k v`."""
    states = run(a["g"].exp().unsqueeze(-1), outer(a["k"], a["v"]), a["initial"], a["a"], a["b"])
    return read(a, states), states


def elementwise(decay: Callable[[Tensors], Tensor]) -> Callable[[Tensors], tuple[Tensor, Tensor]]:
    """The steps of `h = f h + x`."""

    def steps(a: Tensors) -> tuple[Tensor, Tensor]:
        states = run(decay(a), a["x"], a["initial"])
        return states[:, 1:], states

    return steps


def _kept(a: Tensors) -> tuple[Tensor, Tensor]:
    keep = a["f"].sigmoid()
    states = run(keep, (-a["f"]).sigmoid() * a["x"], a["initial"])
    return states[:, 1:], states


def _turned(a: Tensors) -> tuple[Tensor, Tensor]:
    turn = torch.polar(torch.ones_like(a["theta"]), a["theta"])
    turn = turn if turn.dim() == 3 else turn.reshape(1, 1, -1)
    states = run(turn, a["x"].to(torch.complex128), a["initial"])
    return states[:, 1:].real, states


def _phase(a: Tensors) -> tuple[Tensor, Tensor]:
    states = run(a["a"].reshape(1, 1, -1), a["x"].to(torch.complex128), a["initial"])
    return states[:, 1:].real, states


_KEEP = "exp(g[t])"
PROGRAMS: Mapping[str, Program] = {
    "scalar decay": Program(
        attention_text("scalar", "input g <= 0", "exp(g[t]) * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["g"].exp()[..., None, None]),
    ),
    "scalar decay, state before": Program(
        attention_text("before", "input g <= 0", "exp(g[t]) * S[t-1] + k[t] * v[t]", "S[t-1]"),
        "S", (K, V), attention(lambda a: a["g"].exp()[..., None, None], before=True),
    ),
    "key decay": Program(
        attention_text("key", "input g[i] <= 0", "exp(g[t]) * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["g"].exp().unsqueeze(-1)),
    ),
    "value decay": Program(
        attention_text("value", "input g[j] <= 0", "exp(g[t]) * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["g"].exp().unsqueeze(-2)),
    ),
    "full decay": Program(
        attention_text("full", "input g[i, j] <= 0", "exp(g[t]) * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["g"].exp()),
    ),
    "delta": Program(
        attention_text("delta", "input g <= 0, beta in [0, 2]",
                   f"{_KEEP} * (S[t-1] - beta[t] * k[t] * sum[i](k[t] * S[t-1])) + beta[t] * k[t] * v[t]"),
        "S", (K, V), delta(lambda a: a["g"].exp().unsqueeze(-1)),
    ),
    "delta, key decay": Program(
        attention_text("kda", "input g[i] <= 0, beta in [0, 2]",
                   f"{_KEEP} * S[t-1] - beta[t] * k[t] * sum[i](k[t] * {_KEEP} * S[t-1]) + beta[t] * k[t] * v[t]"),
        "S", (K, V), delta(lambda a: a["g"].exp()),
    ),
    "low rank, key decay": Program(
        attention_text("lowrank", "input g[i] <= 0, a[i], b[i]",
                   f"{_KEEP} * S[t-1] + a[t] * sum[i](b[t] * S[t-1]) + k[t] * v[t]"),
        "S", (K, V), low_rank,
    ),
    "scalar reset": Program(
        attention_text("resets", "input g <= 0, done bool", "where(done[t], 0, exp(g[t])) * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: torch.where(a["done"] != 0, 0.0, a["g"].exp())[..., None, None]),
    ),
    "key reset": Program(
        attention_text("resets", "input g[i] <= 0, done bool", "where(done[t], 0, exp(g[t])) * S[t-1] + k[t] * v[t]"),
        "S", (K, V),
        attention(lambda a: torch.where((a["done"] != 0).unsqueeze(-1), 0.0, a["g"].exp()).unsqueeze(-1)),
    ),
    "scalar factor": Program(
        attention_text("given", "input f", "f[t] * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["f"][..., None, None]),
    ),
    "key factor": Program(
        attention_text("given", "input f[i]", "f[t] * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["f"].unsqueeze(-1)),
    ),
    "value factor": Program(
        attention_text("given", "input f[j]", "f[t] * S[t-1] + k[t] * v[t]"),
        "S", (K, V), attention(lambda a: a["f"].unsqueeze(-2)),
    ),
    "delta, key factor": Program(
        attention_text("given", "input f[i], beta in [0, 2]",
                   "f[t] * S[t-1] - beta[t] * k[t] * sum[i](k[t] * f[t] * S[t-1]) + beta[t] * k[t] * v[t]"),
        "S", (K, V), delta(lambda a: a["f"]),
    ),
    "elementwise decay": Program(
        "recurrence plain(i)\n input x[i], g[i] <= 0\n state h[i]\n h[t] = exp(g[t]) * h[t-1] + x[t]\n"
        " output y[t] = h[t]",
        "h", (K,), elementwise(lambda a: a["g"].exp()),
    ),
    "elementwise factor": Program(
        "recurrence plain(i)\n input x[i], f[i]\n state h[i]\n h[t] = f[t] * h[t-1] + x[t]\n output y[t] = h[t]",
        "h", (K,), elementwise(lambda a: a["f"]),
    ),
    "gate": Program(
        "recurrence gate(i)\n input x[i], f[i]\n state h[i]\n keep[t] = sigmoid(f[t])\n"
        " h[t] = keep[t] * h[t-1] + (1 - keep[t]) * x[t]\n output y[t] = h[t]",
        "h", (K,), _kept,
    ),
    "constant decay": Program(
        "recurrence constant(i)\n input x[i]\n param f[i]\n state h[i]\n h[t] = f * h[t-1] + x[t]\n output y[t] = h[t]",
        "h", (K,), elementwise(lambda a: a["f"].reshape(1, 1, -1)),
    ),
    "turn": Program(
        "recurrence turn(i)\n input x[i], theta[i]\n state h[i] complex\n h[t] = cis(theta[t]) * h[t-1] + x[t]\n"
        " output y[t] = re(h[t])",
        "h", (K,), _turned, complex=True,
    ),
    "constant phase": Program(
        "recurrence phase(i)\n input x[i]\n param a[i] complex\n state h[i] complex\n h[t] = a * h[t-1] + x[t]\n"
        " output y[t] = re(h[t])",
        "h", (K,), _phase, complex=True,
    ),
    "constant turn": Program(
        "recurrence turn(i)\n input x[i]\n param theta[i]\n state h[i] complex\n h[t] = cis(theta) * h[t-1] + x[t]\n"
        " output y[t] = re(h[t])",
        "h", (K,), _turned, complex=True,
    ),
}  # fmt: skip

TINY = 1e-7


def logs(kind: str, rng: Rng, shape: Sequence[int]) -> Array:
    """Logarithms of decays."""
    choose: Mapping[str, list[float]] = {
        "strong": [-80.0],
        "none": [0.0],
        "mixed": [-80.0, -TINY, -1.0, 0.0, -1e-3],
        "rare": [-80.0] + [-TINY] * 30,
        "cut": [-np.inf, -TINY, -0.5],
        "all cut": [-np.inf],
        "saturated": [-88.0, -104.0, -1e-38],
    }
    if kind in choose:
        return rng.choice(choose[kind], size=shape)
    if kind == "mild":
        return np.asarray(-np.logaddexp(0, rng.standard_normal(shape)))
    return -{"near one": 2 * TINY, "slow": 0.01, "steep": 30.0}[kind] * rng.random(shape)


def factors(kind: str, rng: Rng, shape: Sequence[int]) -> Array:
    """Decays given directly."""
    choose: Mapping[str, list[float]] = {
        "ones and zeros": [0.0, 1.0, 1.0, 1.0],
        "all zero": [0.0],
        "near one": [1 - TINY, 1 - 3 * TINY, 1.0],
        "mixed": [0.0, 1.0, 1 - TINY, 0.5, 1e-30, 1e-44, -0.0],
        "negative": [-1.0, -0.999, -0.5, -1 + TINY],
        "signs": [-1.0, 1.0],
        "signs and zeros": [-1.0, 1.0, 0.0, -0.9, 0.9],
        "tiny": [1e-30, 1e-38],
    }
    if kind in choose:
        return rng.choice(choose[kind], size=shape)
    if kind == "mild":
        return rng.uniform(-1, 1, shape)
    assert kind == "alternating"
    return np.broadcast_to((-1.0) ** np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2)), shape)


LOGS = ("near one", "mild", "slow", "steep", "strong", "none", "mixed", "rare", "cut", "all cut", "saturated")
FACTORS = (
    "ones and zeros", "all zero", "near one", "mixed", "negative", "signs", "signs and zeros", "tiny", "alternating",
    "mild",
)  # fmt: skip
GATES = {"open": [30.0, 100.0, 17.0], "shut": [-30.0, -100.0, -17.0], "both": [-100.0, 100.0, 0.0], "far": [-3e4, 3e4]}


def draw(name: str, kind: str, steps: int, batch: int = 1, seed: int = 0, given: bool = True) -> Arrays:
    """Arguments and the initial state; every number is one of float32."""
    rng = np.random.default_rng([seed, steps])
    program = PROGRAMS[name]

    def normal(*shape: int) -> Array:
        return rng.standard_normal((batch, steps, *shape))

    found: Arrays = {}
    if len(program.shape) == 2:
        found.update(q=normal(K), k=normal(K), v=normal(V))
        found["k"] /= np.linalg.norm(found["k"], axis=-1, keepdims=True)
    else:
        found["x"] = normal(K)
    wide = {"key": (K,), "value": (V,), "full": (K, V), "elementwise": (K,), "delta, key": (K,), "low rank, key": (K,)}
    front, _, last = name.rpartition(" ")
    axes = wide.get(front, ())
    if last in ("decay", "reset", "before", "delta") and name != "constant decay":
        found["g"] = logs(kind, rng, (batch, steps, *axes))
    if last == "reset":
        found["done"] = rng.random((batch, steps)) < 0.1
    if last == "factor":
        found["f"] = factors(kind, rng, (batch, steps, *axes))
    if name == "constant decay":
        found["f"] = factors(kind, rng, (1, 2, K))[0, 1]
    if name == "gate":
        found["f"] = rng.choice(GATES[kind], size=(batch, steps, K))
    if "turn" in name:
        shape = (batch, steps, K) if name == "turn" else (K,)
        found["theta"] = (
            rng.choice([np.pi, np.pi / 2, 1e-4, 0.0], size=shape) if kind == "quarter" else rng.uniform(-4, 4, shape)
        )
    if name == "constant phase":
        found["a"] = np.exp(1j * rng.uniform(-4, 4, K))
    if "delta" in name:
        found["beta"] = rng.choice([0.0, 1.0, 2.0, 0.5], size=(batch, steps))
    if "low rank" in name:
        # |exp(g)| + |a| |b| <= 1 keeps the steps stable.
        b = rng.standard_normal((batch, steps, K))
        room = 1 - np.exp(found["g"].max(-1, keepdims=True))
        found["b"] = b / np.linalg.norm(b, axis=-1, keepdims=True)
        found["a"] = -room * found["b"] * rng.choice([0.0, 1.0, 0.5], size=(batch, steps, 1))
    states = (batch, *program.shape)
    if given:
        found["initial"] = rng.standard_normal(states) + (1j * rng.standard_normal(states) if program.complex else 0)
    else:
        found["initial"] = np.zeros(states, complex if program.complex else float)
    return {n: rounded(v) for n, v in found.items()}


def kinds(name: str) -> Sequence[str]:
    """The hostile data that there is for a program."""
    if name == "gate":
        return tuple(GATES)
    if name == "constant phase":
        return ("any",)
    if "turn" in name:
        return ("any", "quarter")
    return FACTORS if name.endswith("factor") or name == "constant decay" else LOGS


def rounded(value: Array) -> Array:
    """In double precision, the nearest numbers of single precision."""
    if value.dtype.kind == "c":
        return value.astype(np.complex64).astype(np.complex128)
    return value.astype(np.float32).astype(np.float64) if value.dtype.kind == "f" else value


__all__ = [
    "FACTORS", "GATES", "LOGS", "PROGRAMS", "Array", "Arrays", "Program", "draw", "factors", "kinds", "logs", "rounded",
]  # fmt: skip

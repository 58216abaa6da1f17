"""How emitted functions are loaded, run and compared with the interpreter of Blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recc.backends.torch_eager.emit import IMPORTS, emit_block
from recc.backends.torch_eager.ops import Env
from recc.forms.block import Block
from recc.forms.interpret import interpret
from recc.forms.vjp import vjp
from tests.forms.laws import SIZES, close, draw, shape

KINDS = {"real": torch.float64, "int": torch.int64, "bool": torch.bool}
LEADS = ((), (2,), (3, 2))

Function = Callable[..., dict[str, Tensor]]


def load(block: Block) -> Function:
    """The emitted function of a Block."""
    text = "\n".join([*IMPORTS, "", emit_block(block, "f")])
    table: dict[str, Any] = {}
    exec(compile(text, f"<{block.name}>", "exec"), table)
    found: Function = table["f"]
    return found


def env(lead: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Env:
    return Env(lead, dtype, torch.device("cpu"))


def some_leads(block: Block, lead: tuple[int, ...], seed: int) -> dict[str, tuple[int, ...]]:
    """For each input the leading sizes, or 1 in place of any of them."""
    rng = np.random.default_rng(seed)
    return {v.name: tuple(n if rng.random() < 0.7 else 1 for n in lead) for v in block.inputs}


def drawn(
    block: Block, sizes: Mapping[str, int], given: Mapping[str, Any], leads: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
    """Arrays `[*lead, *axes]` for all inputs."""
    found = {}
    for v in block.inputs:
        own = leads[v.name]
        several = [draw(block, sizes, given, seed + 1000 * i)[v.name] for i in range(int(np.prod(own)))]
        kind = {"real": np.float64, "int": np.int64, "bool": np.bool_}[v.dtype]
        found[v.name] = np.asarray(several, kind).reshape((*own, *shape(v, block, sizes)))
    return found


def each(
    block: Block, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int], lead: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The outputs `[*lead, *axes]` by the interpreter, one place of the leading dimensions after the other."""
    found: dict[str, np.ndarray] = {
        n: np.zeros((*lead, *shape(v, block, sizes)), {"real": float, "int": np.int64, "bool": bool}[v.dtype])
        for n, v in block.outputs
    }
    for at in np.ndindex(*lead):
        one = {n: x[at_of(x, at)] for n, x in arrays.items()}
        for n, x in interpret(block, one, sizes).items():
            found[n][at] = x
    return found


def at_of(x: np.ndarray, at: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(i, n - 1) for i, n in zip(at, x.shape, strict=False))


def back(
    block: Block,
    arrays: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    lead: tuple[int, ...],
    seeds: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The gradients by the interpreted VJP, summed over what an input is the same along."""
    wrt = [v.name for v in block.inputs if v.dtype == "real"]
    backward = vjp(block, wrt, list(seeds))
    found = {n: np.zeros(arrays[n].shape) for n in wrt}
    for at in np.ndindex(*lead):
        one = {n: x[at_of(x, at)] for n, x in arrays.items()}
        one |= {f"d {n}": g[at] for n, g in seeds.items()}
        for n, x in interpret(backward, one, sizes).items():
            found[n[2:]][at_of(found[n[2:]], at)] += x
    return found


def check_emitted(
    block: Block,
    given: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] = SIZES,
    *,
    lead: tuple[int, ...] = (2,),
    seed: int = 0,
    gradients: bool = True,
    tolerance: float = 1e-11,
) -> None:
    """The emitted function and its gradients against the interpreter."""
    arrays = drawn(block, sizes, given or {}, some_leads(block, lead, seed), seed)
    kinds = {v.name: v.dtype for v in block.inputs}
    tensors = {n: torch.as_tensor(x) for n, x in arrays.items()}
    for n, x in tensors.items():
        if kinds[n] == "real":
            x.requires_grad_()
    outputs = load(block)(tensors, sizes, env(lead))
    for n, v in block.outputs:
        assert outputs[n].dtype == KINDS[v.dtype]
        assert outputs[n].dim() == len(lead) + len(v.axes)
        assert outputs[n].shape[len(lead) :] == shape(v, block, sizes), f"{n} is of full size along its axes"
    whole = {n: x.expand((*lead, *x.shape[len(lead) :])) for n, x in outputs.items()}
    close({n: x.detach().numpy() for n, x in whole.items()}, each(block, arrays, sizes, lead), tolerance, "forward")
    seeds = {n: x for n, x in whole.items() if x.requires_grad}
    if not gradients or not seeds:
        return
    rng = np.random.default_rng(seed + 1)
    g = {n: rng.normal(size=tuple(x.shape)) for n, x in seeds.items()}
    wrt = [n for n in tensors if kinds[n] == "real"]
    found = torch.autograd.grad(
        list(seeds.values()),
        [tensors[n] for n in wrt],
        [torch.as_tensor(g[n]) for n in seeds],
        allow_unused=True,
    )
    close(
        {n: np.zeros(arrays[n].shape) if x is None else x.numpy() for n, x in zip(wrt, found, strict=True)},
        back(block, arrays, sizes, lead, g),
        10 * tolerance,
        "gradients",
    )

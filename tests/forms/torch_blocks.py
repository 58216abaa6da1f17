"""Blocks run by torch, whose autograd is the oracle of the VJP. Shares no code with the interpreter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recc.forms import block as ir

DTYPES = {"real": torch.float64, "int": torch.int64, "bool": torch.bool}

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.true_divide, "pow": torch.pow,
    "neg": torch.neg, "min": torch.minimum, "max": torch.maximum,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge, "eq": torch.eq, "ne": torch.ne,
    "and": torch.logical_and, "or": torch.logical_or, "not": torch.logical_not, "where": torch.where,
    "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "expm1": torch.expm1, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "sigmoid": torch.sigmoid, "log_sigmoid": torch.nn.functional.logsigmoid,
    "softplus": lambda x: torch.nn.functional.softplus(x, threshold=50.0), "tanh": torch.tanh,
    "sin": torch.sin, "cos": torch.cos, "abs": torch.abs, "sign": torch.sign, "floor": torch.floor,
    "erf": torch.erf, "logaddexp": torch.logaddexp, "real": lambda x: x.double(), "stop": lambda x: x.detach(),
    "surrogate": lambda f, b: b + (f - b).detach(),
}  # fmt: skip


#: The sum of each algebra along the last dimension; `amax` and `amin` share evenly between equals.
SUMS: dict[str, Callable[[Tensor], Tensor]] = {
    "ring": lambda x: x.sum(-1), "max-plus": lambda x: x.amax(-1), "min-plus": lambda x: x.amin(-1),
    "log-sum-exp": lambda x: x.logsumexp(-1),
}  # fmt: skip


class TorchBlock:
    """One run of a Block. `env` holds tensors with exactly the axes of their values."""

    def __init__(self, block: ir.Block, inputs: Mapping[str, Tensor], sizes: Mapping[str, int]):
        self.block, self.sizes = block, sizes
        self.env = dict(inputs)
        for op in block.ops:
            result = getattr(self, type(op).__name__.lower())(op)
            shape = [self.size(a) for a in op.out.axes]
            self.env[op.out.name] = result.to(DTYPES[op.out.dtype]).expand(shape)
        self.outputs = {n: self.env[v.name] for n, v in block.outputs}

    def size(self, axis: str) -> int:
        return self.sizes[self.block.root[axis]]

    def at(self, v: ir.Value, *axes: str) -> Tensor:
        """The tensor along `axes`, in any order, expanded along the axes it lacks."""
        tensor, have = self.env[v.name], list(v.axes)
        for a in axes:
            if a not in have:
                tensor, have = tensor.unsqueeze(-1).expand(*tensor.shape, self.size(a)), [*have, a]
        return tensor.permute([have.index(a) for a in axes])

    def back(self, tensor: Tensor, axes: list[str], out: ir.Value) -> Tensor:
        return tensor.permute([axes.index(a) for a in out.axes])

    def constant(self, op: ir.Constant) -> Tensor:
        return torch.tensor(op.value, dtype=torch.float64)

    def iota(self, op: ir.Iota) -> Tensor:
        return torch.arange(self.size(op.axis))

    def rename(self, op: ir.Rename) -> Tensor:
        names = dict(op.names)
        return self.back(self.env[op.arg.name], [names.get(a, a) for a in op.arg.axes], op.out)

    def map(self, op: ir.Map) -> Tensor:
        args = [self.at(v, *op.out.axes) for v in op.args]
        if op.out.dtype == "real":
            args = [a if v.dtype == "bool" else a.double() for a, v in zip(args, op.args, strict=True)]
        return FUNCTIONS[op.fn](*args)

    def contract(self, op: ir.Contract) -> Tensor:
        axes = [*op.out.axes, *op.over]
        product = torch.ones([self.size(a) for a in axes], dtype=torch.float64)
        for v in op.args:
            product = product * self.at(v, *axes)
        return product.sum(tuple(range(len(op.out.axes), len(axes)))) if op.over else product

    def reduce(self, op: ir.Reduce) -> Tensor:
        tensor = self.at(op.arg, *op.out.axes, *op.over)
        dims = tuple(range(len(op.out.axes), tensor.dim()))
        if op.fn == "prod":
            return tensor.prod(-1)
        if any(tensor.shape[d] == 0 for d in dims):
            return torch.tensor(-torch.inf if op.fn == "max" else torch.inf, dtype=torch.float64)
        return tensor.amax(dims) if op.fn == "max" else tensor.amin(dims)

    def cumulate(self, op: ir.Cumulate) -> Tensor:
        d = op.arg.axes.index(op.axis)
        tensor = self.env[op.arg.name]
        if not op.every or not tensor.shape[d]:
            return self.running(op, tensor, d)
        return torch.cat([self.running(op, part, d) for part in tensor.split(op.every, d)], d)

    def running(self, op: ir.Cumulate, tensor: Tensor, d: int) -> Tensor:
        tensor = tensor.flip(d) if op.reverse else tensor
        if op.exclusive:
            one = torch.full_like(tensor.narrow(d, 0, min(1, tensor.shape[d])), 0.0 if op.fn == "sum" else 1.0)
            tensor = torch.cat([one, tensor.narrow(d, 0, max(0, tensor.shape[d] - 1))], d)
        tensor = tensor.cumsum(d) if op.fn == "sum" else tensor.cumprod(d)
        return tensor.flip(d) if op.reverse else tensor

    def scan(self, op: ir.Scan) -> Tensor:
        """A loop over the steps, the operands spelled out along all axes; matrices flattened."""
        rest = [a for a in op.out.axes if a not in (op.axis, *op.rows)]
        last, sides = [self.size(a) for a in op.rows], 2 if op.rows else 0
        n = math.prod(last)
        lengths = [self.size(a) for a in rest]
        a = [self.at(v, op.axis, *rest, *op.rows, *op.cols) for v in op.a]
        a = [x.reshape([self.size(op.axis), *lengths, *[n] * sides]) for x in a]
        b = [self.at(v, op.axis, *rest, *op.rows) for v in op.b]
        state = [self.at(v, *rest, *op.rows).reshape([*lengths, *[n] * (sides // 2)]) for v in op.first]
        found = []
        for x in range(self.size(op.axis))[:: -1 if op.reverse else 1]:
            after = []
            for k, drive in enumerate(b):
                terms = []
                for (row, i), transition in zip(op.entries, a, strict=True):
                    if row == k:
                        before = state[i].unsqueeze(-2) if op.rows else state[i]
                        term = transition[x] * before if op.algebra == "ring" else transition[x] + before
                        terms.append(term if op.rows else term.unsqueeze(-1))
                terms.append(drive[x].reshape(state[k].shape).unsqueeze(-1))
                every = torch.cat(terms, -1)
                after.append(SUMS[op.algebra](every))
            state = after
            found.append(state[op.component].reshape([*lengths, *last]))
        found = found[::-1] if op.reverse else found
        whole = torch.stack(found) if found else torch.zeros(0, *lengths, *last, dtype=torch.float64)
        return self.back(whole, [op.axis, *rest, *op.rows], op.out)

    def convolve(self, op: ir.Convolve) -> Tensor:
        """The product with the Toeplitz matrix of the kernel."""
        rest, n = [a for a in op.out.axes if a != op.axis], self.size(op.axis)
        kernel, arg = (self.at(v, *rest, *op.over, op.axis) for v in (op.kernel, op.arg))
        lag = torch.arange(n)[:, None] - torch.arange(n)
        lag = -lag if op.reverse else lag
        toeplitz = torch.where(lag >= 0, kernel[..., lag.clamp(0)], 0.0)
        product = (toeplitz * arg.unsqueeze(-2)).sum(-1)
        summed = list(range(len(rest), len(rest) + len(op.over)))
        return self.back(product.sum(summed) if summed else product, [*rest, op.axis], op.out)

    def segment(self, op: ir.Segment) -> Tensor:
        rest = [a for a in op.out.axes if a not in (op.row, op.col)]
        tensor, n = self.at(op.arg, *rest, op.row), self.size(op.row)
        columns = []
        for s in range(n):
            ones = torch.ones_like(tensor[..., :1])
            column = torch.cat([ones, tensor[..., s + 1 :]], -1).cumprod(-1)
            columns.append(torch.cat([torch.zeros_like(tensor[..., :s]), column], -1))
        whole = torch.stack(columns, -1) if columns else torch.zeros(*tensor.shape, 0, dtype=torch.float64)
        return self.back(whole, [*rest, op.row, op.col], op.out)

    def mask(self, op: ir.Mask) -> Tensor:
        rest = [a for a in op.out.axes if a not in (op.row, op.col)]
        tensor = torch.tril(self.at(op.arg, *rest, op.row, op.col), -1 if op.strict else 0)
        return self.back(tensor, [*rest, op.row, op.col], op.out)

    def matrix(self, op: ir.Matrix) -> Tensor:
        rest = [a for a in op.out.axes if a not in (op.rows, op.cols)]
        a = self.at(op.args[0], *rest, op.rows, op.cols)
        if op.fn.startswith("solve"):
            if op.fn == "solve_unit_lower":
                a = torch.tril(a, -1) + torch.eye(a.shape[-1], dtype=torch.float64)
            a = a.mT if op.transposed else a
            x = torch.linalg.solve(a, self.at(op.args[1], *rest, op.rows).unsqueeze(-1)).squeeze(-1)
            return self.back(x, [*rest, op.rows], op.out)
        if op.fn == "expm_vjp":
            g = self.at(op.args[1], *rest, op.rows, op.cols)
            with torch.enable_grad():
                a = a.detach().requires_grad_()
                (result,) = torch.autograd.grad(torch.matrix_exp(a), a, g)
        else:
            result = torch.linalg.inv(a) if op.fn == "inv" else torch.matrix_exp(a)
        return self.back(result, [*rest, op.rows, op.cols], op.out)

    def take(self, tensor: Tensor, d: int, index: Tensor, edge: str) -> Tensor:
        """Elements of dimension d at a flat index, an element of zeros standing for all outside."""
        n = tensor.shape[d]
        padded = torch.cat([tensor, torch.zeros_like(tensor.select(d, 0).unsqueeze(d))], d)
        if edge == "wrap":
            index = index % n
        elif edge == "clamp":
            index = index.clamp(0, n - 1)
        else:
            index = torch.where((index < 0) | (index >= n), n, index)
        return padded.index_select(d, index)

    def shift(self, op: ir.Shift) -> Tensor:
        n = self.size(op.axis)
        tensor = self.env[op.arg.name]
        return self.take(tensor, op.arg.axes.index(op.axis), torch.arange(n) + op.offset, op.edge) if n else tensor

    def gather(self, op: ir.Gather) -> Tensor:
        """Spelled out one element of the index at a time."""
        kept = [a for a in op.arg.axes if a != op.axis]
        both = [a for a in op.index.axes if a in kept]
        only = [a for a in op.index.axes if a not in kept]
        rest = [a for a in kept if a not in both]
        index, tensor = self.at(op.index, *both, *only), self.at(op.arg, *both, op.axis, *rest)
        batch = index.shape[: len(both)]
        found = [
            self.take(tensor[i], 0, index[i].reshape(-1), op.edge).reshape(
                (*index.shape[len(both) :], *tensor[i].shape[1:])
            )
            for i in np.ndindex(*batch)
        ]
        shape = (*batch, *index.shape[len(both) :], *tensor.shape[len(both) + 1 :])
        whole = torch.stack(found).reshape(shape) if found else torch.zeros(shape, dtype=tensor.dtype)
        return self.back(whole, [*both, *only, *rest], op.out)

    def scatter(self, op: ir.Scatter) -> Tensor:
        """The product with a matrix of zeros and ones."""
        n = self.size(op.axis)
        index = self.at(op.index, *op.arg.axes)
        if op.edge != "zero" and n:
            index = index % n if op.edge == "wrap" else index.clamp(0, n - 1)
        hit = (index.unsqueeze(-1) == torch.arange(n)).double()
        product = self.env[op.arg.name].unsqueeze(-1) * hit
        summed = [i for i, a in enumerate(op.arg.axes) if a not in op.out.axes]
        axes = [*(a for a in op.arg.axes if a in op.out.axes), op.axis]
        return self.back(product.sum(summed) if summed else product, axes, op.out)


def run_torch(block: ir.Block, arrays: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The outputs of a Block, by torch."""
    tensors = {v.name: torch.as_tensor(arrays[v.name], dtype=DTYPES[v.dtype]) for v in block.inputs}
    return {n: t.detach().numpy() for n, t in TorchBlock(block, tensors, sizes).outputs.items()}


def grad_torch(
    block: ir.Block, arrays: Mapping[str, Any], sizes: Mapping[str, int], wrt: list[str], seeds: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The cotangents of the inputs in `wrt`, by torch's autograd."""
    tensors = {v.name: torch.as_tensor(arrays[v.name], dtype=DTYPES[v.dtype]).clone() for v in block.inputs}
    for n in wrt:
        tensors[n].requires_grad_()
    outputs = TorchBlock(block, tensors, sizes).outputs
    flowing = [n for n in seeds if outputs[n].requires_grad]
    found = (
        torch.autograd.grad(
            [outputs[n] for n in flowing],
            [tensors[n] for n in wrt],
            [torch.as_tensor(seeds[n], dtype=torch.float64) for n in flowing],
            allow_unused=True,
        )
        if flowing
        else [None] * len(wrt)
    )
    return {n: np.zeros(tensors[n].shape) if g is None else g.numpy() for n, g in zip(wrt, found, strict=True)}

"""Causal convolutions along a dimension: as a product with a Toeplitz matrix, or by Fourier transforms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recc.backends.torch_eager.shapes import cut

#: Steps up to which a matrix is made in any case, and if it is not much larger than what it is applied to.
_SHORT, _MEDIUM = 8, 256

#: A letter that no axis has.
_OTHER = "Z"


def convolve(letters: str, kernel: Tensor, arg: Tensor, axis: str, reverse: bool = False) -> Tensor:
    """`out[x] = sum over y <= x of kernel[x - y] * arg[y]`; see `recc.forms.block.Convolve`.

    Args:
        letters: the axes as in `torch.einsum`, such as `"tdn,tn->td"`, without those of leading dimensions.
        kernel: `[*lead, *axes]`.
        arg: `[*lead, *axes]`.
        axis: the letter of the axis that the convolution follows.
        reverse: whether it is the correlation, `out[x] = sum over y >= x of kernel[y - x] * arg[y]`.
    """
    left, _, out = letters.partition("->")
    one, _, other = left.partition(",")
    dims = [name.index(axis) - len(name) for name in (one, other, out)]
    size = arg.shape[dims[1]]
    small = size <= _SHORT or (size <= _MEDIUM and kernel.numel() * size <= 2 * arg.numel())
    if size == 0 or not small:
        return _fourier(f"...{one},...{other}->...{out}", kernel, arg, dims, reverse)
    # The matrix is read along its columns by a convolution, along its rows by a correlation.
    matrix = f"{one.replace(axis, '')}{_OTHER}{axis}"
    other, out = (other, out.replace(axis, _OTHER)) if reverse else (other.replace(axis, _OTHER), out)
    return torch.einsum(f"...{matrix},...{other}->...{out}", _toeplitz(kernel, dims[0]), arg)


def _toeplitz(kernel: Tensor, dim: int) -> Tensor:
    """`out[..., y, x] = kernel[x - y]`, zero for x < y.

    Rows of twice the length, cut to one element less each, are moved by one from row to row.
    """
    size = kernel.shape[dim]
    rows = F.pad(kernel.movedim(dim, -1), (0, size)).unsqueeze(-2)
    flat = rows.expand([*rows.shape[:-2], size, 2 * size]).flatten(-2)
    return cut(flat.narrow(-1, 0, size * (2 * size - 1)), -1, (size, 2 * size - 1)).narrow(-1, 0, size)


def _fourier(equation: str, kernel: Tensor, arg: Tensor, dims: list[int], reverse: bool) -> Tensor:
    """By the product of Fourier transforms, long enough that nothing comes round from the other end."""
    size = arg.shape[dims[1]]
    length = _fast(2 * size)
    left, right = torch.fft.rfft(kernel, length, dims[0]), torch.fft.rfft(arg, length, dims[1])
    product = torch.einsum(equation, left.conj() if reverse else left, right)
    found: Tensor = torch.fft.irfft(product, length, dims[2])
    return found.narrow(dims[2], 0, size)


def _fast(size: int) -> int:
    """The least even number from `size` on that has no prime factor above 5."""
    length = max(2, size + size % 2)
    while True:
        rest = length
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return length
        length += 2


__all__ = ["convolve"]

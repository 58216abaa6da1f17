"""Arrays of any framework as NumPy views of their memory, with the element type that they really have."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from recc.errors import UsageError
from recc.recurrence import Dtype, Symbol

Array = np.ndarray[Any, np.dtype[Any]]

#: Element types that kernels read and write, by NumPy's names.
_STORED = {
    "float32": "float32", "float64": "float64", "float16": "float16", "int64": "int64", "int32": "int32",
    "int16": "int16", "int8": "int8", "uint8": "uint8", "bool": "uint8", "complex64": "float32",
    "complex128": "float64",
}  # fmt: skip

#: NumPy works the name of a type out anew every time.
_NAMES = {np.dtype(name): name for name in _STORED}


@dataclass(frozen=True)
class Host:
    """An array in memory. A complex array has its real and imaginary parts as a last axis of size 2.

    `array` has the bits of the elements: 16-bit floats are there as unsigned integers. `storage` is
    their type.
    """

    array: Array
    storage: str
    complex: bool


def is_torch(value: object) -> bool:
    """Whether a value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_host(value: Any) -> Host:
    """A view of a NumPy array's or a CPU tensor's memory."""
    if is_torch(value):
        return _tensor_to_host(value)
    name = _NAMES.get(value.dtype) or value.dtype.name
    if name.startswith("complex"):
        return Host(value[..., None].view(_STORED[name]), _STORED[name], True)
    return _array_to_host(value, name)


def _tensor_to_host(tensor: Any) -> Host:
    import torch

    tensor = tensor.detach().resolve_neg()
    name = str(tensor.dtype)[6:]
    if tensor.is_complex():
        return Host(torch.view_as_real(tensor.resolve_conj()).numpy(), _STORED[name], True)
    if name == "bfloat16":
        return Host(tensor.view(torch.int16).numpy().view(np.uint16), name, False)
    return _array_to_host(tensor.numpy(), name)


def _array_to_host(array: Array, name: str) -> Host:
    if name == "float16":
        return Host(array.view(np.uint16), "float16", False)
    if name == "bool":
        return Host(array.view(np.uint8), "uint8", False)
    return Host(array, _STORED[name], False)


def dtype_name(value: Any) -> str:
    """The element type of an array or tensor by its framework's common name (`float32`, `bfloat16`…)."""
    return str(value.dtype).removeprefix("torch.")


def kind_of(name: str) -> Dtype:
    """What a declared dtype would be for an element type."""
    if name.startswith("complex"):
        return "complex"
    if "float" in name:
        return "real"
    return "bool" if name == "bool" else "int"


def check_dtype(symbol: Symbol, name: str) -> None:
    """Raises `UsageError` if elements of a type cannot stand for what is declared."""
    given = kind_of(name)
    if given != "complex" and name not in _STORED and name != "bfloat16":
        raise UsageError(f"argument {symbol.name!r}", "a common element type (float32, bfloat16, int64, …)", name)
    order = ("bool", "int", "real", "complex")
    if order.index(given) <= order.index(symbol.dtype) or (symbol.dtype == "bool" and given == "int"):
        return
    expected = {
        "bool": "booleans", "int": f"integers (indices into axis {symbol.indexes!r})" if symbol.indexes else "integers",
        "real": "real numbers", "complex": "numbers",
    }[symbol.dtype]  # fmt: skip
    hint = "declare it `complex` if it is meant to be" if given == "complex" else "convert it first"
    raise UsageError(f"argument {symbol.name!r}", expected, name, hint)


__all__ = ["Array", "Host", "check_dtype", "dtype_name", "is_torch", "kind_of", "to_host"]

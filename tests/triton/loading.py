"""Modules made of the library's functions and a few kernels, as emitted ones are."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recc.backends.triton_gpu import library

Array = NDArray[Any]

_HEAD = "import triton\nimport triton.language as tl\n\n\n"


def load(path: Path, kernels: str) -> ModuleType:
    """Writes a module of kernels with the library functions that they mention, and loads it."""
    wanted = [name for name in library.names() if re.search(rf"\b{name}\b", kernels)]
    path.write_text(f"{_HEAD}{library.sources(wanted)}\n\n{kernels}", encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(kernel: Any, arrays: list[Array], out: tuple[int, ...], **constants: Any) -> Array:
    """Runs one program of a kernel on arrays and gives its last argument, of the first array's dtype, poisoned."""
    tensors = [torch.from_numpy(np.array(a, order="C")) for a in arrays]
    result = torch.full(out, torch.nan, dtype=tensors[0].dtype)
    kernel[(1,)](*tensors, result, **constants)
    return np.asarray(result.numpy())

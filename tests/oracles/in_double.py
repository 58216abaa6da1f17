"""The reference functions of flash-linear-attention, run in double precision as they stand.

Each folder of `fla.ops` has a `naive.py` in plain torch, most of which cast to float32 whatever they are given.
Under `Doubled` that type is float64 wherever torch is told it, so that their numbers and their gradients can be
compared to the last digits. The files are read by their paths: importing the package brings all of its kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Functions that make a tensor of the default type when they are told none.
_MAKERS = frozenset({torch.zeros, torch.ones, torch.eye, torch.tensor})


class Doubled(TorchFunctionMode):
    """Within it, float64 stands wherever torch is asked for float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = {name: _wider(v) for name, v in (kwargs or {}).items()}
        if func is torch.Tensor.float:
            return args[0].double()
        if func in _MAKERS:
            given.setdefault("dtype", None)
            whole = func is torch.tensor and not isinstance(args[0], float)
            given["dtype"] = given["dtype"] or (None if whole else torch.float64)
        return func(*map(_wider, args), **given)


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@cache
def _module(folder: str, file: str) -> Any:
    package = find_spec("fla")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "ops" / folder / f"{file}.py"
    spec = spec_from_file_location(f"fla_{folder.replace('/', '_')}_{file}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def naive(folder: str, name: str, file: str = "naive") -> Callable[..., Any]:
    """The function `name` of `fla/ops/FOLDER/naive.py`, in double precision."""
    function = getattr(_module(folder, file), name)

    def doubled(*args: Any, **kwargs: Any) -> Any:
        with Doubled():
            return function(*args, **kwargs)

    return doubled


__all__ = ["Doubled", "naive"]

"""What the kernels of a module need to be compiled without a call: the types of their arguments."""

from __future__ import annotations

from recc.backends.triton_gpu.binary import Kernel
from recc.backends.triton_gpu.build import Module
from recc.backends.triton_gpu.kernel import Kernel as Text
from recc.backends.triton_gpu.memory import Argument

#: Triton's names of element types.
_TYPES = {
    "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64", "int64": "i64", "bool": "i1",
}  # fmt: skip
#: What the host passes that may be any number, not only one that 16 divides.
_COUNTS = ("heads", "steps", "batch", "clock", "extents")


def kernels_of(module: Module, storage: str = "float32", states: bool = True) -> dict[str, Kernel]:
    """Every kernel of a module by name, for arguments of one type, as a training call launches it.

    Args:
        module: the kernels.
        storage: the type of real arguments and outputs.
        states: whether initial states are given and final ones asked for.
    """
    found = {}
    for text, _ in module.text.kernels:
        signature: dict[str, str] = {}
        constants: dict[str, object] = {}
        aligned = set()
        for argument in text.arguments:
            kind = _type(text, argument, storage)
            absent = argument.name == text.known.get(("slots",)) or (not states and _is_state(text, argument))
            if kind.endswith("?") and absent:
                constants[argument.name] = None
                continue
            signature[argument.name] = kind.rstrip("?")
            count = argument.host == "sequences" or argument.host.startswith(_COUNTS)
            if kind.startswith("*") or not count:
                aligned.add(argument.name)
        spec = text.spec
        function = getattr(module.functions, text.name)
        found[text.name] = Kernel(function, signature, constants, frozenset(aligned), spec.warps, spec.stages)
    return found


def _is_state(text: Text, argument: Argument) -> bool:
    keys = [key for key, name in text.known.items() if name == argument.name]
    return any(key[0] in ("first", "last", "d first", "d last") for key in keys)


def _type(text: Text, argument: Argument, storage: str) -> str:
    """The type of an argument in Triton's words, with a question mark if it may be absent."""
    kind = argument.type
    if not kind.startswith("*"):
        return "i32"
    name = kind.strip("*?")
    ending = "?" if kind.endswith("?") else ""
    if name in _TYPES:
        return f"*{_TYPES[name]}{ending}"
    tensor = name.removeprefix("d ").removeprefix("grad ")
    symbol = text.spec.form.rec.table[tensor]
    if symbol.dtype in ("int", "bool"):
        return f"*{'i64' if symbol.dtype == 'int' else 'i1'}{ending}"
    if symbol.dtype == "complex" or text.spec.compute == "float64":
        return f"*{_TYPES[text.spec.compute]}{ending}"
    return f"*{_TYPES[storage]}{ending}"


__all__ = ["kernels_of"]

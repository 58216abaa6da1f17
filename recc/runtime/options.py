"""The options of `recc.compile`: which backend, which form, how large a chunk."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from recc.errors import Refusal, Unsupported, UsageError
from recc.forms.table import Form
from recc.recurrence import Recurrence

BACKENDS = ("auto", "numpy", "c", "torch", "triton")
FORMS = ("auto", "sequential", "scan", "chunked", "convolution", "matrix", "newton")


def choose_backend(backend: str, form: str) -> str:
    """The backend of tensors on the CPU: `auto` is `c`, or `torch` for a form that only that has there.

    Raises `UsageError` for an unknown name, `Unsupported` for one that is not there.
    """
    if backend not in BACKENDS:
        raise UsageError("backend", f"one of {', '.join(BACKENDS)}", repr(backend))
    if backend == "auto":
        backend = "c" if form in ("auto", "sequential") else "torch"
    if backend in ("torch", "triton"):
        need_torch()
    if backend == "triton":
        need_triton()
    return backend


def has_kernels(backend: str, form: str) -> bool:
    """Whether Triton kernels run tensors on a GPU, for a backend and a form as they were asked for."""
    if backend == "auto":
        return form in ("auto", "sequential", "scan", "chunked") and find_spec("triton") is not None
    return backend == "triton"


def need_torch() -> None:
    """Raises `Unsupported` where torch is not installed."""
    if find_spec("torch") is None:
        reason = "torch is not installed"
        instead = "install it (`pip install recc-lang[torch]`), or use backend='c' (kernels) or 'numpy' (reference)"
        raise Unsupported(Refusal("backend 'torch'", reason, instead))


def need_triton() -> None:
    """Raises `Unsupported` where Triton is not installed."""
    if find_spec("triton") is None:
        reason = "triton is not installed"
        instead = (
            "install it (`pip install recc-lang[triton]`, Linux only), or use backend='torch' (any device) or 'c' (CPU)"
        )
        raise Unsupported(Refusal("backend 'triton'", reason, instead))


def choose_form(rec: Recurrence, form: str, backend: str, chunk: int | None = None) -> str:
    """The form on a backend: `auto` stays where there is a choice, and is `sequential` elsewhere.

    Raises `UsageError` for an unknown name, `Unsupported` for a form that the program or the backend lacks.
    """
    if form not in FORMS:
        raise UsageError("form", f"one of {', '.join(FORMS)}", repr(form))
    if form in ("auto", "sequential"):
        return form if backend in ("torch", "triton") else "sequential"
    form_named(rec, form, chunk)
    if backend not in ("torch", "triton"):
        what = {"c": "the C kernels run", "numpy": "the reference runs"}[backend]
        reason = f"{what} the sequential form only"
        raise Unsupported(Refusal(f"form {form!r} on backend {backend!r}", reason, "backend='torch' has it"))
    return form


def form_named(rec: Recurrence, name: str, chunk: int | None = None) -> Form:
    """The form of a name, for chunks of a size. Raises `Unsupported` with the reason where the program has none."""
    from recc.forms.choose import require
    from recc.forms.parallel import PARALLEL
    from recc.forms.table import forms

    if name in ("sequential", *PARALLEL):
        return require(rec, name, chunk)
    found = forms(rec)[name]
    if isinstance(found, Refusal):
        raise Unsupported(found)
    return found


def check_chunk_size(chunk_size: object) -> int | None:
    """The size of a chunk, if one is chosen. Raises `UsageError` unless it is a positive whole number."""
    if chunk_size is None:
        return None
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, (int, np.integer)) or chunk_size < 1:
        raise UsageError("chunk_size", "a whole number of steps, 1 or more", repr(chunk_size))
    return int(chunk_size)


__all__ = [
    "BACKENDS",
    "FORMS",
    "check_chunk_size",
    "choose_backend",
    "choose_form",
    "form_named",
    "has_kernels",
    "need_torch",
    "need_triton",
]

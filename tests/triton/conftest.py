"""Emitted Triton runs under Triton's interpreter here, on the CPU.

Triton looks at `TRITON_INTERPRET` twice: when it is imported, for its own functions, and where `triton.jit` is
applied. The first is done by `tests/conftest.py`, before anything else might import Triton. The second is done
here: while tests of this folder run, the variable is set for the kernels that they load; a kernel at the top of a
test file would come too early. Elsewhere it is not set.

Without Triton, the files that need it skip themselves by `pytest.importorskip("triton")`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

VARIABLE = "TRITON_INTERPRET"
INSTALLED = importlib.util.find_spec("triton") is not None


def interprets() -> bool:
    """Whether Triton's own functions are interpreted ones."""
    import triton.language
    from triton.runtime.interpreter import InterpretedFunction

    return isinstance(triton.language.sum, InterpretedFunction)


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> Iterator[None]:
    """`triton.jit` gives interpreted functions. Fails where Triton was imported for GPUs before."""
    if INSTALLED and not interprets():
        pytest.fail(
            f"Triton was imported before tests/conftest.py was read, and without {VARIABLE}=1, so that its own "
            f"functions cannot be interpreted. Set {VARIABLE}=1 for the whole run."
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "1")
        yield

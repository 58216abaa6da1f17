"""The text of the library: what is copied, in which order, and that it needs nothing else."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys

import pytest

from recc.backends.triton_gpu import library


def defined(text: str) -> list[str]:
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]


def test_what_a_function_calls_comes_before_it() -> None:
    assert defined(library.sources(["tanh"])) == ["expm1", "tanh"]
    text = library.sources(["tanh"])
    assert text.startswith('@triton.jit\ndef expm1(x):\n    """`e**x - 1`')
    assert "# Beyond these ends" in text
    assert text.count("@triton.jit") == 2 and "\n\n\n@triton.jit" in text and text.endswith(")\n")


def test_the_order_of_the_names_does_not_matter() -> None:
    one, other = ["solve", "softplus", "amax"], ["amax", "softplus", "amax", "solve"]
    assert library.sources(one) == library.sources(iter(other))
    assert library.sources([]) == ""
    assert defined(library.sources(library.names())) == list(library.names())


def test_a_name_that_it_does_not_have() -> None:
    with pytest.raises(KeyError, match="no function 'sine'"):
        library.sources(["tanh", "sine"])


@pytest.mark.parametrize("name", library.names())
def test_a_function_stands_with_what_is_copied(name: str) -> None:
    """It reads only its own names, functions of the library above it, Triton, and Python's own."""
    (*above, function) = ast.parse(library.sources([name])).body
    assert isinstance(function, ast.FunctionDef) and function.name == name and ast.get_docstring(function)
    arguments = [a.arg for a in [*function.args.args, *function.args.kwonlyargs]]
    every = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    own = {node.id for node in every if isinstance(node.ctx, ast.Store)} | {*arguments}
    read = {node.id for node in every if isinstance(node.ctx, ast.Load)} - own
    helpers = {node.name for node in above if isinstance(node, ast.FunctionDef)}
    assert read <= {"triton", "tl", "range", "float", name} | helpers
    assert not own & {*library.names()} and not hasattr(builtins, name)


def test_no_function_is_for_itself() -> None:
    """Nobody needs Triton to write a kernel."""
    code = "import sys; from recc.backends.triton_gpu import library; library.sources(library.names())"
    code += "; print(*({'triton', 'torch', 'numpy'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("", "numpy")

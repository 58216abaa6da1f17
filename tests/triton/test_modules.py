"""Emitted modules as goldens. Each is also run from its file, in a process that has torch and Triton and no recc."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

import torch

import recc
from recc.backends.triton_gpu.module import Text
from recc.backends.triton_gpu.plan import Space
from recc.backends.triton_gpu.tidy import WIDTH, fold, tidy
from recc.errors import Unsupported
from recc.forms.parallel import derive
from recc.forms.passes import Parallel, Sequential
from recc.forms.run import Item
from recc.forms.sequential import derive_sequential
from recc.fuzz import Shapes, draw_arguments, rel_rms
from recc.recurrence import Kind
from tests.zoo.core import CORE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = HERE / "golden"
#: A scan, chunks of matrix products with and without a solve, a cell that is not affine, a semiring.
MODULES = [
    ("hgrn", "scan"), ("retention", "chunked"), ("delta_net", "chunked"), ("gru", "sequential"),
    ("viterbi", "sequential"),
]  # fmt: skip
STEPS, ROWS, HEADS, SIZE, CHUNK = 19, 2, 2, 3, 16

#: Runs a module alone. What it is told and gives are files of tensors: `recc` is not to be found.
ALONE = """
import importlib.util, sys
import torch

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("recc", "backends"):
            raise ImportError(f"{name} is not for modules that stand alone")

sys.meta_path.insert(0, Nothing())
spec = importlib.util.spec_from_file_location("alone", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
case = torch.load(sys.argv[2])
sizes = (case["rows"], case["steps"], case["rows"], case["batch"])
saved = {n: torch.full(s, torch.nan) for n, s in module.scratch(*sizes).items()}
clock, cpu, outputs = torch.zeros(1, dtype=torch.int64), torch.device("cpu"), case["outputs"]
module.forward(case["arguments"], {}, outputs, {}, saved, None, None, clock, cpu, *sizes)
found = module.backward(case["arguments"], {}, saved, case["d_outputs"], {}, {}, None, clock, cpu, *sizes)
torch.save({"outputs": outputs, "gradients": found}, sys.argv[3])
"""


def emitted(program: str, name: str) -> tuple[str, Sequential | Parallel, dict[str, int]]:
    rec = getattr(recc.zoo, program).recurrence
    form = derive_sequential(rec) if name == "sequential" else derive(rec, name, CHUNK)
    assert isinstance(form, Sequential | Parallel)
    sizes = {a.name: SIZE for a in rec.axes if a.name == a.size_of}
    plan = Space(form, sizes, 1).first()
    return str(Text(plan.forward, plan.backward)), form, sizes


def path_of(program: str, name: str) -> Path:
    return GOLDEN / f"{program}_{name}.py"


@pytest.mark.parametrize(("program", "name"), MODULES)
def test_the_text_is_the_golden_one(program: str, name: str, golden: Callable[[Path, str], None]) -> None:
    golden(path_of(program, name), emitted(program, name)[0])


@pytest.mark.parametrize(("program", "name"), MODULES)
def test_a_golden_runs_alone(program: str, name: str, tmp_path: Path) -> None:
    _, form, sizes = emitted(program, name)
    rec = form.rec
    arrays = draw_arguments(rec, Shapes(sizes, (STEPS,), ROWS, (HEADS,)), np.random.default_rng(0), dtype=np.float32)
    arguments, outputs, weights = {}, {}, {}
    for s in rec.arguments:
        value = torch.from_numpy(np.array(arrays[s.name]))
        arguments[s.name] = value if s.kind is Kind.INPUT else value[None]
    rng = np.random.default_rng(1)
    for s in rec.outputs:
        shape = (ROWS, STEPS, HEADS, *(sizes[rec.axis[a].size_of] for a in s.axes))
        kind = {"int": torch.int64, "bool": torch.bool}.get(s.dtype, torch.float32)
        outputs[s.name] = torch.full(shape, torch.nan if kind.is_floating_point else 0, dtype=kind)
        if s.dtype == "real":
            weights[s.name] = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    case = {
        "arguments": arguments, "outputs": outputs, "d_outputs": weights, "rows": ROWS, "steps": STEPS,
        "batch": (HEADS,),
    }  # fmt: skip
    torch.save(case, tmp_path / "case.pt")
    command = [sys.executable, "-P", "-c", ALONE, path_of(program, name), tmp_path / "case.pt", tmp_path / "found.pt"]
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    subprocess.run(command, cwd=tmp_path, env={**environment, "TRITON_INTERPRET": "1"}, check=True)
    found = torch.load(tmp_path / "found.pt")
    for row in range(ROWS):
        for head in range(HEADS):
            compare(form, sizes, arrays, weights, found, row, head)
    parameters(form, sizes, arrays, weights, found)


def run(form: Any, sizes: Any, arrays: Any, weights: Any, row: int, head: int) -> tuple[Item, dict[str, Any]]:
    """One item by the interpreter of Blocks, in float64."""
    rec = form.rec
    own = {s.name: arrays[s.name][row, :, head] if s.kind is Kind.INPUT else arrays[s.name] for s in rec.arguments}
    item = Item(form, sizes, (STEPS,), own)
    item.forward()
    zeros = {n: np.zeros(v.shape) for n, v in item.outputs.items()}
    d_outputs = {**zeros, **{n: w[row, :, head].numpy() for n, w in weights.items()}}
    return item, item.backward(d_outputs, {})[0]


def compare(form: Any, sizes: Any, arrays: Any, weights: Any, found: Any, row: int, head: int) -> None:
    item, gradients = run(form, sizes, arrays, weights, row, head)
    for name, value in item.outputs.items():
        assert rel_rms(found["outputs"][name][row, :, head].numpy(), value, semiring=True) <= 2e-6, name
    for s in form.rec.arguments:
        if s.name in found["gradients"] and s.kind is Kind.INPUT:
            assert rel_rms(found["gradients"][s.name][row, :, head].numpy(), gradients[s.name]) <= 4e-6, s.name


def parameters(form: Any, sizes: Any, arrays: Any, weights: Any, found: Any) -> None:
    """Gradients of parameters are given for every item, and belong to all of them."""
    for s in form.rec.arguments:
        if s.name in found["gradients"] and s.kind is Kind.PARAM:
            wanted = sum(
                run(form, sizes, arrays, weights, row, head)[1][s.name] for row in range(ROWS) for head in range(HEADS)
            )
            assert rel_rms(found["gradients"][s.name].sum((0, 1)).numpy(), wanted) <= 4e-6, s.name


@pytest.mark.parametrize(("program", "name"), MODULES)
def test_a_golden_passes_ruff(program: str, name: str) -> None:
    ruff = pytest.importorskip("ruff.__main__", reason="the linter is a development tool").find_ruff_bin()
    command = [ruff, "check", "--no-cache", "--config", ROOT / "pyproject.toml", path_of(program, name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_folder_has_no_others() -> None:
    assert {p.name for p in GOLDEN.glob("*.py")} == {path_of(*m).name for m in MODULES}


@pytest.mark.parametrize("program", CORE)
def test_lines_fit_and_imports_are_few(program: str) -> None:
    rec = getattr(recc.zoo, program).recurrence
    if len(rec.scan) > 1:
        return
    text, _, _ = emitted(program, "sequential")
    _, docstring, code = text.split('"""', 2)
    del docstring
    for line in code.splitlines():
        assert len(line) <= WIDTH or line.lstrip().startswith("#"), line
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)) == {"math", "torch", "triton"}
    compile(text, program, "exec")


@pytest.mark.parametrize("program", ["gru", "mlstm", "linear_attention"])
def test_modules_have_no_functions_that_nothing_calls(program: str) -> None:
    """Those of kernels that were given up because they did not fit included."""
    rec = getattr(recc.zoo, program).recurrence
    for form in (derive_sequential(rec), derive(rec, "scan", CHUNK), derive(rec, "chunked", CHUNK)):
        for size in (SIZE, 40) if isinstance(form, Sequential | Parallel) else ():
            space = Space(form, {a.name: size for a in rec.axes if a.name == a.size_of}, 1)
            spec = space.spec(space.chunks()[0])
            with suppress(Unsupported):  # whose tiles do not fit at this size has no module
                text = str(Text(spec, spec))
                defined = {*re.findall(r"^def (\w+)\(", text, re.MULTILINE)} - {"scratch", "forward", "backward"}
                assert [n for n in defined if len(re.findall(rf"\b{n}\b", text)) < 2] == []


def test_the_same_text_in_every_process() -> None:
    code = "from tests.triton.test_modules import MODULES, emitted; print(*(emitted(*m)[0] for m in MODULES[1:3]))"
    texts = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
            text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000


def test_long_lines_are_folded_at_brackets_and_operators() -> None:
    line = "    x = tl.load(place + " + " + ".join(f"part_{n} * {n}" for n in range(20)) + ", mask=a, other=0)  # [i]"
    first, *_, last = found = fold(line)
    assert first == "    x = tl.load(  # [i]"
    assert last == "    )"
    assert max(map(len, found)) <= WIDTH
    together = "".join(s.split("  # ")[0].strip() for s in found)
    assert together.replace(" ", "").replace(",)", ")") == line.split("  # ")[0].replace(" ", "")


def test_comprehensions_are_not_cut_at_their_commas() -> None:
    (first, *rest) = fold(f"    x = {{n: {'value' * 20}(n, own) for n, own in things.items() if n not in others}}")
    assert first == "    x = {"
    assert [s.strip() for s in rest][-2:] == ["for n, own in things.items() if n not in others", "}"]


def test_what_nothing_reads_is_left_out() -> None:
    text = "def f(x):\n    y = x\n    a = x + 1\n    b = a + 1\n    if x:\n        c = 1\n    return y\n"
    assert tidy(text) == "def f(x):\n    y = x\n    if x:\n        c = 1\n    return y\n"

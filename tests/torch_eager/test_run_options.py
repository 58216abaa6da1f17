"""Choosing the torch backend and a form, what is refused, and the emitted module on disk."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recc
from recc.backends.torch_eager.module import build, emit_module
from recc.errors import Unsupported, UsageError
from recc.forms.sequential import derive_sequential
from recc.runtime import options
from tests.agree.cases import programs

LEAKY = """recurrence leaky(d)
    "A leaky average."
    # What a Python text has to look out for: \"\"\" and \\ and \\N.
    input  x[d], f[d]
    param  bias[d]
    state  h[d]
    keep[t] = sigmoid(f[t] + bias)
    h[t] = keep[t] * h[t-1] + (1 - keep[t]) * x[t]
    output y[t] = h[t]
"""
CELL = "recurrence cell(d)\n input x[d]\n state h[d]\n h[t] = tanh(h[t-1] + x[t])\n output y[t] = h[t]\n"


def _arrays(steps: int = 6) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((2, steps, 3)), rng.standard_normal((2, steps, 3)), np.zeros(3)]


def test_names() -> None:
    auto = recc.compile(LEAKY)
    assert (auto.backend, auto.form) == ("c", "sequential")
    assert repr(recc.compile(LEAKY, backend="torch")).endswith("backend 'torch', form 'auto'>")
    scan = recc.compile(LEAKY, form="scan")
    assert (scan.backend, scan.form) == ("torch", "scan"), "only torch has it"


@pytest.mark.parametrize("form", ["auto", "sequential", "scan", "chunked", "matrix"])
def test_every_form_gives_the_same(form: str) -> None:
    op = recc.compile(LEAKY, backend="torch", form=form)
    expected, last = op.reference(*_arrays(), output_final_state=True)
    y, final = op(*_arrays(), output_final_state=True)
    np.testing.assert_allclose(y, expected, rtol=1e-11)
    np.testing.assert_allclose(final, last, rtol=1e-11)
    assert not op._native._programs, "no C kernel was built"


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 64, np.int64(4)])
def test_sizes_of_chunks(size: int) -> None:
    op = recc.compile(LEAKY, form="chunked", chunk_size=size)
    np.testing.assert_allclose(op(*_arrays()), op.reference(*_arrays()), rtol=1e-11)


@pytest.mark.parametrize("size", [0, -3, 2.0, "8", True])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(UsageError, match="chunk_size: expected a whole number of steps, 1 or more"):
        recc.compile(LEAKY, backend="torch", form="chunked", chunk_size=size)


def test_refused_forms_say_why() -> None:
    for form in ("scan", "chunked", "convolution", "matrix"):
        with pytest.raises(Unsupported) as caught:
            recc.compile(CELL, backend="torch", form=form)
        assert f"the {form} form does not apply: h: the update is not affine" in str(caught.value)
        assert "sequential" in str(caught.value)
        assert caught.value.refusal.span is not None
    with pytest.raises(Unsupported, match="the convolution form does not apply: h: the transition varies in time"):
        recc.compile(LEAKY, backend="torch", form="convolution")
    with pytest.raises(Unsupported, match="every update is affine"):
        recc.compile(LEAKY, backend="torch", form="newton")
    with pytest.raises(Unsupported, match="not derived yet"):
        recc.compile(CELL, backend="torch", form="newton")


def test_other_backends_have_the_sequential_form_only() -> None:
    with pytest.raises(Unsupported) as caught:
        recc.compile(LEAKY, backend="c", form="chunked")
    expected = "form 'chunked' on backend 'c' does not apply: the C kernels run the sequential form only"
    assert str(caught.value) == f"{expected}; backend='torch' has it"
    with pytest.raises(Unsupported, match="the reference runs the sequential form only"):
        recc.compile(LEAKY, backend="numpy", form="scan")
    with pytest.raises(Unsupported, match="the update is not affine"):
        recc.compile(CELL, backend="c", form="chunked")


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"torch is not installed; install it \(`pip install recc-lang\[torch\]`\)"):
        recc.compile(LEAKY, backend="torch")
    with pytest.raises(Unsupported, match="torch is not installed"):
        recc.compile(LEAKY, form="scan")
    assert recc.compile(LEAKY).backend == "c"


def test_tensors_on_several_devices() -> None:
    op = recc.compile(LEAKY, backend="torch")
    x, f, bias = (torch.tensor(a) for a in _arrays())
    with pytest.raises(UsageError, match="argument 'f': expected a tensor on cpu, as the first one, got one on meta"):
        op(x, f.to("meta"), bias)
    meta = op(x.to("meta"), f.to("meta"), bias.numpy())
    assert meta.device.type == "meta", "an array goes where the tensors are"


def test_the_source_is_the_module() -> None:
    op = recc.compile(LEAKY, backend="torch", form="sequential")
    before = op.source
    assert before == op.emit()["module"]
    op(*_arrays())
    assert op.source == before
    assert "# keep[t] = sigmoid(f[t] + bias)" in before
    assert "# h[t] = keep[t] * h[t-1] + (1 - keep[t]) * x[t]" in before
    assert "# Step after step, carrying h." in before
    assert 'look out for: """ and \\ and \\N' in str(ast.get_docstring(ast.parse(before)))


SAME = ("gated_delta", "both", "lru again", "roesser")


@cache
def _emitted_elsewhere() -> dict[str, str]:
    """What a process with another seed for hashes emits for each of the programs."""
    code = (
        "import json, sys; from recc.check import load; from recc.forms.sequential import derive_sequential\n"
        "from recc.backends.torch_eager.module import emit_module\n"
        "recs = {key: [r for r in load(text) if r.name == name] for key, name, text in json.load(sys.stdin)}\n"
        "json.dump({key: emit_module(derive_sequential(rec)) for key, (rec,) in recs.items()}, sys.stdout)"
    )
    recs = {key: programs()[key].rec for key in SAME}
    given = json.dumps([(key, rec.name, rec.source.text) for key, rec in recs.items()])
    root = Path(recc.__file__).parents[1]
    environment = {**os.environ, "PYTHONHASHSEED": str(_hash_seed() + 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True, cwd=root, env=environment
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _hash_seed() -> int:
    """This process's seed, zero if it was drawn: any other is then as good."""
    given = os.environ.get("PYTHONHASHSEED", "")
    return int(given) if given.isdigit() else 0


@pytest.mark.parametrize("name", SAME)
def test_the_same_form_gives_the_same_text(name: str) -> None:
    """Here, and in a process with another seed for hashes."""
    rec = programs()[name].rec
    text = emit_module(derive_sequential(rec))
    assert text == emit_module(derive_sequential(rec))
    assert text == _emitted_elsewhere()[name]


def test_modules_are_kept_and_an_edited_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECC_CACHE", str(tmp_path / "cache"))
    x = np.ones((1, 3, 2))
    text = "recurrence double(d)\n input x[d]\n output y[t] = 2 * x[t]\n"
    recc.compile(text, backend="torch", form="sequential")(x)
    (path,) = (tmp_path / "cache").glob("double_sequential_*.py")
    when = path.stat().st_mtime_ns
    recc.compile(text, backend="torch", form="sequential")(x)
    assert path.stat().st_mtime_ns == when
    edits = tmp_path / "edits"
    edits.mkdir()
    monkeypatch.setenv("RECC_OVERRIDE", str(edits))
    source = path.read_text()
    assert "y = 2.0 * x" in source
    (edits / path.name).write_text(source.replace("y = 2.0 * x", "y = 3.0 * x"))
    assert (recc.compile(text, backend="torch", form="sequential")(x) == 3).all()
    (edits / path.name).write_text(source.replace("return", "retrun"))
    with pytest.raises(UsageError, match=r"the edited module .*: expected Python that runs, got SyntaxError"):
        recc.compile(text, backend="torch", form="sequential")(x)
    monkeypatch.setenv("RECC_OVERRIDE", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="RECC_OVERRIDE"):
        recc.compile(text, backend="torch", form="sequential")(x)


def test_a_spoilt_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECC_CACHE", str(tmp_path))
    (rec,) = (programs()["gated_delta"].rec,)
    module = build(derive_sequential(rec))
    module.path.write_text("spoilt")
    assert build(derive_sequential(rec)).path.read_text() == module.source


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECC_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="RECC_CACHE: expected a folder that can be written"):
        build(derive_sequential(programs()["second"].rec))

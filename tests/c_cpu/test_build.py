"""How kernels are built: what is kept, what is built anew, and what is said when something is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recc
from recc.backends.c_cpu import build as builder
from recc.backends.cache import passing_folder
from recc.errors import InternalError, Unsupported, UsageError
from recc.fuzz import Shapes, compare, draw_arguments

ROOT = Path(__file__).resolve().parents[2]

LEAKY = """
recurrence leaky(d)
    input  x[d]
    state  h[d]
    h[t] = 0.5 * h[t-1] + x[t]
    output y[t] = h[t]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own, and no settings of the user's."""
    for name in ("RECC_CC", "CC", "RECC_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "cache"
    monkeypatch.setenv("RECC_CACHE", str(folder))
    passing_folder.cache_clear()
    return folder


def run() -> Any:
    return recc.compile(LEAKY)(np.arange(6.0).reshape(1, 3, 2))


EXPECTED = np.array([[[0.0, 1.0], [2.0, 3.5], [5.0, 6.75]]])


def built(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.so"))


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def count_compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    real = builder._cc

    def counted(compiler: Any, work: Path, source: str, text: str, library: str) -> str | None:
        done.append(text)
        return real(compiler, work, source, text, library)

    monkeypatch.setattr(builder, "_cc", counted)
    return done


def test_a_kernel_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = count_compilations(monkeypatch)
    np.testing.assert_array_equal(run(), EXPECTED)
    np.testing.assert_array_equal(run(), EXPECTED)
    assert len(done) == 1 and len(built(cache)) == 1
    # Beside the library lie its text and the header, so that a reader can build it again.
    assert {p.suffix for p in cache.iterdir()} == {".so", ".c", ".h"}


def test_another_process_finds_it(cache: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(run(), EXPECTED)
    before = {p.name: p.stat().st_mtime_ns for p in cache.iterdir()}
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "cc", f'[ "$1" = --version ] && exec {real_cc()} --version; exit 1')
    done = in_process({"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    assert "[[[0.   1.  ]" in done.stdout, done.stderr
    assert {p.name: p.stat().st_mtime_ns for p in cache.iterdir()} == before


@pytest.mark.parametrize("what", ["flags", "version", "header", "processor", "command"])
def test_what_a_kernel_depends_on_is_in_its_name(
    what: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    if what == "flags":
        monkeypatch.setattr(builder, "_FLAGS", [*builder._FLAGS, "-DANYTHING"])
    elif what == "header":
        header = tmp_path / "recc_math.h"
        header.write_text(builder.HEADER.read_text() + "\n/* longer by a line */\n")
        monkeypatch.setattr(builder, "HEADER", header)
    elif what == "processor":
        monkeypatch.setattr(builder, "_processor", lambda: "another one")
    elif what == "command":
        monkeypatch.setenv("RECC_CC", f"{real_cc()} -DANYTHING")
    else:
        compiler = builder.find_compiler()
        assert compiler is not None
        other = builder.Compiler(compiler.command, compiler.version + " patched")
        monkeypatch.setattr(builder, "find_compiler", lambda: other)
    np.testing.assert_array_equal(run(), EXPECTED)
    assert len(built(cache)) == 2


def test_processes_that_build_the_same_kernel_at_once(cache: Path) -> None:
    running = [start_process({}) for _ in range(4)]
    for each in running:
        out, err = each.communicate(timeout=120)
        assert each.returncode == 0 and "[[[0.   1.  ]" in out, err
    assert len(built(cache)) == 1
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_a_damaged_library_is_built_again(cache: Path) -> None:
    run()
    (library,) = cache.glob("*.so")
    # A new file: the old one is mapped into this process.
    library.unlink()
    library.write_bytes(b"\x7fELF and no more")
    np.testing.assert_array_equal(run(), EXPECTED)


def test_an_edited_kernel_is_loaded_in_place_of_the_emitted_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    (text,) = cache.glob("*.c")
    edits = tmp_path / "edits"
    edits.mkdir()
    source = text.read_text()
    assert "0.5" in source
    (edits / text.name).write_text(source.replace("0.5", "0.25"))
    monkeypatch.setenv("RECC_OVERRIDE", str(edits))
    np.testing.assert_array_equal(run()[0, :, 1], [1.0, 3.25, 5.8125])
    assert len(built(cache)) == 2
    # What keeps an edit honest is the comparison with the reference, which this one does not pass.
    op = recc.compile(LEAKY)
    arguments = draw_arguments(op.recurrence, Shapes({"d": 2}, (8,)), np.random.default_rng(0))
    (found,) = compare({"y": op(**arguments)}, {"y": op.reference(**arguments)}, "float64", 8)
    assert not found.holds
    monkeypatch.delenv("RECC_OVERRIDE")
    np.testing.assert_array_equal(run(), EXPECTED)


def test_a_wrong_edit_is_the_editors(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    (text,) = cache.glob("*.c")
    (tmp_path / text.name).write_text("this is not C\n")
    monkeypatch.setenv("RECC_OVERRIDE", str(tmp_path))
    with pytest.raises(UsageError, match=r"the edited kernel .*leaky.*C that compiles"):
        run()
    monkeypatch.setenv("RECC_OVERRIDE", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="RECC_OVERRIDE: expected a folder"):
        run()


def hide_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    builder._find.cache_clear()


def test_no_compiler_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_compilers(monkeypatch, tmp_path)
    with pytest.raises(Unsupported) as refused:
        run()
    text = str(refused.value)
    for word in ("no C compiler", "RECC_CC", "gcc or clang", "pip install recc-lang[cc]", "backend='numpy'"):
        assert word in text
    x = np.arange(6.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(recc.compile(LEAKY).reference(x), EXPECTED)
    np.testing.assert_array_equal(recc.compile(LEAKY, backend="numpy")(x), EXPECTED)
    builder._find.cache_clear()


def test_a_filled_cache_need_not_be_writable(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    done = count_compilations(monkeypatch)
    monkeypatch.setattr(builder, "_writable_folder", lambda folder: pytest.fail(f"{folder} is not to be written"))
    cache.chmod(0o555)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(run(), EXPECTED)
    finally:
        cache.chmod(0o755)
    assert not done


@pytest.mark.parametrize("command", ["/no/such/compiler", "no-such-compiler-anywhere", "false", "'unfinished", " "])
def test_a_compiler_asked_for_by_name_is_not_replaced(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECC_CC", command)
    with pytest.raises(UsageError) as refused:
        run()
    assert str(refused.value).startswith("RECC_CC: expected the command of a C compiler")
    assert command in str(refused.value) and "unset it" in str(refused.value)


@pytest.mark.parametrize("command", ["true", "ls"])
def test_what_answers_but_is_no_compiler(command: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECC_CC", command)
    with pytest.raises(UsageError, match=f"RECC_CC: expected a C compiler that works, got .*`{command}`"):
        run()
    assert not built(cache)


def test_a_compiler_without_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = 'echo "math.h: No such file or directory" >&2; exit 1'
    script(tmp_path / "cc", f'if [ "$1" = --version ]; then echo cc 1.0; else {fail}; fi')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unsupported, match=r"`cc` cannot build a library: math\.h: No such.*; install gcc or clang"):
        run()


def test_a_compiler_that_crashes_on_our_code(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = 'case "$*" in *least*|*--version*) ;; *) echo "internal compiler error" >&2; kill -SEGV $$;; esac'
    monkeypatch.setenv("RECC_CC", script(tmp_path / "crashing", f'{crash}\nexec {real_cc()} "$@"'))
    with pytest.raises(InternalError, match=r"bug in recc.*rejected emitted code") as crashed:
        run()
    dump = Path(crashed.value.dump)
    assert dump.parent == cache and dump.name.startswith("leaky_forward")
    assert "recc_run" in dump.read_text() and "internal compiler error" in dump.read_text()
    assert str(dump) in str(crashed.value) and not built(cache)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder can be made below a file")
    monkeypatch.setenv("RECC_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match=r"RECC_CACHE: expected a folder that can be written, got .*file/cache"):
        run()
    # The usual place is nobody's choice: a passing folder serves, and one warning says so.
    monkeypatch.delenv("RECC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="for this process only.*set RECC_CACHE") as said:
        np.testing.assert_array_equal(run(), EXPECTED)
        run()
    assert len(said) == 1


def test_a_passing_folder_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    done = in_process({"RECC_CACHE": "", "XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")})
    assert "[[[0.   1.  ]" in done.stdout and "RuntimeWarning" in done.stderr
    assert not list((tmp_path / "tmp").iterdir())


def real_cc() -> str:
    compiler = builder.find_compiler()
    assert compiler is not None
    path = shutil.which(compiler.command[0])
    assert path is not None
    return " ".join([path, *compiler.command[1:]])


def start_process(environment: dict[str, str]) -> subprocess.Popen[str]:
    code = f"import numpy as np, recc; print(recc.compile({LEAKY!r})(np.arange(6.0).reshape(1, 3, 2)))"
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def in_process(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    running = start_process(environment)
    out, err = running.communicate(timeout=120)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


PROGRAMS = ("gated_delta_net", "mamba", "slstm")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="the ziglang package is not installed")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_compiler_of_the_cc_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    program = recc.zoo.text(name)
    rec = recc.compile(program).recurrence
    shapes = Shapes({a.name: 6 for a in rec.axes if a.name == a.size_of}, (12,), 2, (3,))
    drawn = draw_arguments(rec, shapes, np.random.default_rng(0), dtype=np.float32)

    def results() -> dict[str, Any]:
        leaves = {n: torch.from_numpy(np.array(v)).requires_grad_() for n, v in drawn.items()}
        output = recc.compile(program)(**leaves)
        gradients = torch.autograd.grad(output.square().sum(), list(leaves.values()))
        return {"output": output.detach().numpy(), **{n: g.numpy() for n, g in zip(leaves, gradients, strict=True)}}

    usual = results()
    monkeypatch.setenv("PATH", str(tmp_path))
    builder._find.cache_clear()
    compiler = builder.find_compiler()
    assert compiler is not None and "ziglang" in compiler.command
    agreements = compare(results(), usual, "float32", 12, gradient=True)
    assert all(a.holds for a in agreements), "\n".join(map(str, agreements))
    builder._find.cache_clear()

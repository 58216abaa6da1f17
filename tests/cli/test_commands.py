"""The command line: what it prints, where it writes, and how it answers mistakes."""

from __future__ import annotations

import csv
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recc.cli import main

ROOT = Path(__file__).resolve().parents[2]
NILE = [str(ROOT / "examples/nile/local_level.recc"), "--data", str(ROOT / "examples/nile/nile.csv")]
VARIANCES = ["--set", "level_var=1469.1", "--set", "noise_var=15099"]

FILTER = """
recurrence smooth(d)
    input x[d], w
    param a[d] in [0, 1]
    state h[d]
    h[t] = a * h[t-1] + w[t] * x[t]
    output y[t] = h[t]
    output total[t] = sum[d](h[t])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "smooth.recc"
    path.write_text(FILTER)
    return path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_nile_agrees_with_statsmodels(capsys: pytest.CaptureFixture[str]) -> None:
    structural = pytest.importorskip("statsmodels.tsa.statespace.structural", reason="an oracle of the tests")
    assert main(["run", *NILE, *VARIANCES]) == 0
    table = rows(capsys.readouterr().out)
    with (ROOT / "examples/nile/nile.csv").open() as file:
        volume = [float(row["volume"]) for row in csv.DictReader(file)]
    model = structural.UnobservedComponents(np.array(volume), "llevel")
    model.ssm.initialize_known(np.zeros(1), np.array([[1e7 + 1469.1]]))
    oracle = model.filter([15099.0, 1469.1])
    assert [row["year"] for row in table] == [str(year) for year in range(1871, 1971)]
    np.testing.assert_allclose([float(r["level"]) for r in table], oracle.filtered_state[0], rtol=1e-8)
    np.testing.assert_allclose([float(r["deviation"]) ** 2 for r in table], oracle.filtered_state_cov[0, 0], rtol=1e-8)


def test_two_pieces_joined_by_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (ROOT / "examples/nile/nile.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join(lines[:61]))
    (tmp_path / "two.csv").write_text("\n".join([lines[0], *lines[61:]]))
    assert main(["run", *NILE, *VARIANCES]) == 0
    whole = capsys.readouterr().out.splitlines()
    state = str(tmp_path / "state.npz")
    assert main(["run", NILE[0], "--data", str(tmp_path / "one.csv"), *VARIANCES, "--final-state", state]) == 0
    one = capsys.readouterr().out.splitlines()
    assert main(["run", NILE[0], "--data", str(tmp_path / "two.csv"), *VARIANCES, "--initial-state", state]) == 0
    two = capsys.readouterr().out.splitlines()
    assert one + two[1:] == whole


def test_columns_arrays_and_settings(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.arange(10.0).reshape(5, 2)
    w = np.linspace(0, 1, 5)
    table = "w,x_1,x[0],note\n" + "".join(f"{w[t]!s},{x[t, 1]},{x[t, 0]},n{t}\n" for t in range(5))
    (tmp_path / "data.csv").write_text(table)
    np.savez(tmp_path / "data.npz", x=x[None], w=w, a=[0.5, 0.25])
    out = tmp_path / "deep" / "out.npz"
    assert main(["run", str(program), "--data", str(tmp_path / "data.npz"), "--out", str(out)]) == 0
    assert "y [1, 5, 2], total [1, 5]" in capsys.readouterr().out
    with np.load(out) as stored:
        y = stored["y"][0]
    h = np.zeros(2)
    for t in range(5):
        h = np.array([0.5, 0.25]) * h + w[t] * x[t]
        np.testing.assert_allclose(y[t], h, rtol=1e-12)
    assert main(["run", str(program), "--data", str(tmp_path / "data.csv"), "--set", "a=[0.5, 0.25]"]) == 0
    printed = rows(capsys.readouterr().out)
    assert list(printed[0]) == ["note", "y_0", "y_1", "total"]
    np.testing.assert_allclose([float(r["y_1"]) for r in printed], y[:, 1], rtol=1e-9)
    # An input may be set once for every step, and --out may be a table too.
    np.savez(tmp_path / "part.npz", x=x)
    arguments = ["run", str(program), "--data", str(tmp_path / "part.npz"), "--set", "a=[0, 0]", "--set", "w=2"]
    assert main([*arguments, "--out", str(tmp_path / "out.csv")]) == 0
    written = rows((tmp_path / "out.csv").read_text())
    np.testing.assert_allclose([float(r["y_0"]) for r in written], 2 * x[:, 0])


MISTAKES = {
    "no such program": (["check", "gated_delta"], "the zoo has `gated_delta_net`"),
    "no command": ([], "arguments are required: COMMAND"),
    "missing data": (["run", NILE[0], *VARIANCES], "--data: expected at least one of the inputs volume"),
    "missing parameter": (["run", *NILE], "--set level_var=VALUE"),
    "unknown parameter": (
        ["run", *NILE, *VARIANCES, "--set", "x=1"],
        "--set: expected one of volume, level_var, noise_var",
    ),
    "a value that is none": (["run", *NILE, "--set", "level_var=much"], "got level_var=much"),
    "a ragged list": (["run", *NILE, "--set", "level_var=[[1], 2]"], "nested lists of numbers"),
    "a folder as data": (["run", NILE[0], "--data", "."], "--data: expected a .csv or .npz file"),
    "no such data": (["run", NILE[0], "--data", "no.csv"], "no.csv"),
    "an unknown kind of output": (["run", *NILE, *VARIANCES, "--out", "a.txt"], "--out: expected a .csv or .npz file"),
    "an unknown name": (["check", NILE[0], "--name", "x"], "--name: expected one of local_level"),
    "an unknown zoo": (["zoo", "mambo"], "did you mean 'mamba'?"),
    "a size that is none": (["emit", NILE[0], "--size", "n=x"], "--size: expected AXIS=N"),
    "an unknown axis": (["emit", NILE[0], "--size", "n=3"], "--size: expected one of no axes, got n"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_in_plain_words(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = MISTAKES[what]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert expected in told.err and "Traceback" not in told.err
    assert told.out == ""


BAD_TABLES = {
    "volume\n": "at least one row",
    "volume\n1\nx\n": "'x' in row 3",
    "volume,year\n1,2\n3\n": "1 in row 3",
    "volume,volume\n1,2\n": "all different",
    "flow\n1\n": "at least one of the inputs volume",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_tables_that_are_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.csv").write_text(text)
    assert main(["run", NILE[0], "--data", str(tmp_path / "bad.csv"), *VARIANCES]) == 2
    assert BAD_TABLES[text] in capsys.readouterr().err


def test_files_that_are_no_arrays(tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    np.savez(tmp_path / "hole.npz", z=np.zeros(3))
    (tmp_path / "hole.csv").write_text("x_1,w\n1,2\n")
    for name, expected in (("bad.npz", "bad.npz"), ("hole.npz", "one named z"), ("hole.csv", "none for x[0]")):
        assert main(["run", str(program), "--data", str(tmp_path / name), "--set", "a=[1,1]"]) == 2
        told = capsys.readouterr().err
        assert expected in told and "Traceback" not in told


def test_a_program_with_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.recc"
    path.write_text("recurrence bad\n input x\n state h\n h[t] = h[t-1] + y[t]\n output o[t] = h[t]\n")
    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error[") and f"{path}:4:" in told and "^" in told


def test_several_recurrences_in_a_file(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.write_text(FILTER + FILTER.replace("smooth", "other"))
    assert main(["check", str(program)]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["smooth", "other"]
    assert main(["explain", str(program)]) == 2
    assert "--name: expected one of smooth, other" in capsys.readouterr().err
    assert main(["explain", str(program), "--name", "other"]) == 0


def test_every_program_of_the_zoo_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == sorted(p.stem for p in (ROOT / "recc/zoo").glob("*.recc"))
    assert main(["zoo", listed[0]]) == 0
    assert capsys.readouterr().out == (ROOT / "recc/zoo" / f"{listed[0]}.recc").read_text()


def test_emit_prints_or_writes(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emit", str(program), "--size", "d=4"]) == 0
    printed = capsys.readouterr().out
    assert "h[t] = a * h[t-1] + w[t] * x[t]" in printed
    assert main(["emit", str(program), "--size", "d=4", "--out", str(tmp_path / "kernel.c")]) == 0
    assert (tmp_path / "kernel.c").read_text().strip() == printed.strip()


def test_a_reader_that_goes_away() -> None:
    command = f"{sys.executable} -m recc zoo | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_bench_measures_a_program(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="kernels are measured against torch")
    from recc.bench import timing

    # One counted run to a turn, on whatever heap there is: no figure is compared.
    monkeypatch.setattr(timing, "_TURN", 0.0)
    monkeypatch.setattr(gc, "collect", lambda: 0)
    assert main(["bench", str(program), "--steps", "64", "--seconds", "0", "--size", "d=8"]) == 0
    title, _, forward, *_ = capsys.readouterr().out.splitlines()
    assert title == "smooth · B 4, T 64, H 4, D 8, float32"
    name, *figures = forward.split()
    assert name == "forward" and all(float(figure.replace(",", "")) > 0 for figure in figures)
    assert main(["bench", str(program), "--steps", "0"]) == 2
    assert "no whole number above zero" in capsys.readouterr().err


PLANE = """
recurrence plane over r, c
    input u
    state h
    h[r, c] = h[r, c-1] + u[r, c]
    output y[r, c] = h[r, c]
"""


def test_several_scan_axes_need_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "plane.recc"
    program.write_text(PLANE)
    data = tmp_path / "data.npz"
    np.savez(data, u=np.ones((2, 3)))
    out = tmp_path / "out.npz"
    assert main(["run", str(program), "--data", str(data), "--out", str(out)]) == 0
    with np.load(out) as stored:
        np.testing.assert_array_equal(stored["y"], [[[1, 2, 3], [1, 2, 3]]])
    capsys.readouterr()
    for more, expected in ((["--final-state", "f.npz"], "which has none"), ([], "an .npz file, for what is no table")):
        assert main(["run", str(program), "--data", str(data), *more]) == 2
        assert expected in capsys.readouterr().err
    assert main(["run", str(program), "--data", NILE[2]]) == 2
    assert "an .npz file, for 2 scan axes" in capsys.readouterr().err


def test_fuzz_finds_no_fault_and_tells_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "smooth.recc"
    program.write_text(
        "recurrence smooth(d)\n  input x[d]\n  state h[d]\n  h[t] = 0.5 * h[t-1] + x[t]\n  output y[t] = h[t]\n"
    )
    assert main(["fuzz", str(program), "--cases", "3"]) == 0
    assert "3 cases" in capsys.readouterr().out
    # A kernel edited by hand, which forgets: the same command must say so and fail.
    monkeypatch.setenv("RECC_CACHE", str(tmp_path / "kernels"))
    edited = tmp_path / "edited"
    edited.mkdir()
    assert main(["fuzz", str(program), "--cases", "3"]) == 0
    for kernel in (tmp_path / "kernels").glob("*forward*.c"):
        text = kernel.read_text()
        assert "0.5" in text
        (edited / kernel.name).write_text(text.replace("0.5", "0.4"))
    monkeypatch.setenv("RECC_OVERRIDE", str(edited))
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(["fuzz", str(program), "--cases", "3"])
    assert done.value.code == 1
    told = capsys.readouterr().out
    assert "smooth is wrong: y against the reference" in told and "seed=0" in told

"""Counter-examples on disk: what is written, that it runs, and that it shows the same again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recc
from recc.backends.c_cpu import scalar
from recc.check import load
from recc.errors import UsageError
from recc.fuzz import Budget, CounterExample
from recc.fuzz.drawing.case import draw_case
from recc.fuzz.hunting.found import Origin
from recc.fuzz.laws.checks import LAWS
from recc.fuzz.laws.trial import Finding
from recc.fuzz.telling.saved import name_of, read, replay, save
from recc.fuzz.ways.program import Way

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
# The user's own words.
recurrence filter(d)
    input  x[d], pick int(d), rise bool
    param  a[d] in [0, 1]
    const  turn[d] complex
    state  h[d]
    h[t] = a * h[t-1] + where(rise, tanh(x[t]), x[t, pick[t]])
    output y[t] = h[t] + re(turn)
"""


def dict_of(table: object) -> dict[str, str]:
    assert isinstance(table, dict)
    return table


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> tuple[CounterExample, Path]:
    """A fault planted in the C kernels' tanh, found and saved; kernels of it lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("wrong")
    text = PROGRAM.replace("where(rise,", "where(rise[t],")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECC_CACHE", str(folder / "kernels"))
        patch.setitem(dict_of(scalar.TEMPLATES), "tanh", "recc_sin({0})")
        with pytest.raises(CounterExample) as caught:
            recc.fuzz(recc.compile(text), cases=10, shrink=Budget(20, 60), save=folder / "saved")
    return caught.value, folder


def test_what_is_written(wrong: tuple[CounterExample, Path]) -> None:
    found, folder = wrong
    name = name_of(found)
    assert sorted(p.name for p in (folder / "saved").iterdir()) == [
        f"{name}.{e}" for e in ("json", "npz", "py", "recc")
    ]
    assert found.saved == str(folder / "saved" / f"{name}.recc") and f"saved: {found.saved}" in str(found)
    text = (folder / "saved" / f"{name}.recc").read_text()
    assert text.startswith(f"# {found.headline}\n# law: values\n# way: c sequential\n")
    assert load(text)[0].name == "filter"
    facts = json.loads((folder / "saved" / f"{name}.json").read_text())
    assert facts["origin"]["seed"] == 0 and facts["finding"]["law"] == "values"
    assert facts["way"] == {"backend": "c", "form": "sequential", "chunk": None}
    assert facts["versions"]["recc"] == recc.__version__ and facts["versions"]["numpy"] == np.__version__
    assert load(facts["program"])[0].name == "filter" and "pick" in facts["program"]


def test_it_is_replayed(wrong: tuple[CounterExample, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found, folder = wrong
    path = folder / "saved" / f"{name_of(found)}.recc"
    for given in (path, path.with_suffix(".json"), path.with_suffix(".py"), str(path.with_suffix(""))):
        report = replay(given)
        assert report.checks > 0 and "no counter-example" in str(report)  # kernels are right without the fault
    monkeypatch.setenv("RECC_CACHE", str(folder / "kernels"))
    monkeypatch.setitem(dict_of(scalar.TEMPLATES), "tanh", "recc_sin({0})")
    with pytest.raises(CounterExample) as caught:
        replay(path)
    assert caught.value.law == found.law and caught.value.headline == found.headline
    assert found.case.rec.source.text.strip() in str(caught.value)


def test_the_script_shows_it(wrong: tuple[CounterExample, Path]) -> None:
    """Run as it is, and with the fault in place: in a process that plants it before anything is compiled."""
    found, folder = wrong
    path = folder / "saved" / f"{name_of(found)}.py"
    assert len(path.read_text().splitlines()) < 22
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    right = subprocess.run([sys.executable, str(path)], env=env, capture_output=True, text=True, check=True)
    assert "found:" in right.stdout and "expected:" in right.stdout and "no counter-example" in right.stdout
    plant = "import runpy, sys; from recc.backends.c_cpu import scalar; scalar.TEMPLATES['tanh'] = 'recc_sin({0})'"
    env["RECC_CACHE"] = str(folder / "kernels")
    code = f"{plant}; runpy.run_path(sys.argv[1], run_name='__main__')"
    shown = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=env, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1 and "CounterExample: filter is wrong" in shown.stderr
    lines = {line.split(":")[0]: line.split(":", 1)[1] for line in shown.stdout.splitlines() if line.count(":") == 1}
    assert lines["found"] != lines["expected"]


@pytest.mark.parametrize("number", range(6))
def test_what_is_read_is_what_was_saved(number: int, tmp_path: Path) -> None:
    (rec,) = load(PROGRAM.replace("where(rise,", "where(rise[t],"))
    case = draw_case(rec, 3, number, (0, 1, 7))
    finding = Finding(
        "y against the reference", "float32", float("nan"), 1e-6, law="values", way=Way("torch", "chunked", 3)
    )
    path = save(tmp_path, CounterExample(case, finding, Origin(3, number, (0, 1, 7), grammar=True)))
    again, told, origin = read(path)
    assert (str(again), again.cut, again.offsets, again.kinds) == (str(case), case.cut, case.offsets, case.kinds)
    assert str(told) == str(finding) and origin == Origin(3, number, (0, 1, 7), grammar=True)
    for one, other in ((again.arguments, case.arguments), (again.initial, case.initial)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name])
    compile(path.with_suffix(".py").read_text(), str(path), "exec")


def test_every_law_may_stand_in_a_name(tmp_path: Path) -> None:
    (rec,) = load(PROGRAM.replace("where(rise,", "where(rise[t],"))
    case = draw_case(rec, 0, 0, (1,))
    origin = Origin(0, 0)
    for law in LAWS:
        for way in (Way("blocks", "scan", 3), None):
            found = CounterExample(case, Finding("it is off", "float64", 1.0, 0.0, law=law.name, way=way), origin)
            path = save(tmp_path / "deep" / "er", found)
            assert read(path)[1].law == law.name and "replay" in path.with_suffix(".py").read_text()


def test_what_cannot_be_replayed(wrong: tuple[CounterExample, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nothing\.json"):
        replay(tmp_path / "nothing.recc")
    found, folder = wrong
    stem = folder / "saved" / name_of(found)
    for ending, text, message in ((".json", "{", "JSON"), (".json", '{"format": 9}', "format 9"), (".npz", "PK", "")):
        for each in (".recc", ".npz", ".json", ".py"):
            (tmp_path / f"it{each}").write_bytes(stem.with_suffix(each).read_bytes())
        (tmp_path / f"it{ending}").write_text(text)
        with pytest.raises(UsageError, match=f"cannot be read.*{message}"):
            replay(tmp_path / "it")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--save: expected a folder that can be written"):
        save(tmp_path / "file", found)

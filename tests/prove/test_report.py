"""What `recc.prove` says: senses, sizes, refusals, and what is asked for wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import recc
from recc.cli import main
from recc.forms.sequential import derive_sequential
from recc.prove import Report, prove
from tests.prove.plants import Program, fewer, planted

ROOT = Path(__file__).resolve().parents[2]
GRU = """recurrence cell(n)
    input  x[n]
    param  w[n]
    state  h[n]
    h[t] = tanh(w * h[t-1] + x[t])
    output y[t] = h[t]
"""


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("gated_delta_net", ["chunked"]), ("mamba", ["scan"]), ("lssl", ["convolution", "matrix"]),
        ("viterbi", ["scan"]), ("hgrn", None),
    ],
)  # fmt: skip
def test_programs_of_the_zoo(name: str, forms: list[str] | None) -> None:
    report = recc.prove(getattr(recc.zoo, name), forms)
    assert isinstance(report, Report)
    assert report.forms == tuple(forms or ("sequential", "scan", "chunked", "matrix"))
    for form in report.forms:
        for law in ("values", "pieces", "adjoint"):
            proved = [f for f in report.findings if (f.form, f.law, f.sense) == (form, law, "proved")]
            assert proved and max(c.steps[0] for f in proved for c in f.cases) >= 2, (form, law)
    assert not [f for f in report.findings if f.sense in ("alike", "left out")]
    assert name == "gated_delta_net" or any(f.law == "combine" and f.sense == "proved" for f in report.findings)
    assert all(f.failure < 1e-10 for f in report.findings)


def test_a_nonlinear_program() -> None:
    report = prove(Program(GRU))
    assert report.forms == ("sequential",)
    assert {name for name, _ in report.refused} == {"scan", "chunked", "convolution", "matrix", "newton"}
    text = str(report)
    assert "cell: every law holds for sequential" in text
    assert "  scan: h: the update is not affine" in text
    assert "proved: the same expression in unknowns on both sides" in text


def test_the_same_seed_gives_the_same_report() -> None:
    one, other = (prove(recc.zoo.hgrn, ["chunked"], seed=3) for _ in range(2))
    assert [(f.law, f.sense, f.cases, f.comparisons, f.failure) for f in one.findings] == [
        (f.law, f.sense, f.cases, f.comparisons, f.failure) for f in other.findings
    ]


def test_too_little_work_is_said() -> None:
    report = prove(recc.zoo.gated_delta_net, ["sequential"], work=50)
    senses = {(f.law, f.sense) for f in report.findings}
    assert ("adjoint", "identity-tested") in senses and ("adjoint", "proved") not in senses


def test_what_is_asked_for_wrongly() -> None:
    with pytest.raises(recc.UsageError, match=r"what recc\.compile gives"):
        prove("text")
    with pytest.raises(recc.UsageError, match="some of sequential"):
        prove(recc.zoo.hgrn, ["sideways"])
    with pytest.raises(recc.Unsupported, match="not affine"):
        prove(recc.zoo.gru, ["scan"])
    with pytest.raises(recc.UsageError, match="one or more"):
        prove(recc.zoo.hgrn, points=0)


def test_pieces_do_not_join_from_both_sides() -> None:
    report = prove(recc.zoo.bidirectional, ["sequential"])
    (left,) = [f for f in report.findings if f.sense == "left out"]
    assert left.law == "pieces" and "reads a later step" in left.note


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "hgrn", "--form", "chunked"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hgrn: every law holds for chunked (")
    assert "  adjoint   proved for T, d = 1, 1; 3, 1" in out
    assert main(["prove", "gru", "--form", "scan"]) == 2
    assert "not affine" in capsys.readouterr().err


def test_the_command_fails_loudly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from recc.forms import table

    right = table.forms

    def one_is_wrong(rec: recc.recurrence.Recurrence) -> object:
        return {**right(rec), "sequential": planted(derive_sequential(rec), fewer)}

    monkeypatch.setattr(table, "forms", one_is_wrong)
    with pytest.raises(SystemExit) as status:
        main(["prove", "hgrn"])
    assert status.value.code == 1
    assert "the sequential form of hgrn is wrong: values, y[0, 0]" in capsys.readouterr().out


def test_importing_recc_does_not_bring_in_mpmath() -> None:
    code = "import recc, sys; print('mpmath' in sys.modules, 'recc.prove' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

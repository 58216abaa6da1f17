"""The whole demonstration, for a few seconds."""

from __future__ import annotations

import re
from pathlib import Path
from time import process_time

import pytest

from recc.cli import main

pytest.importorskip("torch", reason="the demonstration trains with torch")
pytest.importorskip("matplotlib", reason="the demonstration draws with matplotlib")

LAST = re.compile(
    r"demo: .* · held-out bits/byte (\d\.\d{3}) -> (\d\.\d{3}) · max rel error (\d\.\de-\d\d) · "
    r"tokens/s ([\d,]+) · wall (\d+) s"
)


def test_the_demo_runs_and_learns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seconds of this process, so that it learns as much on a busy machine.
    monkeypatch.setattr("recc.demo.train.perf_counter", process_time)
    program = tmp_path / "leaky.recc"
    program.write_text(
        "recurrence leaky(d)\n input x[d], g <= 0\n state h[d]\n"
        " h[t] = exp(g[t]) * h[t-1] + x[t]\n output y[t] = h[t]\n"
    )
    arguments = ["demo", str(program), "--seconds", "3", "--width", "32", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    found = LAST.fullmatch(printed.splitlines()[-1])
    assert found, printed
    assert float(found[2]) < float(found[1]) - 1 and float(found[3]) < 2e-5
    assert "order-2 n-gram model" in printed and "h[t] = exp(g[t]) * h[t-1] + x[t]" in printed
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "leaky" in (tmp_path / "out" / "leaky.c").read_text()


def test_a_program_that_reads_the_future_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "back.recc"
    program.write_text("recurrence back\n input x\n state h\n h[t] = h[t+1] + x[t]\n output y[t] = h[t]\n")
    assert main(["demo", str(program), "--seconds", "1", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "runs from right to left" in told and "Traceback" not in told

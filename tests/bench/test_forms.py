"""What `recc bench FILE` prints of every form. No test here asserts a time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import recc  # noqa: E402  # torch may not be there
from recc import zoo  # noqa: E402
from recc.bench import choices, forms, timing  # noqa: E402
from recc.bench.forms import compare, rank_correlation, tables  # noqa: E402
from recc.cli import main  # noqa: E402
from recc.fuzz import Shapes  # noqa: E402

SHAPES = Shapes({"i": 4, "j": 3}, (9,), 1, (2,))


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One counted run to a turn, in one thread: it is printed, not compared."""
    monkeypatch.setattr(timing, "_TURN", 0.0)
    monkeypatch.setattr(gc, "collect", lambda: 0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str) -> Any:
    return lambda form, backend, chunk: recc.compile(zoo.text(name), backend=backend, form=form, chunk_size=chunk)


def of(name: str, shapes: Shapes = SHAPES, **options: Any) -> list[forms.Comparison]:
    return compare(recc.compile(zoo.text(name)).recurrence, shapes, build(name), 0.0, **options)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [([1, 2, 3], [10, 20, 30], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 2, 3, 4], [1, 2, 4, 3], 0.8), ([1], [2], 1.0)],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float) -> None:
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_ranks_agree_with_another_library() -> None:
    stats = pytest.importorskip("scipy.stats")
    one, other = [0.3, 0.1, 0.3, 2.0, 0.7], [5.0, 1.0, 2.0, 2.0, 9.0]
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_every_form_is_there_measured_or_with_its_reason() -> None:
    forward, both = of("retention")
    assert (forward.way, both.way) == ("forward", "forward + backward")
    for comparison in (forward, both):
        names = [(e.option.backend, e.option.name) for e in comparison.entries]
        assert names == [("c", "sequential"), *(("torch", n) for n in FORMS)]
        assert all((e.timing is None) != (e.why == "") for e in comparison.entries)
        assert -1 <= comparison.correlation <= 1 and comparison.regret >= 1
        assert comparison.chosen in {e.label for e in comparison.entries}


FORMS = ("sequential", "scan", "chunked", "convolution", "matrix")


def test_refusals_are_told() -> None:
    (forward,) = of("gated_delta_net", ways=("forward",))
    (refused,) = [e for e in forward.entries if e.option.refusal is not None]
    assert refused.option.name == "convolution" and "varies in time" in refused.why
    (table,) = tables(recc.compile(zoo.text("gated_delta_net")).recurrence, SHAPES, [forward])
    assert any("varies in time" in note for note in table.notes)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_what_is_too_large_or_too_slow_is_not_run() -> None:
    shapes = Shapes({"i": 64, "j": 64}, (1 << 17,), 1)
    rec = recc.compile(zoo.text("gated_linear_attention")).recurrence
    options, _ = forms.predicted(rec, shapes, ("torch",), None, False)
    reasons = {o.name: forms._why_not(o) for o in options}
    assert "not run" in reasons["matrix"] and not reasons["chunked"]
    (option,) = [o for o in options if o.name == "chunked"]
    assert "predicted to take" in forms._why_not(option, 0.0)


def test_a_size_of_chunks_is_what_is_run() -> None:
    (forward,) = of("gated_delta_net", ways=("forward",), chunk=4, backends=("torch",))
    (chunked,) = [e for e in forward.entries if e.option.name == "chunked"]
    assert chunked.label == "chunked (torch, chunks of 4)" and chunked.timing is not None


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "hgrn", "--steps", "9", "--batch", "1", "--heads", "1", "--sizes", "d=4", "--seconds", "0"]
    assert main([*words, "--chunk-size", "4"]) == 0
    printed = capsys.readouterr().out
    assert "hgrn, every form, forward · B 1, T 9, H 1, D 4" in printed
    assert "hgrn, every form, forward + backward" in printed
    assert "rank correlation" in printed and "chunked (torch, chunks of 4)" in printed
    assert main([*words, "--form", "scan"]) == 0
    assert "every form" not in capsys.readouterr().out


def test_several_sizes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "retention", "--sizes", "i=4,k=2"]) == 2
    assert "k" in capsys.readouterr().err


def test_the_choices_are_put_to_the_test() -> None:
    programs = [recc.compile(zoo.text(name)).recurrence for name in ("hgrn", "gru")]
    shapes = [Shapes({"d": 4}, (8,), 1), Shapes({"n": 4}, (8,), 1)]
    table = choices.table("title", zip(programs, shapes, strict=True), 0.0)
    ((name, *cells),) = table.rows  # the other has no choice
    assert name == "hgrn" and len(cells) == 6
    assert "of 2 choices within 1.5" in table.notes[0]

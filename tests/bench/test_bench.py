"""What `recc bench` prints and keeps; that rivals compute the same. No test here asserts a time."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from recc.bench import building, figures, growth, memory, rivals, shipped, timing  # noqa: E402  # torch may not be there
from recc.bench.contest import draw, program  # noqa: E402
from recc.bench.report import Table, shown, write_block  # noqa: E402
from recc.bench.timing import race  # noqa: E402
from recc.cli import main  # noqa: E402
from recc.errors import UsageError  # noqa: E402
from recc.fuzz import Shapes, rel_rms  # noqa: E402

TABLE = Table("A title", ("", "ms", "×"), (("one | two", 1.23456, None), ("three", 12345.6, float("nan"))), ("a note",))


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One counted run to a turn, on whatever heap there is: what is printed is tested here, not what it says."""
    monkeypatch.setattr(timing, "_TURN", 0.0)
    monkeypatch.setattr(gc, "collect", lambda: 0)


def test_a_table_as_text() -> None:
    assert TABLE.text() == "\n".join(
        [
            "A title",
            "                 ms  ×",
            "  one | two    1.23",
            "  three      12,346  -",
            "  a note",
        ]
    )


def test_a_table_as_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        "**A title**",
        "",
        "|  | ms | × |",
        "| --- | ---: | ---: |",
        "| one \\| two | 1.23 |  |",
        "| three | 12,346 | - |",
        "",
        "a note",
    ]


@pytest.mark.parametrize(
    ("cell", "text"), [(None, ""), (0.0012345, "0.00123"), (999.4, "999"), (1000.4, "1,000"), (12345, "12,345")]
)
def test_numbers_have_three_digits(cell: Any, text: str) -> None:
    assert shown(cell) == text


def test_a_page_keeps_what_is_around_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- recc bench: begin -->\nold\n<!-- recc bench: end -->\nafter\n")
    for _ in range(2):  # the second time there is a table already
        write_block(page, {"threads": 2}, [TABLE], "recc bench")
        text = page.read_text()
        assert text.startswith("before\n<!-- recc bench: begin -->\n")
        assert text.endswith("<!-- recc bench: end -->\nafter\n")
        assert "old" not in text and text.count("**A title**") == 1 and "- threads: 2" in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing to see")
    with pytest.raises(UsageError, match=r"--write: expected a page with the lines .*begin"):
        write_block(page, {}, [TABLE], "recc bench")
    assert page.read_text() == "nothing to see"
    with pytest.raises(UsageError, match="--write: expected a page to write into"):
        write_block(tmp_path / "none.md", {}, [TABLE], "recc bench")


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def run(name: str) -> Any:
        def go() -> None:
            order.append(name)

        return go

    times = race({"a": run("a"), "b": run("b")}, 0.0, least=2)
    changes = [x for x, y in zip(order, [None, *order], strict=False) if x != y]
    assert changes == ["a", "b", "a", "b"]
    assert all(0 < t.least <= t.median and t.runs == 2 for t in times.values())


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("elementwise", Shapes({"d": 5}, (70,), 2)),
        ("selective", Shapes({"d": 5, "n": 3}, (70,), 2)),
        ("correction", Shapes({"i": 5, "j": 3}, (70,), 2, (3,))),
    ],
)
def test_rivals_compute_the_same(name: str, shapes: Shapes) -> None:
    op = program(name)
    arguments = draw(op, shapes)
    own = op(**arguments)
    found = [getattr(rivals, f"{name}_loop")]
    if name != "elementwise":
        found.append(getattr(rivals, f"{name}_tuned_loop"))
    chunked = shipped.chunked_correction()
    if name == "correction" and chunked is not None:
        found.append(chunked)
    for rival in found:
        assert rel_rms(rival(arguments).numpy(), own.numpy()) < 2e-6


@pytest.mark.slow
def test_every_table_of_the_suite() -> None:
    tables = [
        figures.elementwise(0.0, 256),
        figures.selective(0.0, 256),
        figures.correction(0.0, 32),
        growth.growth(0.0, 1 << 10),
        building.building(1),
    ]
    for table in tables:
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
        assert table.title in table.text() and table.title in table.markdown()
    for table in tables[:3]:
        assert any("apart from" in note for note in table.notes)


@pytest.mark.slow
def test_memory_is_what_has_to_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CASES", memory._CASES[-1:])
    table = memory.memory(4)
    if not table.rows:
        pytest.skip("this system does not tell peaks of memory")
    ((*_, ratio),) = table.rows
    assert isinstance(ratio, float) and ratio < 1.25


def test_one_program_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, figures_at = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("<!-- recc bench: begin --><!-- recc bench: end -->")
    words = ["bench", "roesser", "--steps", "64", "--batch", "1", "--heads", "2", "--seconds", "0", "--size", "n=4"]
    assert main([*words, "--json", str(figures_at), "--write", str(page)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("roesser · B 1, T 8 × 8, H 2, N 4, float32")
    kept = json.loads(figures_at.read_text())
    names = [row[""] for row in kept["tables"][0]["rows"]]
    assert names[:2] == ["forward", "forward + backward"] and names[-1] == "NumPy reference (T 8 × 8)"
    assert kept["machine"]["threads"] == 2 and "roesser" in page.read_text()


def test_a_program_without_gradients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "counting.recc"
    path.write_text("recurrence changes\n input on bool\n output y[t] = where(on[t], 1, 0) - where(on[t-1], 1, 0)\n")
    status = main(["bench", str(path), "--steps", "16", "--seconds", "0"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert "forward" in captured.out and "backward" not in captured.out

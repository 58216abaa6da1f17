"""The benchmark for GPUs, without one: traffic, programs, the order of things, and what is written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import recc  # noqa: E402  # torch may not be there
from recc.bench.gpu import __main__ as script  # noqa: E402
from recc.bench.gpu import judge  # noqa: E402
from recc.bench.gpu.families import FAMILIES, Family, family  # noqa: E402
from recc.bench.gpu.record import SCHEMA, Error, Host, Record, Row, listed, read, slug, write  # noqa: E402
from recc.bench.gpu.run import Plan, brief, shown  # noqa: E402
from recc.bench.gpu.shapes import (  # noqa: E402
    CHANNELS,
    GROUPS,
    LONG,
    S1,
    S5,
    Shape,
    least_both,
    least_forward,
    least_milliseconds,
)
from recc.bench.shipped import shipped  # noqa: E402
from recc.fuzz import rel_rms  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "README.md"
SMALL = Shape("small", 2, 19, 3, 4)


@pytest.mark.parametrize(
    ("name", "shape", "forward", "both"),
    [
        # Arrays of B T H D numbers in bfloat16: those of the output and of each input, and of gradients.
        ("no_gate", S1, 4, 11),
        ("constant_gate", S1, 4, 11),
        ("vector_gate", S1, 5, 14),
        ("vector_gate", S5, 5, 14),
        ("log_scan", CHANNELS, 3, 8),
    ],
)
def test_the_least_traffic_counts_arrays(name: str, shape: Shape, forward: int, both: int) -> None:
    array = shape.batch * shape.steps * shape.heads * shape.size * 2
    per_token = family(name).per_token(shape)
    assert least_forward(shape, per_token) == forward * array
    assert least_both(shape, per_token) == both * array


def test_small_inputs_count_as_what_they_are() -> None:
    tokens = S1.batch * S1.steps * S1.heads
    wide, one = 128, 1
    assert least_forward(S1, family("correction").per_token(S1)) == tokens * (4 * wide + 2 * one) * 2
    assert least_both(S1, family("correction").per_token(S1)) == tokens * (11 * wide + 6 * one) * 2


def test_bytes_to_milliseconds() -> None:
    assert least_milliseconds(3_000_000_000, 3e12) == pytest.approx(1.0)


@pytest.mark.parametrize("one", FAMILIES, ids=lambda f: f.name)
def test_programs_compute_what_the_judge_computes(one: Family) -> None:
    arguments = one.draw(SMALL, "cpu", torch.float64)
    op = recc.compile(one.path)
    assert [s.name for s in op.recurrence.arguments] == list(arguments)
    assert rel_rms(op.reference(**arguments), judge.exact(one, arguments).numpy()) < 1e-12
    held = {n: sum(t.shape[3:]) if t.dim() > 3 else 1 for n, t in arguments.items() if n != "gamma"}
    if not one.diagonal:
        assert tuple(held.values()) == one.per_token(SMALL)


@pytest.mark.parametrize(
    ("name", "folder", "function"),
    [
        ("scalar_gate", "simple_gla", "naive_recurrent_simple_gla"),
        ("correction", "gated_delta_rule", "naive_chunk_gated_delta_rule"),
        ("vector_correction", "kda", "naive_recurrent_kda"),
    ],
)
def test_the_rivals_mean_the_same(name: str, folder: str, function: str) -> None:
    """Their plain functions, called as the fast ones are, give what the judge gives."""
    found = shipped(folder, function)
    if found is None:
        pytest.skip("fla-core is not installed")
    arguments = family(name).draw(Shape("one", 1, 64, 2, 16), "cpu", torch.float32)
    assert judge.relative(found(**arguments, scale=1.0)[0], judge.exact(family(name), arguments)) < 1e-5


def test_what_is_not_a_number_is_infinitely_far() -> None:
    assert judge.relative(torch.tensor([1.0, float("nan")]), torch.ones(2)) == float("inf")


def test_aims() -> None:
    assert family("vector_gate").aim(S1, "forward") == 0.9
    assert family("vector_gate").aim(S1, "both") == 2.0
    assert family("correction").aim(LONG, "forward") == family("correction").aim(LONG, "both") == 2.0


def test_the_plan_has_everything_once_and_the_weightiest_first() -> None:
    units = [(f.name, s.name) for f, shapes, _ in Plan().units() for s in shapes]
    assert len(units) == len(set(units)) == len(FAMILIES) * sum(map(len, GROUPS)) + 1
    assert units[0] == ("correction", "s3") and ("log_scan", "channels") in units
    firsts = [f.name for f, _, first in Plan().units() if first]
    assert firsts == [f.name for f in FAMILIES]
    chosen = Plan(families=("no_gate",), shapes=("s6",))
    assert [(f.name, [s.name for s in shapes]) for f, shapes, _ in chosen.units() if shapes] == [("no_gate", ["s6"])]


def row(**changes: Any) -> Row:
    given: dict[str, Any] = {
        "family": "vector_gate", "title": "decay per row", "shape": str(S1), "way": "both", "recc": 2.0, "rival": 5.0,
        "rival_name": "other", "goal": 2.0, "least_bytes": 3_000_000_000, "recc_memory": 2**30, "rival_memory": 2**31,
    }  # fmt: skip
    return Row(**given | changes)


def record() -> Record:
    found = Record({"name": "A Device, 80GB"}, {"torch": "2"}, 3e12)
    found.add(row(), row(way="forward", recc=None, rival=None, remark="recc does not fit into the memory"))
    found.add(Error("vector_gate", "decay per row", "recc", "call", 2e-3, 3e-3, "g"))
    found.add(Host("vector_gate", "decay per row", "recc", "call", 50.0, 20.0))
    found.left_out.append("no decay, s6")
    found.notes.append("mamba-ssm is not there")
    return found


def test_later_figures_replace_earlier_ones() -> None:
    found = record()
    found.add(row(recc=1.0), Host("vector_gate", "decay per row", "recc", "call", 40.0))
    assert [r.recc for r in found.rows if r.way == "both"] == [1.0]
    assert [h.call for h in found.hosts] == [40.0]


def test_the_file_has_every_figure_and_the_ratios() -> None:
    data = json.loads(record().json())
    assert set(data) == {
        "schema", "device", "versions", "bandwidth", "rows", "errors", "hosts", "left_out", "notes",
    }  # fmt: skip
    assert data["schema"] == SCHEMA
    for one in data["rows"]:
        assert set(one) == {*Row.__dataclass_fields__, "ratio", "least"}
    both = next(r for r in data["rows"] if r["way"] == "both")
    assert (both["ratio"], both["least"]) == (2.5, 1.0)
    assert next(r for r in data["rows"] if r["way"] == "forward")["ratio"] is None
    assert data["errors"] == [asdict(e) for e in record().errors]


def test_the_page() -> None:
    page = record().markdown()
    assert page.startswith("# A Device, 80GB\n")
    assert "**Forward + backward, bfloat16**" in page and "- a copy within the device: 3,000 GB/s" in page
    line = next(x for x in page.splitlines() if x.startswith("| decay per row | s1") and "| 2.5 |" in x)
    cells = [c.strip() for c in line.split("|")[1:-1]]
    assert cells[2:10] == ["2", "5", "2.5", "2", "1", "0.5", "", "1"]
    assert "- no decay, s6" in page and page.rstrip().endswith("mamba-ssm is not there")


def test_files_are_written_read_and_listed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a\n<!-- tables: begin -->\nnone\n<!-- tables: end -->\nb\n")
    data, page = write(record(), tmp_path)
    assert (data.name, page.name) == ("a-device-80gb.json", "a-device-80gb.md")
    assert read(data, record()) == record()
    assert read(data, Record({"name": "A Device, 80GB"}, {"torch": "3"})) is None
    assert read(tmp_path / "none.json", record()) is None
    text = (tmp_path / "README.md").read_text()
    assert text == "a\n<!-- tables: begin -->\n- [a-device-80gb](a-device-80gb.md)\n<!-- tables: end -->\nb\n"
    assert listed(text, {}) == "a\n<!-- tables: begin -->\nNo GPU has been measured yet.\n<!-- tables: end -->\nb\n"


def test_the_committed_list_is_that_of_the_committed_tables() -> None:
    pages = {p.stem: p.name for p in sorted(PAGE.parent.glob("*.md")) if p != PAGE}
    text = PAGE.read_text(encoding="utf-8")
    assert listed(text, pages) == text
    for name in pages:
        assert (PAGE.parent / f"{name}.json").exists()


def test_the_page_names_every_family_and_shape() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for one in FAMILIES:
        assert f"[`{one.name}`]" in text
        goal = f"{one.goal:g} |"
        assert any(f"`{one.name}`" in line and line.endswith(goal) for line in text.splitlines()), one.name
    for shape in (*(s for group in GROUPS for s in group), CHANNELS):
        sizes = " | ".join(map(str, (shape.batch, shape.steps, shape.heads, shape.size)))
        assert any(line.startswith(f"| {shape.name}") and sizes in line for line in text.splitlines()), shape


def test_a_row_for_the_screen() -> None:
    text = shown(row(apart=1e-3), 1.0)
    assert text.startswith("decay per row, s1 (1, 8192, 96, 128), both: recc 2.000 ms other 5.000 ms × 2.50 (goal 2.0)")
    assert "50 % of the traffic limit" in text
    assert shown(row(recc=None, rival=None, remark="why"), 1.0).endswith("recc - why")
    assert brief(ValueError("one\ntwo")) == "ValueError: one"
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


def test_it_runs_through_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--backend", "c", "--device", "cpu", "--small", "--families", "log_scan", "--folder", str(tmp_path)]
    assert script.main(words) == 0
    printed = capsys.readouterr().out
    assert "diagonal scan, recc: off" in printed and "tried, not measured" in printed
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert script.main([]) == 1
    assert "nothing was measured" in capsys.readouterr().out

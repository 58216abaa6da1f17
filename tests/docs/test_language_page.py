"""The tables of docs/language.md say what the compiler knows, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recc.builder import MAX_DEPTH
from recc.check.declare import CALL_KEYWORDS, MAX_AXES
from recc.check.indexing import MAX_LAG
from recc.check.scope import MATRIX_FUNCTIONS
from recc.check.typed import MAX_NODES
from recc.parse import GRAMMAR, MAX_ERRORS, MAX_LINE, MAX_NESTING, MAX_TEXT, MAX_TOKENS
from recc.recurrence import FUNCTIONS, REDUCTIONS
from recc.runtime.op import Op
from recc.show import OPERATOR

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "language.md").read_text(encoding="utf-8")

_GIVES = {"same": "same", "real": "real", "real or complex": "real", "complex": "complex",
          "the wider of x and y": "branch", "same; real for complex": "same"}  # fmt: skip


def section(title: str) -> str:
    """The text of a section, without its heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of every table of a section, headings left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells[2:] if not set(row[0]) <= {"-"}]


def test_grammar_is_verbatim() -> None:
    assert GRAMMAR.read_text(encoding="utf-8").rstrip() in section("Grammar")


def test_table_of_functions() -> None:
    found = {}
    for signature, _, takes, gives in rows("Functions"):
        name, arguments = re.fullmatch(r"`(\w+)\((.*)\)`", signature).groups()
        found[name] = (len(arguments.split(",")), takes.split(" ")[0], _GIVES[gives])
    table = {f.name: (f.arity, f.accepts, f.result) for f in FUNCTIONS.values() if f.name not in OPERATOR}
    assert found == table


def test_functions_said_to_give_complex_take_complex() -> None:
    for signature, _, takes, gives in rows("Functions"):
        if gives == "real or complex":
            assert takes.startswith("complex"), signature


def test_table_of_operators() -> None:
    found = {}
    for sample, name in rows("Expressions"):
        mark = re.sub(r"\b[ab]\b", "", sample.strip("`")).strip()
        found[name.strip("`")] = mark
    assert found == OPERATOR


def test_table_of_reductions() -> None:
    found = [re.match(r"`(\w+)\[", row[0])[1] for row in rows("Reductions")]
    assert found == list(REDUCTIONS)


def test_table_of_matrices() -> None:
    found = [re.match(r"`(\w+)\[", row[0])[1] for row in rows("Matrices")]
    assert set(found) == set(MATRIX_FUNCTIONS)


def test_table_of_limits() -> None:
    found = [int(value.replace(",", "")) for _, value in rows("Limits")]
    assert found == [
        MAX_TEXT, MAX_LINE, MAX_TOKENS, MAX_NESTING, MAX_DEPTH, MAX_NODES, MAX_AXES, MAX_LAG, MAX_ERRORS,
    ]  # fmt: skip


def test_every_task_is_in_the_list_at_the_top() -> None:
    top, _, rest = PAGE.partition("## By task")
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", top))
    titles = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in re.findall(r"^### (.+)$", rest, re.M)}
    left_out = {"mistakes"}
    short = {"axes": "axes-and-broadcasting"}
    assert {short.get(a, a) for a in anchors} == titles - left_out


def test_arguments_of_every_op_are_reserved() -> None:
    import inspect

    for method in (Op.__call__, Op.reference, Op.step):
        for name, parameter in inspect.signature(method).parameters.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                assert name in CALL_KEYWORDS, (
                    f"{method.__name__} takes {name}: an input of that name could not be given"
                )


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda p: str(p.relative_to(DOCS)))
def test_anchors_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
        target = (path.parent / file).read_text(encoding="utf-8") if file else text
        titles = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in re.findall(r"^#+ (.+)$", target, re.M)}
        assert anchor in titles, f"{path.name}: {file}#{anchor}"

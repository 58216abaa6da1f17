"""Whatever the text: a program, or a `SourceError` that can be printed; in bounded time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recc.check import load
from recc.errors import SourceError

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [p.read_text(encoding="utf-8") for p in sorted((ROOT / "recc" / "zoo").glob("*.recc"))]
PROGRAMS += [p.read_bytes().decode("utf-8") for p in sorted((ROOT / "tests" / "errors").glob("*.recc"))]
WORDS = re.compile(r"\w+|\s+|\*\*|[<>=!]=|.", re.S)
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def must_answer(text: str) -> None:
    """Load, or print every message with its place inside the text."""
    try:
        for r in load(text):
            load(str(r))
    except SourceError as error:
        assert error.diagnostics
        assert str(error).startswith("error[")
        for d in error.diagnostics:
            assert 0 <= d.span.start <= d.span.end <= len(text) + 1


@FUZZ
@given(st.text(max_size=200))
def test_any_characters(text: str) -> None:
    must_answer(text)


@FUZZ
@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfrecurrence f\n")
@example(b"recurrence f\r y = \\\r 1")
def test_any_bytes(data: bytes) -> None:
    must_answer(data.decode("latin-1"))


VOCABULARY = """
recurrence input param const state output def over and or not in unit int bool complex f g x h t i n 0 1 2.5 1e400
( ) [ ] , = == < <= + - * / ** ^ # " \\ sum max exp where solve inv stop inf
"""
MARKS = st.sampled_from([*VOCABULARY.split(), "\n"])


@FUZZ
@given(st.lists(MARKS, max_size=60))
def test_any_words(words: list[str]) -> None:
    must_answer("recurrence f(i, n = i)\n" + " ".join(words))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_programs(data: st.DataObject) -> None:
    """Programs with words removed, doubled, swapped or replaced by words of other programs."""
    pieces = WORDS.findall(data.draw(st.sampled_from(PROGRAMS)))
    other = WORDS.findall(data.draw(st.sampled_from(PROGRAMS)))
    for _ in range(data.draw(st.integers(1, 4))):
        if not pieces:
            break
        at = data.draw(st.integers(0, len(pieces) - 1))
        kind = data.draw(st.sampled_from(["drop", "double", "swap", "replace", "insert"]))
        if kind == "drop":
            del pieces[at]
        elif kind == "double":
            pieces.insert(at, pieces[at])
        elif kind == "swap":
            to = data.draw(st.integers(0, len(pieces) - 1))
            pieces[at], pieces[to] = pieces[to], pieces[at]
        else:
            word = data.draw(st.sampled_from(other)) if other else "x"
            pieces[at : at + (kind == "replace")] = [word]
    must_answer("".join(pieces))


def _body(text: str) -> str:
    return f"recurrence f\n input x\n{text}"


HOSTILE = {
    "nested brackets": _body("output y[t] = " + "(" * 10_000 + "x[t]" + ")" * 10_000),
    "nested indices": _body("output y[t] = " + "x[" * 10_000),
    "a line of a megabyte": "a" * 1_000_000,
    "a long sum on one line": _body("output y[t] = " + "x[t]+" * 12_000 + "x[t]"),
    "a long sum on many lines": _body("output y[t] = (" + "+\n".join(["x[t]"] * 6_000) + ")"),
    "100,000 terms": _body("output y[t] = " + "+".join(["1"] * 100_000)),
    "100,000 statements": _body("a=1\n" * 100_000),
    "a chain of 4,000 intermediates": _body(
        "".join(f"a{i}[t]=a{i + 1}[t]\n" for i in range(4_000)) + "a4000[t]=x[t]\noutput y[t]=a0[t]\n"
    ),
    "a cycle of 2,000 names": _body("".join(f"a{i}[t]=a{(i + 1) % 2000}[t]\n" for i in range(2_000))),
    "signs": _body("output y[t] = " + "-" * 30_000 + "x[t]"),
    "negations": _body("output y[t] = " + "not " * 10_000 + "x[t]"),
    "powers": _body("output y[t] = " + "2**" * 15_000 + "x[t]"),
    "doubling definitions": _body(
        "def f0(a)=a+a\n" + "".join(f"def f{i + 1}(a)=f{i}(f{i}(a))\n" for i in range(40)) + "output y[t]=f40(x[t])"
    ),
    "a chain of definitions": _body(
        "def f0(a)=a\n" + "".join(f"def f{i + 1}(a)=f{i}(a)\n" for i in range(2_000)) + "output y[t]=f2000(x[t])"
    ),
    "a huge number": _body("output y[t] = x[t] * 1e99999999999999999999"),
    "60,000 digits": _body("output y[t] = x[t] * " + "9" * 60_000),
    "carets": "^\n" * 30_000,
    "quotes": '"' * 60_001,
    "open brackets": "(\n" * 19_000,
    "closed brackets": ")" * 39_000,
    "crossed brackets": "(]" * 19_000,
    "backslashes": "\\\n" * 100_000,
    "blank lines": "\n" * 250_000,
    "zeros": "\0" * 60_000,
    "headers": "recurrence f\n" * 12_000,
    "unknown names": _body("".join(f"output y{i}[t] = zz{i}q + x[t]\n" for i in range(3_000))),
    "named indices": _body("output y[t] = x[" + "a = " * 10_000 + "1]"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_text_is_answered_soon(what: str) -> None:
    begun = time.process_time()
    must_answer(HOSTILE[what])
    assert time.process_time() - begun < 5, "bounded work; a quiet machine takes less than a second"


def test_deepest_allowed_program_can_be_used() -> None:
    """Printing, comparing and hashing recurse over expressions; the limits keep them inside Python's stack."""
    right = "s[t, " * 97 + "0" + "]" * 97
    (r,) = load(f"recurrence f(a)\n input s[a] int(a)\n output y[t] = {right}\n")
    (again,) = load(str(r))
    assert again.equations == r.equations
    assert hash(again.equations) == hash(r.equations)
    assert repr(r)

"""Counter-examples on disk: a program, a script that shows what is wrong of it, the arrays, and the facts.

An entry NAME of a folder is `NAME.recc`, the program with a comment on what is wrong; `NAME.py`, some lines of plain
Python that show it; `NAME.npz`, the arrays; and `NAME.json`, from which `replay` runs the very law again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from recc.check import load
from recc.errors import SourceError, UsageError

from ..drawing.case import Arrays, Case
from ..drawing.draw import Shapes
from ..hunting.found import TINY, CounterExample, Origin
from ..hunting.work import LIMIT, Outcome, Task, again, at_most, look
from ..laws.trial import Finding
from ..ways.program import Program, Way
from .report import Report, Tally, versions

_FORMAT = 1
_ENDINGS = (".recc", ".py", ".npz", ".json")


def save(folder: str | Path, found: CounterExample) -> Path:
    """Writes a counter-example into a folder. Gives the path of its program. Raises `UsageError` if it cannot."""
    folder = Path(folder)
    name = name_of(found)
    case = found.case
    text = case.rec.source.text.strip()
    comment = "".join(f"# {line}\n" for line in [found.headline, f"law: {found.law}", f"way: {found.way}",
                                                  f"case: {case}", f"again: {found.origin}"])  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.recc").write_text(f"{comment}\n{text}\n", encoding="utf-8")
        (folder / f"{name}.py").write_text(_script(name, found), encoding="utf-8")
        np.savez(folder / f"{name}.npz", **_stored(case))  # type: ignore[arg-type] # its stub takes `allow_pickle` for one of the names
        facts = json.dumps(_facts(found), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(facts + "\n", encoding="utf-8")
    except OSError as problem:
        reason = f"{folder}: {problem.strerror}"
        raise UsageError("--save", "a folder that can be written", reason) from None
    return folder / f"{name}.recc"


def name_of(found: CounterExample) -> str:
    """A file's name for a counter-example, the same for the same one: program, law, way, and a piece of a hash."""
    key = hashlib.sha256("\0".join((*found.key, found.case.rec.source.text)).encode()).hexdigest()[:6]
    words = re.sub(r"\W+", "_", f"{found.case.rec.name} {found.law} {found.way}").strip("_")
    return f"{words}_{key}"


def _stored(case: Case) -> Arrays:
    return {**case.arguments, **{f"initial {n}": v for n, v in case.initial.items()}}


def _facts(found: CounterExample) -> dict[str, Any]:
    case, finding = found.case, found.finding
    way = finding.way
    plain = {
        f.name: getattr(case, f.name) for f in fields(case) if f.name not in ("rec", "arguments", "initial", "shapes")
    }
    shrunk = found.shrunk
    return {
        "format": _FORMAT,
        "recurrence": case.rec.name,
        "finding": {f.name: _json(getattr(finding, f.name)) for f in fields(finding) if f.name != "way"},
        "way": None if way is None else asdict(way),
        "case": {**{n: _json(v) for n, v in plain.items()}, "shapes": asdict(case.shapes)},
        "origin": asdict(found.origin),
        "program": found.drawn.rec.source.text,
        "drawn": str(found.drawn),
        "shrunk": None if shrunk is None else {"evaluations": shrunk.evaluations, "finished": shrunk.finished},
        "versions": versions(),
    }


def _json(value: Any) -> Any:
    """Numbers that JSON has no words for as text."""
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, frozenset) else value


def _script(name: str, found: CounterExample) -> str:
    """Plain Python that compiles the program in the way that is wrong and compares it with the reference."""
    case = found.case
    # Blocks have no call: another way that is wrong too shows it as well.
    ways = [w for w in (found.finding.way, *(w for _, w in found.also)) if w is not None and w.backend != "blocks"]
    way = ways[0] if ways else None
    stored = _stored(case)
    tiny = sum(v.size for v in stored.values()) <= TINY
    lines = [f'"""{_safe(found.headline)}."""', "", "from pathlib import Path", ""]
    lines += ["import numpy as np", ""] if stored and way is not None else []
    lines += ["import recc", "", "here = Path(__file__).parent"]
    if way is None:
        return "\n".join([*lines, _replay(name), ""])
    if stored and not tiny:
        lines.append(f'stored = np.load(here / "{name}.npz")')
    options = {"name": case.rec.name, "backend": way.backend, "form": way.form, "chunk_size": way.chunk}
    shown = ", ".join(f"{k}={v!r}" for k, v in options.items() if v is not None)
    lines.append(f'op = recc.compile(here / "{name}.recc", {shown})')
    given = []
    for key, value in stored.items():
        word = key.replace(" ", "_")
        lines.append(f"{word} = {_literal(value)}" if tiny else f'{word} = stored["{key}"]')
    given += [f"{n}={n}" for n in case.arguments]
    if case.initial:
        inside = ", ".join(f'"{n}": initial_{n}' for n in case.initial)
        given.append(f"initial_state={{{inside}}}")
    if not case.inputs:
        given.append(f"steps={case.shapes.steps[0]}")
    call = ", ".join(given)
    lines += [f"arguments = dict({call}, output_final_state=True)", 'print("found:   ", op(**arguments))']
    lines += ['print("expected:", op.reference(**arguments))', _replay(name)]
    return "\n".join([*lines, ""])


def _replay(name: str) -> str:
    return f'print(recc.fuzz.replay(here / "{name}.json"))  # the law itself'


def _safe(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _literal(value: Any) -> str:
    array = np.asarray(value)
    if not array.size:
        return f"np.zeros({array.shape}, np.{array.dtype.name})"
    text = repr(array.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
    return f"np.array({text})" if array.dtype.kind in "fcb" else f"np.array({text}, np.{array.dtype.name})"


def read(path: str | Path) -> tuple[Case, Finding, Origin]:
    """A saved counter-example. Raises `UsageError` where there is none, or none that can be read."""
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in _ENDINGS else path
    for ending in (".json", ".npz", ".recc"):
        if not stem.with_name(stem.name + ending).is_file():
            missing = stem.with_name(stem.name + ending)
            hint = "give one of the files that --save wrote; NAME.recc, NAME.npz and NAME.json lie together"
            raise UsageError("--replay", "a saved counter-example", f"{path}, but there is no {missing}", hint)
    try:
        facts = json.loads(stem.with_name(stem.name + ".json").read_text(encoding="utf-8"))
        text = stem.with_name(stem.name + ".recc").read_text(encoding="utf-8")
        with np.load(stem.with_name(stem.name + ".npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _restored(facts, text, str(stem.with_name(stem.name + ".recc")), arrays)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as problem:
        if isinstance(problem, SourceError):
            raise
        reason = f"{path}, which cannot be read ({type(problem).__name__}: {problem})"
        raise UsageError("--replay", "a saved counter-example", reason, "save it anew with --save") from None


def _restored(facts: Mapping[str, Any], text: str, file: str, arrays: Arrays) -> tuple[Case, Finding, Origin]:
    if facts["format"] != _FORMAT:
        raise ValueError(f"it has format {facts['format']}, and this recc reads {_FORMAT}")
    # Without the comment, so that kernels have the names that they had, which `RECC_OVERRIDE` goes by.
    program = text.split("\n\n", 1)[-1] if text.startswith("# ") else text
    rec = next(r for r in load(program, file) if r.name == facts["recurrence"])
    plain = {n: _tuple(v) for n, v in facts["case"].items() if n != "shapes"}
    shapes = Shapes(**{n: _tuple(v) for n, v in facts["case"]["shapes"].items()})
    arguments = {n: v for n, v in arrays.items() if not n.startswith("initial ")}
    initial = {n.removeprefix("initial "): v for n, v in arrays.items() if n.startswith("initial ")}
    case = Case(rec=rec, shapes=shapes, arguments=arguments, initial=initial, **plain)
    way = facts["way"]
    known = {f.name for f in fields(Finding)}
    told = {n: _number(n, v) for n, v in facts["finding"].items() if n in known}
    finding = Finding(**told, way=Way(**way) if way else None)
    origin = Origin(**{n: _tuple(v) for n, v in facts["origin"].items()})
    return case, finding, origin


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _number(name: str, value: Any) -> Any:
    return float(value) if name in ("error", "bound") else _tuple(value)


def replay(path: str | Path, op: Any = None) -> Report:
    """Runs a saved counter-example again: the same law of the same way, for the saved program and arrays.

    `op` is run in place of what the program compiles to now. Raises `CounterExample` if it still does not hold,
    `UsageError` where there is no counter-example that can be read. A `Report` says that it holds now.
    """
    case, finding, origin = read(path)
    program = _program(case, finding) if op is None else Program.of_op(op)
    task = Task(origin.seed, steps=origin.steps)
    wrong = again(program, case, finding, task, LIMIT)
    if wrong is not None:
        raise CounterExample(case, wrong, origin, saved=str(path))
    tally = Tally(case.rec.name, origin.seed)
    outcome = Outcome(origin.number, 1, case.shapes.steps[0])
    with at_most(LIMIT):
        look(program, case, outcome, Task(origin.seed, laws=(finding.law,)), None)
    tally.add(outcome)
    return tally.report()


def _program(case: Case, finding: Finding) -> Program:
    way = finding.way
    return Program.of(case.rec) if way is None else Program(case.rec, (way,))


__all__ = ["name_of", "read", "replay", "save"]

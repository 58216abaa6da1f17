"""A picture of the stages: which needs what of which, from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recc.explain.maths import Maths
from recc.explain.svg import PROPORTIONAL, drawing, rectangle, text, width_of
from recc.recurrence import Kind, Recurrence, reads
from recc.structure import Affine, Cut, Nonlinear, Structure, describe

_BOX, _GAP, _LINE, _PAD = 66.0, 34.0, 15.0, 12.0
_LABEL = 12.0
_LONGEST = 46  # characters of a label


@dataclass(eq=False)
class Place:
    """A stage in the picture, or a point that a long edge passes (`stage` is -1)."""

    stage: int
    level: int
    lines: tuple[str, ...] = ()
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def height(self) -> float:
        """How high it is."""
        return _BOX if self.stage >= 0 else 10.0


@dataclass(eq=False)
class Edge:
    """What a stage hands to a later one, and the places it passes."""

    source: int
    target: int
    labels: tuple[str, ...]
    path: list[Place] = field(default_factory=list)


def stage_graph(rec: Recurrence, structures: Sequence[Structure], cuts: Sequence[Cut]) -> str:
    """The picture as SVG."""
    edges = _edges(rec, cuts)
    levels = _levels(len(rec.stages), edges)
    stages = [_place(rec, k, s, levels[k]) for k, s in enumerate(structures)]
    columns: list[list[Place]] = [[] for _ in range(max(levels) + 1)]
    for place in stages:
        columns[place.level].append(place)
    for edge in edges:
        edge.path = [stages[edge.source]]
        for level in range(levels[edge.source] + 1, levels[edge.target]):
            point = Place(-1, level)
            columns[level].append(point)
            edge.path.append(point)
        edge.path.append(stages[edge.target])
    _order(columns, edges)
    width, height = _arrange(columns, edges)
    shapes = [*_lines(edges), *(shape for place in stages for shape in _drawn(rec, place))]
    names = "; ".join(f"stage {e.source + 1} hands {', '.join(e.labels)} to stage {e.target + 1}" for e in edges)
    return drawing(width, height, "The stages and what they hand on", names or "one stage", shapes)


def _edges(rec: Recurrence, cuts: Sequence[Cut]) -> list[Edge]:
    maths = Maths(rec)
    found = []
    for target, stage in enumerate(rec.stages):
        needs = [r for name in stage.equations for r in reads(rec.equation[name].expr)]
        for source, maker in enumerate(rec.stages[:target]):
            used = list(dict.fromkeys(r.name for r in needs if r.name in maker.equations))
            if not used:
                continue
            handed = [c for c in cuts if c.maker == source and set(c.readers) & set(stage.equations)]
            labels = [maths.expr(c.expr) for c in handed]
            labels += [n for n in used if n not in {c.name for c in handed}]
            found.append(Edge(source, target, tuple(_short(label) for label in labels)))
    return found


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _levels(count: int, edges: Sequence[Edge]) -> list[int]:
    levels = [0] * count
    for target in range(count):
        levels[target] = max((levels[e.source] + 1 for e in edges if e.target == target), default=0)
    return levels


def _place(rec: Recurrence, number: int, structure: Structure, level: int) -> Place:
    stage = structure.stage
    outputs = [n for n in stage.equations if rec.table[n].kind is Kind.OUTPUT]
    names = ", ".join(stage.states or stage.equations)
    arrow = "".join({1: " →", -1: " ←"}.get(d, "") for d in stage.direction) if stage.states else ""
    head = f"{number + 1}. {'output ' if outputs and not stage.states else ''}{names}{arrow}"
    needs = [r.name for n in stage.equations for r in reads(rec.equation[n].expr)]
    given = list(dict.fromkeys(n for n in needs if rec.table[n].is_argument))
    lines = (_short(head), _short(_kind(rec, structure)), _short(f"reads {', '.join(given)}" if given else ""))
    wide = max(width_of(lines[:1], 14), width_of(lines[1:], _LABEL, PROPORTIONAL))
    return Place(number, level, lines, width=wide + 2 * _PAD)


def _kind(rec: Recurrence, structure: Structure) -> str:
    if isinstance(structure, Nonlinear):
        return "nonlinear"
    if not isinstance(structure, Affine):
        varies = any(rec.table[n].varies for n in structure.stage.equations)
        return "each step by itself" if varies else "once for all steps"
    words = describe(structure.kind, [p for e in structure.entries for p in e.parts], structure.rank)
    words = words if structure.algebra == "ring" else f"{structure.algebra}, {words}"
    return f"{words}, order {structure.order}" if structure.order > 1 else words


def _order(columns: list[list[Place]], edges: Sequence[Edge]) -> None:
    """Within a column by the mean place of the neighbours in the column before, some rounds in both ways."""
    for _ in range(4):
        for way in (1, -1):
            for column in columns[::way]:
                rank = {id(p): k for c in columns for k, p in enumerate(c)}
                column.sort(key=lambda p, w=way, r=rank: _mean(p, edges, w, r))  # type: ignore[misc]  # default arguments are untyped


def _mean(place: Place, edges: Sequence[Edge], way: int, rank: Mapping[int, int]) -> float:
    near = []
    for edge in edges:
        for a, b in zip(edge.path, edge.path[1:], strict=False):
            if (b if way > 0 else a) is place:
                near.append(rank[id(a if way > 0 else b)])
    return sum(near) / len(near) if near else float(rank[id(place)])


def _arrange(columns: Sequence[Sequence[Place]], edges: Sequence[Edge]) -> tuple[float, float]:
    """Gives every place its coordinates; gaps are as wide as the labels in them."""
    heights = [sum(p.height for p in c) + _GAP * (len(c) - 1) for c in columns]
    labels = [[e for e in edges if e.path[0].level == k] for k in range(len(columns))]
    most = max([*heights, *(sum(len(e.labels) * _LINE + 8 for e in found) for found in labels)])
    x = 2.0
    for k, column in enumerate(columns):
        wide = max(p.width for p in column)
        y = (most - heights[k]) / 2 + 2
        for place in column:
            place.x = x
            place.width = wide if place.stage < 0 else place.width
            place.y = y + place.height / 2
            y += place.height + _GAP
        x += wide + (max([0.0, *(width_of(e.labels, _LABEL) for e in labels[k])]) + 56 if labels[k] else 0)
    return x + 2, most + 4


def _lines(edges: Sequence[Edge]) -> list[str]:
    shapes, written = [], list[tuple[float, str]]()
    taken: dict[int, list[tuple[float, float]]] = {}
    for edge in edges:
        here, there = edge.path[0], edge.path[1]
        start = _end(edge, edges, 0)
        x, y = here.x + here.width, start
        d = f"M{x:.1f} {y:.1f}"
        for place in edge.path[1:]:
            end = _end(edge, edges, -1) if place.stage >= 0 else place.y
            stop = place.x - (7 if place.stage >= 0 else 0)
            middle = (x + stop) / 2
            d += f" C{middle:.1f} {y:.1f} {middle:.1f} {end:.1f} {stop:.1f} {end:.1f}"
            x, y = place.x + place.width, end
            if place.stage < 0:
                d += f" H{x:.1f}"
        shapes.append(f'<path class="edge" d="{d}"/>')
        tip = edge.path[-1].x
        shapes.append(f'<path class="head" d="M{tip:.1f} {y:.1f} l-8 -4 v8 z"/>')
        first = there.y if there.stage < 0 else _end(edge, edges, -1)
        written.append(_label(edge, (start + first) / 2, taken.setdefault(here.level, [])))
    return [*shapes, *(shape for _, shape in written)]


def _end(edge: Edge, edges: Sequence[Edge], side: int) -> float:
    """Where an edge leaves its first box (`side` 0) or meets its last one (-1): in the order of where they lead."""
    place = edge.path[side]
    same = [e for e in edges if e.path[side] is place]
    same.sort(key=lambda e: e.path[1 if side == 0 else -2].y)
    count = len(same)
    apart = min(14.0, (place.height - 14) / (count - 1)) if count > 1 else 0.0
    return place.y + (same.index(edge) - (count - 1) / 2) * apart


def _label(edge: Edge, y: float, taken: list[tuple[float, float]]) -> tuple[float, str]:
    """The labels of an edge beside its middle, below those that are there already."""
    here, there = edge.path[0], edge.path[1]
    high = len(edge.labels) * _LINE
    for low, top in sorted(taken):
        if y - high / 2 < top and y + high / 2 > low:
            y = top + high / 2 + 2
    taken.append((y - high / 2, y + high / 2))
    middle = (here.x + here.width + there.x) / 2
    wide = width_of(edge.labels, _LABEL) + 8
    parts = [rectangle(middle - wide / 2, y - high / 2, wide, high, "paper", 3)]
    parts += [
        text(middle, y - high / 2 + _LINE * (k + 0.78), label, _LABEL, "middle", "code")
        for k, label in enumerate(edge.labels)
    ]
    return y, "\n".join(parts)


def _drawn(rec: Recurrence, place: Place) -> list[str]:
    carries = bool(rec.stages[place.stage].states)
    top = place.y - _BOX / 2
    x = place.x + _PAD
    head, kind, given = place.lines
    shapes = [rectangle(place.x, top, place.width, _BOX, "box carries" if carries else "box", 7)]
    shapes.append(text(x, top + 23, head, 14, kind="code"))
    shapes.append(text(x, top + 41, kind, _LABEL))
    if given:
        shapes.append(text(x, top + 57, given, _LABEL, kind="soft"))
    return shapes


__all__ = ["stage_graph"]

"""The program that is being written: its axes, names and equations so far, declared when first used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .choose import Choices
from .phrase import NO_AXES, Axes, Phrase

_ROOTS = ("n", "d", "i", "j", "b", "q")
_SECONDS = {
    "n": ("m", "l"),
    "d": ("e", "f"),
    "i": ("ii", "ij"),
    "j": ("jj", "jk"),
    "b": ("bb", "bc"),
    "q": ("qq", "qr"),
}
_EDGES = ("", "wrap", "clamp", "zero")

#: What a value of a role may be declared as. The first is the plainest.
DOMAINS: dict[str, tuple[tuple[int, str], ...]] = {
    "real": ((1, ""),),
    "gate": ((8, "in [0, 1]"), (2, "in (0, 1)"), (1, "in (0, 1]"), (1, "in [0, 1)"), (1, ">= 0 <= 1"),
             (2, "in [0, 0.9]")),
    "log": ((8, "<= 0"), (2, "< 0"), (1, "in [-80, 0]"), (1, "in [-4, 0)"), (1, "<= -0.01")),
    "positive": ((6, "> 0"), (4, ">= 0"), (1, "in [0, 2]"), (1, "in (0, 3)")),
    "apart": ((4, "in [0.5, 2]"), (2, ">= 0.5"), (1, "> 0.1 < 4"), (1, "in (0.25, 3]"), (1, ">= 1")),
    "signed": ((4, "in [-1, 1]"), (1, "in (-1, 1)"), (1, ">= -1 <= 1"), (1, "in [-0.5, 1)")),
    "small": ((1, "in [-0.2, 0.2]"),),
    "unit": ((1, "unit"),),
    "complex": ((1, "complex"),),
    "complex unit": ((1, "complex unit"),),
    "flag": ((1, "bool"),),
}  # fmt: skip
_PREFIX = {
    "real": "x", "gate": "g", "log": "la", "positive": "dt", "apart": "scale", "signed": "s", "small": "eps",
    "unit": "key", "complex": "cx", "complex unit": "cu", "flag": "done", "index": "sym",
}  # fmt: skip
_PARAM_PREFIX = {"real": "W", "gate": "keep", "log": "rate", "positive": "step", "apart": "size", "complex": "C"}
#: Roles whose values are moderate real numbers.
REAL = ("real", "gate", "log", "positive", "apart", "signed", "small", "unit")


@dataclass
class Name:
    """A declared name or an intermediate. `lagged`: may it be read at other steps."""

    name: str
    axes: tuple[str, ...]
    role: str
    varies: bool = True
    lagged: bool = True


@dataclass
class Declaration:
    """One entry of a declaration."""

    word: str
    name: str
    axes: tuple[str, ...]
    domain: str = ""
    value: str = ""

    def __str__(self) -> str:
        axes = f"[{', '.join(self.axes)}]" if self.axes else ""
        domain = f" {self.domain}" if self.domain else ""
        return f"{self.name}{axes}{domain}{f' = {self.value}' if self.value else ''}"


@dataclass
class Writer:
    """What has been written, and the decisions that are still to come from `by`."""

    by: Choices
    scan: tuple[str, ...] = ("t",)
    roots: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, str] = field(default_factory=dict)
    names: dict[str, Name] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    declarations: list[Declaration] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)
    equations: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    states: list[Name] = field(default_factory=list)

    # Axes ------------------------------------------------------------------------------------------

    def axis(self, avoid: Sequence[str] = (), fresh: bool = False, edge: str | None = None) -> str:
        """A root axis: one there is, or a new one."""
        old = [a for a in self.roots if a not in avoid and (edge is None or self.roots[a] == edge)]
        if old and not fresh and self.by.chance(0.7):
            return self.by.pick(old)
        left = [a for a in _ROOTS if a not in self.roots]
        if not left:
            return self.by.pick(old or [a for a in self.roots if a not in avoid])
        found = left[0]
        self.roots[found] = edge if edge is not None else self.by.pick(_EDGES) if self.by.chance(0.4) else ""
        self.taken |= {found, *_SECONDS[found]}
        return found

    def second(self, root: str, avoid: Sequence[str] = ()) -> str:
        """A second index over a root axis."""
        name = next(a for a in _SECONDS[root] if a not in avoid)
        self.seconds[name] = root
        return name

    def root(self, axis: str) -> str:
        """The axis whose size an axis has."""
        return self.seconds.get(axis, axis)

    def kin(self, axis: str, among: Axes) -> list[str]:
        """The axes among some that have the size of one."""
        return [a for a in self.ordered(among) if self.root(a) == self.root(axis)]

    @property
    def header(self) -> list[str]:
        """All axes in header order."""
        return [a for root in self.roots for a in (root, *(s for s in _SECONDS[root] if s in self.seconds))]

    def ordered(self, axes: Axes | Sequence[str]) -> list[str]:
        """Axes in header order."""
        return [a for a in self.header if a in axes]

    # Names -----------------------------------------------------------------------------------------

    def constant(self, value: str) -> Phrase:
        """A constant of the program: a number, or arithmetic on constants that there are."""
        old = [d.name for d in self.declarations if d.word == "const" and d.value]
        if old and self.by.chance(0.4):
            value = f"{value} * {self.by.pick(old)}"
        name = self.fresh("const1")
        self.declarations.append(Declaration("const", name, (), "", value))
        return Phrase(name)

    def fresh(self, prefix: str) -> str:
        """A name that nothing has yet."""
        number = 1
        while (name := prefix if number == 1 else f"{prefix}{number}") in self.taken:
            number += 1
        self.taken.add(name)
        return name

    def declare(self, word: str, role: str, axes: Axes | Sequence[str] = (), indexes: str = "") -> Name:
        """A new argument."""
        prefix = _PARAM_PREFIX.get(role, _PREFIX[role].upper()) if word != "input" else _PREFIX[role]
        name = self.fresh(prefix)
        domain = f"int({indexes})" if role == "index" else self.by.weighted(DOMAINS[role])
        own = tuple(self.by.shuffled(self.ordered(axes)) if self.by.chance(0.1) else self.ordered(axes))
        if role in ("unit", "complex unit"):
            own = tuple(self.ordered(axes))
        self.declarations.append(Declaration(word, name, own, domain))
        full = f"index {indexes}" if role == "index" else role
        self.names[name] = Name(name, own, full, word == "input", word == "input")
        return self.names[name]

    def argument(
        self, role: str, axes: Axes | Sequence[str] = (), varies: bool | None = None, indexes: str = ""
    ) -> Phrase:
        """An argument over exactly some axes, one there is or a new one, read where it stands."""
        word = "input" if varies or (varies is None and self.by.chance(0.75)) else "param"
        word = "const" if word == "param" and self.by.chance(0.1) else word
        full = f"index {indexes}" if role == "index" else role
        same = [
            n
            for n in self.names.values()
            if n.role == full and set(n.axes) == set(axes) and n.varies == (word == "input")
        ]
        same = [n for n in same if n.lagged or not n.varies]
        found = self.by.pick(same) if same and self.by.chance(0.5) else self.declare(word, role, axes, indexes)
        return self.plain(found)

    def plain(self, name: Name) -> Phrase:
        """A name where it stands, along its own axes."""
        text = f"{name.name}[{', '.join(self.scan)}]" if name.varies else name.name
        return Phrase(text, frozenset(name.axes), name.varies)

    def time(self, scan: str | None = None, lag: int = 0) -> str:
        """The time indices of a read so many steps before, along one scan axis."""
        shown = f"{'-' if lag > 0 else '+'}{abs(lag)}" if lag else ""
        return ", ".join(s + (shown if s == (scan or self.scan[0]) else "") for s in self.scan)

    def at(self, name: Name, time: str, index: Sequence[str] | None = None) -> Phrase:
        """A read at a time, with the indices given as text; they are axes or the like (see `along`)."""
        items = ([time] if name.varies else []) + list(index or ())
        axes = frozenset(name.axes if index is None else (a for a in index if a in self.header))
        return Phrase(f"{name.name}[{', '.join(items)}]" if items else name.name, axes, name.varies)

    def state(
        self, axes: Sequence[str], role: str = "state", domain: str = "", value: str = "", prefix: str = ""
    ) -> Name:
        """A new state; it cannot be read freely before its stage is `closed`."""
        prefix = prefix or {0: "c", 1: "h"}.get(len(axes), "S")
        name = Name(self.fresh(prefix), tuple(axes), f"open {role}")
        self.declarations.append(Declaration("state", name.name, name.axes, domain, value))
        self.names[name.name] = name
        self.states.append(name)
        return name

    def close(self) -> None:
        """The stage is done: its names may be read by whatever comes later."""
        for name in self.names.values():
            name.role = name.role.removeprefix("open ")

    def equation(self, name: Name, right: Phrase) -> None:
        """The update of a state."""
        left = self.time()
        if name.axes and self.by.chance(0.1):
            left = ", ".join([left, *name.axes])
        self.equations.append(f"{name.name}[{left}] = {right.text}")

    def named(self, value: Phrase, prefix: str = "a", role: str = "mid", opened: bool = False) -> Phrase:
        """A value behind a name of its own; `opened` keeps others from reading it in this stage."""
        name = Name(
            self.fresh(prefix), tuple(self.ordered(value.axes)), ("open " if opened else "") + role, value.varies
        )
        items = [self.time()] if value.varies else []
        if name.axes and self.by.chance(0.15):
            name.axes = tuple(self.by.shuffled(name.axes))
            items += list(name.axes)
        index = f"[{', '.join(items)}]" if items else ""
        self.equations.append(f"{name.name}{index} = {value.text}")
        self.names[name.name] = name
        return self.plain(name)

    def output(self, value: Phrase, prefix: str = "y") -> None:
        """A new output."""
        name = self.fresh(prefix)
        items = [self.time()]
        own = self.ordered(value.axes)
        if own and self.by.chance(0.2):
            items += self.by.shuffled(own)
        self.outputs.append(f"output {name}[{', '.join(items)}] = {value.text}")

    def prune(self) -> None:
        """Take out what nothing reads: a maker may ask for more than it writes down."""
        while True:
            texts = [*self.equations, *self.outputs, *self.definitions.values()]
            texts += [text for d in self.declarations for text in (d.value, d.domain)]
            reads = Counter(word for text in texts for word in re.findall(r"\w+", text))
            unread = {d.name for d in self.declarations if not reads[d.name]}
            left = [e for e in self.equations if reads[word := e.split("[")[0].split(" ")[0]] > 1 or word in self.held]
            called = {name: d for name, d in self.definitions.items() if reads[name] > 1}
            if not unread and len(left) == len(self.equations) and len(called) == len(self.definitions):
                return
            self.declarations = [d for d in self.declarations if d.name not in unread]
            self.names = {name: n for name, n in self.names.items() if name not in unread}
            self.equations, self.definitions = left, called

    @property
    def held(self) -> set[str]:
        """The names of the states."""
        return {s.name for s in self.states}

    def unsized(self) -> list[str]:
        """The root axes that no argument has, so that nothing tells their sizes."""
        given = [d for d in self.declarations if d.word != "state" and not (d.word == "const" and d.value)]
        sized = {self.root(a) for d in given for a in d.axes}
        return [a for a in self.roots if a not in sized]

    def used(self) -> list[str]:
        """The axes that the program has so far, in header order."""
        texts = [*self.equations, *self.outputs, *self.definitions.values(), *map(str, self.declarations)]
        words = {word for text in texts for word in re.findall(r"\w+", text)}
        seconds = {a for a in self.seconds if a in words}
        roots = {a for a in self.roots if a in words} | {self.seconds[a] for a in seconds}
        return [a for a in self.header if a in roots | seconds]


__all__ = ["DOMAINS", "NO_AXES", "REAL", "Declaration", "Name", "Writer"]

"""What is found of a stage: the verdict, the reason for it, and the parts that the update is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from recc.diagnostics import NOWHERE, Note, Span
from recc.recurrence import At, Expr, Read, Recurrence, Stage
from recc.structure.size import Size

#: How a linear map acts, from the simplest to the most general.
Kind = Literal[
    "zero", "identity", "scalar", "diagonal", "low_rank", "diagonal+low_rank", "shift", "shift+low_rank", "gather",
    "dense",
]  # fmt: skip
Algebra = Literal["ring", "max-plus", "min-plus", "log-sum-exp"]


@dataclass(frozen=True)
class Term:
    """`left ⊗ ⊕_over (right ⊗ read)`, one term of an update.

    Without sums `over` is empty and `right` is the one of the algebra. In a low-rank term `left` has none
    of the summed axes and `right` none of the axes that the sum makes; a dense term has all in `right`.
    With `ranks` it stands for as many terms as these axes are long: `⊕_ranks (left ⊗ ⊕_over (right ⊗ read))`;
    only the terms in `Part.factored` have them. `stopped` says that the read gives its value but passes no
    gradient on.
    """

    left: Expr
    right: Expr
    over: tuple[str, ...]
    read: Read
    stopped: bool = False
    span: Span = field(default=NOWHERE, compare=False)
    ranks: tuple[str, ...] = ()

    @property
    def varies(self) -> bool:
        """Whether its coefficients depend on time."""
        gathers = any(isinstance(i, At) and i.expr.varies for i in self.read.index)
        return self.left.varies or self.right.varies or gathers


@dataclass(frozen=True)
class Part:
    """The terms of one read: how they act.

    `axes` are those that the coefficient has where the part acts on each element by itself, `mixes` those
    along which it combines elements, `offsets` the shift along each axis. `size` is what the domains
    promise of the coefficient. A part that mixes has one map for each place along `blocks`, and the same
    map everywhere along the state's other axes. `factored` are other terms for a dense part whose
    coefficient is a product of matrices that meet in an axis of their own: then the size of that axis
    bounds the rank, and each such term is of low rank, with the axis in `Term.ranks`.
    """

    kind: Kind
    terms: tuple[Term, ...]
    axes: tuple[str, ...] = ()
    mixes: tuple[str, ...] = ()
    rank: int = 0
    offsets: tuple[tuple[str, int], ...] = ()
    size: Size = field(default_factory=Size)
    span: Span = field(default=NOWHERE, compare=False)
    blocks: tuple[str, ...] = ()
    factored: tuple[Term, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether no coefficient depends on time."""
        return not any(t.varies for t in self.terms)


@dataclass(frozen=True)
class Entry:
    """How the next value of one state depends on one state at one earlier step."""

    target: str
    source: str
    lags: tuple[int, ...]
    kind: Kind
    parts: tuple[Part, ...]

    @property
    def rank(self) -> int:
        """The rank of what it adds to a diagonal."""
        return sum(p.rank for p in self.parts)

    def __str__(self) -> str:
        shifted = ", ".join(f"{'-' if lag > 0 else '+'}{abs(lag)}" for lag in self.lags)
        return f"{self.target} from {self.source} ({shifted}): {describe(self.kind, self.parts, self.rank)}"


@dataclass(frozen=True)
class Pair:
    """Two real states that are one complex state, `real + i imag`: the map commutes with multiplication by i.

    Law: what `real` takes from `real` is what `imag` takes from `imag`, and what `imag` takes from `real` is
    minus what `real` takes from `imag`; likewise between two pairs. `re` and `im` are the complex coefficient
    where the map multiplies a pair by one number for each element, a scaled rotation; `size` is that of its
    modulus.
    """

    real: str
    imag: str
    re: Expr | None = None
    im: Expr | None = None
    size: Size = field(default_factory=lambda: Size(0.0, inf, modulus=True))

    def __str__(self) -> str:
        return f"{self.real} + i {self.imag}"


@dataclass(frozen=True)
class DriveTerm:
    """One product of a drive: its factors grouped by their axes, each group one expression."""

    groups: tuple[Expr, ...]


@dataclass(frozen=True)
class Drive:
    """What is added to a state at each step, as a ⊕ of products."""

    target: str
    terms: tuple[DriveTerm, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Structure:
    """What kind of recurrence a stage is. `span` is the term of the text that decided it, for a `reason`."""

    stage: Stage
    reason: str
    span: Span = field(default=NOWHERE, compare=False)

    def __repr__(self) -> str:
        """What a person wants to see of it, as in `print(op.structure)`."""
        return f"<{type(self).__name__} {self}>"


@dataclass(frozen=True, kw_only=True, repr=False)
class Pointwise(Structure):
    """A stage without states: every step by itself."""

    def __str__(self) -> str:
        return "pointwise in time"


@dataclass(frozen=True, kw_only=True, repr=False)
class Affine(Structure):
    """Every state is affine in the stage's earlier states, all of them together, over the ring (+, *).

    Law: each state's update is the ⊕ of the terms of its `entries` and of its drive
    (`recc.structure.rebuilt` is the program written that way). `axes`, `mixes`, `rank` describe the
    whole map as they do a `Part`; several states make a block map, with one entry for each pair.
    `action` is the side on which a map along one axis of a two-axis state acts; `sides` says of one that
    acts from both that it is a product, S ↦ A S B, or a sum, S ↦ A S + S B. `resets` are conditions that
    vary in time and under each of which nothing is kept of any state, whatever the rest. `pairs` are real
    states that are complex ones together, all of the stage's or none. Along the axes `circulant` the map
    is a circular convolution. `gates` are the states of earlier stages that the transition depends on: the
    stage is then a later part of a cascade. `rec` is the recurrence with the axes and intermediates that
    the terms use beside its own.
    """

    algebra: Algebra = "ring"
    kind: Kind
    axes: tuple[str, ...] = ()
    mixes: tuple[str, ...] = ()
    rank: int = 0
    action: Literal["", "left", "right", "both"] = ""
    order: int = 1
    constant: bool
    complex: bool
    size: Size | None = None
    companion: bool = False
    resets: tuple[Expr, ...] = ()
    sides: Literal["", "product", "sum"] = ""
    pairs: tuple[Pair, ...] = ()
    circulant: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    entries: tuple[Entry, ...]
    drives: tuple[Drive, ...]
    rec: Recurrence = field(repr=False)

    @property
    def states(self) -> tuple[str, ...]:
        """The states of the stage."""
        return self.stage.states

    @property
    def stopped(self) -> bool:
        """Whether the gradient is not that of the map, because a `stop` holds part of it back."""
        return any(t.stopped for e in self.entries for p in e.parts for t in p.terms)

    @property
    def rotation(self) -> bool:
        """Whether the stage is one complex number times one complex state, written with two real ones."""
        return len(self.pairs) == 1 and self.pairs[0].re is not None

    def __str__(self) -> str:
        words = [describe(self.kind, [p for e in self.entries for p in e.parts], self.rank)]
        if self.companion:
            words.append("companion")
        if self.circulant:
            words.append(f"circulant along {', '.join(self.circulant)}")
        if self.pairs:
            shown = ", ".join(map(str, self.pairs))
            words.insert(0, f"{'a scaled rotation' if self.rotation else 'complex pairs'} ({shown})")
        if len(self.states) > 1:
            words.insert(0, f"{len(self.states)} coupled states ({', '.join(self.states)})")
        if self.algebra != "ring":
            words.insert(0, self.algebra)
        if self.action:
            words.append({"left": "from the left", "right": "from the right", "both": "from both sides"}[self.action])
            words[-1] += f" as a {self.sides}" if self.sides else ""
        if self.order > 1:
            words.append(f"order {self.order}")
        words.append("constant" if self.constant else "varying in time")
        words.append("complex" if self.complex else "real")
        size = self.pairs[0].size if self.rotation else self.size
        if size is not None and size.known:
            words.append(f"coefficient {size}")
        if self.resets:
            words.append("with resets")
        return "affine: " + ", ".join(words)


@dataclass(frozen=True, kw_only=True, repr=False)
class Semiring(Affine):
    """As `Affine`, over a semiring whose product is +: max-plus, min-plus or log-sum-exp."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Nonlinear(Structure):
    """The update is not affine in the states: `expr`, in the equation of `target`, is what is not.

    `elementwise` says that each element of the states depends on the same element only, so that the
    Jacobian is diagonal (or made of small blocks, for several states).
    """

    target: str
    expr: Expr
    notes: tuple[Note, ...] = field(default=(), compare=False)
    elementwise: bool = False

    def __str__(self) -> str:
        return f"nonlinear{', elementwise' if self.elementwise else ''}: {self.reason}"


def join(parts: Sequence[Part]) -> Kind:
    """The kind of a sum of parts."""
    kinds = {p.kind for p in parts}
    if not parts:
        return "zero"
    if "dense" in kinds or ("gather" in kinds and len(parts) > 1):
        return "dense"
    if kinds == {"gather"}:
        return "gather"
    low = {p.mixes for p in parts if p.kind == "low_rank"}
    if len(low) > 1:
        return "dense"
    if "shift" in kinds:
        return "shift+low_rank" if low else "shift"
    if kinds == {"low_rank"}:
        return "low_rank"
    if low:
        return "diagonal+low_rank"
    return "diagonal" if "diagonal" in kinds else "scalar" if "scalar" in kinds or len(parts) > 1 else "identity"


def describe(kind: Kind, parts: Sequence[Part], rank: int) -> str:
    """A kind with its axes, rank and offsets in words."""
    along = ", ".join(dict.fromkeys(a for p in parts for a in p.mixes))
    text = _words(kind, parts, str(rank), along)
    dense = [p for p in parts if p.kind == "dense"]
    if kind == "dense" and dense and all(p.factored for p in dense):
        low = [replace(p, kind="low_rank") if p.kind == "dense" else p for p in parts]
        whole = join(low)
        if whole != "dense":
            text = f"{text} ({_words(whole, low, rank_of(*low, rank=rank), along)})"
    blocks = ", ".join(dict.fromkeys(a for p in parts for a in p.blocks))
    return f"{text}, in blocks over {blocks}" if blocks else text


def rank_of(*parts: Part, rank: int = 0) -> str:
    """The rank of factored parts: the sizes of their axes, and how many terms are of rank one."""
    terms = [t for p in parts for t in p.factored]
    names = dict.fromkeys(" * ".join(a.rstrip("'") for a in t.ranks) for t in terms if t.ranks)
    single = rank + sum(not t.ranks for t in terms)
    return " + ".join([*names, *([str(single)] if single else [])])


def _words(kind: Kind, parts: Sequence[Part], rank: str, along: str) -> str:
    axes = ", ".join(dict.fromkeys(a for p in parts for a in p.axes))
    kinds = {p.kind for p in parts}
    pointwise = f"diagonal over {axes}" if axes else "scalar" if "scalar" in kinds else "identity"
    shifts = ", ".join(dict.fromkeys(f"{a}{o:+d}" for p in parts for a, o in p.offsets))
    in_place = "in place, " if kinds & {"identity", "scalar", "diagonal"} else ""
    words = {
        "zero": "nothing is kept",
        "identity": "identity",
        "scalar": "scalar",
        "diagonal": f"diagonal over {axes}",
        "low_rank": f"rank {rank} along {along}",
        "diagonal+low_rank": f"{pointwise} + rank {rank} along {along}",
        "shift": f"shifted diagonals ({in_place}{shifts})",
        "shift+low_rank": f"shifted diagonals ({in_place}{shifts}) + rank {rank} along {along}",
        "gather": "permuted or gathered",
        "dense": f"dense along {along}",
    }
    return words[kind]


__all__ = [
    "Affine", "Algebra", "Drive", "DriveTerm", "Entry", "Kind", "Nonlinear", "Pair", "Part", "Pointwise", "Semiring",
    "Structure", "Term", "describe", "join", "rank_of",
]  # fmt: skip

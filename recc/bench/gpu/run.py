"""The order in which things are measured, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recc.bench.gpu import judge
from recc.bench.gpu.ahead import LATE, Ahead
from recc.bench.gpu.families import FAMILIES, SCAN_GOAL, Family
from recc.bench.gpu.measure import Clock, both, forward, gradients, leaves
from recc.bench.gpu.record import Error, Host, Record, Row
from recc.bench.gpu.rivals import Contender, fla, mamba
from recc.bench.gpu.shapes import CALL, GROUPS, TINY, TINY_CALL, Shape, least_both, least_forward
from recc.pipeline import compile

#: How much more than the last one a unit may take, in seconds, before it is left out.
_SLACK = 10.0


@dataclass(frozen=True)
class Plan:
    """What is asked for. Empty names mean all."""

    backend: str = "triton"
    form: str = "auto"
    device: str = "cuda"
    small: bool = False
    families: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    limit: float = 460.0
    ahead: int = 0
    chunk_size: int | None = None

    def units(self) -> Iterator[tuple[Family, tuple[Shape, ...], bool]]:
        """A family with shapes that share kernels, and whether it is the family's first; the weightiest come first."""
        chosen = [f for f in FAMILIES if not self.families or f.name in self.families]
        if self.small:
            yield from ((f, (TINY,), True) for f in chosen)
            return
        for number, group in enumerate(GROUPS):
            for one in chosen:
                shapes = tuple(s for s in one.shapes(group) if not self.shapes or s.name in self.shapes)
                if shapes or number == 0:
                    yield one, shapes, number == 0


@dataclass
class Session:
    """One run of the benchmark. `keep` is called with the record after every unit."""

    plan: Plan
    record: Record
    keep: Callable[[Record], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    _began: float = field(default_factory=time.monotonic)
    _ops: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.plan.limit - (time.monotonic() - self._began)

    def run(self) -> Record:
        """Measures unit after unit; what does not fit into the time is left out, and said."""
        clock = Clock(self.plan.device)
        self.record.bandwidth = clock.bandwidth()
        self.say(f"copy: {self.record.bandwidth / 1e9:,.0f} GB/s")
        ahead = Ahead(self.plan.ahead)
        longest = 0.0
        try:
            for family, shapes, first in self.plan.units():
                if self.left < longest + _SLACK:
                    self._leave(family, shapes)
                    continue
                began = time.monotonic()
                self._unit(clock, ahead, family, shapes, first)
                longest = max(longest, time.monotonic() - began)
                self.keep(self.record)
        finally:
            ahead.stop()
        return self.record

    def _leave(self, family: Family, shapes: tuple[Shape, ...]) -> None:
        for shape in shapes:
            self.record.left_out.append(f"{family.title}, {shape}")

    def _unit(self, clock: Clock, ahead: Ahead, family: Family, shapes: tuple[Shape, ...], first: bool) -> None:
        rivals = self._compiled(ahead, family, shapes, self._rivals(family))
        for shape in shapes:
            for way in ("forward", "both"):
                for row in self._race(clock, family, shape, way, rivals):
                    self.record.add(row)
                    self.say(shown(row, self.record.least(row)))
        if first:
            self._small_call(clock, family, rivals)

    def _compiled(
        self, ahead: Ahead, family: Family, shapes: tuple[Shape, ...], rivals: list[Contender]
    ) -> list[Contender]:
        """The rivals, their kernels compiled; without those for which there is no time."""
        seen: set[tuple[int, int]] = set()
        for shape in shapes if rivals else ():
            if (shape.heads, shape.size) in seen:
                continue
            seen.add((shape.heads, shape.size))
            began = time.monotonic()
            problem = ahead.compile(family.name, shape, max(1.0, 0.6 * self.left))
            self.say(f"{family.title}, {shape}: rivals compiled in {time.monotonic() - began:.0f} s {problem}".rstrip())
            if problem == LATE:
                self.record.left_out.append(f"{family.title}, {shape}: {rivals[0].name}, which takes long to compile")
                return rivals[1:]
        return rivals

    def _rivals(self, family: Family) -> list[Contender]:
        if self.plan.device != "cuda":
            return []
        found = []
        for one in (fla(family.name), mamba(family.name)):
            if isinstance(one, Contender):
                found.append(one)
            elif (note := f"{one.name} is not there: {one.reason}") not in self.record.notes and "no such" not in note:
                self.record.notes.append(note)
        return found

    def _recc(self, family: Family) -> Contender:
        if family.name not in self._ops:
            plan = self.plan
            self._ops[family.name] = compile(
                family.text, backend=plan.backend, form=plan.form, chunk_size=plan.chunk_size
            )
        op = self._ops[family.name]
        return Contender("recc", lambda of: op(**of))

    def _race(self, clock: Clock, family: Family, shape: Shape, way: str, rivals: list[Contender]) -> Iterator[Row]:
        """A row for each rival, or one without."""
        arguments = family.draw(shape, self.plan.device)
        ours = timed(clock, self._recc(family), arguments, way)
        least = (least_forward if way == "forward" else least_both)(shape, family.per_token(shape))
        share = SCAN_GOAL if family.diagonal else None
        start = (family.name, family.title, str(shape), way, ours.milliseconds)
        if not rivals:
            yield Row(*start, None, "none", family.aim(shape, way), least, share, ours.memory, remark=ours.remark)
        for rival in rivals:
            theirs = timed(clock, rival, arguments, way)
            apart = None
            if ours.output is not None and theirs.output is not None:
                apart = judge.relative(ours.output, theirs.output)
            remark = "; ".join(filter(None, (ours.remark, theirs.remark)))
            yield Row(
                *start, theirs.milliseconds, rival.name, family.aim(shape, way), least, share, ours.memory,
                theirs.memory, apart, remark,
            )  # fmt: skip

    def _small_call(self, clock: Clock, family: Family, rivals: list[Contender]) -> None:
        """Errors against float64, and the time of the host, on a small shape."""
        shape = TINY_CALL if self.plan.small else CALL
        arguments = family.draw(shape, self.plan.device, seed=1)
        try:
            exact = self._exact(family, arguments)
        except torch.cuda.OutOfMemoryError as problem:
            self.say(f"{family.title}, {shape}: {problem}")
            return
        for contender in (self._recc(family), *rivals):
            try:
                self._errors(family, shape, contender, arguments, exact)
                self._host(clock, family, shape, contender, arguments)
            except Exception as problem:  # noqa: BLE001  # a contender that fails is told of, the others go on
                self.say(f"{family.title}, {shape}, {contender.name}: {brief(problem)}")
                self.record.notes.append(f"{family.title}, {shape}, {contender.name} failed: {brief(problem)}")

    def _exact(self, family: Family, arguments: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Output, its weight, and gradients in float64."""
        wide = {n: t.double().requires_grad_(t.dim() > 1) for n, t in arguments.items()}
        output = judge.exact(family, wide)
        source = torch.Generator(self.plan.device).manual_seed(2)
        weight = torch.randn(output.shape, generator=source, device=self.plan.device).to(torch.bfloat16)
        names = [n for n, t in wide.items() if t.requires_grad]
        found = torch.autograd.grad(output, [wide[n] for n in names], weight.double())
        return output.detach(), weight, dict(zip(names, found, strict=True))

    def _errors(
        self,
        family: Family,
        shape: Shape,
        contender: Contender,
        arguments: dict[str, Tensor],
        exact: tuple[Tensor, Tensor, dict[str, Tensor]],
    ) -> None:
        output, weight, expected = exact
        given = leaves(contender, arguments)
        off = judge.relative(forward(contender, given)(), output)
        found = gradients(contender, given, weight)
        errors = {n: judge.relative(found[n], expected[n]) for n in expected if n in found}
        worst = max(errors, key=lambda n: errors[n]) if set(errors) == set(expected) else ""
        row = Error(family.name, family.title, contender.name, str(shape), off, errors.get(worst), worst)
        self.record.add(row)
        self.say(f"{family.title}, {contender.name}: off {off:.2e}, gradients {errors.get(worst, float('nan')):.2e}")

    def _host(
        self, clock: Clock, family: Family, shape: Shape, contender: Contender, arguments: dict[str, Tensor]
    ) -> None:
        given = {n: t.detach() for n, t in contender.prepare(arguments).items()}
        call = clock.host_microseconds(forward(contender, given))
        step = None
        if contender.name == "recc":
            op = self._ops[family.name]
            now = {n: t[:, 0].contiguous() if t.dim() > 1 else t for n, t in given.items()}
            with torch.no_grad():
                state = op.step(None, **now)[1]
                step = clock.host_microseconds(lambda: op.step(state, **now))
        self.record.add(Host(family.name, family.title, contender.name, str(shape), call, step))
        self.say(
            f"{family.title}, {contender.name}: host {call:.0f} µs" + ("" if step is None else f", step {step:.0f}")
        )


@dataclass
class Figures:
    """A contender on a shape."""

    milliseconds: float | None = None
    memory: int | None = None
    output: Tensor | None = None
    remark: str = ""


def timed(clock: Clock, contender: Contender, arguments: dict[str, Tensor], way: str) -> Figures:
    """Time and memory of a contender one way; the output of a forward run. A remark in place of what failed."""
    try:
        given = leaves(contender, arguments)
        run: Callable[[], Any] = forward(contender, given)
        output = run()
        if way == "both":
            weight = torch.randn_like(output)
            del output
            run = both(contender, given, weight)
        run()  # what is compiled and chosen at the first call is neither timed nor counted
        memory = clock.memory(run)
        taken = clock.milliseconds(run)
        return Figures(taken, memory, output if way == "forward" else None)
    except torch.cuda.OutOfMemoryError:
        return Figures(remark=f"{contender.name} does not fit into the memory")
    except Exception as problem:  # noqa: BLE001  # a contender that fails is a row that says so
        return Figures(remark=f"{contender.name} failed: {brief(problem)}")
    finally:
        if clock.cuda:
            torch.cuda.empty_cache()


def brief(problem: BaseException) -> str:
    """A problem in one short line."""
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:160] if lines else ''}"


def shown(row: Row, least: float | None) -> str:
    """A row for the screen."""
    cells = [f"{row.title}, {row.shape}, {row.way}:"]
    cells.append("recc -" if row.recc is None else f"recc {row.recc:.3f} ms")
    if row.rival is not None:
        cells.append(f"{row.rival_name} {row.rival:.3f} ms")
    if row.ratio is not None:
        cells.append(f"× {row.ratio:.2f} (goal {row.goal})")
    if least and row.recc:
        aim = "" if row.share_goal is None else f" (goal {100 * row.share_goal:.0f} %)"
        cells.append(f"{100 * least / row.recc:.0f} % of the traffic limit{aim}")
    if row.apart is not None:
        cells.append(f"apart {row.apart:.1e}")
    return " ".join([*cells, row.remark])


__all__ = ["Figures", "Plan", "Session", "brief", "shown", "timed"]

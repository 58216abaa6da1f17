"""The work of products of two tensors, summed over what the result lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recc.forms.sweeps import Held, Space, Sweep, passing

#: What a copy costs more where it changes the order of axes.
_JUMPS = 4.0


def pairs_of(w: Space, factors: Sequence[Held], held: Held) -> Iterator[tuple[Held, Held, Held]]:
    """Products of two, the cheapest first, until one is left."""
    work = list(factors)
    while len(work) > 1:
        best: tuple[float, int, int, Held] | None = None
        for i in range(len(work)):
            for j in range(i):
                rest = frozenset(a for k, f in enumerate(work) if k not in (i, j) for a in f.axes)
                both = work[i].axes | work[j].axes
                full, grad = work[i].full or work[j].full, work[i].grad or work[j].grad
                made = Held(both & (held.axes | rest), full, None, grad)
                price = w.elements(both, full) + 8 * w.count(made)
                if best is None or price < best[0]:
                    best = (price, i, j, made)
        assert best is not None  # there are two at least
        _, i, j, made = best
        yield work[i], work[j], made
        work = [f for k, f in enumerate(work) if k not in (i, j)] + [made]


def product(w: Space, x: Held, y: Held, made: Held) -> list[Sweep]:
    """The sum of a product of two over what the result lacks."""
    both = x.axes | y.axes
    full = x.full or y.full
    total = w.elements(both, full)
    summed = (both - made.axes) or (full and not made.full)
    if not summed:
        return [passing(w.count(x) + w.count(y), w.count(made), total)]
    if x.axes == y.axes and x.full == y.full:
        return [passing(2 * total, total, total), passing(total, w.count(made), total)]
    batch = w.elements(x.axes & y.axes & made.axes, x.full and y.full and made.full)
    columns = [w.elements(a.axes - b.axes, a.full and not b.full) for a, b in ((x, y), (y, x))]
    inner = total / max(1.0, batch * columns[0] * columns[1])
    there = w.count(x) + w.count(y)
    # An axis of the batch that comes after others in memory makes a copy that jumps about.
    copied = there * (1 + _JUMPS * bool(x.axes & y.axes & made.axes))
    thin = total / min(*columns, inner)
    return [Sweep(2.0, there + copied, copied + w.count(made), products=total, matrices=batch, thin=thin)]


__all__ = ["pairs_of", "product"]

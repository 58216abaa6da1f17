"""Passes that make a chunk of steps at once, written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from recc.check import load
from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.passes import Parallel, Pass, Port
from recc.forms.sequential import derive_sequential
from recc.forms.verify import verify

C = "c"
Make = Callable[[Builder, Mapping[str, Value]], Mapping[str, Value]]


def parallel(text: str, *makes: Make, chunk: int = 3) -> Parallel:
    """A form of the program's own passes, with the step Block of each made by hand from its inputs."""
    (rec,) = load(text)
    passes = derive_sequential(rec).passes
    return Parallel("by hand", rec, tuple(_chunked(p, m) for p, m in zip(passes, makes, strict=True)), chunk, ())


def _chunked(loop: Pass, make: Make) -> Pass:
    b = Builder("step", {C: C, **loop.step.root})
    reads = tuple(_port(p) for p in loop.reads)
    values = {p.value: b.input(p.value, p.axes, p.dtype) for p in reads}
    made = make(b, values)
    assert made.keys() == loop.step.output.keys()
    for name, value in made.items():
        b.output(name, value)
    step = b.build()
    verify(step)
    return replace(loop, step=step, reads=reads, writes=tuple(_port(p) for p in loop.writes), chunk=C)


def _port(port: Port) -> Port:
    return replace(port, axes=(C, *port.axes)) if port.role in ("argument", "kept", "output", "clock") else port


def element(b: Builder, value: Value, place: int) -> Value:
    """One step of a chunk: 0 the first, -1 the last."""
    return b.gather(value, C, b.constant(place, dtype="int"), "wrap")


def before(b: Builder, value: Value, first: Value) -> Value:
    """The value one step earlier, which is `first` for the first step."""
    at_first = b.map("eq", b.iota(C), b.constant(0, dtype="int"))
    return b.map("where", at_first, b.spread(first, (C,)), b.shift(value, C, -1, "zero"))


ATTENTION = """recurrence attention(i, j)
    input q[i], k[i], v[j]
    state S[i, j]
    S[t] = S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
"""


def attention(b: Builder, x: Mapping[str, Value]) -> dict[str, Value]:
    q, k, v, first = x["q"], x["k"], x["v"], x["S_prev"]
    s = b.fresh_axis(C)
    k_s, v_s = b.rename(k, {C: s}), b.rename(v, {C: s})
    scores = b.mask(b.contract((q, k_s), ("i",)), C, s)
    outputs = b.map("add", b.contract((q, first), ("i",)), b.contract((scores, v_s), (s,)))
    return {"carry S": b.map("add", first, b.contract((k, v), (C,))), "o": outputs}


DELAY = """recurrence delay(n)
    input x[n]
    param a[n]
    output y[t] = x[t] - a * x[t-1] * t
"""


def delay(b: Builder, x: Mapping[str, Value]) -> dict[str, Value]:
    earlier = before(b, x["x"], x["x_lag1_prev"])
    scaled = b.map("mul", b.map("mul", x["a"], earlier), b.map("real", x["t"]))
    return {"carry x_lag1": element(b, x["x"], -1), "y": b.map("sub", x["x"], scaled)}


BOTH_WAYS = """recurrence both_ways(n)
    input x[n]
    param a[n]
    state h[n] = a
    h[t] = h[t+1] + a * x[t] * t
    output y[t] = h[t] * x[t-1]
"""


def shifted(b: Builder, x: Mapping[str, Value]) -> dict[str, Value]:
    earlier = before(b, x["x"], x["x_lag1_prev"])
    return {"carry x_lag1": element(b, x["x"], -1), "x_lag1": earlier}


def sums(b: Builder, x: Mapping[str, Value]) -> dict[str, Value]:
    drive = b.map("mul", b.map("real", x["t"]), b.map("mul", x["a"], x["x"]))
    h = b.map("add", x["h_prev"], b.cumulate("sum", drive, C))
    return {"carry h": element(b, h, -1), "y": b.map("mul", h, x["x_lag1"])}


ROTATION = """recurrence rotation(n)
    input x[n] complex
    param w[n] complex
    state h[n] complex
    h[t] = h[t-1] + w * x[t]
    output y[t] = h[t] * h[t]
"""


def rotation(b: Builder, x: Mapping[str, Value]) -> dict[str, Value]:
    def mul(p: tuple[Value, Value], q: tuple[Value, Value]) -> tuple[Value, Value]:
        real = b.map("sub", b.map("mul", p[0], q[0]), b.map("mul", p[1], q[1]))
        return real, b.map("add", b.map("mul", p[0], q[1]), b.map("mul", p[1], q[0]))

    drive = mul((x["w_re"], x["w_im"]), (x["x_re"], x["x_im"]))
    first = x["h_prev_re"], x["h_prev_im"]
    h = [b.map("add", f, b.cumulate("sum", d, C)) for f, d in zip(first, drive, strict=True)]
    y = mul((h[0], h[1]), (h[0], h[1]))
    return {
        "carry h_re": element(b, h[0], -1), "carry h_im": element(b, h[1], -1), "y_re": y[0], "y_im": y[1],
    }  # fmt: skip


CASES = {
    "attention": parallel(ATTENTION, attention),
    "delay": parallel(DELAY, delay),
    "both ways": parallel(BOTH_WAYS, shifted, sums),
    "rotation": parallel(ROTATION, rotation),
}

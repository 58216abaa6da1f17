"""Every operation of a Block as lines of a kernel, against the interpreter of Blocks; and the VJP of each.

Tiles reach beyond most axes (sizes 3 and 5, and `live` steps of a chunk), and there they hold NaN, or integers
that no index may be, so that nothing beyond an end may ever matter.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from recc.backends.triton_gpu.emit import emit_ops
from recc.backends.triton_gpu.library import sources
from recc.backends.triton_gpu.spec import Compute, Spec
from recc.backends.triton_gpu.writer import Body, Held, Names, Writer, at
from recc.errors import Unsupported
from recc.forms.block import Block, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.vjp import vjp
from tests.forms.laws import AXES, SIZES, build, close, draw, shape
from tests.forms.test_block_scan import ALGEBRAS, MAKES
from tests.forms.test_random_programs import Program
from tests.forms.test_vjp_maps import AXES_2, POSITIVE_1, SMOOTH_1, SMOOTH_2, positive
from tests.forms.test_vjp_ops import INDEX, SMOOTH, SOLVES, _As, well

#: What stands beyond the ends of axes.
_BEYOND = {"real": 'float("nan")', "int": "1234567", "bool": "1"}
_KINDS: Mapping[str, Any] = {"real": torch.float64, "int": torch.int64, "bool": torch.int8}
#: Sizes with which every axis but `b` has a rest, and those of larger matrix products.
ODD = {**SIZES, "t": 5}
LARGE = {"b": 2, "t": 19, "n": 17, "k": 21}


def _spec(sizes: Mapping[str, int], compute: Compute, chunk: int) -> Spec:
    form: Any = SimpleNamespace(rec=SimpleNamespace(scan=("t",)), passes=())
    return Spec(form, dict(sizes), 0, compute, chunk=chunk)


def emitted(block: Block, sizes: Mapping[str, int], compute: Compute = "float64", chunk: int = 8) -> str:
    """A module with one kernel, whose arguments are the block's inputs, its outputs, and the live steps."""
    used: set[str] = set()
    combines: dict[str, str] = {}
    names = Names(["live", "f"])
    body = Body(_spec(sizes, compute, chunk), names, used, combines)
    for root in dict.fromkeys(block.root.values()):
        body.places[root] = names(root)
        body.line(f"{body.places[root]} = tl.arange(0, {body.spec.width(root)})")
    body.ends["t"] = "live"
    w = Writer(body, block)

    def address(pointer: str, v: Value) -> str:
        code, stride = pointer, "1"
        for a in reversed(v.axes):
            code += f" + {at(Held(f'({body.places[w.root(a)]} * {stride})', (a,), 'int'), v.axes)}"
            stride = f"{stride} * {w.size(a)}"
        return code

    pointers = [names(f"in_{v.name}") for v in block.inputs]
    for pointer, v in zip(pointers, block.inputs, strict=True):
        inside = w.inside(v.axes, v.axes)
        masked = f", mask={inside}, other={_BEYOND[v.dtype]}" if inside else ""
        kind = {"real": f".to(tl.{compute})", "int": "", "bool": " != 0"}[v.dtype]
        w.new(v.name, f"tl.load({address(pointer, v)}{masked}){kind}", v.axes, v.dtype)
        w.put(v.name, Held(body.lines[-1].split(" = ")[0].strip(), v.axes, v.dtype))
    emit_ops(w)
    for n, v in block.outputs:
        pointers.append(names(f"out_{n}"))
        inside = w.inside(v.axes, v.axes)
        held = w.full(w.get(v), v.axes)
        body.line(f"tl.store({address(pointers[-1], v)}, {held.code}{f', mask={inside}' if inside else ''})")
    parts = ["import triton\nimport triton.language as tl", sources(sorted(used)).rstrip()]
    parts += [f"@triton.jit\ndef {name}{text}" for text, name in combines.items()]
    parts.append("\n".join(["@triton.jit", f"def f({', '.join([*pointers, 'live'])}):", *body.lines]))
    return "\n\n\n".join(filter(None, parts)) + "\n"


def run(
    block: Block, arrays: Mapping[str, Any], sizes: Mapping[str, int], folder: Path, compute: Compute = "float64",
    chunk: int = 8,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The outputs of a Block by one program of a kernel."""
    text = emitted(block, sizes, compute, chunk)
    path = folder / f"block_{hashlib.sha256(text.encode()).hexdigest()[:12]}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = {**_KINDS, "real": getattr(torch, compute)}
    given = [torch.tensor(arrays[v.name]).to(kinds[v.dtype]).contiguous() for v in block.inputs]
    found = {}
    for n, v in block.outputs:
        found[n] = torch.zeros(shape(v, block, sizes), dtype=kinds[v.dtype])
        if v.dtype == "real":
            found[n].fill_(torch.nan)
    module.f[(1,)](*given, *found.values(), sizes["t"])
    return {n: found[n].numpy().astype({"real": float, "int": int, "bool": bool}[v.dtype]) for n, v in block.outputs}


def check(
    block: Block, folder: Path, given: Mapping[str, Any] | None = None, sizes: Mapping[str, int] = ODD,
    *, gradients: bool = True, seed: int = 0, compute: Compute = "float64", chunk: int = 8, tolerance: float = 1e-10,
) -> None:  # fmt: skip
    """A Block and its VJP, as kernels, give what the interpreter gives."""
    arrays = draw(block, sizes, given or {}, seed)
    expected = interpret(block, arrays, sizes)
    close(run(block, arrays, sizes, folder, compute, chunk), expected, tolerance, str(block))
    wrt = [v.name for v in block.inputs if v.dtype == "real"]
    seeds = [n for n, v in block.outputs if v.dtype == "real"]
    if not gradients or not wrt or not seeds:
        return
    backward = vjp(block, wrt, seeds)
    rng = np.random.default_rng(seed + 1)
    arrays |= {f"d {n}": rng.normal(size=expected[n].shape) for n in seeds}
    found = run(backward, arrays, sizes, folder, compute, chunk)
    close(found, interpret(backward, arrays, sizes), 10 * tolerance, str(backward))


@pytest.mark.parametrize("name", SMOOTH)
def test_operations(name: str, tmp_path: Path) -> None:
    block = build(SMOOTH[name])
    if name == "expm":
        with pytest.raises(Unsupported, match="`expm` of a matrix for each element along b"):
            emitted(block, ODD)
        return
    check(block, tmp_path)


@pytest.mark.parametrize("name", [n for n in SMOOTH if n != "expm"])
def test_operations_after_and_before_others(name: str, tmp_path: Path) -> None:
    """The operand is not an input, the result not an output, and either may lack axes or be the same along them."""

    def make(b: Builder) -> Value:
        y = SMOOTH[name](b)
        total = b.contract((b.map("cos", y),), y.axes)
        return b.map("mul", total, total)

    check(build(make), tmp_path, seed=1)


@pytest.mark.parametrize("size", [1, 8])
def test_sizes_that_tiles_fit(size: int, tmp_path: Path) -> None:
    """Axes of one element, and tiles that end where the axis does."""
    for name in SMOOTH:
        if "expm" not in name:
            check(build(SMOOTH[name]), tmp_path, sizes={"b": 1, "t": size, "n": size, "k": size}, gradients=False)


def test_functions_of_one_argument(tmp_path: Path) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, p = b.input("x", ("t", "n")), b.input("p", ("t",))
        found = {f"y {fn}": b.map(fn, x) for fn in SMOOTH_1}
        return found | {f"z {fn}": b.map(fn, p) for fn in POSITIVE_1}

    check(build(make), tmp_path, {"x": lambda x: np.clip(x, -0.9, None), "p": positive})


def test_functions_of_two_arguments(tmp_path: Path) -> None:
    for one, other in AXES_2:

        def make(b: Builder, one: Any = one, other: Any = other) -> dict[str, Value]:
            x, p = b.input("x", one), b.input("p", other)
            return {f"y {fn}": b.map(fn, x, p) for fn in (*SMOOTH_2, "div", "pow")}

        check(build(make), tmp_path, {"x": positive, "p": positive})


def test_numbers_among_the_arguments(tmp_path: Path) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, found = b.input("x", ("t", "n")), {}
        for number in (0.0, 1.0, -1.5, 2.0, np.inf, -np.inf):
            c = b.constant(number)
            for fn in ("add", "mul", "max", "min", "sub"):
                if np.isfinite(number) or fn in ("max", "min"):
                    found[f"y {fn} {number}"] = b.map(fn, x, c)
                    found[f"z {fn} {number}"] = b.map(fn, c, x)
        found["mask"] = b.mask(b.constant(0.9), "t", "s")
        found["pow"] = b.map("pow", x, b.constant(3.0))
        found["over"] = b.map("div", b.constant(1.0), b.map("exp", x))
        return found

    check(build(make), tmp_path)


def test_conditions_and_whole_numbers(tmp_path: Path) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, p = b.input("x", ("t", "n")), b.input("p", ("n",))
        i, flag = b.input("i", ("t",), "int"), b.input("flag", ("t",), "bool")
        found = {fn: b.map("where", b.map(fn, x, p), x, p) for fn in ("lt", "le", "gt", "ge", "eq", "ne")}
        found["flag"] = b.map("where", flag, x, b.constant(0.5))
        found["not"] = b.map("where", b.map("not", flag), b.constant(2.0), p)
        either = b.map("or", b.map("and", flag, b.map("gt", x, p)), b.map("eq", i, b.constant(1, dtype="int")))
        found["either"] = b.map("where", either, b.map("mul", x, p), b.map("real", i))
        found["place"] = b.map("mul", b.map("real", b.iota("n")), x)
        found["whole"] = b.map("add", i, b.iota("n"))
        found["truth"] = b.map("ge", i, b.constant(2, dtype="int"))
        found["cut"] = b.map("int", b.map("mul", x, b.constant(3.0)))
        return found

    check(build(make), tmp_path)


@pytest.mark.parametrize("fn", ["max", "min"])
def test_ties_are_shared(fn: Any, tmp_path: Path) -> None:
    inf = np.inf
    x = np.array([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0], [-inf, -inf, -inf], [inf, 0.0, inf], [1.0, 0.0, -1.0]])
    block = build(lambda b: b.reduce(fn, b.input("x", ("t", "n")), ("n",)))
    check(block, tmp_path, {"x": x})
    block = build(lambda b: b.map(fn, b.input("x", ("t", "n")), b.input("p", ("n",))))
    check(block, tmp_path, {"x": x, "p": [1.0, -inf, 0.0]})


@pytest.mark.parametrize("name", [n for n in SMOOTH if "prod" in n or "segment" in n])
def test_products_with_zeros(name: str, tmp_path: Path) -> None:
    block = build(SMOOTH[name])
    time = block.inputs[0].axes.index("s" if "s" in block.inputs[0].axes else "t")

    def with_zeros(x: np.ndarray) -> np.ndarray:
        np.moveaxis(x, time, 0)[[1, 3]] = 0.0
        return x

    check(block, tmp_path, {"x": with_zeros})


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_that_begin_anew(every: int, reverse: bool, tmp_path: Path) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x = b.input("x", ("b", "t"))
        return {
            f"{fn} {e}": b.cumulate(fn, x, "t", reverse=reverse, exclusive=e, every=every)
            for fn in ("sum", "prod")
            for e in (False, True)
        }

    check(build(make), tmp_path)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("fn", ["solve", "solve_unit_lower"])
def test_solves(fn: str, transposed: bool, tmp_path: Path) -> None:
    """With one matrix; several at once there are none of."""
    for name in SOLVES:
        block = build(lambda b, name=name: SOLVES[name](_As(b, fn, transposed)))
        if name in ("many matrices", "both"):
            with pytest.raises(Unsupported, match="of a matrix for each element along b"):
                emitted(block, ODD)
            continue
        check(block, tmp_path, {"A": well})
        check(block, tmp_path, {"A": well}, sizes={**ODD, "n": 1})
        if fn == "solve_unit_lower" and name != "columns by rows":
            above = {"A": lambda a: np.tril(a, -1) + np.triu(np.full(a.shape, np.nan))}
            check(block, tmp_path, above, gradients=False)


@pytest.mark.parametrize("roles", [("n", "m"), ("m", "n")], ids=str)
def test_inverse(roles: tuple[str, str], tmp_path: Path) -> None:
    check(build(lambda b: b.matrix("inv", (b.input("A", ("n", "m")),), *roles)), tmp_path, {"A": well})


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("axes", INDEX, ids=str)
def test_gather(axes: tuple[str, ...], edge: Any, tmp_path: Path) -> None:
    """Repeated indices, and those beyond both ends."""
    block = build(lambda b: b.gather(b.input("x", ("b", "t", "k")), "t", b.input("i", axes, "int"), edge))
    check(block, tmp_path, {"i": np.random.default_rng(3).integers(-6, 10, [ODD[a] for a in axes])})


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
def test_gather_at_a_number(edge: Any, tmp_path: Path) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x = b.input("x", ("t", "n"))
        return {
            f"{a} {n}": b.gather(x, a, b.constant(n, dtype="int"), edge) for a in ("t", "n") for n in (-7, -1, 0, 2, 6)
        }

    check(build(make), tmp_path)


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("axes", [("t",), ("b", "t"), ("k", "t"), ("b", "k", "t")], ids=str)
def test_scatter(axes: tuple[str, ...], edge: Any, tmp_path: Path) -> None:
    block = build(lambda b: b.scatter(b.input("x", ("b", "k", "n")), "t", b.input("i", ("b", "n"), "int"), edge, axes))
    check(block, tmp_path, {"i": [[-7, 9, 1], [1, 1, 1]]})


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_scans(algebra: Any, reverse: bool, tmp_path: Path) -> None:
    """Elementwise ones; those whose step maps are matrices are refused."""
    refused = []
    for make in MAKES:
        block = build(lambda b, make=make: make(b, algebra, reverse))
        try:
            check(block, tmp_path, sizes={**ODD, "k": 2})
        except Unsupported as why:
            assert "multiplies matrices along" in str(why)
            refused.append(make.__name__)
    assert refused == ["dense", "constant_matrix", "blocks", "two_axes"]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_scans_of_infinite_elements(share: float, tmp_path: Path) -> None:
    for algebra in ("min-plus", "log-sum-exp"):
        zero = np.inf if algebra == "min-plus" else -np.inf
        rng = np.random.default_rng(2)

        def some(x: np.ndarray, zero: float = zero, rng: np.random.Generator = rng) -> np.ndarray:
            return np.where(rng.random(x.shape) < share, zero, x)

        for make in MAKES[:4]:
            block = build(lambda b, make=make, algebra=algebra: make(b, algebra, False))
            check(block, tmp_path, dict.fromkeys(block.input, some), sizes={**ODD, "k": 2})


def test_a_convolution_is_refused() -> None:
    block = build(lambda b: b.convolve(b.input("p", ("t",)), b.input("x", ("t",)), "t"))
    with pytest.raises(Unsupported, match="transforms of whole sequences"):
        emitted(block, ODD)


PRODUCTS = [n for n in SMOOTH if any(w in n for w in ("dot", "product", "factor", "sum"))]


@pytest.mark.parametrize("name", [*PRODUCTS, "attention"])
def test_products_of_large_tiles(name: str, tmp_path: Path) -> None:
    """In float32, with tiles that go to tensor cores."""

    def attention(b: Builder) -> Value:
        scores = b.contract((b.input("q", ("b", "t", "n")), b.input("k", ("s", "n"))), ("n",))
        return b.contract((b.mask(scores, "t", "s"), b.input("v", ("s", "k")), b.input("g", ("s",))), ("s",))

    block = build(SMOOTH.get(name, attention))
    check(block, tmp_path, sizes=LARGE, compute="float32", chunk=32, tolerance=1e-5, gradients="prod" not in name)


def test_random_blocks(tmp_path: Path) -> None:
    refused = 0
    for seed in range(16):
        program = Program(seed)
        for _ in range(int(program.rng.integers(3, 16))):
            program.grow()
        for n, (v, _) in zip("pq", [program.values[-1], program.some(program.values)], strict=True):
            program.b.output(n, v)
        block = program.b.build()
        sizes = {r: SIZES[r] for r in {*AXES.values()}}
        try:
            check(block, tmp_path, dict(program.arrays), sizes, chunk=8, tolerance=1e-9)
        except Unsupported:
            refused += 1
    assert refused <= 6

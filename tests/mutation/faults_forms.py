"""Faults of derivations: of derivatives, of forms, and of what the analysis of structure finds."""

from __future__ import annotations

from typing import Any

from tests.mutation.fault import Fault, InCode, InTable, ways

_STEPS = ways("blocks sequential", "torch sequential")
_RULES = "recc.forms.vjp_rules:RULES"


def _code(name: str, says: str, where: str, old: str, new: str, programs: str, *run: str, escapes: str = "") -> Fault:
    module = where.partition(":")[0].removeprefix("recc.")
    found = ways(*run) if run else _STEPS
    return Fault(name, module, says, InCode(where, old, new), tuple(programs.split()), found, escapes)


def _rule(fn: str, says: str, rules: tuple[Any, ...], programs: str) -> Fault:
    patch = InTable(_RULES, fn, rules)
    return Fault(f"derivative of {fn}", "forms.vjp_rules", says, patch, tuple(programs.split()), _STEPS)


def _through(c: Any) -> Any:
    return (c.g,)


RULES = (
    _rule("exp", "the derivative of exp is 1", (_through,), "mamba"),
    _rule("mul", "nothing flows to the second factor", (lambda c: (c.g, c.args[1]), None), "hgrn gru"),
    _rule("sub", "the sign of what is taken away is lost", (_through, _through), "delta_net gru"),
    _rule("div", "the divisor gets no gradient", (lambda c: (c.do("div", c.g, c.args[1]),), None), "mlstm"),
    _rule("tanh", "1 - y in place of 1 - y²", (lambda c: (c.g, c.do("sub", 1.0, c.y)),), "lstm gru"),
    _rule("sigmoid", "y in place of y (1 - y)", (lambda c: (c.g, c.y),), "gru lstm"),
    _rule("max", "equal arguments both get the whole gradient",
          tuple(lambda c, k=k: (c.do("where", c.do("ge", c.args[k], c.args[1 - k]), c.g, 0.0),) for k in (0, 1)),
          "mlstm slstm"),
    _rule("where", "the two sides have changed places",
          (None, lambda c: (c.do("where", c.x, 0.0, c.g),), lambda c: (c.do("where", c.x, c.g, 0.0),)),
          "resettable_s5"),
    _rule("logaddexp", "the share of the first argument is that of the second",
          tuple(lambda c, k=k: (c.g, c.do("exp", c.do("sub", c.args[k], c.y))) for k in (1, 0)), "lamemo abc"),
    _rule("sin", "the derivative of sin is sin", (lambda c: (c.g, c.y),), "lru s4d"),
    _rule("sqrt", "half of what it is", (lambda c: (c.number(0.25), c.do("div", c.g, c.y)),), "rg_lru"),
    _rule("surrogate", "the gradient is that of the value and not of the surrogate", (_through, None), "lif"),
    _rule("abs", "nothing flows through an absolute value", (None,), "mlstm"),
    _rule("pow", "nothing flows to an exponent",
          (lambda c: (c.g, c.do("mul", c.args[1], c.do("pow", c.x, c.do("sub", c.args[1], 1.0)))), None),
          "0/36 0/33"),
)  # fmt: skip

VJP = (
    _code("contract: one factor alone", "only the first factor of a product gets a gradient",
          "recc.forms.vjp:_contract", "enumerate(op.args)", "enumerate(op.args[:1])", "lssl linear_attention"),
    _code("no accumulation", "the gradient of what is read twice is that of one read",
          "recc.forms.vjp:_Reverse.flow", "more if before is None else", "more if before is None or True else",
          "gru delta_net"),
    _code("reduce: shared with none", "each of several equal largest elements gets the whole gradient",
          "recc.forms.vjp:_reduce", 'b.map("div", g, count)', "g", "viterbi",
          escapes="rounding might break the tie, so that the gradient counts as not determined"),
    _code("cumulate: direction", "the gradient of a running sum runs the same way", "recc.forms.vjp:_cumulate",
          "not op.reverse, op.exclusive", "op.reverse, op.exclusive", "gated_linear_attention gated_delta_net",
          "blocks chunked 3", "blocks chunked"),
    _code("cumulate: exclusive", "the gradient of an exclusive running sum is inclusive", "recc.forms.vjp:_cumulate",
          "op.exclusive, op.every)\n        r.flow", "False, op.every)\n        r.flow", "gated_delta_net ssd",
          "blocks chunked 3", "blocks chunked"),
    _code("cumulate: stretches", "the gradient of a running sum goes on over the ends of its stretches",
          "recc.forms.vjp:_cumulate", "op.exclusive, op.every)\n        r.flow", "op.exclusive, 0)\n        r.flow",
          "gated_linear_attention mamba", "blocks chunked 3", "blocks chunked"),
    _code("cumulate: product", "the others of a running product have the element itself among them",
          "recc.forms.vjp:_cumulate", "op.reverse, True, op.every)", "op.reverse, False, op.every)",
          "hgrn rg_lru", "blocks chunked 3", "blocks chunked"),
    _code("scan: exponent one step off", "the adjoint at a step has the transition of that step and not of the next",
          "recc.forms.vjp_scan:_Adjoint.adjoint", 'later = b.shift(turned, op.axis, self.step, "zero")',
          "later = turned", "hgrn mamba", "blocks scan 3", "blocks scan"),
    _code("scan: not transposed", "the adjoint has the transition itself and not its transpose",
          "recc.forms.vjp_scan:_Adjoint.turn", "{**dict(pairs), **{c: r for r, c in pairs}}", "{}",
          "lssl selective_dense", "blocks scan 3", "blocks scan"),
    _code("scan: start of a transition", "the gradient by the first transition takes the state before it for zero",
          "recc.forms.vjp_scan:_Adjoint.before", "== 0.0", "!= 1e99", "hgrn mamba", "blocks scan 3", "blocks scan"),
    _code("scan: initial state", "no gradient flows to the state before the first step",
          "recc.forms.vjp_scan:scan_contributions", "if op.first[i].name in wanted", "if False", "hgrn lssl",
          "blocks scan 3", "blocks scan"),
    _code("scan: shares of equals", "each of several best paths gets the whole gradient",
          "recc.forms.vjp_scan:_Adjoint.winners", 'b.map("div", b.constant(1.0), number)', "b.constant(1.0)",
          "viterbi", "blocks scan 3", "blocks scan"),
    _code("scan: share of the drive", "the drive of a semiring gets the whole gradient",
          "recc.forms.vjp_scan:scan_contributions", "if ring else (adjoint[k], scan.share(k, None))",
          "if True else ()", "mlstm slstm aaren", "blocks scan 3", "blocks scan"),
    _code("convolve: direction", "the gradient of what is convolved is a convolution and no correlation",
          "recc.forms.vjp:_convolve", "space - {*arg.axes}, not op.reverse", "space - {*arg.axes}, op.reverse",
          "retention s4d", "blocks convolution 3", "blocks convolution"),
    _code("convolve: kernel", "the gradient of the kernel is a convolution and no correlation",
          "recc.forms.vjp:_convolve", "{*kernel.axes}, reverse=True", "{*kernel.axes}, reverse=False",
          "retention lssl", "blocks convolution 3", "blocks convolution"),
    _code("segment: one step off", "the product before an element has the element in it", "recc.forms.vjp:_segment",
          'b.shift(y, op.row, -1, "zero")', "y", "retention", "blocks chunked 3", "blocks chunked"),
    _code("mask: the other diagonal", "the gradient of a mask keeps the diagonal where the mask does not",
          "recc.forms.vjp:_mask", "op.strict)", "not op.strict)", "gated_delta_net rwkv7", "blocks chunked 3",
          "blocks chunked"),
    _code("mask: dropped", "the gradient of a mask is not masked", "recc.forms.vjp:_mask",
          "(r.b.mask(g, op.row, op.col, op.strict),)", "(g,)", "delta_net gated_delta_net", "blocks chunked 3",
          "blocks chunked"),
    _code("solve: not transposed", "the adjoint of a solve is with the matrix and not its transpose",
          "recc.forms.vjp:_matrix", "transposed=not op.transposed", "transposed=op.transposed",
          "delta_net gated_delta_net hippo_legs", "blocks chunked 3", "blocks sequential"),
    _code("solve: sign", "the gradient of the matrix has the wrong sign", "recc.forms.vjp:_matrix",
          "r.flow(a, (b.constant(-1.0), total), a.axes)", "r.flow(a, (total,), a.axes)", "delta_net hippo_legs",
          "blocks chunked 3", "blocks sequential"),
    _code("solve: diagonal", "the gradient of a unit triangular matrix reaches its diagonal", "recc.forms.vjp:_matrix",
          'if op.fn == "solve_unit_lower":', "if False:", "delta_net rwkv7", "blocks chunked 3", "blocks chunked",
          escapes="the matrix itself comes out of a strict mask, whose derivative takes the diagonal away"),
    _code("inv: transposed", "the derivative of an inverse has the inverse itself and not its transpose",
          "recc.forms.vjp:_matrix", "b.rename(y, {rows: p, cols: rows})", "b.rename(y, {cols: p})", "hippo_legt"),
    _code("shift: direction", "the gradient of a shift goes on in its direction", "recc.forms.vjp:_shift",
          "-op.offset", "op.offset", "conv_s5 fernn"),
    _code("shift: edge", "what the edge rule `clamp` reads twice gets one gradient", "recc.forms.vjp:_shift",
          'index, "clamp", g)', 'index, "zero", g)', "conv_ssm"),
    _code("gather: place", "the gradient of a gather goes to the first element", "recc.forms.vjp:_scatter_back",
          "b.scatter(g, axis, index, edge, kept)",
          'b.scatter(g, axis, b.map("mul", index, b.constant(0, dtype="int")), edge, kept)', "psr selective_dense"),
)  # fmt: skip

_CHUNKED = ("blocks chunked 3", "blocks chunked")

FORMS = (
    _code("t >= s for t > s", "products of decays keep the diagonal where they must not, and the other way round",
          "recc.forms.decay:Decay.ratio", 'b.map("exp", sums), row, col, exclusive)',
          'b.map("exp", sums), row, col, not exclusive)', "gated_delta_net ssd", *_CHUNKED),
    _code("mask dropped", "later steps act on earlier ones", "recc.forms.decay:Decay.ratio",
          "b.mask(b.constant(1.0), row, col, exclusive)", "b.spread(b.constant(1.0), (row, col))",
          "linear_attention delta_net", *_CHUNKED),
    _code("decay one step too many", "what is read before a step has the decay of that step",
          "recc.forms.decay:Decay.upto", "self._run(False, exclusive)", "self._run(False, False)",
          "gated_delta_net rwkv7", *_CHUNKED),
    _code("decay of its own step", "what a step drives is decayed by that step", "recc.forms.decay:Decay.after",
          "self._run(True, True)", "self._run(True, False)", "gated_linear_attention ssd", *_CHUNKED),
    _code("a level missing", "pairs of steps that are furthest apart are forgotten", "recc.forms.decay:Decay.levels",
          "while h < self.size", "while 2 * h < self.size", "gated_linear_attention mamba", *_CHUNKED),
    _code("levels overlap", "pairs of steps are in several levels", "recc.forms.decay:Decay._pairs",
          'b.map("gt", block', 'b.map("ge", block', "gated_linear_attention mamba", *_CHUNKED),
    _code("logarithm of a sigmoid", "the decay is the sigmoid of the negative", "recc.forms.decay:log_of",
          'if fn == "sigmoid":\n        return work.apply("log_sigmoid", args[0])',
          'if fn == "sigmoid":\n        return work.apply("log_sigmoid", work.apply("neg", args[0]))',
          "0/49 0/31", *_CHUNKED),
    _code("complex decay", "the sign of the imaginary part of a decay is lost", "recc.forms.decay:Decay._run_complex",
          'b.map("neg", im)', "im", "s4d lru", *_CHUNKED),
    _code("complex product", "the square of i is 1", "recc.forms.pairs:multiply",
          'b.map("sub", sum_of(xr, yr), sum_of(xi, yi))', 'b.map("add", sum_of(xr, yr), sum_of(xi, yi))', "lru s4d",
          *_CHUNKED),
    _code("low-rank factors swapped", "the two factors of a low-rank term have changed places",
          "recc.forms.chunked:ChunkedSolver._pairwise", "self._couple([w], u,", "self._couple(u, [w],",
          "rwkv7 gated_delta_net", *_CHUNKED),
    _code("low-rank steps apart", "the second of two low-rank terms does not see what the first writes",
          "recc.forms.chunked:ChunkedSolver._eliminate", "for z, x in zip(towards, found, strict=True):",
          "for z, x in ():", "gated_delta_product gated_delta_net_2 preconditioned_kda", *_CHUNKED),
    _code("state after a chunk", "what low rank makes of the state before a chunk is forgotten",
          "recc.forms.chunked:ChunkedSolver.final", "if moves:", "if False:", "delta_net gated_delta_net", *_CHUNKED),
    _code("scale of a low-rank term", "the strength of what is taken away is forgotten",
          "recc.forms.chunked:ChunkedSolver._pairwise", "(score, down, up, *scale)", "(score, down, up)",
          "delta_net gated_delta_net", *_CHUNKED),
    _code("response one step late", "the impulse response begins one step late",
          "recc.forms.convolution:ConvolutionSolver._read", "kernel = self.into.moved(kernel, now)", "pass",
          "retention s4d", "blocks convolution 3", "blocks convolution"),
    _code("last step of a convolution", "the last step does not reach the state after a chunk",
          "recc.forms.convolution:ConvolutionSolver.final", "terms.append(pairs.multiply(b, [self._at_once",
          "str(pairs.multiply(b, [self._at_once", "retention lssl", "blocks convolution 3", "blocks convolution"),
    _code("convolution forgets the state", "the state before a chunk does not act", "recc.forms.convolution:"
          "ConvolutionSolver._from_start", "found.append((powers", "[].append((powers", "retention lssl",
          "blocks convolution 3", "blocks convolution"),
    _code("matrix form: exclusive", "reads before a step are reads after it", "recc.forms.matrix:MatrixSolver._read",
          "if exclusive:", "if False:", "rwkv6", "blocks matrix 3", "blocks matrix"),
    _code("older states", "the second of the older states is the first", "recc.forms.transition:Transition."
          "coefficients", "c.depth - 1, c.part", "c.depth, c.part", "all_pole_filter", "blocks scan 3"),
    _code("drive of every component", "the drive goes to older states as well", "recc.forms.transition:"
          "Transition.drives", "if c.depth == 1 else ()", "if c.depth >= 1 else ()", "all_pole_filter",
          "blocks scan 3"),
    _code("a choice is its first side", "where a condition decides about a coefficient, its first side holds",
          "recc.structure.affine:Decomposer._where", 'self.work.apply("where", condition, *both, span=expr.span)',
          "both[0]", "resettable_s5", "blocks scan 3", "blocks chunked 3"),
    _code("delayed value", "a delay line hands on what it has got before and not what came last",
          "recc.forms.pass_builder:PassBuilder._leaving", "carry.depth - 1", "carry.depth - (carry.depth < 2)",
          "all_pole_filter"),
    _code("initial value lost", "a state starts at zero and not at what is declared",
          "recc.forms.pass_builder:PassBuilder._carry_output", "if symbol.initial is not None", "if False",
          "mlstm viterbi"),
    Fault("zero of a semiring", "forms.block", "the neutral element of max is 0", InTable("recc.forms.block:ZERO",
          "max-plus", 0.0), ("viterbi", "mlstm"), ways("triton scan 3"),
          "no form that runs on a CPU fills anything up with it, and Triton's interpreter makes few cases of its scan"),
)  # fmt: skip

FAULTS = (*RULES, *VJP, *FORMS)

__all__ = ["FAULTS"]

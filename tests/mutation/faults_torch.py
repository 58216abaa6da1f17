"""Faults of emitted torch modules, and of the operations that they call."""

from __future__ import annotations

from tests.mutation.fault import Fault, InCode, InText, ways

_T = "recc.backends.torch_eager"
_CHUNKED, _SCAN = ("torch chunked 3", "torch chunked"), ("torch scan 3", "torch scan")


def _text(name: str, says: str, change: tuple[str, str], programs: str, *run: str, escapes: str = "") -> Fault:
    patch = InText("torch", (change,))
    return Fault(name, "emitted torch", says, patch, tuple(programs.split()), ways(*run), escapes)


def _code(name: str, says: str, where: str, old: str, new: str, programs: str, *run: str, escapes: str = "") -> Fault:
    module = where.partition(":")[0]
    patch = InCode(f"{_T}.{where}", old, new)
    return Fault(name, f"torch_eager.{module}", says, patch, tuple(programs.split()), ways(*run), escapes)


TEXT = (
    _text("mask with the diagonal", "a strict mask keeps the diagonal", (r"\.tril\(-1\)", ".tril(0)"),
          "gated_delta_net ssd", *_CHUNKED),
    _text("no mask", "later steps act on earlier ones", (r"\.tril\((-?\d)\)", ".tril(99)"),
          "delta_net linear_attention", *_CHUNKED),
    _text("inclusive sum", "an exclusive running sum has the element itself in it", (r", exclusive=True", ""),
          "gated_delta_net gated_linear_attention", *_CHUNKED),
    _text("sum from the wrong end", "a running sum from the end runs from the start", (r", reverse=True", ""),
          "gated_linear_attention ssd", *_CHUNKED),
    _text("sign of the system", "what is solved has the wrong sign", (r"(x\d+) = -(x\d+)(  # \[t, t_1\])",
          r"\1 = +\2\3"), "gated_delta_net delta_net", *_CHUNKED),
    _text("complex scan", "the sign of an imaginary part is lost", (r"(x\d+) = -(\w+_im\b)", r"\1 = \2"), "lru s4d",
          *_SCAN),
    _text("transposed product", "the two axes of a product of steps are exchanged",
          (r'"\.\.\.(\w)(\w),\.\.\.(\w)(\w)->\.\.\.tb"', r'"...\1\2,...\3\4->...bt"'), "gated_delta_net", *_CHUNKED),
    _text("reset ignored", "a choice is what it is where the condition does not hold",
          (r"torch\.where\((done[^,]*), 0\.0, (\w+)", r"torch.where(\1, \2, \2"), "resettable_s5", *_SCAN),
)  # fmt: skip

RUNNING = (
    _code("state after for before", "chunks are entered with the state after them", "launch:_Stretch._batch",
          "after[:-1]", "after[1:]", "bidirectional a2_ssm rwkv4", *_CHUNKED, *_SCAN),
    _code("state not handed on", "every chunk starts from the state before the first", "launch:_Stretch._loop",
          "state = {h.before: full(made[h.after], self._run.lead) for h in phase.carries}",
          "last = {h.before: full(made[h.after], self._run.lead) for h in phase.carries}", "hgrn gated_delta_net",
          "torch scan 3", "torch chunked 3"),
    _code("rest of the chunks first", "the steps that fill no chunk are taken from the start", "launch:_stretches",
          "yield whole, 1, steps - whole", "yield 0, 1, steps - whole", "hgrn ssd", *_CHUNKED),
    _code("last chunk dropped", "steps that fill no chunk are not run", "launch:_stretches", "if steps > whole:",
          "if False:", "hgrn ssd", *_CHUNKED),
    _code("running products", "stretches of a running product are joined with themselves", "running:_products",
          "before = _pad(totals, dim, -1, 1, 1.0) if reverse else _pad(totals, dim, 1, -1, 1.0)", "before = totals",
          "hgrn retention", *_CHUNKED, "torch convolution"),
    _code("products of stretches", "a product over two stretches forgets the rest of the first", "running:segment",
          "second.unsqueeze(-1) * above[..., -1:, :]", "second.unsqueeze(-1) * torch.ones_like(above[..., -1:, :])",
          "retention", *_CHUNKED),
    _code("convolution comes round", "the end of a convolution by Fourier transforms acts on its start",
          "convolve:_fourier", "_fast(2 * size)", "_fast(size)", "s4d lssl retention", "torch convolution"),
    _code("kernel one step off", "rows of a Toeplitz matrix are moved by none", "convolve:_toeplitz",
          "2 * size - 1)).narrow", "2 * size - 1)).roll(1, -1).narrow", "s4d lssl", "torch convolution 3"),
    _code("naive logaddexp", "log(exp(x) + exp(y)) as it is written", "lse:logaddexp", "above = x >= y",
          "return (x.exp() + y.exp()).log()", "lamemo abc", "torch scan 3", "torch sequential"),
    _code("logsumexp without an anchor", "exponentials are not taken relative to the largest", "lse:logsumexp",
          "torch.where(top.isinf(), 0.0, top)", "torch.zeros_like(top)", "hmm_forward", "torch scan"),
    _code("softplus cut short", "softplus(x) is x from 5 on", "lse:softplus", "50.0", "5.0", "rg_lru stable_rnn vssm",
          "torch sequential", "torch scan 3"),
    _code("powers of a rounded transition", "powers of a transition in float32 are not made in double precision",
          "scan:_exact", "x.double()", "x", "retention s4d lssl", "torch convolution", "torch scan",
          escapes="up to 130 steps the error stays below what float32 is promised to have"),
    _code("order of transitions", "the transition of two steps is the earlier after the later", "scan:_Run.compose",
          "self.algebra.times(y, x)", "self.algebra.times(x, y)", "lssl selective_dense", "torch scan"),
    _code("doubling without squaring", "powers of a transition go up by one and do not double", "scan:powers",
          "transition = run.compose(transition, transition)", "pass", "retention s4d", "torch convolution"),
    _code("states between blocks", "a block of steps starts from the state after it", "scan:_Run.blocks",
          "torch.cat([f.unsqueeze(dim), x[0]], dim)", "torch.cat([x[0], f.unsqueeze(dim)], dim)", "hgrn mamba",
          "torch scan"),
    _code("packed states in another order", "final states are in the order in which sequences of one length are run",
          "arrange:_packed", "torch.cat([run.final[key] for _, _, run in runs]).index_select(0, order)",
          "torch.cat([run.final[key] for _, _, run in runs])", "hgrn gru", "torch scan 3", "torch sequential"),
    _code("packed states of others", "sequences start from the states of the first ones", "arrange:_packed",
          "v.index_select(0, which)", "v[: len(members)]", "hgrn gru", "torch scan 3", "torch sequential"),
    _code("packed boundary", "packed sequences begin one step late", "arrange:_rows", "first[:, None] +",
          "(first[:, None] + 1).clamp_max(int(first.max()) + length - 1) +", "hgrn", "torch scan 3"),
    _code("wrong way round an axis", "the edge rule `wrap` shifts the other way", "ops:shift", "x.roll(-offset, dim)",
          "x.roll(offset, dim)", "fernn 0/12 0/14", "torch sequential"),
    _code("surrogate's value", "a surrogate gives its own value", "ops:surrogate",
          "forward.detach() + (backward - backward.detach())", "backward", "lif", "torch sequential"),
    _code("step of a plane", "a plane reads its neighbours on the other side", "grid:_place", "x - lag", "x + lag",
          "roesser", "torch sequential"),
    _code("memory of an argument", "a final state may be a piece of an argument's memory", "arrange:execute",
          ".clone(memory_format=torch.contiguous_format)", "", "retention hgrn", "torch sequential", "torch scan"),
    _code("grouped heads", "parameters with heads of their own are taken for those of the first head",
          "arrange:_argument", "value.reshape(*value.shape[:before], *(1,) * missing, *value.shape[before:])",
          "(lambda v: v if before or not len(layout.batch) else v[:, :1] if v.shape[1] > 1 and v.ndim > 1 + "
          "len(symbol.axes) else v)(value.reshape(*value.shape[:before], *(1,) * missing, *value.shape[before:]))",
          "retention hgrn", "torch scan 3"),
    _code("computed in 16 bits", "what is stored in 16 bits is computed in 16 bits", "arrange:execute",
          "rec = module.form.rec", "rec = module.form.rec\n    types = Types(types.result "
          "if types.result.itemsize == 2 else types.compute, types.result, types.device)",
          "hgrn gated_linear_attention", "torch scan"),
)  # fmt: skip

FAULTS = (*TEXT, *RUNNING)

__all__ = ["FAULTS"]

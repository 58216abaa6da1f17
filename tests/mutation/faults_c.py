"""Faults of emitted C, and of what hands arrays to it."""

from __future__ import annotations

from tests.mutation.fault import Fault, InCode, InText, ways

_C = ways("c sequential")
_FORWARD, _BACKWARD = "forward kernel", "backward kernel"
_LAUNCH = "recc.backends.c_cpu.launch"


def _text(
    name: str, says: str, change: tuple[str, str], programs: str, only: str = "", first: bool = False, escapes: str = ""
) -> Fault:
    return Fault(name, "emitted C", says, InText("c", (change,), only, first), tuple(programs.split()), _C, escapes)


def _code(name: str, says: str, where: str, old: str, new: str, programs: str) -> Fault:
    return Fault(name, "launching C", says, InCode(where, old, new), tuple(programs.split()), _C)


FORWARD = (
    _text("final state lost", "the final state is zero", (r"(final_\w+_at\[[^;]*\]) = \w+\[", r"\1 = 0 * scratch["),
          "retention lssl", _FORWARD),
    _text("initial state ignored", "every sequence starts as if no state was given",
          (r"if \(initial_\w+_at\) \{", "if (0) {"), "linear_attention gru", _FORWARD),
    _text("state not reset", "a sequence goes on from the state that the one before left in memory",
          (r"(\w+_prev\[[^;]*\]) = \(real\)0\.0;", ";"), "retention hgrn", _FORWARD),
    _text("steps one short", "the last step of a sequence is not run",
          (r"for \(int64_t s = 0; s < length; \+\+s\)", "for (int64_t s = 0; s < length - 1; ++s)"), "hgrn mamba",
          _FORWARD),
    _text("last element not written", "the last element of every vector of outputs stays as memory was",
          (r"j < (\d+); \+\+j\) \{(\s+)o_t", r"j < \1 - 1; ++j) {\2o_t"), "gated_delta_net delta_net", _FORWARD),
    _text("decay exponent off", "the exponent of a decay is a thousandth too large",
          (r"recc_exp\(([^()]*)\)", r"recc_exp((real)1.001 * \1)"), "gated_delta_net mamba"),
    _text("sign of a term", "what a delta rule takes away is added",
          (r"(const real x5 = \([^;]*) - (x4\))", r"\1 + \2"),
          "gated_delta_net", _FORWARD),
    _text("readout one step early", "the output reads the state before the step, t > s for t >= s",
          (r"(?s)(S_prev\[[^\]]*\])( - x4\);.*?\+= )S \*", r"\1\2\1 *"), "gated_delta_net", _FORWARD),
    _text("accumulator in float16", "sums over an axis are kept in float16 where storage is 16 bits wide",
          (r"RECC_ALIGNED real (\w+)\[", r"RECC_ALIGNED _Float16 \1["), "gated_delta_net delta_net", "recc_half"),
    _text("sums in float32", "sums over an axis are kept in float32 in code for float64",
          (r"RECC_ALIGNED real (\w+)\[", r"RECC_ALIGNED float \1["), "gated_delta_net gru", "float64"),
    _text("constant in float32", "a constant of code for float64 is rounded to float32",
          (r"\(real\)(0\.70710678118\d+)", r"(real)\1f"), "conv_ssm", "float64"),
    _text("exponential in float32", "an exponential is rounded to float32 in code for float64",
          (r"recc_exp\(([^()]*)\)", r"(real)(float)recc_exp(\1)"), "hgrn gated_linear_attention", "float64"),
    _text("sums begin with rubbish", "a sum over an axis is not set to zero before the loop",
          (r"(\w+\[j\]) = 0;", ";"), "gated_delta_net delta_net", _FORWARD),
    _text("matrix transposed", "a dense transition is applied transposed",
          (r"A_2\[m \* (\d+) \+ n\](?! =)", r"A_2[n * \1 + m]"),
          "viterbi lssl", _FORWARD),
    _text("direction ignored", "inputs of a run from right to left are read from left to right",
          (r"(const real \*restrict \w+_t = \w+_at \+ )t \*", r"\1s *"), "bidirectional", _FORWARD),
    _text("one step off from the right", "a run from right to left begins one step before the last",
          (r"t = length - 1 - s;", "t = (2 * length - 2 - s) % length;"), "bidirectional"),
    _text("neighbour by the wrong edge", "beyond the end of an axis comes the other end and not the nearest element",
          (r"recc_clamp_index\(\((\w+) \+ (-?1)\), (\d+)\)", r"((\1 + \2 + \3) % \3)"), "conv_ssm"),
    _text("neighbour on the wrong side", "a shift along an axis goes the other way",
          (r"recc_clamp_index\(\((\w+) \+ -1\)", r"recc_clamp_index((\1 + 1)"), "conv_ssm"),
    _text("reset ignored at first", "a reset at the first step of a run leaves the state that is given",
          (r"\(done_now \?", "(done_now && s > 0 ?"), "resettable_s5"),
    _text("older state overwritten", "the state two steps back is that one step back",
          (r"(\w+_lag2\[\w+\]) = \w+_copy_0;", r"\1 = y_prev[d];"), "all_pole_filter"),
    _text("wrong lag", "a term that reads two steps back reads one step back",
          (r"\* y_lag2\[d\]\)", "* y_prev[d])"), "all_pole_filter", _FORWARD),
    _text("imaginary part dropped", "the imaginary part of a transition is left out of the real part of the state",
          (r"= \(x1 - x2\);", "= x1;"), "lru resettable_s5", _FORWARD),
    _text("maximum begins at zero", "a maximum over an axis begins with 0 and not with minus infinity",
          (r"= \(-RECC_INF\);", "= 0;"), "viterbi hmm_forward"),
    _text("neighbours of a grid swapped", "a step of a plane reads the state to its left for the one above",
          (r"down_kept_at \+ \(\(\(scan_r - 1\)\) \* extent\[1\] \+ \(scan_c - 0\)\)",
           "down_kept_at + (scan_r * extent[1] + scan_c - (scan_c > 0))"), "roesser", _FORWARD),
    _text("edge of a grid", "the state beyond the left edge of a plane is the last one of the row above",
          (r"\(scan_c - 1\) >= 0 &&", "(scan_c - 1 + scan_r) >= 0 &&"), "roesser", _FORWARD),
    _text("the clock starts anew", "the number of a step counts from the start of each call",
          (r"\(?first \+", "(0 * first +"), "hippo_legs", _FORWARD),
    _text("naive expm1", "1 - exp(x) loses the digits that expm1 keeps", (r"recc_expm1\(", "(real)-1 + recc_exp("),
          "rg_lru griffin", escapes="1 - exp(x) is off where it is nearly zero, and there it is a factor of what "
          "is added to something far larger"),
    _text("depends on the batch", "every row but the first is off in its last bit",
          (r"(\n\s+o_t\[\w+\]) = (\w+\[\w+\]);", r"\1 = \2 * (1 + (item > 0) * (real)2.3e-16);"),
          "gated_delta_net", _FORWARD),
    Fault("depends on the call", "emitted C", "a number that grows from call to call is added in the last bit",
          InText("c", ((r'(#include "recc_math.h")', r"\1\nstatic int calls;"),
                       (r"(\n\s+o_t\[\w+\]) = (\w+\[\w+\]);", r"\1 = \2 * (1 + 4e-16 * (calls++ % 7));")), _FORWARD),
          ("gated_delta_net", "delta_net"), _C),
    _text("indices of 32 bits", "the number of a step has 32 bits, and its product with the row length too",
          (r"const int64_t t = s;", "const int32_t t = (int32_t)s;"), "hgrn",
          escapes="an array would need more than 2^31 elements to show it"),
)  # fmt: skip

BACKWARD = (
    _text("gradient of the initial state lost", "it is zero", (r"(d_initial_\w+_at\[[^;]*\]) = [^;]*;", r"\1 = 0;"),
          "retention gru", _BACKWARD),
    _text("gradient of the final state ignored", "what comes from the final state does not count",
          (r"if \(d_final_\w+_at\) \{", "if (0) {"), "linear_attention lstm", _BACKWARD),
    _text("carried gradient not reset", "the gradient of a sequence begins with what the one before left",
          (r"memset\(d_\w+_carried, 0, [^;]*;", ";"), "retention gru", _BACKWARD),
    _text("gradient of a parameter not reset", "it begins with what memory holds",
          (r"memset\(d_\w+_total, 0, [^;]*;", ";"), "mamba lssl", _BACKWARD),
    _text("gradient of a parameter not summed", "it is that of the first step alone",
          (r"(d_\w+_total\[[^;]*\]) \+= ", r"\1 = "), "mamba viterbi", _BACKWARD),
    _text("gradient twice as large", "the gradient of one input is twice as large",
          (r"(\n\s+d_\w+_t\[\w+\]) = (\w+[^;]*);", r"\1 = 2 * (\2);"), "hgrn mamba", _BACKWARD, first=True),
    _text("one step of the backward run missing", "the first step of a segment is left out",
          (r"s >= begin; --s", "s > begin; --s"), "mamba gru", _BACKWARD),
    _text("segment from the wrong state", "segments after the first are recomputed from the state before the first",
          (r"checkpoints_at \+ begin / (\d+) \*", r"checkpoints_at + 0 * begin / \1 *"), "gru hgrn", _BACKWARD),
    _text("state kept one step late", "the state for the backward run is kept after the first step of a segment",
          (r"s % (\d+) == 0\)", r"s % \1 == (length > 1))"), "mamba gru", _FORWARD),
    _text("states recomputed one short", "the last state of a segment is not recomputed",
          (r"s < end - 1; \+\+s", "s < end - 2; ++s"), "lstm mlstm", _BACKWARD),
    _text("term of a product rule", "the gradient by one factor of a transition is lost",
          (r"(const real d_lambda__im_2 = )\(d_lambda__im \+ d_lambda__im_1\)", r"\1(d_lambda__im)"), "lru", _BACKWARD),
    _text("conjugate forgotten", "the adjoint of a complex product is not conjugated",
          (r"(const real x17) = \(-d_h_2\);", r"\1 = d_h_2;"), "lru", _BACKWARD),
    _text("gradient of a maximum to all", "ties of a maximum get the whole gradient each",
          (r"= \((\w+) / x10\[n\]\);", r"= \1;"), "viterbi", _BACKWARD),
    _text("gradient of a transposed parameter", "the gradient of a matrix is written transposed",
          (r"d_A_at\[n \* (\d+) \+ m\]", r"d_A_at[m * \1 + n]"), "viterbi lssl", _BACKWARD),
)  # fmt: skip

AROUND = (
    _code("packed sequences one step early", "each packed sequence but the first begins one step early",
          f"{_LAUNCH}:_offsets", "starts * strides[1]", "np.maximum(starts - 1, 0) * strides[1]", "hgrn gru"),
    _code("stride of the wrong axis", "the stride of a batch axis is that of time",
          f"{_LAUNCH}:_offsets", "strides[lead + at] if", "strides[1] if", "linear_attention hgrn"),
    _code("rows by the wrong stride", "one row of the batch is read for all",
          f"{_LAUNCH}:_offsets", "strides[0]\n        lead", "0\n        lead", "hgrn mamba"),
    _code("gradients added to rubbish", "an array to which gradients are added is not zero at first",
          f"{_LAUNCH}:run_backward", "if spec.zeroed:", "if False:", "roesser bidirectional"),
    _code("checkpoints of packed sequences", "segments of packed sequences are counted for whole ones only",
          f"{_LAUNCH}:_segments", "(lengths + size - 1) // size", "np.maximum(lengths // size, 0)", "gru mamba"),
    _code("stale arrays", "the table of arrays of an earlier call is used again",
          f"{_LAUNCH}:Plan.launch", "table = np.array(rows, np.int64)",
          "table = self.__dict__.setdefault('_table', np.array(rows, np.int64))", "hgrn gru"),
    _code("steps before a call forgotten", "packed and cut runs count their steps from 0",
          f"{_LAUNCH}:Plan.launch", "if first.any():", "if False:", "hippo_legs"),
    Fault("gradients of the batch not summed", "the torch operation",
          "the gradient of a parameter is that of the first row", InCode("recc.runtime.torch_op:_summed",
          "wide.sum(over, keepdim=True)", "wide.narrow(over[0], 0, 1).sum(over, keepdim=True)"),
          ("mamba", "lssl"), _C),
)  # fmt: skip

FAULTS = (*FORWARD, *BACKWARD, *AROUND)

__all__ = ["FAULTS"]

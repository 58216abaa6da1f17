"""Faults of emitted Triton modules."""

from __future__ import annotations

from tests.mutation.fault import Fault, InText, ways

_SEQUENTIAL, _CHUNKED = "triton sequential", "triton chunked 3"


def _text(name: str, says: str, change: tuple[str, str], programs: str, *run: str, escapes: str = "") -> Fault:
    patch = InText("triton", (change,))
    return Fault(f"Triton: {name}", "emitted Triton", says, patch, tuple(programs.split()), ways(*run), escapes)


FAULTS = (
    _text("heads by no stride", "every head reads what belongs to the first", (r" \+ head_0 \* (\w+)_head_0", ""),
          "hgrn", _SEQUENTIAL),
    _text("initial state ignored", "every sequence starts as if no state was given",
          (r"if (\w+)_first is not None:", "if False:"), "hgrn", _SEQUENTIAL),
    _text("final state one number", "the final state is that of the first channel alone",
          (r"(tl\.store\(\s*\w+_last_at \+ [^,]+(?:\[[^\]]*\][^,]*)*, )(\w+)", r"\1\2 * 0"), "hgrn", _SEQUENTIAL),
    _text("segment from the first state", "what is kept for the backward run is read for the first segment alone",
          (r"first_kept \+ here // (\d+)", r"first_kept + 0 * here // \1"), "hgrn", _SEQUENTIAL),
    _text("loads in float16", "what is loaded is rounded to float16", (r"\.to\(tl\.float32\)",
          ".to(tl.float16).to(tl.float32)"), "hgrn", _SEQUENTIAL),
    _text("decay exponent off", "the exponent of a decay is a thousandth too large",
          (r"(?<!def )(?<!\.)\bexp\((x\d+)\)", r"exp(1.001 * \1)"),
          "ssd", _SEQUENTIAL, _CHUNKED),
    _text("padding not masked", "elements beyond the end of an axis take part in sums",
          (r"tl\.where\(\(i < \d+\)\[:, None\], (\w+), 0\.0\)", r"(\1 + 1)"), "gated_delta_net", _SEQUENTIAL),
)  # fmt: skip

__all__ = ["FAULTS"]

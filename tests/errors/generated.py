"""Programs whose mistake is their size, too long to keep as files."""

from __future__ import annotations


def _program(right: str, before: str = "") -> str:
    return f"recurrence f\n    input x\n{before}    output y[t] = {right}\n"


GENERATED = {
    "text-too-long": _program("x[t]") + "# filler\n" * 40_000,
    "line-too-long": _program("x[t] # " + "filler" * 15_000),
    "program-too-long": _program("x[t]", "".join(f"    a{i}[t] = x[t]\n" for i in range(8_000))),
    "program-too-large": _program(
        "f30(x[t])",
        "    def f0(a) = a + a\n" + "".join(f"    def f{i + 1}(a) = f{i}(a) + f{i}(a)\n" for i in range(30)),
    ),
    "nesting-too-deep": _program("(" * 10_000 + "x[t]" + ")" * 10_000),
    "expression-too-deep": _program(" + ".join(["x[t]"] * 5_000)),
}

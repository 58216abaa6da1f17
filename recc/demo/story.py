"""`recc demo`: explain, emit, check, train, draw, sample. What it does, in order, is `demo`."""

from __future__ import annotations

import argparse
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from recc.commands.cores import share_cores
from recc.commands.programs import compiled, find, parse_sizes, source, write
from recc.errors import InternalError, UsageError
from recc.recurrence import Recurrence

_DEFAULT = Path(__file__).parent / "default.recc"
_TRIALS = 12
_PROMPT = b"\nThe value of a name "


def demo(options: argparse.Namespace) -> None:
    """Tell the whole story of one program and end with one line of figures.

    Raises `UsageError` without torch or matplotlib, `Unsupported` for a program that no causal model can be made
    of, `InternalError` if the kernel disagrees with the reference.
    """
    began = perf_counter()
    share_cores()
    _require_tools()
    import torch

    from recc.demo import corpus, layer, ngram

    if options.seconds <= 0 or options.width < 1:
        raise UsageError("--seconds and --width", "positive numbers", f"{options.seconds} and {options.width}")
    torch.manual_seed(options.seed)
    screen = Screen()
    file = options.file or str(_DEFAULT)
    op, rec = compiled(file, options.name, "auto", "auto")
    layer.require_causal(rec)
    sizes = layer.choose_sizes(rec, options.width, parse_sizes(options.size))
    screen.title("The program")
    screen.text(find(file).read_text(encoding="utf-8").rstrip())
    screen.title("What the compiler found")
    screen.text(str(op.explain()))
    screen.title("Its kernel")
    kernel = _emit(op, rec, sizes.axes, options.out)
    screen.text(f"{kernel}: {kernel.read_text(encoding='utf-8').count(chr(10))} lines, for {_shown(sizes)}")
    screen.title("The kernel against the reference, on arguments drawn from the domains")
    worst = _agree(op, rec, options.seed, screen)
    screen.title("A language model on English text")
    text = corpus.load()
    baseline = ngram.fit_tuned(text.train, 2).bits_per_byte(text.held_out)
    documents, held = text.documents
    screen.text(
        f"the topics of Python's own documentation: {len(text.train):,} bytes in {documents} documents to train on,\n"
        f"{len(text.held_out):,} bytes in {held} documents held out\n"
        f"an order-2 n-gram model (interpolated, discounts tuned): {baseline:.3f} held-out bits/byte"
    )
    run = _train(op, rec, sizes, options, text, baseline, screen)
    screen.title("What it writes, byte by byte with op.step")
    screen.text(_sample(run.model, options.seed))
    wall = perf_counter() - began
    verdict = "ok" if run.last < baseline else "trained, but not below the n-gram model"
    print(
        f"\ndemo: {verdict} · held-out bits/byte {run.first:.3f} -> {run.last:.3f} · max rel error {worst:.1e} · "
        f"tokens/s {run.speed:,.0f} · wall {wall:.0f} s"
    )


class Screen:
    """Writes headings and texts, and a line that is rewritten in place on a terminal, or now and then elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._last = 0.0

    def title(self, text: str) -> None:
        """A heading."""
        print(f"\n\033[1m{text}\033[0m" if self.live else f"\n== {text}", flush=True)

    def text(self, text: str) -> None:
        """Some lines, indented."""
        print(textwrap.indent(text, "  "), flush=True)

    def progress(self, text: str, *, keep: bool = False) -> None:
        """A line that replaces the one before, unless that one was to be kept."""
        if self.live:
            print(f"\r\033[K  {text}", end="\n" if keep else "", flush=True)
        elif keep:
            print(f"  {text}", flush=True)


def bar(share: float, width: int = 24) -> str:
    """A progress bar.

    >>> bar(0.5, 8)
    '[####....]'
    """
    done = round(share * width)
    return f"[{'#' * done}{'.' * (width - done)}]"


def _require_tools() -> None:
    from recc.demo.picture import require_matplotlib

    try:
        import torch  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError("recc demo", "torch, to train with", "none", "pip install 'recc-lang[demo]'") from None
    require_matplotlib()


def _emit(op: Any, rec: Recurrence, sizes: Any, folder: Path) -> Path:
    text = source(op, rec, sizes, "float32")
    path = folder / f"{rec.name}.c"
    write(path, text)
    return path


def _shown(sizes: Any) -> str:
    parts = [f"{axis} = {size}" for axis, size in sizes.axes.items()]
    return ", ".join([*parts, f"{sizes.heads} heads"])


def _agree(op: Any, rec: Recurrence, seed: int, screen: Screen) -> float:
    from recc.fuzz import CounterExample, Trial, fuzz

    worst = 0.0

    def progress(trial: Trial) -> None:
        nonlocal worst
        worst = max(worst, trial.worst)
        gradients = "not compared" if trial.gradients is None else f"{trial.gradients:.1e}"
        what = f"T {trial.steps} · values {trial.values:.1e} · gradients {gradients}"
        line = f"{bar(trial.number / trial.count)} {trial.number}/{trial.count} · {what}"
        screen.progress(line, keep=trial.number == trial.count)

    try:
        fuzz(op, _TRIALS, seed, progress=progress)
    except CounterExample as found:
        raise InternalError(f"a kernel of {rec.name} is wrong:\n{found}") from None
    screen.text(f"largest relative error in float32: {worst:.1e}")
    return worst


@dataclass
class Run:
    """A trained model, held-out bits per byte before and after, bytes per second, and the two curves."""

    model: Any
    first: float
    last: float = 0.0
    speed: float = 0.0
    train: list[tuple[float, float]] = field(default_factory=list)
    held_out: list[tuple[float, float]] = field(default_factory=list)


def _train(
    op: Any, rec: Recurrence, sizes: Any, options: argparse.Namespace, text: Any, baseline: float, screen: Screen
) -> Run:
    from recc.demo.model import LanguageModel
    from recc.demo.picture import draw
    from recc.demo.train import Recipe, bits_per_byte, train

    model = LanguageModel(op, rec, options.width, sizes)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    screen.text(f"embedding, short convolution, 2 blocks of {rec.name} with gates, head: {count:,} parameters\n")
    run = Run(model, bits_per_byte(model, text.held_out))
    run.held_out.append((0.0, run.first))
    screen.progress(f"{bar(0)}   0 s · held out {run.first:.3f} bits/byte", keep=True)
    for now in train(model, text.train, text.held_out, Recipe(options.seconds, seed=options.seed)):
        run.train.append((now.seconds, now.train))
        seen = now.held_out
        if now.share >= 1:
            seen = run.last = bits_per_byte(model, text.held_out)
        if seen is not None:
            run.held_out.append((now.seconds, seen))
        run.speed = now.bytes / now.seconds
        figures = f"training {now.train:.3f} · held out {run.held_out[-1][1]:.3f} bits/byte · {run.speed:,.0f} bytes/s"
        line = f"{bar(now.share)} {now.seconds:3.0f} s · step {now.steps} · {figures}"
        screen.progress(line, keep=seen is not None)
    path = options.out / "loss.png"
    draw(path, f"{rec.name}: bits per byte", run.train, run.held_out, ("order-2 n-gram", baseline))
    apart = f"{abs(baseline - run.last):.3f} {'below' if run.last < baseline else 'above'} the n-gram model"
    screen.text(f"held out: {run.last:.3f} bits/byte, {apart}; the curve is in {path}")
    return run


def _sample(model: Any, seed: int) -> str:
    began = perf_counter()
    said = (_PROMPT + model.sample(_PROMPT, 400, seed=seed)).decode("utf-8", "replace").replace("\0", "\n")
    rate = 400 / (perf_counter() - began)
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in said).strip("\n")
    return f"{shown}\n\n({rate:.0f} bytes/s, one at a time)"

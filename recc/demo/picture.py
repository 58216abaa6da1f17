"""The loss curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recc.errors import UsageError


def require_matplotlib() -> None:
    """Raise `UsageError` if there is nothing to draw with: better before the training than after it."""
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError:
        raise UsageError(
            "recc demo", "matplotlib, to draw the loss curve", "none", "pip install 'recc-lang[demo]'"
        ) from None


def draw(
    path: Path,
    title: str,
    train: Sequence[tuple[float, float]],
    held_out: Sequence[tuple[float, float]],
    baseline: tuple[str, float],
) -> None:
    """Bits per byte against seconds: training, held-out, and a baseline as a dashed line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*zip(*train, strict=True), color="#9db7d5", linewidth=1, label="training, smoothed")
    axes.plot(*zip(*held_out, strict=True), color="#1f4e8c", marker="o", markersize=4, label="held out")
    axes.axhline(
        baseline[1], color="#b5482a", linestyle="--", linewidth=1, label=f"{baseline[0]}, held out: {baseline[1]:.2f}"
    )
    axes.annotate(
        f"{held_out[-1][1]:.2f}", held_out[-1], xytext=(0, 8), textcoords="offset points", color="#1f4e8c", ha="right"
    )
    axes.set(title=title, xlabel="seconds of training", ylabel="bits per byte", ylim=(1, 8.2))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)

"""Learns an audio filter from what goes in and what comes out.

White noise goes through a filter that SciPy designs: a resonance. `resonator.recc` is a second-order recurrence
with three taps on its input; its poles are kept inside the unit circle by writing them as radius and angle.
Gradient descent on the difference of the outputs finds the five numbers.

    python examples/filter/learn.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import signal

import recc

STEPS, BATCH = 400, 8


def main() -> None:
    """Learn, and print learnt beside true coefficients."""
    torch.manual_seed(0)
    truth_b, truth_a = signal.iirpeak(0.3, 8.0)
    x = torch.randn(BATCH, STEPS, dtype=torch.float64)
    y = torch.tensor(signal.lfilter(truth_b, truth_a, x.numpy()))

    op = recc.compile(Path(__file__).parent / "resonator.recc")
    radius = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)  # a sigmoid keeps it below 1
    angle = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    taps = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def coefficients() -> tuple[torch.Tensor, torch.Tensor]:
        r = torch.sigmoid(radius)
        return 2 * r * torch.cos(angle), -(r**2)

    climb = torch.optim.LBFGS(
        [radius, angle, taps], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def loss() -> torch.Tensor:
        climb.zero_grad()
        error = (op(x, *coefficients(), *taps) - y).square().mean()
        error.backward()
        return error

    climb.step(loss)
    a1, a2 = (c.item() for c in coefficients())
    learnt_a, learnt_b = np.array([1, -a1, -a2]), taps.detach().numpy()
    print(f"denominator {learnt_a.round(6)}, true {truth_a.round(6)}")
    print(f"numerator   {learnt_b.round(6)}, true {truth_b.round(6)}")
    _, learnt = signal.freqz(learnt_b, learnt_a)
    _, true = signal.freqz(truth_b, truth_a)
    print(f"largest error of the frequency response {np.abs(learnt - true).max():.1e}")
    assert np.abs(learnt - true).max() < 1e-4


if __name__ == "__main__":
    main()

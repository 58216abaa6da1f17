"""Fits the noise of a Kalman filter to the Nile by its own gradient, and compares with the published estimates.

The filter is `recc.zoo.kalman` with a state of one number: a level that walks at random, seen through noise.
Its output `loglik` is summed and differentiated with respect to both variances, and L-BFGS climbs it.

    python examples/nile/fit.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

import recc

#: Maximum likelihood by Durbin and Koopman, Time Series Analysis by State Space Methods, 2012, section 2.10.
PUBLISHED = {"level": 1469.1, "noise": 15098.5}


def nile() -> torch.Tensor:
    """The yearly flow, `[1, T]`."""
    with (Path(__file__).parent / "nile.csv").open(encoding="utf-8") as file:
        return torch.tensor([[float(row["volume"]) for row in csv.DictReader(file)]], dtype=torch.float64)


def negative_loglik(flow: torch.Tensor, log_level: torch.Tensor, log_noise: torch.Tensor) -> torch.Tensor:
    """Minus the log likelihood of all years but the first, which only tells where the level is."""
    one = torch.ones(1, dtype=torch.float64)
    _, loglik = recc.zoo.kalman(
        flow,
        F=one[:, None], Q=log_level.exp()[None, None], H=one, R=log_noise.exp(), x0=0 * one, P0=1e7 * one[:, None],
    )  # fmt: skip
    return -loglik[:, 1:].sum()


def main() -> None:
    """Fit, and print what was found beside what is published."""
    flow = nile()
    start = flow.var().log()
    log_level, log_noise = ((start + shift).clone().requires_grad_() for shift in (-2.0, 0.0))
    climb = torch.optim.LBFGS([log_level, log_noise], max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-9)
    calls = 0

    def loss() -> torch.Tensor:
        nonlocal calls
        calls += 1
        climb.zero_grad()
        found = negative_loglik(flow, log_level, log_noise)
        found.backward()
        return found

    climb.step(loss)
    found = {"level": log_level.exp().item(), "noise": log_noise.exp().item()}
    for name, value in found.items():
        print(f"variance of the {name}: {value:.1f} (published {PUBLISHED[name]})")
        assert abs(value / PUBLISHED[name] - 1) < 0.01
    print(f"log likelihood {-negative_loglik(flow, log_level, log_noise).item():.3f} after {calls} runs of the filter")


if __name__ == "__main__":
    main()

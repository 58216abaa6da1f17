"""Gaussian filters without a recursion: the joint distribution of all states and observations, conditioned densely."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Joint:
    """States `x[t] = F[t] x[t-1] + N(0, Q[t])` and observations `y[t] = H[t] x[t] + N(0, R[t])` of one sequence.

    `F` and `Q` are `[T, n, n]`, `H` `[T, m, n]`, `R` `[T, m, m]`, `y` `[T, m]`; `x[-1]` has the mean `m0` `[n]` and the
    covariance `P0` `[n, n]`. All steps are one Gaussian vector of `T n + T m` numbers.
    """

    F: Tensor
    Q: Tensor
    H: Tensor
    R: Tensor
    y: Tensor
    m0: Tensor
    P0: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean `[T n]` and covariance `[T n, T n]` of all states, from the inverse of one bidiagonal matrix."""
        steps, n, _ = self.F.shape
        below = torch.zeros(steps, n, steps, n, dtype=self.y.dtype)
        for t in range(1, steps):
            below[t, :, t - 1] = self.F[t]
        spread = torch.linalg.inv(torch.eye(steps * n, dtype=self.y.dtype) - below.reshape(steps * n, steps * n))
        drives = [self.Q[0] + self.F[0] @ self.P0 @ self.F[0].mT, *self.Q[1:]]
        start = torch.cat([self.F[0] @ self.m0, torch.zeros((steps - 1) * n, dtype=self.y.dtype)])
        return spread @ start, spread @ torch.block_diag(*drives) @ spread.mT

    def observed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean and covariance of all states; what the observations miss of their mean; their covariance."""
        mean, cov = self.moments()
        rows = torch.block_diag(*self.H)
        return mean, cov, self.y.reshape(-1) - rows @ mean, rows @ cov @ rows.mT + torch.block_diag(*self.R)

    def given(self, seen: int, at: int) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the state at step `at`, given the first `seen` observations; -1 is the last step."""
        mean, cov, miss, total = self.observed()
        n, m = self.F.shape[-1], self.y.shape[-1]
        at %= len(self.y)
        here, known = slice(at * n, at * n + n), slice(0, seen * m)
        cross = (cov @ torch.block_diag(*self.H).mT)[here, known]
        gain = torch.linalg.solve(total[known, known], cross.mT).mT
        return mean[here] + gain @ miss[known], cov[here, here] - gain @ cross.mT

    def filtered(self) -> tuple[Tensor, Tensor]:
        """Means `[T, n]` and covariances `[T, n, n]` of every state given the observations up to it."""
        pairs = [self.given(t + 1, t) for t in range(len(self.y))]
        return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])

    def smoothed(self) -> tuple[Tensor, Tensor]:
        """The same given all observations."""
        pairs = [self.given(len(self.y), t) for t in range(len(self.y))]
        return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])

    def log_likelihoods(self) -> Tensor:
        """`log p(y[t] | y[<t])`, `[T]`: from the Cholesky factor of the covariance of all observations."""
        _, _, miss, total = self.observed()
        factor = torch.linalg.cholesky(total)
        white = torch.linalg.solve_triangular(factor, miss[:, None], upper=False)[:, 0]
        two_pi = torch.log(torch.tensor(2 * torch.pi, dtype=miss.dtype))
        return -0.5 * (two_pi + 2 * factor.diagonal().log() + white.square()).reshape(self.y.shape).sum(-1)


__all__ = ["Joint"]

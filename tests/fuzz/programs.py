"""Programs that together use the whole language, with sizes to draw their arguments in."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from recc.check import load
from recc.fuzz import Shapes
from recc.recurrence import Recurrence


@dataclass(frozen=True)
class Case:
    """A program, the sizes of its axes and the steps along its scan axes."""

    name: str
    text: str
    sizes: dict[str, int] = field(default_factory=dict)
    steps: tuple[int, ...] = (7,)

    @cached_property
    def rec(self) -> Recurrence:
        (rec,) = load(self.text)
        return rec

    def shapes(self, batch: int = 2, heads: tuple[int, ...] = ()) -> Shapes:
        return Shapes(self.sizes, self.steps, batch, heads)

    def __str__(self) -> str:
        return self.name


SMOOTH = (
    Case("gated_delta", """
recurrence gated_delta(i, j)
    input q[i], k[i] unit, v[j], g <= 0, beta in [0, 1]
    state S[i, j]
    S[t] = exp(g[t]) * (S[t-1] - beta[t] * k[t] * sum[i](k[t] * S[t-1])) + beta[t] * k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
""", {"i": 3, "j": 4}),
    Case("selective", """
recurrence selective(d, n)
    input u[d], delta[d] > 0, B[n], C[n]
    param A[d, n] < 0, D[d]
    state h[d, n]
    h[t] = exp(delta[t] * A) * h[t-1] + delta[t] * B[t] * u[t]
    output y[t] = sum[n](C[t] * h[t]) + D * u[t]
""", {"d": 3, "n": 2}),
    Case("dense", """
recurrence dense(n, m = n)
    input u
    param A[n, m], B[n], C[n]
    state h[n] = 0.1 * B
    h[t] = tanh(sum[m](A * h[t-1, m]) + B * u[t])
    output y[t] = sum[n](C * h[t])
""", {"n": 4}),
    Case("complex", """
recurrence lru(n)
    input u
    param nu[n], theta[n], B[n] complex, C[n] complex
    state h[n] complex
    lam = exp(-exp(nu)) * cis(theta)
    h[t] = lam * h[t-1] + B * u[t]
    output y[t] = re(sum[n](C * h[t])) + abs(sum[n](conj(h[t]) * B))
    output z[t] = im(h[t] / (h[t] * conj(h[t]) + 1)) + exp(h[t] / 4)
""", {"n": 3}),
    Case("second_order", """
recurrence second(d)
    input x[d]
    param a[d] in [0, 0.5], b[d] in [0, 0.4]
    state y[d] = a * b
    y[t] = a * y[t-1] - b * y[t-2] + x[t] * x[t-1]
    output out[t] = y[t] + y[t-3] * x[t-2]
""", {"d": 3}),
    Case("both_ways", """
recurrence both(d)
    input x[d], g[d] <= 0
    param w[d]
    state l[d] = w, r[d] = 2 * w
    l[t] = exp(g[t]) * l[t-1] + x[t]
    r[t] = exp(g[t]) * r[t+1] + x[t] * x[t+1]
    output y[t] = l[t-1] * r[t+1] + l[t+1] + r[t-1]
""", {"d": 2}),
    Case("stencil", """
recurrence stencil(x wrap, y clamp, k)
    input u[x, y], sym int(k)
    param w[k]
    state s[x, y]
    s[t] = 0.3 * sin(s[t-1, x-1, y] + s[t-1, x, y+1]) + w[k = sym[t]] * u[t] + u[t, x+2, y-1]
    output o[t] = sum[x](s[t]) + mean[y](u[t, 0, y])
""", {"x": 3, "y": 4, "k": 2}),
    Case("roesser", """
recurrence roesser(n, m = n) over r, c
    input x
    param A[n, m], B[n]
    state h[n], v[n] = 0.5 * B
    h[r, c] = sum[m](A * h[r, c-1, m]) + 0.2 * v[r-1, c] + B * x[r, c]
    v[r, c] = sum[m](A * v[r-1, c, m]) + 0.1 * h[r, c] * x[r, c]
    output y[r, c] = sum[n](h[r, c] * v[r, c])
""", {"n": 2}, (3, 4)),
    Case("probability", """
recurrence forward(s, p = s, a)
    input sym int(a), flag bool
    param A[s, p], E[s, a], start[s]
    state v[s] = start
    v[t] = logsumexp[p](softmax[s](A) + v[t-1, p]) + E[a = sym[t]] + where(flag[t], 0.5, -0.5) * A[s, s]
    output z[t] = logsumexp[s](v[t]) + norm[s](v[t]) + max[s](v[t]) + logaddexp(sum[s](v[t]), 1)
""", {"s": 3, "a": 2}),
    Case("matrices", """
recurrence matrices(n, m = n)
    input x[n], w in [0, 1]
    param A[n, m]
    const I[n, m]
    state h[n], P[n, m] = 0.3 * I
    h[t] = solve[n, m](I + w[t] * A, h[t-1] + x[t])
    P[t] = expm[n, m](0.1 * A * w[t] + 0.05 * P[t-1, m, n]) / 4
    output y[t] = sum[m](inv[n, m](2 * I + P[t]) * h[t, m])
""", {"n": 3}),
    Case("functions", """
recurrence functions(d)
    input x[d], p[d] > 0
    state h[d]
    a[t] = sigmoid(x[t]) + softplus(x[t]) * silu(x[t]) + gelu(x[t]) + log_sigmoid(x[t]) + erf(x[t])
    b[t] = log(p[t]) + log1p(p[t]) + expm1(x[t]) + sqrt(p[t]) + rsqrt(p[t] + 1) + p[t] ** x[t] + x[t] ** 3
    h[t] = 0.5 * h[t-1] + tanh(a[t] - b[t]) + cos(x[t]) * abs(x[t]) + prod[d](x[t]) + relu(x[t])
    output y[t] = clamp(h[t], -1, 1) + min(h[t], x[t]) + t * h[t-1] / (t + 1)
""", {"d": 3}),
)  # fmt: skip

GRADIENTS_OF_THEIR_OWN = (
    Case("surrogate", """
recurrence spikes(d)
    input x[d]
    param w[d] in [0, 1]
    state u[d]
    u[t] = w * u[t-1] * (1 - stop(s[t])) + x[t]
    s[t] = surrogate(where(x[t] > 0, 1.0, 0.0), sigmoid(4 * x[t]))
    output y[t] = s[t] * u[t]
""", {"d": 3}),
)  # fmt: skip

__all__ = ["GRADIENTS_OF_THEIR_OWN", "SMOOTH", "Case"]

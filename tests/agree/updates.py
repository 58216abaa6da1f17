"""Updates of every shape that a paper might write, each in a few lines: the names say what is peculiar."""

from __future__ import annotations

UPDATES = {
    "the same beyond an edge": """
recurrence edge(n, x)
    input u[n], w[x]
    state h[n, x]
    v[t, n, x] = w[t]
    h[t] = 0.5 * h[t-1] + v[t, n-1, x] + u[t]
    output y[t] = h[t]
""",
    "shift there and back": """
recurrence back(n, x clamp)
    input u[n], w[x]
    state h[n, x]
    v[t, n, x] = h[t-1, n, x] + w[t]
    h[t] = 0.1 * v[t, n-1, x] + u[t]
    output y[t] = h[t]
""",
    "the diagonal of a matrix state": """
recurrence diagonal(n, m = n, l = n)
    input u[n], w[n]
    state h[n, m]
    h[t] = 0.3 * sum[l](w[t, l] * h[t-1, l, l]) + u[t] * w[t, m]
    output y[t] = h[t]
""",
    "two householders": """
recurrence dp(i, j)
    input q[i], k[i] unit, l[i] unit, v[j], w[j], a in [0,1], b in [0,1], g <= 0
    state S[i, j]
    H[t] = exp(g[t]) * S[t-1]
    A[t] = H[t] - a[t] * k[t] * sum[i](k[t] * H[t]) + a[t] * k[t] * v[t]
    S[t] = A[t] - b[t] * l[t] * sum[i](l[t] * A[t]) + b[t] * l[t] * w[t]
    output o[t] = sum[i](q[t] * S[t])
""",
    "right action value decay": """
recurrence ra(i, j)
    input q[i], k[i], v[j], p[j], f[j] in [0, 1]
    state S[i, j]
    S[t] = f[t] * S[t-1] - 0.3 * p[t] * sum[j](p[t] * S[t-1]) + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t-1])
    output y[t] = sum[j](p[t] * S[t])
    output n[t] = sum[i, j](S[t])
""",
    "value decay left rank": """
recurrence vl(i, j)
    input q[i], k[i], v[j], f[j] in [-1, 1]
    state S[i, j]
    S[t] = f[t] * S[t-1] - 0.3 * k[t] * sum[i](k[t] * S[t-1]) + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t]) + sum[i](k[t] * S[t-1])
""",
    "momentum": """
recurrence mom(i, j)
    input q[i], k[i], v[j], a in [0, 1], b in [0, 1]
    state S[i, j], M[i, j]
    M[t] = b[t] * M[t-1] + k[t] * v[t]
    S[t] = a[t] * S[t-1] + M[t]
    output o[t] = sum[i](q[t] * S[t])
""",
    "coupled": """
recurrence rot(n)
    input x[n], y[n], c, s
    state a[n], b[n]
    a[t] = 0.5 * (c[t] * a[t-1] - s[t] * b[t-1]) + x[t]
    b[t] = 0.5 * (s[t] * a[t-1] + c[t] * b[t-1]) + y[t]
    output o[t] = a[t] * b[t-1]
""",
    "complex delta": """
recurrence cd(i, j)
    input q[i] complex, k[i] complex, v[j], th, r <= 0
    state S[i, j] complex
    S[t] = exp(r[t]) * cis(th[t]) * S[t-1] - 0.2 * k[t] * sum[i](conj(k[t]) * S[t-1]) + k[t] * v[t]
    output o[t] = re(sum[i](q[t] * S[t]))
""",
    "reset to initial": """
recurrence rs(i, j)
    input q[i], k[i], v[j], done bool, g[i] <= 0
    param S0[i, j]
    state S[i, j] = S0
    S[t] = where(done[t], S0, exp(g[t]) * S[t-1]) + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t])
""",
    "two drives same key": """
recurrence td(i, j)
    input q[i], k[i], v[j], w[j], g[i] <= 0
    state S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t] + k[t] * w[t] + q[t] * w[t]
    output o[t] = sum[i](q[t] * S[t]) / (1 + abs(sum[i](k[t] * S[t])))
""",
    "based second order": """
recurrence based(i, m = i, j)
    input q[i], k[i], v[j]
    state S[i, m, j], z[i, m]
    S[t] = S[t-1] + k[t] * k[t, m] * v[t]
    z[t] = z[t-1] + k[t] * k[t, m]
    output o[t] = sum[i, m](q[t] * q[t, m] * S[t]) / (1 + sum[i, m](q[t] * q[t, m] * z[t]))
""",
    "norm of state readout": """
recurrence ns(i, j)
    input q[i], k[i], v[j], g <= 0
    state S[i, j]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    output o[t] = sum[i](q[t] * S[t]) / (1 + norm[i, j](S[t]))
    output m[t] = max[i](S[t])
""",
    "third order": """
recurrence o3(d)
    input x[d], a[d], b[d], c[d]
    state y[d]
    y[t] = 0.2 * a[t] * y[t-1] + 0.2 * b[t] * y[t-2] + 0.2 * c[t] * y[t-3] + x[t]
    output o[t] = y[t] + y[t-2]
""",
    "both sides": """
recurrence bs(i, m = i, j, l = j)
    input A[i, m], B[j, l], X[i, j]
    state S[i, j]
    S[t] = 0.3 * sum[m, l](A[t] * S[t-1, m, l] * B[t]) + X[t]
    output o[t] = sum[i](S[t])
""",
    "cascade reads past": """
recurrence cas(i, j)
    input k[i], v[j], q[i], g <= 0
    state S[i, j], E[i]
    S[t] = exp(g[t]) * S[t-1] + k[t] * v[t]
    E[t] = 0.5 * E[t-1] + k[t] * sum[j](v[t] * sum[i](q[t] * S[t-2]))
    output o[t] = sum[i](q[t] * E[t-1])
""",
    "window": """
recurrence win(d)
    input x[d]
    state s[d]
    s[t] = s[t-1] + x[t] - x[t-3]
    output y[t] = s[t]
""",
    "time decay": """
recurrence td2(i, j)
    input q[i], k[i], v[j]
    state S[i, j]
    S[t] = t / (t + 1) * S[t-1] + k[t] * v[t] / (t + 1)
    output o[t] = sum[i](q[t] * S[t])
""",
    "bigram maxplus payload": """
recurrence mp(n, m = n)
    input e[n], x
    param A[n, m]
    state h[n], s
    h[t] = max[m](A + h[t-1, m]) + e[t]
    s[t] = sigmoid(h[t, 0]) * s[t-1] + x[t]
    output y[t] = s[t]
""",
}

__all__ = ["UPDATES"]

"""Every class of structure, by programs that say the same thing in different ways."""

from __future__ import annotations

import pytest

from recc.show import show_expr
from tests.structure.laws import affine

DIAGONAL = (
    "recurrence r(d)\n input x[d], a[d] in [0, 1], z[d]\n state h[d]\n output y[t] = h[t] + 0 * (x[t] + a[t] + z[t])\n"
)
MATRIX = (
    "recurrence r(i, j, l = i)\n input q[i], k[i] unit, v[j], p[j], b in [0, 2], g <= 0\n state S[i, j]\n"
    " output y[t] = sum[i](q[t] * S[t]) + 0 * (sum[l](k[t, l]) + v[t] + p[t] + b[t] + g[t])\n"
)
DENSE = (
    "recurrence r(n, m = n, l = n)\n input x[n], k int(n)\n param A[n, m], u[n], w[n]\n state h[n]\n"
    " output y[t] = h[t] + 0 * (x[t] + x[t, k[t]] + u + w + sum[m](A) + sum[l](A[n, l]))\n"
)
SPACE = (
    "recurrence r(x{edge}, c)\n input u[x, c]\n param a[c], b[c], w[x]\n state h[x, c]\n"
    " output y[t] = h[t] + 0 * (u[t] + a + b + w)\n"
)
#: What is found, then the head of the program, then ways to write the update.
GROUPS: dict[str, tuple[str, list[str]]] = {
    "identity, constant, real": (
        DIAGONAL,
        [
            "h[t] = h[t-1] + x[t]",
            "h[t] = (1 - z[t]) * h[t-1] + z[t] * h[t-1] + x[t]",
            "h[t] = h[t-1] - z[t] * h[t-1] + w[t] + x[t]\n w[t] = z[t] * h[t-1]",
            "def mix(p, c) = c * p + (1 - c) * p\n h[t] = mix(h[t-1], a[t] * z[t]) + x[t]",
            "h[t] = (h[t-1] * 6 - 2 * h[t-1] / 4 - h[t-1] / 2) / 5 + x[t]",
            "h[t] = where(a[t] > z[t], h[t-1], h[t-1] + x[t])",
            "h[t] = x[t] + h[t-1] * (z[t] - (z[t] - 1))",
            "h[t] = x[t] - (-h[t-1])",
            "h[t] = x[t] + re(h[t-1]) ** 1",
            "h[t] = tanh(h[t-1] - h[t-1]) + h[t-1] + x[t]",
        ],
    ),
    "scalar, constant, real, coefficient in [0.5, 0.5]": (
        DIAGONAL,
        ["h[t] = 0.5 * h[t-1] + x[t]", "h[t] = h[t-1] / 2 + x[t]", "h[t] = h[t-1] - 0.25 * (h[t-1] + h[t-1]) + x[t]"],
    ),
    "diagonal over d, varying in time, real, coefficient in [0, 1]": (
        DIAGONAL,
        [
            "h[t] = a[t] * h[t-1] + x[t]",
            "h[t] = a[t] * (h[t-1] - x[t]) + x[t]",
            "keep[t] = a[t] * h[t-1]\n h[t] = keep[t] + x[t]",
            "h[t] = h[t-1] - (1 - a[t]) * h[t-1] + x[t]",
            "def lerp(p, q, c) = q + c * (p - q)\n h[t] = lerp(h[t-1], x[t], a[t])",
        ],
    ),
    "diagonal over d, varying in time, real, coefficient in [0, 1], with resets": (
        DIAGONAL,
        [
            "h[t] = where(z[t] > 0, 0, a[t] * h[t-1]) + x[t]",
            "h[t] = where(z[t] > 0, x[t], x[t] + a[t] * h[t-1])",
            "h[t] = a[t] * where(z[t] <= 0, h[t-1], 0) + x[t]",
        ],
    ),
    "nothing is kept, constant, real": (
        DIAGONAL,
        [
            "h[t] = x[t] + h[t-1] * a[t] - a[t] * h[t-1]",
            "h[t] = 0 * h[t-1] + x[t]",
            "h[t] = x[t] + h[t-1] - w[t]\n w[t] = h[t-1]",
        ],
    ),
    "scalar, order 3, constant, real": (
        DIAGONAL,
        ["h[t] = 0.5 * h[t-1] - 0.2 * h[t-3] + x[t]", "w[t] = h[t-1] - 0.4 * h[t-3]\n h[t] = 0.5 * w[t] + x[t]"],
    ),
    "identity + rank 1 along i, from the left, varying in time, real": (
        MATRIX,
        [
            "S[t] = S[t-1] + b[t] * k[t] * (v[t] - sum[i](k[t] * S[t-1]))",
            "S[t] = S[t-1] - sum[l](b[t] * k[t] * k[t, l] * S[t-1, l, j]) + b[t] * k[t] * v[t]",
            "r[t] = sum[i](k[t] * S[t-1])\n e[t] = v[t] - r[t]\n S[t] = S[t-1] + b[t] * k[t] * e[t]",
            "def rid(m, key, c) = m - c * key * sum[i](key * m)\n S[t] = rid(S[t-1], k[t], b[t]) + b[t] * k[t] * v[t]",
            "S[t] = S[t-1] - b[t] * (k[t] * sum[i](k[t] * S[t-1]) - k[t] * v[t])",
            "e[t] = sum[l](k[t, l] * S[t-1, l, j])\n S[t] = S[t-1] - k[t] * (sum[i](k[t] * S[t-1]) + e[t]) * b[t] / 2",
        ],
    ),
    "scalar + rank 1 along i, from the left, varying in time, real, coefficient in (0, 1]": (
        MATRIX,
        [
            "S[t] = exp(g[t]) * (S[t-1] - b[t] * k[t] * sum[i](k[t] * S[t-1])) + k[t] * v[t]",
            "D[t] = exp(g[t]) * S[t-1]\n S[t] = D[t] - b[t] * k[t] * sum[i](k[t] * D[t]) + k[t] * v[t]",
        ],
    ),
    "identity + rank 1 along j, from the right, varying in time, real": (
        MATRIX,
        ["S[t] = S[t-1] - b[t] * sum[j](S[t-1] * p[t]) * p[t] + k[t] * v[t]"],
    ),
    "identity + rank 2 along i, from the left, varying in time, real": (
        MATRIX,
        [
            "M[t] = S[t-1] - b[t] * k[t] * sum[i](k[t] * S[t-1])\n S[t] = M[t] - q[t] * sum[i](q[t] * M[t])",
            "S[t] = S[t-1] + sum[l]((q[t] * k[t, l] + k[t] * q[t, l]) * S[t-1, l, j]) + k[t] * v[t]",
        ],
    ),
    "dense along i, j, from both sides as a sum, varying in time, real": (
        MATRIX,
        ["S[t] = S[t-1] - k[t] * sum[i](k[t] * S[t-1]) - p[t] * sum[j](p[t] * S[t-1]) + k[t] * v[t]"],
    ),
    "dense along n, constant, real": (
        DENSE,
        [
            "h[t] = sum[m](A * h[t-1, m]) + x[t]",
            "h[t] = sum[l](A[n, l] * h[t-1, l]) + x[t]",
            "p[t] = sum[m](A * h[t-1, m])\n h[t] = p[t] + x[t]",
            "e[t, n, m] = A * h[t-1, m]\n h[t] = sum[m](e[t]) + x[t]",
            "h[t] = sum[m]((A + u * w[m]) * h[t-1, m]) - u * sum[n](w * h[t-1]) + x[t]",
            "h[t] = solve[n, m](A, h[t-1]) + x[t]",
            "h[t] = sum[m](inv[n, m](A) * h[t-1, m]) + x[t]",
        ],
    ),
    "rank 1 along n, constant, real": (
        DENSE,
        [
            "h[t] = u * sum[n](w * h[t-1]) + x[t]",
            "s[t] = sum[n](w * h[t-1])\n h[t] = u * s[t] + x[t]",
            "h[t] = sum[m](u * (w[m] + w[m]) / 2 * h[t-1, m]) + x[t]",
        ],
    ),
    "identity + rank 1 along n, constant, real": (
        DENSE,
        ["h[t] = h[t-1] - mean[n](h[t-1]) + x[t]", "h[t] = h[t-1] + x[t] - u * h[t-1, 0]"],
    ),
    "permuted or gathered, constant, real": (
        "recurrence r(i, j = i)\n input x[i], p[i] int(i)\n state S[i, j]\n output y[t] = S[t] + 0 * (x[t] + p[t])\n",
        ["S[t] = 0.5 * S[t-1, j, i] + x[t]"],
    ),
    "permuted or gathered, from the left, varying in time, real": (
        "recurrence r(i, j = i)\n input x[i], p[i] int(i)\n state S[i, j]\n output y[t] = S[t] + 0 * (x[t] + p[t])\n",
        ["S[t] = 0.5 * S[t-1, p[t], j] + x[t]", "w[t] = S[t-1] / 2\n S[t] = w[t, p[t], j] + x[t]"],
    ),
    "shifted diagonals (n-1) + rank 1 along n, companion, constant, real": (
        DENSE,
        [
            "h[t] = h[t-1, n-1] + u * sum[n](w * h[t-1]) + x[t]",
            "h[t] = h[t-1, n-1] + u * (sum[m](w[m] * h[t-1, m]) + x[t])",
        ],
    ),
    "shifted diagonals (in place, x-1, x+1), circulant along x, constant, real": (
        SPACE.format(edge=" wrap"),
        [
            "h[t] = a * h[t-1, x-1, c] + h[t-1] + b * h[t-1, x+1, c] + u[t]",
            "g[t] = a * h[t-1, x-1, c] + b * h[t-1, x+1, c]\n h[t] = g[t] + u[t] + h[t-1]",
        ],
    ),
    "shifted diagonals (in place, x+1), constant, real": (
        SPACE.format(edge=""),
        [
            "g[t] = w * h[t-1]\n h[t] = h[t-1] + u[t] - g[t, x+1, c]",
            "g[t] = h[t-1] + u[t]\n h[t] = h[t-1] + u[t] - g[t, x+1, c]",
        ],
    ),
}
CASES = [
    pytest.param(expected, head, update, id=f"{expected.split(',')[0]}: {update[:40]}")
    for expected, (head, updates) in GROUPS.items()
    for update in updates
]


@pytest.mark.parametrize(("expected", "head", "update"), CASES)
def test_a_class_however_it_is_written(expected: str, head: str, update: str) -> None:
    lines = head.splitlines()
    text = "\n".join([*lines[:-1], *(f" {line}" for line in update.splitlines()), lines[-1]])
    assert str(affine(text + "\n")) == f"affine: {expected}"


def structure(body: str, header: str = "d") -> object:
    return affine(f"recurrence r({header})\n{body}")


def test_several_states_make_blocks() -> None:
    found = affine("""
recurrence oscillator(d)
    input x[d]
    param w[d], g[d] in (0, 1)
    state p[d], v[d]
    v[t] = g * v[t-1] - w * p[t-1] + x[t]
    p[t] = p[t-1] + 0.1 * v[t]
    output y[t] = p[t]
""")
    assert str(found) == "affine: 2 coupled states (v, p), diagonal over d, constant, real"
    assert [str(e) for e in found.entries] == [
        "v from v (-1): diagonal over d",
        "v from p (-1): diagonal over d",
        "p from p (-1): diagonal over d",
        "p from v (-1): diagonal over d",
    ]
    coefficient = found.entries[2].parts[0].terms[0].left
    assert show_expr(coefficient) == "1 - 0.1 * w[d]"


def test_states_of_different_axes_in_one_stage() -> None:
    found = affine("""
recurrence broadcast(n)
    input x[n]
    param a[n], b[n]
    state h[n], s
    h[t] = 0.5 * h[t-1] + a * s[t-1] + x[t]
    s[t] = 0.5 * s[t-1] + sum[n](b * h[t-1])
    output y[t] = h[t] + s[t]
""")
    assert [str(e) for e in found.entries] == [
        "h from h (-1): scalar",
        "h from s (-1): rank 1 along n",
        "s from s (-1): scalar",
        "s from h (-1): rank 1 along n",
    ]


def test_right_to_left_and_two_scan_axes() -> None:
    found = affine("""
recurrence back(d)
    input x[d], a[d] in (0, 1)
    state h[d]
    h[t] = a[t] * h[t+1] + x[t]
    output y[t] = h[t]
""")
    assert found.entries[0].lags == (-1,)
    assert found.stage.direction == (-1,)
    found = affine("""
recurrence plane over r, c
    input x
    state h
    h[r, c] = 0.5 * h[r-1, c] + 0.5 * h[r, c-1] - 0.25 * h[r-1, c-1] + x[r, c]
    output y[r, c] = h[r, c]
""")
    assert [e.lags for e in found.entries] == [(1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ("m[t] = max(a[t] + m[t-1], b[t])", "max-plus, diagonal over d, varying in time, real"),
        ("m[t] = max(b[t], m[t-1] - (0 - a[t]))", "max-plus, diagonal over d, varying in time, real"),
        ("s[t] = m[t-1] + a[t]\n    m[t] = max(s[t], b[t])", "max-plus, diagonal over d, varying in time, real"),
        ("m[t] = relu(a[t] + m[t-1]) + b[t]", "max-plus, diagonal over d, varying in time, real"),
        ("m[t] = max(a[t] - b[t], max(m[t-1], b[t]))", "max-plus, identity, constant, real"),
        (
            "m[t] = where(b[t] > 0, max(a[t], m[t-1]), a[t])",
            "max-plus, diagonal over d, varying in time, real, coefficient in (-inf, 0], with resets",
        ),
        ("m[t] = min(a[t] + m[t-1], b[t])", "min-plus, diagonal over d, varying in time, real"),
        ("m[t] = logaddexp(a[t] + m[t-1], b[t])", "log-sum-exp, diagonal over d, varying in time, real"),
        ("m[t] = log(exp(a[t] + m[t-1]) + exp(b[t]))", "log-sum-exp, diagonal over d, varying in time, real"),
        ("m[t] = log(exp(a[t]) * exp(m[t-1]) + exp(b[t]))", "log-sum-exp, diagonal over d, varying in time, real"),
        ("m[t] = softplus(a[t] + m[t-1]) + b[t]", "log-sum-exp, diagonal over d, varying in time, real"),
        ("m[t] = log1p(exp(a[t] + m[t-1] + b[t]))", "log-sum-exp, diagonal over d, varying in time, real"),
        (
            "m[t] = max(m[t-1], max[d](m[t-1] + a[t]) + b[t])",
            "max-plus, identity + rank 1 along d, varying in time, real",
        ),
    ],
)
def test_semirings(update: str, expected: str) -> None:
    head = "recurrence r(d)\n    input a[d], b[d]\n    state m[d]\n    output y[t] = m[t] + 0 * (a[t] + b[t])\n"
    assert str(affine(f"{head}    {update}\n")) == f"affine: {expected}"


@pytest.mark.parametrize("reduction", ["max", "min", "logsumexp"])
def test_dense_semirings(reduction: str) -> None:
    head = "recurrence r(n, m = n)\n    input e[n]\n    param A[n, m]\n    state h[n]\n    output y[t] = h[t]\n"
    name = {"max": "max-plus", "min": "min-plus", "logsumexp": "log-sum-exp"}[reduction]
    for update in (
        f"h[t] = e[t] + {reduction}[m](A + h[t-1, m])",
        f"h[t] = {reduction}[m](A + e[t] + h[t-1, m])",
        f"w[t, n, m] = h[t-1, m] + A\n    h[t] = {reduction}[m](w[t]) + e[t]",
    ):
        found = affine(head + f"    {update}\n")
        assert str(found) == f"affine: {name}, dense along n, varying in time, real"


def test_drives_are_sums_of_products_by_axes() -> None:
    found = affine("""
recurrence r(i, j)
    input k[i], v[j], w[j], beta, B[i, j]
    state S[i, j]
    S[t] = 0.5 * S[t-1] + beta[t] * k[t] * (v[t] - 2 * w[t]) - B[t] * k[t]
    output y[t] = S[t]
""")
    (drive,) = found.drives
    shown = [[show_expr(g) for g in term.groups] for term in drive.terms]
    assert shown == [["beta[t]", "k[t, i]", "v[t, j] - 2 * w[t, j]"], ["-1", "B[t, i, j]", "k[t, i]"]]
    assert [[g.axes for g in term.groups] for term in drive.terms] == [[(), ("i",), ("j",)], [(), ("i", "j"), ("i",)]]


def test_a_stop_is_kept_apart() -> None:
    found = affine("""
recurrence r(d)
    input x[d], a[d]
    state h[d]
    h[t] = a[t] * h[t-1] + stop(0.5 * h[t-1] + x[t])
    output y[t] = h[t]
""")
    assert found.stopped
    assert [t.stopped for e in found.entries for p in e.parts for t in p.terms] == [False, True]
    assert show_expr(found.drives[0].terms[0].groups[0]) == "stop(x[t, d])"


def test_resets_are_named() -> None:
    found = affine("""
recurrence r(d)
    input x[d], a[d] in (0, 1), done bool, live bool
    state h[d]
    h[t] = where(done[t], 0, where(live[t], a[t] * h[t-1], 0)) + x[t]
    output y[t] = h[t]
""")
    assert [show_expr(c) for c in found.resets] == ["done[t]", "not live[t]"]
    assert str(found.size) == "in [0, 1)"

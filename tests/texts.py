"""Programs that tests of several folders share."""

from __future__ import annotations

#: A state that starts with a number, and two passes of which one goes from right to left along an axis.
CORNERS = """
recurrence corners over r, c
    input x
    param a
    state h = 5
    h[r, c] = a * h[r-1, c] + a * h[r, c+1] + x[r, c]
    output y[r, c] = h[r, c] + x[r+1, c-1]
    output z[r, c] = h[r-1, c-1] + 10 * h[r-1, c+1]
"""


def attention_text(name: str, declared: str, update: str, read: str = "S[t]") -> str:
    """A matrix state of keys and values, read by queries."""
    return f"""
recurrence {name}(i, j)
    input  q[i], k[i], v[j]
    {declared}
    state  S[i, j]
    S[t] = {update}
    output o[t] = sum[i](q[t] * {read})
"""

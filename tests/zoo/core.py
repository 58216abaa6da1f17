"""The programs of the zoo that the costly tests run: a few of every structure.

Every program of the zoo goes through every form and backend once, in `test_rows.py`. What takes many runs of
one program (proofs, all chunk sizes, interpreted and compiled GPU kernels) is done for these.
"""

from __future__ import annotations

CORE = (
    "all_pole_filter", "bidirectional", "conv_ssm", "delta_net", "gated_delta_net", "gated_linear_attention", "gru",
    "hawkes", "hgrn", "hla", "hmm_forward", "kalman", "lif", "linear_attention", "lru", "lssl", "lstm", "mamba",
    "mlstm", "resettable_s5", "retention", "rg_lru", "roesser", "rwkv7", "s4d", "selective_dense", "slstm", "ssd",
    "viterbi",
)  # fmt: skip

__all__ = ["CORE"]

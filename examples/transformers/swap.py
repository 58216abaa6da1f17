"""Replaces the recurrence inside models of Hugging Face `transformers`, and nothing else of them.

Each model is a small one with random weights. It runs as it comes, on the package's own path in plain torch; then the
one function in which it keeps its recurrence is replaced by a program of recc's zoo, and it runs again. Logits, the
gradients of all parameters, and the tokens that it writes are compared.

    python examples/transformers/swap.py [--model mamba|mamba2|rwkv|qwen3_next|recurrent_gemma]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from torch.overrides import TorchFunctionMode

import recc

#: What a recurrent block without gates keeps: Griffin's gates are made outside.
GATED_SUM = recc.compile("""
recurrence gated_sum(d)
    input  x[d], keep[d] in [0, 1]
    state  h[d]
    h[t] = keep[t] * h[t-1] + x[t]
    output y[t] = h[t]
""")


def mamba(
    hidden_states: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor,
    delta_bias: Tensor, delta_softplus: bool, return_last_state: bool, **_: Any,
) -> Any:  # fmt: skip
    """The selective scan: `[B, d, T]` for what has channels, `[B, n, T]` for B and C."""
    step = dt + delta_bias[:, None]
    step = F.softplus(step) if delta_softplus else step
    y, last = recc.zoo.mamba(
        u=hidden_states.mT, delta=step.mT, B=B.mT, C=C.mT, A=A, D=D, output_final_state=True
    )  # fmt: skip
    y = y.mT * F.silu(z)
    return (y, last) if return_last_state else y


def mamba2(
    hidden_states: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    dt_bias: Tensor, dt_softplus: bool, dt_limit: tuple[float, float],
    initial_states: Tensor | None, return_final_states: bool, **_: Any,
) -> Any:  # fmt: skip
    """State space duality: heads `[B, T, H, p]`, with B and C of a group `[B, T, G, n]` for several heads."""
    groups = B.shape[2]
    split = (groups, -1)  # heads as two batch axes, along the second of which B and C broadcast
    step = F.softplus(dt + dt_bias) if dt_softplus else dt + dt_bias
    y, last = recc.zoo.ssd(
        x=hidden_states.unflatten(2, split),
        B=B.unsqueeze(3),
        C=C.unsqueeze(3),
        delta=step.clamp(*dt_limit).unflatten(2, split),
        A=A.unflatten(0, split),
        D=D.unflatten(0, split),
        initial_state=None if initial_states is None else initial_states.unflatten(1, split),
        output_final_state=True,
    )
    y = y.flatten(2, 3)
    return (y, last.flatten(1, 2)) if return_final_states else y


def rwkv(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, state: Any = None, return_state: bool = False
) -> Any:
    """The weighted average: everything `[B, T, d]`; the state is a numerator, a denominator and their scale."""
    begin = None if state is None else dict(zip("abm", (part.contiguous() for part in state), strict=True))
    y, last = recc.zoo.rwkv4(
        k=key, v=value, w=-torch.exp(time_decay), u=time_first, initial_state=begin, output_final_state=True
    )
    return y, [last.a, last.b, last.m] if return_state or state is not None else None


def qwen3_next(
    query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor,
    initial_state: Tensor | None = None, output_final_state: bool = False, use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> Any:  # fmt: skip
    """The gated delta rule: keys and queries `[B, T, H, K]` for values `[B, T, H * g, V]`."""
    heads = key.shape[2]
    if use_qk_l2norm_in_kernel:
        query, key = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6) for x in (query, key))
    split = (heads, -1)
    o, last = recc.zoo.gated_delta_net(
        q=(query * key.shape[-1] ** -0.5).unsqueeze(3),
        k=key.unsqueeze(3),
        v=value.unflatten(2, split),
        g=g.unflatten(2, split),
        beta=beta.unflatten(2, split),
        initial_state=None if initial_state is None else initial_state.unflatten(1, split),
        output_final_state=True,
    )
    return o.flatten(2, 3), last.flatten(1, 2) if output_final_state else None


def recurrent_gemma(
    self: Any, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Tensor | None
) -> Any:
    """Griffin's recurrence: `[B, T, d]`, with gates that are zero where a document begins."""
    return GATED_SUM(
        x=hidden_states, keep=recurrent_gate * ~reset, initial_state=recurrent_states, output_final_state=True
    )


@dataclass(frozen=True)
class Swap:
    """A model of transformers, the functions to replace in its module, and what to put there."""

    model: str
    config: dict[str, Any]
    places: tuple[str, ...]
    by: Callable[..., Any]


SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": None}
SWAPS = {
    "mamba": Swap("Mamba", {"state_size": 8}, ("mamba_selective_scan",), mamba),
    "mamba2": Swap(
        "Mamba2",
        {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
        ("mamba2_chunk_scan",),
        mamba2,
    ),
    "rwkv": Swap("Rwkv", {"attention_hidden_size": 32, "rescale_every": 0}, ("rwkv_linear_attention",), rwkv),
    "qwen3_next": Swap(
        "Qwen3Next",
        {
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "intermediate_size": 48,
            "initializer_range": 0.1, "mlp_only_layers": [0, 1], "layer_types": ["linear_attention", "full_attention"],
        },
        ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"),
        qwen3_next,
    ),
    "recurrent_gemma": Swap(
        "RecurrentGemma",
        {
            "lru_width": 32, "num_attention_heads": 2, "intermediate_size": 48, "attention_window_size": 16,
            "block_types": ["recurrent", "attention"], "num_key_value_heads": 1,
        },
        ("RecurrentGemmaRglru._rnn_scan",),
        recurrent_gemma,
    ),
}  # fmt: skip


class Double(TorchFunctionMode):
    """Takes every cast to float32 for one to float64: the models cast inside, whatever their weights are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def wide(x: Any) -> Any:
            return torch.float64 if x is torch.float32 else x

        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(wide, args), **{name: wide(x) for name, x in (kwargs or {}).items()})


@contextlib.contextmanager
def swapped(name: str) -> Iterator[list[int]]:
    """Within it, the model's recurrence is recc's. Gives a list that counts the calls."""
    swap, calls = SWAPS[name], [0]
    module = f"transformers.models.{name}.modeling_{name}"

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return swap.by(*args, **kwargs)

    with contextlib.ExitStack() as stack:
        for place in swap.places:
            stack.enter_context(mock.patch(f"{module}.{place}", counted))
        yield calls


def run(model: Any, ids: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor, float]:
    """Logits, gradients of the next token's cross entropy, sixteen tokens written greedily, and seconds."""
    model.zero_grad()
    begin = time.perf_counter()
    logits = model(ids, use_cache=False).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    seconds = time.perf_counter() - begin
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    written = model.generate(ids[:, :9], max_new_tokens=16, do_sample=False, pad_token_id=0)
    return logits.detach(), grads, written, seconds


def compare(name: str, dtype: torch.dtype, bound: float) -> str:
    """Run the model with both recurrences. Raises `AssertionError` if anything differs by more than `bound`."""
    torch.manual_seed(0)
    swap = SWAPS[name]
    config = getattr(transformers, f"{swap.model}Config")(**(SMALL | swap.config))
    model = getattr(transformers, f"{swap.model}ForCausalLM")(config).to(dtype).train()
    with torch.no_grad():  # some begin with a memory of one step, where there is little to compare
        for parameter in (p for key, p in model.named_parameters() if key.endswith("linear_attn.A_log")):
            parameter -= 4
    ids = torch.randint(0, 64, (2, 100))
    with Double() if dtype == torch.float64 else contextlib.nullcontext():
        logits, grads, written, theirs = run(model, ids)
        with swapped(name) as calls:
            run(model, ids)  # builds the kernels
            new_logits, new_grads, new_written, ours = run(model, ids)
    assert calls[0] and grads.keys() == new_grads.keys() and logits.dtype == new_logits.dtype == dtype
    assert torch.equal(written, new_written), "the same tokens"
    out = (logits - new_logits).abs().max().item() / logits.abs().max().item()
    grad = max((grads[g] - new_grads[g]).norm().item() / (grads[g].norm().item() + 1e-30) for g in grads)
    assert max(out, grad) < bound, (out, grad)
    kind = str(dtype).removeprefix("torch.")
    return (
        f"{name:16}{kind:8} logits {out:.0e}, {len(grads)} gradients {grad:.0e}, same {written[:, 9:].numel()} tokens; "
        f"forward and backward {1000 * theirs:.0f} ms, with recc {1000 * ours:.0f} ms"
    )


def main() -> None:
    """Compare the models that were asked for, in both types."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SWAPS, action="append")
    options = parser.parse_args()
    for package in ("fla", "mamba_ssm", "causal_conv1d"):  # kernels for GPUs, which the models take where they can
        sys.modules[package] = None  # so that an import fails as if they were not installed
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    for name in options.model or SWAPS:
        importlib.import_module(f"transformers.models.{name}.modeling_{name}")
        print(compare(name, torch.float32, 1e-5), flush=True)
        print(compare(name, torch.float64, 1e-10), flush=True)


if __name__ == "__main__":
    main()

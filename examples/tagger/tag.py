"""A linear-chain CRF that colours Python: every character of a module is a keyword, a name, a number, a string, …

The text is the running Python's own standard library, and what each character is, its `tokenize` says. A convolution
over a few characters scores the tags; that alone cannot tell a word in a docstring from a name. The chain adds a score
for every pair of neighbouring tags:

- `recc.zoo.hmm_forward`, a dense recurrence over (logsumexp, +), gives the log of the sum over all taggings; with all
  but the right tags ruled out, the score of the right one. Their difference is minus the log likelihood;
- `recc.zoo.viterbi`, the same over (max, +), gives the score of the best tagging. Its gradient with respect to the
  scores of the tags is the best tagging: one where it passes, zero elsewhere. No back pointers are written.

Beside it a tagger without the chain: the same convolution, each character by itself.

    python examples/tagger/tag.py [--epochs 8]
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import keyword
import time
import tokenize
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import recc

TAGS = ("space", "keyword", "name", "number", "string", "docstring", "comment", "operator")
SEEN = ("textwrap", "string", "shlex", "bisect", "heapq", "fnmatch", "glob", "calendar", "cmd", "code", "csv", "copy")
HELD_OUT = ("sched", "queue", "timeit", "colorsys")
WIDTH, REACH, LENGTH = 32, 7, 500
RULED_OUT = -1e4


def tag_of(token: tokenize.TokenInfo) -> int:
    """The number of a token's tag."""
    kinds = {tokenize.NUMBER: "number", tokenize.STRING: "string", tokenize.COMMENT: "comment", tokenize.OP: "operator"}
    if token.type == tokenize.NAME:
        return TAGS.index("keyword" if keyword.iskeyword(token.string) else "name")
    if token.string.lower().lstrip("rbu").startswith(('"""', "'''")):
        return TAGS.index("docstring")
    if tokenize.tok_name[token.type].startswith("FSTRING"):
        return TAGS.index("string")
    return TAGS.index(kinds.get(token.type, "space"))


def read(module: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A module's characters as numbers below 128, and their tags."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, f"this Python has no text of {module}"
    text = Path(spec.origin).read_text(encoding="utf-8")
    begins = [0]
    for line in text.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    tags = torch.zeros(len(text), dtype=torch.long)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, column), (last_row, last_column) = token.start, token.end
        if token.type not in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            tags[begins[row - 1] + column : begins[last_row - 1] + last_column] = tag_of(token)
    return torch.tensor([min(ord(c), 127) for c in text]), tags


def pieces(modules: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of equal length of all modules, `[N, LENGTH]`, and their tags. What is left over at an end is dropped."""
    cut = [[whole[: len(whole) // LENGTH * LENGTH].view(-1, LENGTH) for whole in read(m)] for m in modules]
    return torch.cat([x for x, _ in cut]), torch.cat([y for _, y in cut])


class Tagger(nn.Module):
    """Scores of tags from a window of characters; with a chain, also of neighbouring tags."""

    def __init__(self, chain: bool) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(128, WIDTH), nn.Linear(WIDTH, len(TAGS))
        self.window = nn.Conv1d(WIDTH, WIDTH, REACH, padding=REACH // 2)
        self.chain = chain
        self.A = nn.Parameter(torch.zeros(len(TAGS), len(TAGS)))  # A[n, m]: m, then n
        self.start = nn.Parameter(torch.zeros(len(TAGS)))

    def scores(self, text: torch.Tensor) -> torch.Tensor:
        """`[B, T]` to `[B, T, tags]`."""
        return self.out(F.silu(self.window(self.embed(text).mT)).mT)

    def loss(self, text: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        """Minus the log likelihood of the tags, per character."""
        scores = self.scores(text)
        if not self.chain:
            return F.cross_entropy(scores.flatten(0, 1), tags.flatten())
        right = F.one_hot(tags, len(TAGS)).bool()
        both = torch.cat([scores, scores.masked_fill(~right, RULED_OUT)])
        everything, these = recc.zoo.hmm_forward(both, self.A, self.start)[:, -1].chunk(2)
        return (everything - these).mean() / text.shape[1]

    def decode(self, text: torch.Tensor) -> torch.Tensor:
        """The best tags `[B, T]`."""
        with torch.no_grad():
            scores = self.scores(text)
        if not self.chain:
            return scores.argmax(-1)
        scores.requires_grad_()
        best = recc.zoo.viterbi(scores, self.A.detach(), self.start.detach()).score[:, -1]
        (path,) = torch.autograd.grad(best.sum(), scores)
        return path.argmax(-1)


def train(chain: bool, epochs: int) -> tuple[Tagger, float]:
    """Train on the modules that are seen, and give the accuracy on the others."""
    torch.manual_seed(0)
    text, tags = pieces(SEEN)
    tagger = Tagger(chain)
    descend = torch.optim.Adam(tagger.parameters(), 1e-2)
    steps = -(-len(text) // 8) * epochs
    rate = torch.optim.lr_scheduler.OneCycleLR(descend, 2e-2, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(text)).split(8):
            loss = tagger.loss(text[batch], tags[batch])
            descend.zero_grad()
            loss.backward()
            descend.step()
            rate.step()
    text, tags = pieces(HELD_OUT)
    return tagger, (tagger.decode(text) == tags).float().mean().item()


def main() -> None:
    """Train both taggers, and show a few lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    found = {}
    for name, chain in (("each character by itself", False), ("with a chain", True)):
        begin = time.perf_counter()
        tagger, found[name] = train(chain, options.epochs)
        seconds = time.perf_counter() - begin
        print(
            f"{name:26}{found[name]:6.1%} of {pieces(HELD_OUT)[0].numel()} characters right ({seconds:.0f} s)",
            flush=True,
        )
    line = 'def area(r, unit="m 2"):  # of a circle'
    path = tagger.decode(torch.tensor([[ord(c) for c in "\n\n" + line + "\n\n"]]))[0, 2:-2]
    print(line + "\n" + "".join(" knds~#o"[tag] for tag in path.tolist()))
    assert found["with a chain"] > found["each character by itself"] + 0.04


if __name__ == "__main__":
    main()

"""States over a plane: two scan axes, and transitions that are convolutions over space."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import prod

import numpy as np
import torch
import torch.nn.functional as F

from tests.oracles.all_at_once import masked, solved
from tests.zoo.row import Arrays, Given, Row, Values

Blocks = Mapping[tuple[str, str, int, int], torch.Tensor]


def grid_solved(blocks: Blocks, drives: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Coupled states over a grid as the solution of one linear system, all places at once.

    `blocks[to, from, down, right]` is the matrix `[B, R, C, N, N]` by which `to` at a place reads `from` so much
    before it; `drives` are `[B, R, C, N]` by state.
    """
    names = list(drives)
    batch, rows, columns, size = next(iter(drives.values())).shape
    shape = (len(names), rows, columns, size)
    system = torch.zeros(batch, *shape, *shape, dtype=torch.float64)
    for (to, source, down, right), matrices in blocks.items():
        i, j = names.index(to), names.index(source)
        for r in range(down, rows):
            for c in range(right, columns):
                system[:, i, r, c, :, j, r - down, c - right] += matrices[:, r, c]
    whole = prod(shape)
    matrix = torch.eye(whole, dtype=torch.float64) - system.reshape(batch, whole, whole)
    known = torch.stack([drives[n] for n in names], 1).reshape(batch, whole, 1)
    found = torch.linalg.solve(matrix, known).reshape(batch, *shape)
    return dict(zip(names, found.unbind(1), strict=True))


def _everywhere(matrix: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return matrix.expand(*like.shape[:3], *matrix.shape)


def _roesser(given: Given) -> Values:
    """All places solved as one linear system."""
    u = given["u"]
    a1, a2, a3, a4 = (_everywhere(given[f"A{k}"], u) for k in range(1, 5))
    found = grid_solved(
        {
            ("down", "down", 1, 0): a1,
            ("down", "right", 0, 1): a2,
            ("right", "down", 1, 0): a3,
            ("right", "right", 0, 1): a4,
        },
        {"down": u[..., None] * given["B1"], "right": u[..., None] * given["B2"]},
    )
    return {"y": found["down"] @ given["C1"] + found["right"] @ given["C2"] + given["D"] * u}


def _chimera(given: Given) -> Values:
    """All places solved as one linear system, with torch's matrix exponential."""
    x, d1, d2 = given["x"], given["d1"][..., None], given["d2"][..., None]
    along = {k: torch.linalg.matrix_exp(d1[..., None] * given[f"A{k}"]) for k in (1, 2)}
    across = {k: torch.diag_embed(torch.exp(d2 * given[f"A{k}"])) for k in (3, 4)}
    found = grid_solved(
        {
            ("h1", "h1", 0, 1): along[1],
            ("h1", "h2", 0, 1): along[2],
            ("h2", "h1", 1, 0): across[3],
            ("h2", "h2", 1, 0): across[4],
        },
        {"h1": d1 * given["B1"] * x[..., None], "h2": d2 * given["B2"] * x[..., None]},
    )
    return {"y": (given["C1"] * found["h1"] + given["C2"] * found["h2"]).sum(-1)}


def _companions(arguments: Arrays, rng: np.random.Generator) -> Arrays:
    """Companion matrices: a shift, and coefficients in the last column."""
    size = len(arguments["A3"])
    shift = np.eye(size, k=-1)

    def companion() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        matrix = shift.copy()
        matrix[:, -1] = rng.uniform(-0.5, 0.5, size)
        return matrix

    return arguments | {"A1": companion(), "A2": companion()}


def _over_paths(given: Given) -> Values:
    """The kernel as a sum over all lattice paths, and one convolution over the plane by torch."""
    u = given["u"]
    rows, columns = u.shape[1:]
    a = torch.stack([torch.stack([given["A1"], given["A2"]], -1), torch.stack([given["A3"], given["A4"]], -1)], -2)
    writes = {"right": given["B1"], "down": given["B2"]}
    reads = torch.stack([given["C1"], given["C2"]], -1)
    # A step to the right makes a new first state of both, a step down a new second one.
    moves = {"right": a * torch.tensor([[1.0], [0.0]]), "down": a * torch.tensor([[0.0], [1.0]])}
    first = {"right": torch.tensor([1.0, 0.0]), "down": torch.tensor([0.0, 1.0])}
    zero = torch.zeros((), dtype=torch.float64)
    kernel = [[zero] * columns for _ in range(rows)]
    for r in range(rows):
        for c in range(columns):
            total = zero
            for chosen in combinations(range(r + c), r):
                path = ["down" if k in chosen else "right" for k in range(r + c)]
                if not path:
                    continue
                vector = writes[path[0]][:, None] * first[path[0]]
                for move in path[1:]:
                    vector = torch.einsum("nab,nb->na", moves[move], vector)
                total = total + (reads * vector).sum()
            kernel[r][c] = total
    whole = torch.stack([torch.stack(row) for row in kernel])
    padded = F.pad(u[:, None], (columns - 1, 0, rows - 1, 0))
    return {"y": F.conv2d(padded, whole.flip(0, 1)[None, None])[:, 0]}


def _three_taps(given: Given) -> Values:
    """The matrix over space that torch's convolution makes of unit vectors, all steps solved as one system."""
    u = given["u"]
    batch, steps, places, channels = u.shape
    taps = torch.stack([given["left"], given["mid"], given["right"]], -1)[:, None]
    units = F.pad(torch.eye(places, dtype=torch.float64)[:, None].expand(-1, channels, -1), (1, 1), mode="replicate")
    matrix = F.conv1d(units, taps, groups=channels).permute(1, 2, 0)  # p x x'
    transition = matrix[None, :, None].expand(batch, -1, steps, -1, -1).flatten(0, 1)
    drive = u.permute(0, 3, 1, 2).flatten(0, 1)
    start = given.state["X"].permute(0, 2, 1).flatten(0, 1)
    states = solved(transition, drive, start).reshape(batch, channels, steps, places).permute(0, 2, 3, 1)
    return {"y": F.gelu(states) @ given["C"].T, "final X": states[:, -1]}


def _conv_s5(given: Given) -> Values:
    """Torch's convolutions over space, powers of the decay over time."""
    rate = torch.complex(given["lam_re"], given["lam_im"])
    decay = torch.exp(given["delta"] * rate)
    b, c = (torch.stack([given[f"{n}{k}"] for k in range(3)], -1) for n in "BC")
    u = given["u"] + 0j
    drive = F.conv1d(u.flatten(0, 1).mT, b, padding=1).mT.reshape(*u.shape[:3], -1)
    held = torch.expm1(given["delta"] * rate) / rate * drive
    states = masked(decay.expand(held.shape), held, given.state["X"])
    read = F.conv1d(states.flatten(0, 1).mT, c, padding=1).mT.reshape(*u.shape[:3], -1)
    return {"y": 2 * read.real, "final X": states[:, -1]}


ROWS = (
    Row(
        "A54",
        "Chimera",
        "all places of the plane solved as one linear system; torch: matrix_exp",
        _chimera,
        "chimera",
        sizes={"n": 3},
        steps=(3, 4),
        state=False,
        draw=_companions,
        notes="From the paper alone. Two heads are two calls; the way back along variates is a call on flipped inputs.",
    ),
    Row(
        "A55",
        "2-D SSM layer",
        "the kernel as a sum over lattice paths, torch: conv2d",
        _over_paths,
        "ssm_2d",
        steps=(4, 5),
        state=False,
        notes="The layer flips its input for four directions and scales the first row and column.",
    ),
    Row(
        "A55",
        "Roesser's model",
        "all places of the plane solved as one linear system",
        _roesser,
        "roesser",
        sizes={"n": 3},
        steps=(3, 4),
        state=False,
    ),
    Row(
        "A56",
        "ConvSSM",
        "the matrix of torch's convolution, all steps solved as one linear system",
        _three_taps,
        "conv_ssm",
        sizes={"x": 4, "p": 2, "w": 3},
        steps=(7,),
    ),
    Row(
        "A56",
        "ConvS5",
        "torch: conv1d over space, powers of the decay over time",
        _conv_s5,
        "conv_s5",
        sizes={"x": 4, "c": 2, "p": 3, "w": 2},
        steps=(7,),
        notes="Over one axis of space with three taps; a map has nine.",
    ),
)

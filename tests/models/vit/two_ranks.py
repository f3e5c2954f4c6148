"""What the processes of a test run: a spawned process imports it by its name."""

from __future__ import annotations

from pathlib import Path

import torch

from video_mask2former import distributed
from video_mask2former.models.pmt import LateralSum

NUM_ROWS = (3, 5)  # frames of each rank


def make_laterals() -> LateralSum:
    torch.manual_seed(4)
    laterals = LateralSum(8, (0, 1), 2).double()
    with torch.no_grad():
        for parameter in laterals.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return laterals


def make_levels() -> list[torch.Tensor]:
    """Tokens of two levels, of the frames of both ranks."""
    torch.manual_seed(5)
    return [(3 * torch.randn(sum(NUM_ROWS), 6, 8, dtype=torch.float64) + 1).requires_grad_() for _ in range(2)]


def run(laterals: LateralSum, levels: list[torch.Tensor], rows: slice) -> dict[str, object]:
    """Outputs of some frames, gradients of the sum of their squares, and what is left in the norms."""
    output = laterals([level[rows] for level in levels])
    output.square().sum().backward()
    return {
        "output": output.detach(),
        "levels": [level.grad for level in levels],
        "parameters": [parameter.grad for parameter in laterals.parameters()],
        "buffers": list(laterals.buffers()),
    }


def laterals_of_a_rank(folder: str) -> int:
    """Save what this rank has of :func:`run`."""
    rank = distributed.rank()
    rows = slice(0, NUM_ROWS[0]) if rank == 0 else slice(NUM_ROWS[0], None)
    torch.save(run(make_laterals(), make_levels(), rows), Path(folder) / f"{rank}.pth")
    return 0

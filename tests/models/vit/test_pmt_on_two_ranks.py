"""The batch norms of PMT and LVMT see the frames of all processes, as the published ones do."""

from __future__ import annotations

import torch
import two_ranks

from video_mask2former import distributed


def test_two_ranks_normalise_as_one_with_all_frames(tmp_path):
    whole = two_ranks.run(two_ranks.make_laterals(), two_ranks.make_levels(), slice(None))
    assert distributed.launch(2, two_ranks.laterals_of_a_rank, (str(tmp_path),), "cpu") == 0
    ranks = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.cat([rank["output"] for rank in ranks]), whole["output"])
    for field in ("levels", "parameters"):  # every rank has its share of the gradients
        for first, second, expected in zip(*(rank[field] for rank in ranks), whole[field], strict=True):
            torch.testing.assert_close(first + second, expected)
    for rank in ranks:  # statistics are the same on all of them
        for found, expected in zip(rank["buffers"], whole["buffers"], strict=True):
            torch.testing.assert_close(found, expected)
    alone = two_ranks.run(two_ranks.make_laterals(), two_ranks.make_levels(), slice(0, 3))
    assert (alone["output"] - ranks[0]["output"]).abs().max() > 0.01  # what a rank by itself would make of its frames

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from video_mask2former.ops.ms_deform_attn_reference import ms_deform_attn_backward, ms_deform_attn_forward


def test_published_numbers(golden: Callable[[str], dict[str, np.ndarray]]) -> None:
    figures = {name: torch.from_numpy(array) for name, array in golden("ms_deform_attn").items()}
    inputs = (figures["value"], figures["shapes"].flatten().tolist(), figures["locations"], figures["weights"])
    torch.testing.assert_close(ms_deform_attn_forward(*inputs), figures["output"], rtol=0, atol=1e-12)
    gradients = ms_deform_attn_backward(figures["grad_output"], *inputs)
    for gradient, name in zip(gradients, ("grad_value", "grad_locations", "grad_weights"), strict=True):
        torch.testing.assert_close(gradient, figures[name], rtol=0, atol=1e-12)


def test_hand_computed_sample() -> None:
    value = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)  # one level of 2 x 2
    locations = torch.tensor([[0.5, 0.5], [0.25, 0.25], [0.0, 0.75]]).reshape(1, 3, 1, 1, 1, 2)
    weights = torch.tensor([1.0, 10.0, 1.0]).reshape(1, 3, 1, 1, 1)
    output = ms_deform_attn_forward(value, [2, 2], locations, weights)
    # the mean of all, ten times the first, and half way from the third to the zeros on its left
    torch.testing.assert_close(output.flatten(), torch.tensor([2.5, 10.0, 1.5]))

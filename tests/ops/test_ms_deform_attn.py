from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from video_mask2former.ops import ms_deform_attn

GOLDEN = Path(__file__).parents[1] / "data/golden/ms_deform_attn.npz"


def test_published_numbers() -> None:
    golden = {name: torch.from_numpy(array) for name, array in np.load(GOLDEN).items()}
    inputs = [golden[name].requires_grad_() for name in ("value", "locations", "weights")]
    output = ms_deform_attn(inputs[0], golden["shapes"], inputs[1], inputs[2])
    torch.testing.assert_close(output, golden["output"], rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(output, inputs, golden["grad_output"])
    for gradient, name in zip(gradients, ("grad_value", "grad_locations", "grad_weights"), strict=True):
        torch.testing.assert_close(gradient, golden[name], rtol=0, atol=1e-12)

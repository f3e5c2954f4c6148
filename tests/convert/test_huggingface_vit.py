"""Folders of Hugging Face's EoMT and VidEoMT against transformers itself, where that is installed."""

from __future__ import annotations

import importlib

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.convert import huggingface_vit
from video_mask2former.convert.huggingface_config import convert_config

SIZE = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64}
QUERIES = {"num_blocks": 2, "num_queries": 5, "num_labels": 4}
CASES = {
    "eomt": ("Eomt", {}, huggingface_vit.EOMT),
    "eomt_dinov3": ("EomtDinov3", {"intermediate_size": 96, "layer_norm_eps": 1e-5}, huggingface_vit.EOMT_DINOV3),
    "videomt": ("Videomt", {}, huggingface_vit.VIDEOMT),
}


def their_model(kind: str, folder) -> torch.nn.Module:
    pytest.importorskip("transformers")
    name, options, _ = CASES[kind]
    module = f"transformers.models.{kind}"
    try:
        configuration = getattr(importlib.import_module(f"{module}.configuration_{kind}"), f"{name}Config")
        model_class = getattr(importlib.import_module(f"{module}.modeling_{kind}"), f"{name}ForUniversalSegmentation")
    except ImportError as error:
        pytest.skip(f"this release of transformers has no {kind}: {error}")
    model = model_class(configuration(**SIZE, **QUERIES, **options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.ndim > 1 else 0.5))
        model.attn_mask_probs.zero_()
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CASES)
@torch.no_grad()
def test_a_folder_gives_the_predictions_of_transformers(kind, tmp_path):
    folder = tmp_path / f"tiny_panoptic_{kind}"
    theirs = their_model(kind, folder)
    ours, config = vm2f.api.load_with_config(folder, dtype=torch.float64, device="cpu")
    is_video = kind == "videomt"
    assert config.model.name == ("videomt" if is_video else "eomt")
    assert config.task.name == ("instance" if is_video else "panoptic")
    frames = torch.rand(1, 3 if is_video else 1, 3, 64, 64, dtype=torch.float64) * 255
    normalised, _ = ours.normalise_and_pad(frames)
    output = ours(frames)
    expected = theirs(pixel_values_videos=normalised) if is_video else theirs(pixel_values=normalised[0])
    tolerance = {"rtol": 0, "atol": 1e-6}
    torch.testing.assert_close(output.frame_class_logits[0], expected.class_queries_logits, **tolerance)
    masks = output.mask_logits.dense()[0].transpose(0, 1)
    torch.testing.assert_close(masks, expected.masks_queries_logits, **tolerance)
    back = CASES[kind][2].to_theirs(ours.state_dict())
    named = theirs.state_dict()
    constants = {"embeddings.mask_token", "criterion.empty_weight", "attn_mask_probs"}
    assert named.keys() - back.keys() <= constants and back.keys() <= named.keys()
    assert all(back[name].numel() == named[name].numel() for name in back)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 14}, r"patch_size in config\.json of here must be 16, got 14"),
        ({"intermediate_size": 100}, "must be four times hidden_size, 96, got 100"),
        ({"layer_norm_eps": 1e-5}, "must be 1e-6"),
        ({"hidden_size": "wide"}, "hidden_size must be"),
    ],
)
def test_what_these_models_do_not_have_is_refused(change, message):
    values = {"model_type": "eomt", **SIZE, **QUERIES} | change
    with pytest.raises(ValueError, match=message):
        convert_config(values, {}, "here")

"""EoMT, VidEoMT and PMT in float64 against the published implementations: what the models compute."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from vit_golden import assert_close, load_published, meta, video

from video_mask2former.convert import vit_keys
from video_mask2former.models.backbones.vit import Dinov2, Dinov3
from video_mask2former.models.eomt import EoMT
from video_mask2former.models.lvmt import LVMT
from video_mask2former.models.pmt import PMT
from video_mask2former.models.videomt import VidEoMT
from video_mask2former.models.vit_layers import rotary_table

MASKED = {"annealing_starts": (1,) * 3, "annealing_ends": (2,) * 3}  # masked attention with certainty at step 0


@torch.no_grad()
def test_videomt_on_dinov2_equals_the_published_one(golden):
    figures = golden("videomt_s_dinov2")
    model = load_published(VidEoMT(Dinov2(), 40, 20), vit_keys.VIDEOMT_DINOV2)
    frames = video(figures)
    normalised, frame_size = model.normalise_and_pad(frames)
    assert frame_size == (60, 90)
    assert_close(model.backbone.embed(normalised[0])[0, :, ::4], figures["tokens_frame0"])
    positions = model.backbone.place(torch.zeros(1, 24, 384, dtype=torch.float64), (4, 6))
    assert_close(positions[0, :, ::8], figures["pos_embed_resampled"])
    features = model.encode(frames)
    assert_close(features.tokens[0, ..., ::8], figures["encoder_tokens"])
    output = model.decode(features)
    assert_close(output.frame_class_logits[0], figures["pred_logits"])
    assert_close(output.class_logits[0], figures["pred_logits"].mean(axis=0))
    assert_close(output.mask_logits.dense()[0, :, [0, 1, 4]], figures["pred_masks"])
    for frame in range(5):
        output = model.decode(features.frames(frame, frame + 1), None if frame == 0 else output.queries)
        assert_close(output.queries[0, :, ::8], figures["queries_next"][frame])
        assert_close(output.class_logits[0], figures["pred_logits"][frame])


@pytest.mark.parametrize("kind", ["raw", "norm"])
@torch.no_grad()
def test_videomt_on_dinov3_equals_the_published_one(kind, golden):
    figures = golden("videomt_s_dinov3")
    model = load_published(VidEoMT(Dinov3(), 40, 16, normalises_queries=kind == "norm"), vit_keys.VIDEOMT_DINOV3)
    features = model.encode(video(figures))
    assert_close(features.tokens[0, :2, :, ::8], figures["encoder_tokens"])
    output = model.decode(features)
    assert_close(output.frame_class_logits[0], figures[f"{kind}_pred_logits"])
    assert_close(output.mask_logits.dense()[0, :, [1, 4]], figures[f"{kind}_pred_masks"])
    first = model.decode(features.frames(0, 1))
    assert_close(first.queries[0, :, ::8], figures[f"{kind}_queries_next"][0])


def test_rotary_positions_equal_the_published_ones(golden):
    figures = golden("videomt_s_dinov3")
    cosine, sine = rotary_table((4, 6), 64)
    assert_close(cosine, figures["rope_cos"], atol=1e-6)
    assert_close(sine, figures["rope_sin"], atol=1e-6)


@torch.no_grad()
def test_pmt_for_videos_equals_the_published_one(golden):
    figures = golden("pmt_video_s_dinov3")
    model = load_published(PMT(Dinov3(), 40, 16, (2, 5, 8, 11)), vit_keys.PMT_DINOV3)
    frames = video(figures)
    normalised, _ = model.normalise_and_pad(frames)
    taps = model._taps(normalised[0], (4, 6))
    assert_close(torch.stack([tap[0, :, ::8] for tap in taps]), figures["lateral_norm_f0"])
    features = model.encode(frames)
    assert_close(features.tokens[0, 0, :, ::4], figures["decoder_input_f0"])
    output = model.decode(features)
    assert_close(output.frame_class_logits[0], figures["pred_logits"])
    assert_close(output.mask_logits.dense()[0, :, [0, 1, 4]], figures["pred_masks"])
    assert_close(model.decode(features.frames(0, 1)).queries[0, :, ::8], figures["queries_next"][0])


@pytest.mark.parametrize(("version", "backbone"), [(2, Dinov2(image_size=(64, 96))), (3, Dinov3(position_jitter=1))])
@torch.no_grad()
def test_eomt_equals_the_published_one_with_and_without_masks(version, backbone, golden):
    figures = golden(f"eomt_s_dinov{version}")
    key_map = {2: vit_keys.EOMT_DINOV2, 3: vit_keys.EOMT_DINOV3}[version]
    model = load_published(EoMT(backbone, 30, 20, 3, **MASKED), key_map)
    images = torch.from_numpy(figures["input_padded"])[:, None]
    plain = model(images)
    assert plain.auxiliary == ()
    assert_close(plain.class_logits, figures["plain_class_logits"])
    assert_close(plain.mask_logits.dense()[:1, :, 0], figures["plain_mask_logits"])
    masked = model.train()(images)
    for index, prediction in enumerate((*masked.auxiliary, masked)):
        assert_close(prediction.class_logits, figures[f"masked_class_logits_{index}"])
        if index in (0, 3):
            assert_close(prediction.mask_logits.dense()[:1, :, 0], figures[f"masked_mask_logits_{index}"])
    model.begin_step(2)  # annealed to the end
    assert_close(model(images).class_logits, figures["plain_class_logits"])


@torch.no_grad()
def test_masked_attention_ends_block_by_block(golden):
    figures = golden("eomt_s_dinov2")
    model = EoMT(Dinov2(image_size=(64, 96)), 30, 20, 3, annealing_starts=(8, 1, 1), annealing_ends=(9, 2, 2))
    load_published(model, vit_keys.EOMT_DINOV2).train().begin_step(5)
    images = torch.from_numpy(figures["input_padded"])[:, None]
    assert_close(model(images).class_logits, figures["annealed_class_logits_last"])


def test_annealing_has_the_published_course():
    path = Path(__file__).parents[2] / "data" / "golden" / "vit_training.json.gz"
    course = json.loads(gzip.decompress(path.read_bytes()))["annealing"]
    starts, ends = (14782, 36955, 59128), (29564, 51737, 73910)
    model = EoMT(Dinov2(24, 3, 2, image_size=32), 2, 4, 3, annealing_starts=starts, annealing_ends=ends)
    for step, expected in course.items():
        model.begin_step(int(step))
        assert model.annealing.probabilities.tolist() == pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_pmt_for_images_equals_the_published_one(golden):
    figures = golden("pmt_image_s_dinov3")
    about = meta(figures)
    masked = {"annealing_starts": (1,) * 6, "annealing_ends": (2,) * 6}
    model = PMT(Dinov3(), 30, 16, (2, 5, 8, 11), propagates_queries=False, **masked)
    load_published(model, vit_keys.PMT_IMAGE_DINOV3)
    rng = np.random.Generator(np.random.PCG64(about["image_seed"]))
    image = torch.from_numpy((rng.random((1, 3, 64, 96)) * 255).astype(np.uint8))[:, None]
    plain = model(image)
    assert_close(plain.class_logits, figures["plain_class_logits"])
    assert_close(plain.mask_logits.dense()[:, :, 0], figures["plain_mask_logits"])
    model.train().laterals.batch_norms.eval()
    output = model(image)
    predictions = (*output.auxiliary, output)
    for index in (0, 5, 6):
        assert_close(predictions[index].class_logits, figures[f"masked_class_logits_{index}"])
    assert_close(output.mask_logits.dense()[:, :, 0], figures["masked_mask_logits_6"])


SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}


def build(name: str) -> tuple[torch.nn.Module, vit_keys.KeyMap]:
    """The model of a published configuration without memory for it, and its table of names."""
    match = re.fullmatch(r"(\w+?)_.*_dinov(\d)_(\w)(?:_640)?", name)
    family, version, size = match[1], match[2], SIZES[match[3]]
    backbone = Dinov2(*size) if version == "2" else Dinov3(*size)
    blocks = 4 if size[1] == 24 else 3
    if family == "eomt":
        annealing = tuple(range(1, blocks + 1))
        model = EoMT(backbone, 133, 200, blocks, annealing, tuple(step + 1 for step in annealing))
    elif family == "videomt":
        model = VidEoMT(backbone, 124 if "vipseg" in name else 40, 200, blocks)
    else:
        model = PMT(backbone, 40, 200)
    return model, getattr(vit_keys, f"{family.upper()}_DINOV{version}")


def test_every_published_parameter_has_its_place_and_its_way_back():
    path = Path(__file__).parents[2] / "data" / "golden" / "vit_state_dict_shapes.json.gz"
    for name, shapes in json.loads(gzip.decompress(path.read_bytes())).items():
        with torch.device("meta"):
            model, key_map = build(name)
            theirs = {key: torch.empty(shape) for key, shape in shapes.items()}
        converted = key_map.to_ours(theirs)
        assert not converted.unknown, name
        own = model.state_dict()
        assert {key: value.shape for key, value in converted.weights.items()} == {
            key: value.shape for key, value in own.items()
        }, name
        back = {key: list(value.shape) for key, value in key_map.to_theirs(own).items()}
        assert back == {key: shape for key, shape in shapes.items() if key not in converted.ignored}, name
        constants = ("pixel_mean", "pixel_std", "attn_mask_probs", "empty_weight")
        assert all(key.endswith(constants) for key in converted.ignored), name


def test_a_gru_has_its_published_names():
    model = LVMT(Dinov3(24, 4, 2), 5, 3, (0, 1, 2, 3), num_decoder_blocks=1)
    theirs = vit_keys.PMT_DINOV3.to_theirs(model.state_dict())
    shapes = {name: tuple(value.shape) for name, value in theirs.items() if "query_gru" in name}
    assert shapes == {
        "backbone.decoder.query_gru.weight_ih": (72, 24),
        "backbone.decoder.query_gru.weight_hh": (72, 24),
        "backbone.decoder.query_gru.bias_ih": (72,),
        "backbone.decoder.query_gru.bias_hh": (72,),
    }
    back = vit_keys.PMT_DINOV3.to_ours(theirs)
    assert back.weights.keys() == model.state_dict().keys()

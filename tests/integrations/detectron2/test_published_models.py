"""The meta-architectures: the same numbers as the models they are made of, under detectron2's interface."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.inference import VideoPredictor
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipTarget
from video_mask2former.tasks.postprocess import image_semantic

pytestmark = pytest.mark.filterwarnings("ignore:Please use the new API settings")

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture
def drop_in():
    from video_mask2former.integrations import detectron2

    return detectron2


@pytest.fixture
def build(make_cfg, drop_in):
    from detectron2.modeling import build_model as build_detectron2

    def make(architecture="VideoMaskFormer", changes=()):
        cfg = make_cfg(architecture, changes)
        torch.manual_seed(1)
        model = build_detectron2(cfg)
        with torch.no_grad():  # masks and classes that differ
            for name, weight in model.named_parameters():
                if weight.ndim > 1 and "backbone" not in name:
                    weight.mul_(2.0)
        return cfg, model

    return make


def saved(model, folder) -> str:
    """A checkpoint as detectron2 writes it."""
    from detectron2.checkpoint import DetectionCheckpointer

    DetectionCheckpointer(model, str(folder)).save("model_final")
    return str(folder / "model_final.pth")


def dumped(cfg, folder) -> str:
    path = folder / "dumped.yaml"
    path.write_text(cfg.dump())
    return str(path)


@pytest.mark.parametrize("architecture", ["VideoMaskFormer", "VideoMaskFormer_frame"])
def test_videos_have_the_results_that_load_gives(build, tmp_path, clip, architecture) -> None:
    """Same weights, same frames: the checkpoint and the whole configuration are those that detectron2 writes."""
    cfg, model = build(architecture)
    answer = model.eval()([{"image": list(clip), "height": 80, "width": 112}])
    assert {*answer} == {"image_size", "pred_scores", "pred_labels", "pred_masks"}
    assert answer["image_size"] == (80, 112)
    assert answer["pred_masks"][0].shape == (3, 80, 112) and answer["pred_masks"][0].dtype == torch.bool

    ours = vm2f.load(dumped(cfg, tmp_path), weights=saved(model, tmp_path), device="cpu")
    settings = build_settings(read_config(dumped(cfg, tmp_path)))
    video = np.stack([np.asarray(frame.permute(1, 2, 0)) for frame in clip])
    result = VideoPredictor(ours, settings.updated(short_side=40)).predict(video)
    assert len(result.tracks) == len(answer["pred_scores"]) == 10
    # at the size of the frames, since the predictor reports masks at that
    same_size = model([{"image": list(clip)}])
    by_score = sorted(result.tracks, key=lambda track: -track.score)
    np.testing.assert_allclose([track.score for track in by_score], same_size["pred_scores"], atol=1e-6)
    assert [track.label for track in by_score] == same_size["pred_labels"] == answer["pred_labels"]
    for track, masks in zip(by_score, same_size["pred_masks"], strict=True):
        for index, mask in enumerate(masks.numpy()):
            rle = track.segmentations.get(index)
            assert np.array_equal(mask, np.zeros_like(mask) if rle is None else decode_rle(rle))


def two_clips(clip, drop_in):
    """Inputs of two clips, and their targets: an object that is on one frame only among them."""
    from video_mask2former.integrations.detectron2.batches import to_instances

    inputs, targets = [], []
    for seed in range(2):
        masks = torch.zeros(2, 3, 40, 56, dtype=torch.bool)
        masks[0, :, 4 + seed : 20, 5:30] = True
        masks[1, 1, 22:38, 20 : 50 - seed] = True
        target = ClipTarget(torch.tensor([2, seed]), masks)
        targets.append(target)
        inputs.append({"image": list(clip), "instances": [to_instances(target, index, 3) for index in range(3)]})
    return inputs, targets


@pytest.mark.parametrize("architecture", ["VideoMaskFormer", "VideoMaskFormer_frame"])
def test_losses_are_those_of_the_criterion(build, drop_in, clip, architecture) -> None:
    cfg, model = build(architecture)
    config = drop_in.convert_cfg(cfg)
    ours, criterion = build_model(config), build_criterion(config)
    ours.load_state_dict(model.segmenter.state_dict())
    inputs, targets = two_clips(clip, drop_in)
    torch.manual_seed(5)
    losses = model.train()(inputs)
    torch.manual_seed(5)
    expected = criterion(ours.train()(torch.stack([clip, clip])), targets)

    assert {*losses} == {f"loss_{kind}{suffix}" for kind in ("ce", "mask", "dice") for suffix in ("", "_0", "_1")}
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_object_has_the_class_of_a_frame_that_it_is_on(build, drop_in, clip) -> None:
    from video_mask2former.integrations.detectron2.batches import clips_of, targets_of

    inputs, targets = two_clips(clip, drop_in)
    assert inputs[0]["instances"][2].gt_classes.tolist() == [2, 3]  # as published: no class where it is absent
    made = targets_of(inputs, clips_of(inputs, torch.zeros(3, 1, 1)))
    for target, expected in zip(made, targets, strict=True):
        assert torch.equal(target.labels, expected.labels) and torch.equal(target.masks, expected.masks)


def test_frames_of_different_size_are_padded_to_one(build, clip) -> None:
    """Published augmentations may draw a size for each frame; padding is zero after normalisation."""
    _, model = build()
    smaller = clip[1, :, :30, :50]
    padded = clip.float()
    padded[1] = model.segmenter.pixel_mean
    padded[1, :, :30, :50] = smaller
    expected = model.eval()([{"image": list(padded)}])
    answer = model([{"image": [clip[0], smaller, clip[2]]}])
    torch.testing.assert_close(answer["pred_scores"], expected["pred_scores"])


def test_images_have_all_answers_that_are_asked_for(build, clip, tmp_path) -> None:
    changes = {f"MODEL.MASK_FORMER.TEST.{task}_ON": True for task in ("SEMANTIC", "INSTANCE", "PANOPTIC")}
    cfg, model = build("MaskFormer", changes | {"TEST.DETECTIONS_PER_IMAGE": 4})
    model.answers = type(model.answers)(model.answers.tasks, frozenset({0, 1, 2}), 4, 0.0, 0.0, False)
    first, second = model.eval()([{"image": clip[0], "height": 50, "width": 70}, {"image": clip[1, :, :36, :48]}])
    assert first["sem_seg"].shape == (3, 50, 70) and second["sem_seg"].shape == (3, 36, 48)
    instances = first["instances"]
    assert instances.image_size == (50, 70) and len(instances) == 4
    assert instances.pred_masks.shape == (4, 50, 70) and {*instances.get_fields()} == {
        "pred_masks",
        "pred_boxes",
        "scores",
        "pred_classes",
    }
    label_map, segments = first["panoptic_seg"]
    assert label_map.shape == (50, 70) and {*segments[0]} == {"id", "isthing", "category_id"}
    assert {segment["id"] for segment in segments} == set(label_map.unique().tolist()) - {0}

    ours = vm2f.load(dumped(cfg, tmp_path), weights=saved(model, tmp_path), device="cpu")
    with torch.no_grad():
        output = ours(clip[0][None, None])
        expected = image_semantic(output, (50, 70))
    torch.testing.assert_close(first["sem_seg"], expected)


def test_an_image_model_trains(build, drop_in, clip) -> None:
    from detectron2.structures import Instances

    _, model = build("MaskFormer")
    inputs = []
    for image in (clip[0], clip[1, :, :36, :40]):
        instances = Instances(tuple(image.shape[1:]))
        instances.gt_classes = torch.tensor([1])
        instances.gt_masks = torch.ones(1, *image.shape[1:], dtype=torch.bool)
        inputs.append({"image": image, "instances": instances})
    losses = model.train()(inputs)
    assert torch.isfinite(sum(losses.values())) and "loss_dice_1" in losses


def test_names_and_shapes_are_the_published_ones(make_cfg, drop_in, resnet_options) -> None:
    from detectron2.modeling import META_ARCH_REGISTRY

    wide = {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 40,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 256,
        "MODEL.SEM_SEG_HEAD.MASK_DIM": 256,
        "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 6,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 8,
        "MODEL.MASK_FORMER.HIDDEN_DIM": 256,
        "MODEL.MASK_FORMER.NHEADS": 8,
        "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 2048,
        "MODEL.MASK_FORMER.DEC_LAYERS": 10,
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 100,
    }
    swin = {"EMBED_DIM": 96, "DEPTHS": [2, 2, 6, 2], "NUM_HEADS": [3, 6, 12, 24], "WINDOW_SIZE": 7}
    tiny = {f"MODEL.SWIN.{name}": value for name, value in swin.items()}
    shapes = json.loads(gzip.decompress((GOLDEN / "state_dict_shapes.json.gz").read_bytes()))
    for name, changes in (("ytvis2019_R50", resnet_options), ("ytvis2019_swin_tiny", tiny)):
        with torch.device("meta"):
            model = META_ARCH_REGISTRY.get("VideoMaskFormer")(make_cfg(changes={**wide, **changes}))
        published = {key: shape for key, shape in shapes[name].items() if not key.endswith("relative_position_index")}
        assert {key: list(value.shape) for key, value in model.state_dict().items()} == published


def test_a_checkpoint_with_other_classes_starts_the_class_head_anew(build, tmp_path) -> None:
    """Instance weights of COCO start a training on videos: fvcore leaves out what differs in shape."""
    from detectron2.checkpoint import DetectionCheckpointer

    _, coco = build("VideoMaskFormer", {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": 7})
    _, model = build()
    before = model.state_dict()["sem_seg_head.predictor.class_embed.weight"].clone()
    with torch.no_grad():
        coco.segmenter.decoder.query_feat.weight.add_(1.0)
    DetectionCheckpointer(model).load(saved(coco, tmp_path))
    after = model.state_dict()
    assert torch.equal(after["sem_seg_head.predictor.class_embed.weight"], before)
    torch.testing.assert_close(
        after["sem_seg_head.predictor.query_feat.weight"], coco.segmenter.decoder.query_feat.weight.detach()
    )


def test_old_names_and_unknown_ones(build) -> None:
    _, model = build()
    weights = model.state_dict()
    old = {name.replace("pixel_decoder.", "").replace("query_feat", "static_query"): v for name, v in weights.items()}
    assert not model.load_state_dict(old).missing_keys
    del old["sem_seg_head.predictor.decoder_norm.weight"]
    report = model.load_state_dict({**old, "sem_seg_head.extra": torch.zeros(1)}, strict=False)
    assert report.missing_keys == ["sem_seg_head.predictor.decoder_norm.weight"]
    assert report.unexpected_keys == ["sem_seg_head.extra"]


def test_the_backbone_of_imagenet_is_matched_by_the_ends_of_names(build, tmp_path) -> None:
    import pickle

    from detectron2.checkpoint import DetectionCheckpointer

    _, model = build()
    prefix = "backbone."
    arrays = {
        name.removeprefix(prefix): np.full(tuple(value.shape), 0.5, np.float32)
        for name, value in model.state_dict().items()
        if name.startswith(prefix)
    }
    path = tmp_path / "swin.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "test", "matching_heuristics": True}))
    DetectionCheckpointer(model).load(str(path))
    assert all(bool((value == 0.5).all()) for value in model.backbone.parameters())


def test_published_places_can_be_frozen(build) -> None:
    _, model = build()
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in model.segmenter.backbone.parameters())
    assert model.segmenter.decoder.class_embed.weight.requires_grad
    assert model.sem_seg_head.predictor.class_embed.weight is model.segmenter.decoder.class_embed.weight
    with pytest.raises(AttributeError, match=r"has nothing at 'sem_seg_head\.predictr'"):
        _ = model.sem_seg_head.predictr


def test_lazy_configurations_give_the_parts_themselves(drop_in, clip, config_file) -> None:
    from detectron2.config import LazyCall, instantiate

    config = LazyCall(read_config)(source=str(config_file))
    lazy = LazyCall(drop_in.VideoMaskFormer)(
        segmenter=LazyCall(build_model)(config=config), criterion=LazyCall(build_criterion)(config=config), top_k=3
    )
    model = instantiate(lazy)
    answer = model.eval()([{"image": list(clip)}])
    assert len(answer["pred_scores"]) == 3


def test_the_first_maskformer_is_built_too(build, clip, tmp_path) -> None:
    """Its names are its own: the decoder is DETR's."""
    changes = {
        "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "BasePixelDecoder",
        "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 0,
        "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "res5",
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "StandardTransformerDecoder",
    }
    cfg, model = build("MaskFormer", changes)
    assert "sem_seg_head.predictor.transformer.decoder.layers.0.linear1.weight" in model.state_dict()
    ours = vm2f.load(dumped(cfg, tmp_path), weights=saved(model, tmp_path), device="cpu")
    with torch.no_grad():
        expected = image_semantic(ours(clip[:1][None]), (40, 56), resize_scores=True)
        torch.testing.assert_close(model.eval()([{"image": clip[0]}])[0]["sem_seg"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MODEL.BACKBONE.NAME": "build_vit"}, "MODEL.BACKBONE.NAME must be build_resnet_backbone or"),
        ({"MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "BasePixelDecoder"}, "must be 'MSDeformAttnPixelDecoder'"),
        ({"MODEL.SWIN.APE": True}, "must be False.*absolute position embedding"),
    ],
)
def test_what_cannot_be_built_is_named(make_cfg, drop_in, change, message) -> None:
    with pytest.raises(ValueError, match=message):
        drop_in.convert_cfg(make_cfg(changes=change))


def test_wrong_inputs_are_named(build, clip) -> None:
    _, model = build()
    with pytest.raises(ValueError, match="videos are run one at a time, got a batch of 2"):
        model.eval()([{"image": list(clip)}] * 2)
    with pytest.raises(ValueError, match="an input must have an 'image'"):
        model([{"images": list(clip)}])
    with pytest.raises(ValueError, match="training needs 'instances'"):
        model.train()([{"image": list(clip)}])

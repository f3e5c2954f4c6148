"""From published checkpoints to final results: ids, scores and masks against the published code."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from vit_golden import assert_close, load_published, meta, published_weights, unpacked, video

import video_mask2former as vm2f
from video_mask2former.convert import vit_keys
from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.sliding_windows import SlidingWindows, window_origins
from video_mask2former.models.backbones.vit import Dinov2, Dinov3
from video_mask2former.models.eomt import EoMT
from video_mask2former.models.videomt import VidEoMT
from video_mask2former.ops.resize import fit_short_side
from video_mask2former.rle import decode_rle
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks import VideoPanopticTask, VideoSemanticTask
from video_mask2former.tasks.base import AnswerRules
from video_mask2former.tasks.postprocess import clip_instances, image_instances, image_panoptic, image_semantic
from video_mask2former.tasks.segment_maps import paint

OUTPUT_SIZE = (80, 120)


def image_masks(figures, index: int) -> np.ndarray:
    shape = figures[f"instance_masks_shape_{index}"]
    return np.unpackbits(figures[f"instance_masks_bits_{index}"])[: shape.prod()].reshape(shape).astype(bool)


@torch.no_grad()
def test_results_of_a_published_checkpoint_are_the_published_ones(golden, tmp_path, check_pixel_results):
    figures = golden("videomt_s_dinov2")
    weights = published_weights(VidEoMT(Dinov2(), 40, 20), vit_keys.VIDEOMT_DINOV2)
    weights |= {"backbone.attn_mask_probs": torch.ones(3), "criterion.empty_weight": torch.ones(41)}
    path = tmp_path / "yt_2019_vit_small_52.8.pth"
    torch.save({"model": weights}, path)
    model = vm2f.load(
        "videomt/ytvis_2019/vit_small_dinov2", path, ["model.num_queries=20"], dtype=torch.float64, device="cpu"
    )
    assert model.input_sides == (448, 1333)
    frames = video(figures)
    features = model.encode(frames)

    def check(output, prefix: str, masks: np.ndarray | None) -> None:
        scores = output.class_logits[0].softmax(dim=1)[:, :-1].flatten()
        best, order = scores.topk(10)
        published = np.argsort(-figures[f"{prefix}_scores"])
        assert_close(best, figures[f"{prefix}_scores"][published])
        assert (order // 40).tolist() == figures[f"{prefix}_ids"][published].tolist()
        assert (order % 40).tolist() == figures[f"{prefix}_labels"][published].tolist()
        if masks is not None:
            tracks = clip_instances(output, range(5), OUTPUT_SIZE, InferenceSettings.published())
            assert [track.label for track in tracks] == (order % 40).tolist()
            empty = np.zeros(OUTPUT_SIZE, dtype=bool)
            found = [
                [decode_rle(track.segmentations[t]) if t in track.segmentations else empty for t in range(5)]
                for track in tracks
            ]
            assert (np.array(found) == masks[published]).mean() > 0.99999

    check(model.decode(features), "vis", unpacked(figures, "vis_masks"))
    for name, thresholds in (("vps", (0.4, 0.1)), ("vps03", (0.4, 0.3))):
        asked = {"panoptic": name, "things": 20, "size": OUTPUT_SIZE, "thresholds": thresholds}
        check_pixel_results(model.decode(features), figures, "", **asked)
    first = model.decode(features.frames(0, 3))
    check(first, "chunk0", None)
    check(model.decode(features.frames(3, 5), first.queries), "chunk1", None)
    reset = model.decode(features.frames(3, 5)).class_logits[0].softmax(dim=1)[:, :-1].flatten()
    assert_close(reset.topk(10).values, np.sort(figures["chunk1_scores_if_reset"])[::-1])


@pytest.mark.parametrize("version", [2, 3])
@torch.no_grad()
def test_images_have_the_published_panoptic_and_instance_results(version, golden):
    figures = golden(f"eomt_s_dinov{version}")
    about = meta(figures)
    backbone = Dinov2(image_size=(64, 96)) if version == 2 else Dinov3()
    model = EoMT(backbone, about["num_classes"], about["num_q"], about["num_blocks"], size_divisibility=1)
    load_published(model, {2: vit_keys.EOMT_DINOV2, 3: vit_keys.EOMT_DINOV3}[version])
    things = [label for label in range(about["num_classes"]) if label not in about["stuff_classes"]]
    for index, size in enumerate(about["image_sizes"]):
        scale = min(64 / size[0], 96 / size[1])
        scaled = (round(size[0] * scale), round(size[1] * scale))
        image = torch.from_numpy(figures["input_padded"][index])
        assert not image[:, scaled[0] :].any() and not image[:, :, scaled[1] :].any()  # padded with black
        output = dataclasses.replace(model(image[None, None]), frame_size=scaled)
        if scaled[1] == 96:  # what the model pads is black, too
            model.size_divisibility = 32
            padded = model(image[None, None, :, : scaled[0]])
            assert padded.padded_size == (64, 96) and padded.frame_size == scaled
            assert padded.class_logits.equal(output.class_logits)
            model.size_divisibility = 1
        assert_close(output.class_logits[0], figures["plain_class_logits"][index])
        panoptic = image_panoptic(
            output,
            tuple(size),
            things,
            object_mask_threshold=about["mask_thresh"],
            overlap_threshold=about["overlap_thresh"],
        )
        published = figures[f"panoptic_{index}"]
        labels = {segment.segment_id: segment.label for segment in panoptic.segments}
        found = np.vectorize(lambda segment, labels=labels: labels.get(segment, about["num_classes"]))(
            panoptic.label_map.numpy()
        )
        assert (found == published[..., 0]).mean() > 0.9999
        assert len(panoptic.segments) == len(np.unique(published[..., 1][published[..., 1] >= 0]))
        settings = InferenceSettings.published(top_k=about["top_k"])
        instances = image_instances(output, tuple(size), settings)
        order = np.argsort(-figures[f"instance_scores_{index}"])
        np.testing.assert_allclose(instances.scores, figures[f"instance_scores_{index}"][order], atol=1e-5)
        assert list(instances.labels) == figures[f"instance_labels_{index}"][order].tolist()
        masks = np.array([decode_rle(mask) for mask in instances.segmentations])
        assert (masks == image_masks(figures, index)[order]).mean() > 0.9999


@torch.no_grad()
def test_semantic_maps_are_those_of_published_windows(golden):
    figures = golden("eomt_s_dinov2")
    about = meta(figures)
    side = about["sem_img_size"][0]
    backbone = Dinov2(image_size=side)
    model = EoMT(backbone, about["sem_num_classes"], about["num_q"], about["num_blocks"], size_divisibility=side)
    tiled = SlidingWindows(load_published(model, vit_keys.EOMT_DINOV2), side)
    for index, (seed, size) in enumerate(zip(about["image_seeds"], about["image_sizes"], strict=True)):
        pixels = (np.random.Generator(np.random.PCG64(seed)).random((3, *size)) * 255).astype(np.uint8)
        scaled = fit_short_side(tuple(size), side, 4096)
        image = Image.fromarray(pixels.transpose(1, 2, 0)).resize(scaled[::-1], Image.Resampling.BILINEAR)
        frames = torch.from_numpy(np.array(image).transpose(2, 0, 1)[None, None])
        starts = [start for number, start, _ in figures["sem_origins"].tolist() if number == index]
        assert list(window_origins(max(scaled), side, None)) == starts
        output = tiled.decode(tiled.encode(frames))
        scores = F.interpolate(output.mask_logits.dense()[0, :, 0][None], size=tuple(size), mode="bilinear")[0]
        published = figures[f"sem_logits_{index}"]
        sampled = scores[:, ::10, ::10].numpy()  # up to a value for each pixel, which all classes share
        np.testing.assert_allclose(sampled - sampled.mean(0), published - published.mean(0), atol=3e-5)
        labels = image_semantic(output, tuple(size)).argmax(0).numpy()
        assert (labels == figures[f"sem_map_{index}"]).mean() > 0.9999
        predictor = VideoPredictor(
            model, InferenceSettings(short_side=side, max_side=4096, tile_side=side), VideoSemanticTask()
        )
        (frame,) = predictor.stream(iter([(0, pixels.transpose(1, 2, 0))]))  # our own resizing: a grey value off
        streamed = np.zeros(size, dtype=int)
        for label, mask in zip(frame.labels, frame.segmentations, strict=True):
            streamed[decode_rle(mask)] = label
        assert (streamed == labels).mean() > 0.98


@torch.no_grad()
def test_panoptic_and_semantic_videos_are_the_published_ones(golden):
    figures = golden("videomt_s_dinov2")
    output = load_published(VidEoMT(Dinov2(), 40, 20), vit_keys.VIDEOMT_DINOV2)(video(figures))
    rules = AnswerRules(InferenceSettings(), tuple(label < meta(figures)["things"] for label in range(40)))

    def painted(task, values) -> np.ndarray:
        tracks = task.clip_tracks(output, range(5), OUTPUT_SIZE, rules)
        answer = VideoInstances(tracks, 5, OUTPUT_SIZE, video_id=0)
        return np.stack([paint(answer, values(tracks), index) for index in range(5)])

    for prefix, thresholds in zip(("vps", "vps03"), meta(figures)["vps"], strict=True):
        segments = figures[f"{prefix}_segments"]  # id, is it a thing, class
        maps = painted(VideoPanopticTask(*thresholds), lambda tracks, segments=segments: segments[:, 0].tolist())
        assert (maps == figures[f"{prefix}_panoptic"]).mean() > 0.9999
    maps = painted(VideoSemanticTask(), lambda tracks: [track.label for track in tracks])
    assert (maps == figures["vss_map"]).mean() > 0.9999

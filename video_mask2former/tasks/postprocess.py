"""From the model's output to instances: the published protocol for whole clips, and the three image tasks.

The image tasks are those of Mask2Former (arXiv:2112.01527): instance, panoptic and semantic segmentation of one frame.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from video_mask2former.config import InferenceSettings
from video_mask2former.rle import Rle, encode_masks
from video_mask2former.structures import ClipOutput, FrameInstances, Track
from video_mask2former.tasks.mask_encoding import MaskGeometry, encode_clip_masks, upsample_logits
from video_mask2former.tasks.mask_quality import quality_of
from video_mask2former.tasks.selection import select_instances, select_probable

# Full-resolution masks that the image tasks hold at once
QUERIES_PER_CHUNK = 16


@dataclass(frozen=True)
class PanopticSegment:
    """One segment of a panoptic label map.

    Attributes:
        segment_id: Its value in the label map, from 1.
        label: Class index.
        is_thing: Whether it is one object, rather than all there is of a stuff class.
        score: Class probability; of stuff, that of its most confident part.
        area: Pixels it has in the label map.
    """

    segment_id: int
    label: int
    is_thing: bool
    score: float
    area: int


@dataclass(frozen=True)
class PanopticSegmentation:
    """A label map ``(H, W)`` int32, 0 where nothing is, and its segments."""

    label_map: Tensor
    segments: tuple[PanopticSegment, ...]


def output_geometry(output: ClipOutput, output_size: tuple[int, int]) -> MaskGeometry:
    """How the masks of a clip lie on frames of the original size."""
    return MaskGeometry(output.padded_size, output.frame_size, output_size)


def clip_instances(
    output: ClipOutput,
    frame_indices: Sequence[int],
    output_size: tuple[int, int],
    settings: InferenceSettings,
    *,
    frames_per_chunk: int | None = None,
) -> tuple[Track, ...]:
    """The objects of a video that was decoded as one clip; ids count from 1, the most confident first.

    The top k are chosen before any mask is upsampled, which gives the published result at a fraction of its memory.

    Args:
        output: A batch of one clip.
        frame_indices: Position of each of its frames in the video.
        output_size: Height and width of the original frames.
        settings: Which objects are reported, see :func:`~video_mask2former.tasks.selection.select_probable`.
        frames_per_chunk: See :func:`~video_mask2former.tasks.mask_encoding.encode_clip_masks`.
    """
    selection = select_probable(output.class_probabilities()[0], settings)
    scores = selection.scores.tolist()
    quality = quality_of(settings.mask_quality, len(scores))
    frames = encode_clip_masks(
        output.mask_logits.select(selection.indices),
        output_geometry(output, output_size),
        scores=scores if settings.resolve_overlaps else None,
        frames_per_chunk=frames_per_chunk,
        quality=quality,
    )
    segmentations: list[dict[int, Rle]] = [{} for _ in scores]
    for frame_index, masks in zip(frame_indices, frames, strict=True):
        for segmentation, mask in zip(segmentations, masks, strict=True):
            if mask is not None:
                segmentation[frame_index] = mask
    if quality is not None:
        scores = [score * value for score, value in zip(scores, quality.values(), strict=True)]
    found = zip(selection.labels.tolist(), scores, segmentations, strict=True)
    kept = [instance for instance in found if instance[2] or settings.keep_empty]
    kept.sort(key=lambda instance: -instance[1])
    return tuple(Track(track_id, *instance) for track_id, instance in enumerate(kept, start=1))


@torch.no_grad()
def image_instances(output: ClipOutput, output_size: tuple[int, int], settings: InferenceSettings) -> FrameInstances:
    """The instances of an image; a score is that of the class times the mean probability inside the mask.

    Args:
        output: A batch of one clip of one frame.
        output_size: Height and width of the original image.
        settings: Which instances are reported; the threshold and the top k go by class probability.
    """
    selection = select_instances(_at_least_float32(_single_frame(output).class_logits[0]), settings)
    geometry = output_geometry(output, output_size)
    found: list[tuple[float, int, Rle]] = []
    for start in range(0, len(selection), QUERIES_PER_CHUNK):
        part = slice(start, start + QUERIES_PER_CHUNK)
        chosen = output.mask_logits.select(selection.indices[part])
        logits = upsample_logits(chosen.dense()[0], geometry)[:, 0]  # (N, H, W)
        masks = logits > 0
        quality = (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
        scores = (selection.scores[part] * quality).tolist()
        labels = selection.labels[part].tolist()
        found.extend(zip(scores, labels, encode_masks(masks.cpu().numpy()), strict=True))
    found.sort(key=lambda instance: -instance[0])
    return FrameInstances(
        0,
        output_size,
        track_ids=tuple(range(1, len(found) + 1)),
        labels=tuple(label for _, label, _ in found),
        scores=tuple(score for score, _, _ in found),
        segmentations=tuple(mask for _, _, mask in found),
    )


@torch.no_grad()
def image_semantic(output: ClipOutput, output_size: tuple[int, int], *, resize_scores: bool = False) -> Tensor:
    """Score of each class at each pixel of an image, ``(K, H, W)``; its argmax is the label map.

    Class probabilities times mask probabilities, summed over all queries.

    Args:
        output: A batch of one clip of one frame.
        output_size: Height and width of the original image.
        resize_scores: Bring the scores to the size of the image, which is the published order where only semantic
            results are asked for, instead of the mask logits, which is the published order beside panoptic ones.
    """
    if resize_scores:
        at_input_size = replace(output, frame_size=output.padded_size)
        height, width = output.frame_size
        scores = image_semantic(at_input_size, output.padded_size)[:, :height, :width]
        return F.interpolate(scores[None], size=output_size, mode="bilinear", align_corners=False)[0]
    probabilities = _at_least_float32(_single_frame(output).class_logits[0]).softmax(dim=1)[:, :-1]
    geometry = output_geometry(output, output_size)
    scores = probabilities.new_zeros(probabilities.shape[1], *output_size)
    queries = torch.arange(len(probabilities), device=scores.device)
    for start in range(0, len(queries), QUERIES_PER_CHUNK):
        part = queries[start : start + QUERIES_PER_CHUNK]
        masks = upsample_logits(output.mask_logits.select(part).dense()[0], geometry)[:, 0].sigmoid()
        scores += torch.einsum("qc,qhw->chw", probabilities[part], masks.to(scores.dtype))
    return scores


@torch.no_grad()
def image_panoptic(
    output: ClipOutput,
    output_size: tuple[int, int],
    thing_classes: Collection[int],
    *,
    object_mask_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    fill: bool = False,
) -> PanopticSegmentation:
    """Every pixel of an image to one segment at most.

    Each pixel goes to the query with the greatest product of class and mask probability. A query that keeps too
    little of its own mask is dropped; those of one stuff class become one segment.

    Args:
        output: A batch of one clip of one frame.
        output_size: Height and width of the original image.
        thing_classes: Indices of the classes with countable objects; the others are stuff.
        object_mask_threshold: Queries must have more class probability than this to take part.
        overlap_threshold: Least share of its own mask that a query must keep.
        fill: Give a segment every pixel that its query won (MaskFormer, arXiv:2107.06278) instead of those inside of
            its own mask only (Mask2Former).
    """
    scores, labels = _at_least_float32(_single_frame(output).class_logits[0]).softmax(dim=1).max(dim=1)
    takes_part = (labels < output.num_classes) & (scores > object_mask_threshold)
    queries = takes_part.nonzero()[:, 0]
    label_map = torch.zeros(output_size, dtype=torch.int32)
    if len(queries) == 0:
        return PanopticSegmentation(label_map, ())
    logits = upsample_logits(output.mask_logits.select(queries).dense()[0], output_geometry(output, output_size))
    masks = logits[:, 0].sigmoid()
    owner = (scores[queries, None, None] * masks).argmax(dim=0).cpu()
    is_inside = (masks >= 0.5).cpu()
    segments: dict[int, PanopticSegment] = {}
    stuff: dict[int, int] = {}  # label to segment id
    for row, (label, score) in enumerate(zip(labels[queries].tolist(), scores[queries].tolist(), strict=True)):
        owned = owner == row
        mask = owned if fill else owned & is_inside[row]
        area, own_area = int(mask.sum()), int(is_inside[row].sum())
        if area == 0 or own_area == 0 or int(owned.sum()) < overlap_threshold * own_area:
            continue
        is_thing = label in thing_classes
        segment_id = len(segments) + 1 if is_thing else stuff.setdefault(label, len(segments) + 1)
        label_map[mask] = segment_id
        before = segments.get(segment_id)
        if before is not None:
            score, area = max(score, before.score), area + before.area
        segments[segment_id] = PanopticSegment(segment_id, label, is_thing, score, area)
    return PanopticSegmentation(label_map, tuple(segments.values()))


def _single_frame(output: ClipOutput) -> ClipOutput:
    batch, _, num_frames, _, _ = output.mask_logits.shape
    if batch != 1 or num_frames != 1:
        raise ValueError(f"image tasks take one clip of one frame, got {batch} clips of {num_frames} frames.")
    return output


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values

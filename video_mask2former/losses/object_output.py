"""What models of object tokens give in training: the objects, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_mask2former.structures import ClipOutput, ClipTarget

# Between the seeds of the points of one frame, or clip, and the next
_SEED_STEP = 1_000_003


@dataclass(frozen=True)
class TokenLayerObjects:
    """Objects made of the tokens of one layer of the image model.

    Attributes:
        predictions: Of each decoder layer, the last one last.
        token_similarity: Embedding of each token, ``(B, T, N, C)``.
        query_similarity: Embedding of each query after the last layer, ``(B, Q, C)``.
    """

    predictions: tuple[ClipOutput, ...]
    token_similarity: Tensor
    query_similarity: Tensor


@dataclass(frozen=True)
class ObjectOutput(ClipOutput):
    """The objects of a video, with what the losses need beside them.

    Attributes:
        clips: The objects of each clip of the video, made of the tokens of each of the last layers of the image model.
        segmenter: The image model's output, frame by frame.
    """

    clips: tuple[tuple[TokenLayerObjects, ...], ...] = ()
    segmenter: ClipOutput | None = None


def visible_targets(targets: Sequence[ClipTarget]) -> tuple[list[ClipTarget], list[Tensor]]:
    """The instances visible on each frame, as targets of single images, video by video.

    Returns:
        ``B * T`` targets, and for each the index of its instances among those of the video.
    """
    frames, owners = [], []
    for target in targets:
        on_frame = target.masks.flatten(2).any(dim=2)
        for index in range(target.masks.shape[1]):
            visible = on_frame[:, index].nonzero()[:, 0]
            single = cut_target(target, index, index + 1, stream=index + 1)
            frames.append(
                replace(single, labels=single.labels[visible], masks=single.masks[visible], instance_ids=None)
            )
            owners.append(visible)
    return frames, owners


def cut_target(target: ClipTarget, start: int, stop: int, *, stream: int) -> ClipTarget:
    """Some frames of a target, with all of its instances; ``stream`` gives it loss points of its own."""
    seed = None if target.point_seed is None else target.point_seed + _SEED_STEP * stream
    return replace(target.map_masks(lambda masks: masks[:, start:stop]), point_seed=seed)


def last_of_each(queries: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Of pairs that share a query only the last one, ``(M,)`` each."""
    is_repeated = (queries[:, None] == queries[None]).triu(diagonal=1).any(dim=1)
    return queries[~is_repeated], objects[~is_repeated]


def similarity_groups(
    layer: TokenLayerObjects,
    tokens: Sequence[tuple[Tensor, Tensor]],
    queries: Sequence[tuple[Tensor, Tensor]],
) -> list[tuple[Tensor, Tensor]]:
    """Embeddings and the object of each, of each video, as the similarity loss takes them.

    Args:
        layer: The objects of a clip of T frames.
        tokens: Matched tokens and their objects of each of the ``B * T`` frames, video by video.
        queries: Matched queries and their objects of each of the B videos.
    """
    num_frames = layer.token_similarity.shape[1]
    groups = []
    for video, (rows, objects) in enumerate(queries):
        embeddings, owners = [layer.query_similarity[video, rows]], [objects]
        for frame in range(num_frames):
            frame_rows, frame_objects = tokens[video * num_frames + frame]
            embeddings.append(layer.token_similarity[video, frame, frame_rows])
            owners.append(frame_objects)
        groups.append((torch.cat(embeddings), torch.cat(owners)))
    return groups

"""Annotated videos in a few flat buffers, so that worker processes share them instead of copying them.

Python objects carry reference counts: reading one in a forked worker writes to its memory page, and the page is
copied. After some epochs every worker owns a copy of an annotation file of millions of small objects. Tensors have
one count for the whole buffer, and where workers are not forked, torch passes them through shared memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from video_mask2former.data.segmentations import MaskKind, pack_segmentation


@dataclass(frozen=True)
class PackedVideos:
    """V videos of F frames with A annotations in all; an annotation has one mask for each frame of its video, M in all.

    ``x_offsets`` say where the parts of an element start and end: element i has parts ``x_offsets[i]`` up to but
    without ``x_offsets[i + 1]``.

    Attributes:
        video_ids: ``(V,)`` int64.
        sizes: Height and width, ``(V, 2)`` int64.
        frame_offsets: Frames of each video, ``(V + 1,)`` int64.
        name_offsets: Bytes of ``names`` that each frame's file name has, ``(F + 1,)`` int64.
        names: All file names in UTF-8, uint8.
        labelled_classes: Whether every instance of a class is annotated in a video, ``(V, K)`` bool.
        ignored_kinds: :class:`MaskKind` of the ignored region of each frame, ``(F,)`` uint8.
        ignored_offsets: Bytes of ``ignored_data`` that each of them has, ``(F + 1,)`` int64.
        ignored_data: All packed ignored regions, uint8.
        annotation_offsets: Annotations of each video, ``(V + 1,)`` int64.
        annotation_ids: ``(A,)`` int64.
        labels: Contiguous class index, ``(A,)`` int64.
        is_crowd: ``(A,)`` bool.
        mask_offsets: Masks of each annotation, ``(A + 1,)`` int64.
        mask_kinds: :class:`MaskKind` of each, ``(M,)`` uint8.
        data_offsets: Bytes of ``data`` that each mask has, ``(M + 1,)`` int64.
        data: All packed masks, uint8.
    """

    video_ids: Tensor
    sizes: Tensor
    frame_offsets: Tensor
    name_offsets: Tensor
    names: Tensor
    labelled_classes: Tensor
    ignored_kinds: Tensor
    ignored_offsets: Tensor
    ignored_data: Tensor
    annotation_offsets: Tensor
    annotation_ids: Tensor
    labels: Tensor
    is_crowd: Tensor
    mask_offsets: Tensor
    mask_kinds: Tensor
    data_offsets: Tensor
    data: Tensor

    @property
    def num_bytes(self) -> int:
        """Memory of all buffers."""
        return sum(tensor.numel() * tensor.element_size() for tensor in vars(self).values())

    def file_name(self, video_index: int, frame_index: int) -> str:
        """File name of one frame, as the annotation file has it."""
        return _slice(self.names, self.name_offsets, int(self.frame_offsets[video_index]) + frame_index).decode()

    def file_names(self, video_index: int) -> tuple[str, ...]:
        """File names of all frames of one video."""
        first, stop = self.frame_offsets[video_index : video_index + 2].tolist()
        offsets = self.name_offsets[first : stop + 1].tolist()
        names = self.names[offsets[0] : offsets[-1]].numpy().tobytes()
        return tuple(names[start - offsets[0] : end - offsets[0]].decode() for start, end in pairwise(offsets))

    def all_file_names(self) -> Iterator[str]:
        """File names of all frames of all videos."""
        names, offsets = self.names.numpy().tobytes(), self.name_offsets.tolist()
        for start, stop in pairwise(offsets):
            yield names[start:stop].decode()

    def mask(self, annotation_index: int, frame_index: int) -> tuple[MaskKind, bytes]:
        """One packed mask."""
        mask_index = int(self.mask_offsets[annotation_index]) + frame_index
        return MaskKind(int(self.mask_kinds[mask_index])), _slice(self.data, self.data_offsets, mask_index)

    def masks(self, annotation_index: int, num_frames: int) -> list[tuple[MaskKind, bytes]]:
        """All packed masks of an annotation, one for each frame of its video."""
        first = int(self.mask_offsets[annotation_index])
        offsets = self.data_offsets[first : first + num_frames + 1].tolist()
        data = self.data[offsets[0] : offsets[-1]].numpy().tobytes()
        parts = [data[start - offsets[0] : stop - offsets[0]] for start, stop in pairwise(offsets)]
        kinds = self.mask_kinds[first : first + num_frames].tolist()
        return [(MaskKind(kind), part) for kind, part in zip(kinds, parts, strict=True)]

    def ignored(self, video_index: int, frame_index: int) -> tuple[MaskKind, bytes]:
        """The packed region of one frame that is to be ignored."""
        frame = int(self.frame_offsets[video_index]) + frame_index
        return MaskKind(int(self.ignored_kinds[frame])), _slice(self.ignored_data, self.ignored_offsets, frame)


def pack_videos(
    videos: Iterable[dict[str, Any]],
    annotations: Iterable[dict[str, Any]],
    label_of_category: dict[int, int],
) -> PackedVideos:
    """Pack the videos and annotations of a document without problems.

    The segmentations are taken out of ``annotations`` as they are packed, so that both forms are never held at once.
    Videos are sorted by id; the annotations of each stay in the order of the file, which decides between equal
    overlaps in the official evaluation.
    """
    videos = sorted(videos, key=lambda video: video["id"])
    rank = {video["id"]: index for index, video in enumerate(videos)}
    annotations = sorted(annotations, key=lambda annotation: rank[annotation["video_id"]])
    names = [name.encode() for video in videos for name in video["file_names"]]
    sizes = {video["id"]: (video["height"], video["width"]) for video in videos}
    kinds, data = _pack_masks(
        (segmentation, sizes[annotation["video_id"]])
        for annotation in annotations
        for segmentation in annotation.pop("segmentations")
    )
    ignored_kinds, ignored_data = _pack_masks(
        (segmentation, sizes[video["id"]])
        for video in videos
        for segmentation in video.get("ignore_segmentations") or [None] * len(video["file_names"])
    )
    lengths = [len(video["file_names"]) for video in videos]
    video_of_annotation = np.array([rank[annotation["video_id"]] for annotation in annotations], np.int64)
    return PackedVideos(
        video_ids=_int64([video["id"] for video in videos]),
        sizes=_int64([[video["height"], video["width"]] for video in videos]).reshape(-1, 2),
        frame_offsets=_offsets(lengths),
        name_offsets=_offsets([len(name) for name in names]),
        names=_bytes(bytearray().join(names)),
        labelled_classes=_labelled_classes(videos, label_of_category),
        ignored_kinds=_bytes(ignored_kinds),
        ignored_offsets=_offsets([len(mask) for mask in ignored_data]),
        ignored_data=_bytes(bytearray().join(ignored_data)),
        annotation_offsets=_offsets(np.bincount(video_of_annotation, minlength=len(videos)).tolist()),
        annotation_ids=_int64([annotation["id"] for annotation in annotations]),
        labels=_int64([label_of_category[annotation["category_id"]] for annotation in annotations]),
        is_crowd=torch.tensor([bool(annotation.get("iscrowd", 0)) for annotation in annotations], dtype=torch.bool),
        mask_offsets=_offsets([lengths[index] for index in video_of_annotation]),
        mask_kinds=_bytes(kinds),
        data_offsets=_offsets([len(mask) for mask in data]),
        data=_bytes(bytearray().join(data)),
    )


def _labelled_classes(videos: Sequence[dict[str, Any]], label_of_category: dict[int, int]) -> Tensor:
    labelled = torch.ones(len(videos), len(label_of_category), dtype=torch.bool)
    for row, video in zip(labelled, videos, strict=True):
        if "labelled_category_ids" in video:
            row.zero_()
            row[[label_of_category[category_id] for category_id in video["labelled_category_ids"]]] = True
    return labelled


def _pack_masks(segmentations: Iterable[tuple[Any, tuple[int, int]]]) -> tuple[bytearray, list[bytes]]:
    kinds, data = bytearray(), list[bytes]()
    for segmentation, size in segmentations:
        kind, packed = pack_segmentation(segmentation, size)
        kinds.append(kind)
        data.append(packed)
    return kinds, data


def _slice(data: Tensor, offsets: Tensor, index: int) -> bytes:
    part: bytes = data[int(offsets[index]) : int(offsets[index + 1])].numpy().tobytes()
    return part


def _offsets(lengths: Sequence[int]) -> Tensor:
    return _int64([0, *accumulate(lengths)])


def _int64(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _bytes(data: bytearray) -> Tensor:
    """The buffer as a tensor, without a copy."""
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)

"""A fixed local split of a training set into two parts, for measuring where validation annotations are hidden."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_mask2former.data.annotation_format import find_problems, parse_document, read_json
from video_mask2former.data.preparation.dataset_writer import write_json


@dataclass(frozen=True)
class DatasetSplit:
    """The two parts of a split, by video id.

    Attributes:
        train_ids: Ascending.
        val_ids: Ascending.
    """

    train_ids: tuple[int, ...]
    val_ids: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """Eight characters that tell whether two people measured on the same validation videos."""
        return hashlib.sha256(",".join(map(str, self.val_ids)).encode()).hexdigest()[:8]


def split_videos(categories_of_video: Mapping[int, frozenset[int]], val_share: float, seed: int) -> DatasetSplit:
    """Put a share of the videos aside, of each class alike as far as that is possible.

    Classes are gone through from the rarest to the most frequent; of each, as many videos are put aside as are still
    missing from its share. A class of two videos or more keeps one for training, and one of three or more has one to
    be measured on, unless videos shared with rarer classes prevent it. The order of the videos comes from a hash of
    seed and id: no random generator, hence the same on every machine and in every version.

    Args:
        categories_of_video: The classes that occur in each video, by video id; may be empty.
        val_share: Share put aside, above 0 and below 1.
        seed: Which of the many splits.
    """
    if not 0 < val_share < 1:
        raise ValueError(f"val_share must be above 0 and below 1, got {val_share}.")
    videos_of_class: dict[int | None, list[int]] = defaultdict(list)
    for video_id in sorted(categories_of_video, key=lambda video_id: _rank(seed, video_id)):
        for category_id in categories_of_video[video_id] or {None}:
            videos_of_class[category_id].append(video_id)
    is_val: dict[int, bool] = {}
    for category_id in sorted(videos_of_class, key=lambda key: (len(videos_of_class[key]), key is None, key or 0)):
        videos = videos_of_class[category_id]
        missing = _share_of(len(videos), val_share) - sum(is_val.get(video_id, False) for video_id in videos)
        for video_id in videos:
            if video_id not in is_val:
                is_val[video_id] = missing > 0
                missing -= 1
    return DatasetSplit(
        train_ids=tuple(sorted(video_id for video_id, is_in in is_val.items() if not is_in)),
        val_ids=tuple(sorted(video_id for video_id, is_in in is_val.items() if is_in)),
    )


def write_split(
    annotation_file: str | os.PathLike[str],
    train_file: str | os.PathLike[str],
    val_file: str | os.PathLike[str],
    val_share: float,
    seed: int,
) -> DatasetSplit:
    """Split an annotation file of videos or images in two files of the same form; ids stay.

    Raises:
        ValueError: If the file is not a sound annotation file, has no annotations, or one part would be empty.
    """
    original = read_json(annotation_file)
    document = parse_document(original, Path(annotation_file))
    if not document.annotations:
        raise ValueError(f"{annotation_file} has no annotations to split.")
    for problem in find_problems(document):
        if problem.is_error:
            raise ValueError(f"{annotation_file}: {problem} Split it when it is sound.")
    categories: dict[int, set[int]] = {video["id"]: set() for video in document.videos}
    for annotation in document.annotations:
        categories[annotation["video_id"]].add(annotation["category_id"])
    split = split_videos({key: frozenset(value) for key, value in categories.items()}, val_share, seed)
    if not split.train_ids or not split.val_ids:
        raise ValueError(
            f"{annotation_file} cannot be split: {len(split.train_ids)} videos would be trained on and "
            f"{len(split.val_ids)} measured on, with a share of {val_share}. A class of one video stays in training, "
            "and one of two is split from a share of 0.25 on."
        )
    write_json(train_file, select_videos(original, frozenset(split.train_ids)))
    write_json(val_file, select_videos(original, frozenset(split.val_ids)))
    return split


def select_videos(document: Mapping[str, Any], video_ids: frozenset[int]) -> dict[str, Any]:
    """A parsed annotation file with some of its videos (or images), with their annotations and everything else."""
    media, key = ("videos", "video_id") if "videos" in document else ("images", "image_id")
    return {
        **document,
        media: [entry for entry in document[media] if entry["id"] in video_ids],
        "annotations": [entry for entry in document["annotations"] if entry[key] in video_ids],
    }


def _share_of(count: int, val_share: float) -> int:
    wanted = int(count * val_share + 0.5)
    if count >= 3:
        wanted = max(wanted, 1)
    return min(wanted, count - 1)


def _rank(seed: int, video_id: int) -> bytes:
    return hashlib.sha256(f"{seed}/{video_id}".encode()).digest()

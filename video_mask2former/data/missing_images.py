"""Images of a dataset that are not where they should be, noticed before hours are spent on it."""

from __future__ import annotations

import logging
from pathlib import Path

from video_mask2former.data.annotations import AnnotationSet
from video_mask2former.data.image_files import missing_files

logger = logging.getLogger(__name__)


def check_images(annotations: AnnotationSet, image_folder: Path, *, most_missing: float) -> None:
    """Look for the images of a dataset before hours are spent on it.

    Args:
        annotations: What the images belong to.
        image_folder: Where they should be.
        most_missing: Share of them that may be missing, which the log tells.

    Raises:
        FileNotFoundError: If more of them are missing.
    """
    missing = missing_files(image_folder, annotations.packed.all_file_names())
    if not missing:
        return
    num_frames = int(annotations.packed.frame_offsets[-1])
    message = f"{len(missing)} of the {num_frames} images of {annotations.path} are not in {image_folder}: {missing[0]}"
    if len(missing) > most_missing * num_frames:
        raise FileNotFoundError(
            f"{message}, ... Is the folder right, and its download complete? "
            "video-mask2former data check lists all that are missing."
        )
    logger.warning("%s, ... Training does without the clips that they are in.", message)

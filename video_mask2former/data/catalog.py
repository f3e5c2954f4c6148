"""Where the published datasets lie, by the names and in the folders that the field uses."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

PAIR_SEPARATOR = "::"
"""``IMAGES::ANNOTATIONS.json`` names a dataset that is not in the catalog."""

_HELP = "datasets/ytvis/README.md says what goes where."


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of the catalog; all paths are relative to the root of the datasets.

    Attributes:
        image_folder: Folder that the file names in the annotations are relative to.
        annotation_files: Where the annotations may be; the first that exists is taken.
        label_pictures: What says a class for every pixel: a panoptic file, a folder of label maps, or a list of videos
            that have label maps. Empty where the dataset annotates instances.
    """

    image_folder: str
    annotation_files: tuple[str, ...]
    label_pictures: str = ""


@dataclass(frozen=True)
class DatasetPaths:
    """A dataset that is there.

    Attributes:
        name: What to call it.
        image_folder: Folder of the images.
        annotation_file: The JSON file.
    """

    name: str
    image_folder: Path
    annotation_file: Path


def _catalog() -> dict[str, DatasetEntry]:
    entries = {}
    folders = {"train": "train", "val": "valid", "test": "test"}
    for year in ("2019", "2021", "2022"):
        for split, folder in folders.items():
            # The training set of 2022 is that of 2021.
            base = "ytvis_2021" if (year, split) == ("2022", "train") else f"ytvis_{year}"
            files = (f"{base}/{folder}.json", f"{base}/{folder}/instances.json")
            entries[f"ytvis_{year}_{split}"] = DatasetEntry(f"{base}/{folder}/JPEGImages", files)
    for split, folder in folders.items():
        files = (f"ovis/annotations/annotations_{folder}.json", f"ovis/annotations/{folder}.json")
        entries[f"ovis_{split}"] = DatasetEntry(f"ovis/{folder}", (*files, f"ovis/annotations_{folder}.json"))
    for split in ("train", "val"):
        folder = f"coco/{split}2017"
        entries[f"coco_2017_{split}"] = DatasetEntry(folder, (f"coco/annotations/instances_{split}2017.json",))
        panoptic = f"coco/annotations/panoptic_{split}2017"
        entries[f"coco_2017_{split}_panoptic"] = DatasetEntry(
            folder, (f"{panoptic}_segments.json",), f"{panoptic}.json"
        )
        for target in ("ytvis2019", "ytvis2021", "ovis"):
            file = f"coco/annotations/coco2{target}_{split}.json"
            entries[f"coco2{target}_{split}"] = DatasetEntry(folder, (file,))
    for split, folder in (("train", "training"), ("val", "validation")):
        base = "ADEChallengeData2016"
        entries[f"ade20k_sem_seg_{split}"] = DatasetEntry(
            f"{base}/images/{folder}", (f"{base}/{folder}_segments.json",), f"{base}/annotations/{folder}"
        )
    for split in ("train", "val"):
        entries[f"cityscapes_fine_sem_seg_{split}"] = DatasetEntry(
            f"cityscapes/leftImg8bit/{split}", (f"cityscapes/gtFine_{split}_segments.json",)
        )
    for split in ("train", "val", "test"):
        base = "VIPSeg/VIPSeg_720P"
        panoptic = f"{base}/panoptic_gt_VIPSeg_{split}"
        entries[f"panoVSPW_vps_video_{split}"] = DatasetEntry(
            f"{base}/images", (f"{panoptic}_segments.json",), f"{panoptic}.json"
        )
        entries[f"VSPW_vss_video_{split}"] = DatasetEntry(
            "VSPW_480p/data", (f"VSPW_480p/{split}_segments.json",), f"VSPW_480p/{split}.txt"
        )
    for name, folder in (("ytvis_2019", "ytvis_2019"), ("ytvis_2021", "ytvis_2021"), ("ovis", "ovis/annotations")):
        images = entries[f"{name}_train"].image_folder
        for split in ("train", "val"):
            entries[f"{name}_local_{split}"] = DatasetEntry(images, (f"{folder}/local_{split}.json",))
    return entries


DATASETS: dict[str, DatasetEntry] = _catalog()
"""The catalog. Some files are made by ``video-mask2former data``: ``split`` makes ``*_local_*``, the two parts of a
training set; ``filter-coco`` makes ``coco2*``, COCO with the classes of a video dataset; ``convert-segments`` makes the
segments of COCO panoptic, ADE20K, Cityscapes, VIPSeg and VSPW."""


def locate_dataset(name: str, root: str | os.PathLike[str] | None = None) -> DatasetPaths:
    """Find a dataset.

    Args:
        name: A name of the catalog, or ``IMAGES::ANNOTATIONS.json``.
        root: Folder of the datasets; None is the environment variable DETECTRON2_DATASETS, or ``datasets``.

    Raises:
        ValueError: If the catalog has no such name.
        FileNotFoundError: If the files are not there.
    """
    if PAIR_SEPARATOR in name:
        folder, _, file = name.partition(PAIR_SEPARATOR)
        return dataset_at(folder, file)
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(DATASETS)}."
        raise ValueError(f"unknown dataset {name!r}; {hint} Your own is named IMAGES{PAIR_SEPARATOR}ANNOTATIONS.json.")
    entry = DATASETS[name]
    base = _base(root)
    files = [base / file for file in entry.annotation_files]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the annotations of {name} are expected at {' or '.join(map(str, files))}. The folder of the datasets is "
            f"{base}; set DETECTRON2_DATASETS or data.root to change it. {_HELP}"
        )
    return _checked(name, base / entry.image_folder, found)


def locate_label_pictures(name: str, root: str | os.PathLike[str] | None = None) -> DatasetPaths | None:
    """Find what a dataset says of every pixel: ``annotation_file`` is a panoptic file, or a folder of label maps.

    Args:
        name: See :func:`locate_dataset`.
        root: See :func:`locate_dataset`.

    Returns:
        None for datasets of instances.

    Raises:
        FileNotFoundError: If the files are not there.
    """
    entry = DATASETS.get(name)
    if entry is None or not entry.label_pictures:
        return None
    path = _base(root) / entry.label_pictures
    if not path.exists():
        raise FileNotFoundError(f"the label pictures of {name} are expected at {path}. {_HELP}")
    return _checked(name, _base(root) / entry.image_folder, path)


def dataset_at(image_folder: str | os.PathLike[str], annotation_file: str | os.PathLike[str]) -> DatasetPaths:
    """A dataset outside the catalog, named after its annotation file.

    Raises:
        FileNotFoundError: If the file or the folder is not there.
    """
    file = Path(annotation_file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no annotation file {file}.")
    return _checked(file.stem, Path(image_folder).expanduser(), file)


def _base(root: str | os.PathLike[str] | None) -> Path:
    return Path(root if root is not None else os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def _checked(name: str, image_folder: Path, annotation_file: Path) -> DatasetPaths:
    if not image_folder.is_dir():
        raise FileNotFoundError(f"the images of {name} are expected in the folder {image_folder}. {_HELP}")
    return DatasetPaths(name, image_folder, annotation_file)

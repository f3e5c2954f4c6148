"""Few classes out of many: every category of an annotation file becomes one of a handful of groups."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from video_mask2former.data.annotation_format import read_json
from video_mask2former.data.preparation.dataset_writer import write_json
from video_mask2former.documents import MAX_YAML_LENGTH, parse_yaml, read_text
from video_mask2former.messages import shortened

_PEOPLE = ("person", "cyclist", "motorcyclist", "horse_rider", "board_rider", "paraglider")
_ANIMALS = (
    *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    *("goat", "camel", "rhino", "deer", "otter", "tiger", "turtle"),
)
_VEHICLES = (
    *("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("aeroplane", "motorbike", "soapbox_cart", "stroller"),
)

# The classes of the model that ships with the package; every other category is an object
DEMO_GROUPS: dict[str, str] = {
    **dict.fromkeys(_PEOPLE, "person"),
    **dict.fromkeys(_ANIMALS, "animal"),
    **dict.fromkeys(_VEHICLES, "vehicle"),
}
REST = "object"


def read_groups(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a YAML file of category names and the group of each.

    Raises:
        ValueError: If the file holds anything else.
    """
    groups = parse_yaml(read_text(Path(path), 4 * MAX_YAML_LENGTH), f"{path} is not a YAML file that can be read")
    if not isinstance(groups, dict) or not all(isinstance(name, str) for pair in groups.items() for name in pair):
        raise ValueError(
            f"{path} must map category names to group names, as in 'dog: animal', got {shortened(groups)}."
        )
    return groups


def group_classes(
    document: Mapping[str, Any],
    groups: Mapping[str, str],
    labelled: Sequence[str] | None = None,
    rest: str = REST,
) -> dict[str, Any]:
    """Regroup a document in COCO or YouTube-VIS format.

    Args:
        document: The parsed file; it is not changed.
        groups: Category name to group; a name that no category has is fine, since one table serves several files.
        labelled: Groups of which the file annotates every instance in view, written to it as
            ``labelled_category_ids``; None: all of them, unless the file says otherwise.
        rest: Group of all other categories.

    Returns:
        The document with one category per group, ids from 1 in the order of the table, the rest last if the table does
        not name it. Where the file says what is stuff, a group is if all of its categories are.
    """
    names = list(dict.fromkeys((*groups.values(), rest)))
    new_ids = {name: number for number, name in enumerate(names, start=1)}
    unknown = sorted(set(labelled or ()) - set(names))
    if unknown:
        raise ValueError(f"labelled groups must be among {', '.join(names)}, got {', '.join(unknown)}.")
    by_id = {category["id"]: new_ids[groups.get(category["name"], rest)] for category in document["categories"]}
    annotations = [
        {**annotation, "category_id": by_id[annotation["category_id"]]} for annotation in document["annotations"]
    ]
    if labelled is None and any("labelled_category_ids" in part for part in (document, *_media(document))):
        raise ValueError(
            "the file says which categories it labels, which says nothing of groups of them. Name the labelled groups."
        )
    categories: list[dict[str, Any]] = [{"id": number, "name": name} for name, number in new_ids.items()]
    if any("isthing" in category for category in document["categories"]):
        members = [(by_id[part["id"]], bool(part.get("isthing", 1))) for part in document["categories"]]
        for category in categories:
            kinds = [is_thing for number, is_thing in members if number == category["id"]]
            category["isthing"] = int(any(kinds) or not kinds)
    grouped = {**document, "categories": categories, "annotations": annotations}
    if labelled is not None:
        grouped["labelled_category_ids"] = [new_ids[name] for name in names if name in labelled]
        for key in {"videos", "images"} & set(document):
            grouped[key] = [_without(entry, "labelled_category_ids") for entry in document[key]]
    return grouped


def _media(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*document.get("videos", ()), *document.get("images", ())]


def _without(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


def write_grouped(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    groups: Mapping[str, str],
    labelled: Sequence[str] | None = None,
) -> dict[str, int]:
    """Write a regrouped copy of an annotation file (:func:`group_classes`); returns the annotations of each group."""
    try:
        document = read_json(source)
        grouped = group_classes(document, groups, labelled)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source} is not an annotation file in COCO or YouTube-VIS format: {error!r}.") from error
    write_json(target, grouped)
    names = {category["id"]: category["name"] for category in grouped["categories"]}
    counts = dict.fromkeys(names.values(), 0)
    for annotation in grouped["annotations"]:
        counts[names[annotation["category_id"]]] += 1
    return counts

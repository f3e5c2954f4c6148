from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.preparation.split import split_videos, write_split

CLASSES = st.dictionaries(
    st.integers(0, 10_000), st.frozensets(st.integers(1, 6), max_size=3), min_size=2, max_size=120
)


@given(CLASSES, st.floats(0.05, 0.5), st.integers(0, 3))
def test_every_video_is_in_one_part(categories, share, seed) -> None:
    split = split_videos(categories, share, seed)
    assert set(split.train_ids).isdisjoint(split.val_ids)
    assert sorted(split.train_ids + split.val_ids) == sorted(categories)
    assert list(split.train_ids) == sorted(split.train_ids) and list(split.val_ids) == sorted(split.val_ids)


@given(CLASSES, st.integers(0, 3))
def test_the_order_of_the_file_does_not_matter(categories, seed) -> None:
    backwards = dict(reversed(categories.items()))
    assert split_videos(categories, 0.2, seed) == split_videos(backwards, 0.2, seed)


@given(st.dictionaries(st.integers(0, 10_000), st.integers(1, 6), min_size=3, max_size=200), st.floats(0.05, 0.5))
def test_shares_are_met_where_each_video_has_one_class(class_of_video, share) -> None:
    split = split_videos({key: frozenset([value]) for key, value in class_of_video.items()}, share, 0)
    for category_id in set(class_of_video.values()):
        videos = [key for key, value in class_of_video.items() if value == category_id]
        count = sum(key in split.val_ids for key in videos)
        assert count <= len(videos) - 1, "one stays to be trained on"
        assert len(videos) < 3 or count >= 1, "one is there to be measured on"
        assert abs(count - share * len(videos)) <= 1


def test_shared_videos_count_for_all_their_classes() -> None:
    categories = {key: frozenset([1, 2] if key % 2 else [1]) for key in range(100)}
    split = split_videos(categories, 0.2, 0)
    assert sum(2 in categories[key] for key in split.val_ids) == 10
    assert len(split.val_ids) == 20


def test_the_split_is_fixed_for_ever() -> None:
    """Numbers of different people can be compared only if this never changes."""
    categories = {key: frozenset([key % 3]) for key in range(1, 31)}
    split = split_videos(categories, 0.1, 0)
    assert split.val_ids == (16, 24, 26)
    assert split.fingerprint == "e3a09aed"
    assert split_videos(categories, 0.1, 1).val_ids != split.val_ids


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_impossible_shares(share) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        split_videos({1: frozenset()}, share, 0)


def test_files_keep_ids_and_everything_else(document, write, tmp_path) -> None:
    document["info"] = {"year": 2021}
    document["videos"][0]["extra"] = "kept"
    path = write(document)
    split = write_split(path, tmp_path / "a.json", tmp_path / "b.json", 0.4, 0)
    parts = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert [tuple(sorted(video["id"] for video in part["videos"])) for part in parts] == [
        split.train_ids,
        split.val_ids,
    ]
    for key in ("videos", "annotations"):
        assert sorted(entry["id"] for part in parts for entry in part[key]) == sorted(e["id"] for e in document[key])
    for part in parts:
        assert part["info"] == document["info"] and part["categories"] == document["categories"]
        assert {entry["video_id"] for entry in part["annotations"]} <= {video["id"] for video in part["videos"]}
    assert load_annotations(tmp_path / "a.json").class_names == load_annotations(path).class_names


def test_images_can_be_split_too(write, tmp_path) -> None:
    images = [{"id": key, "file_name": f"{key}.jpg", "height": 4, "width": 4} for key in range(10)]
    instances = [
        {"id": key, "image_id": key, "category_id": 1, "segmentation": [[0, 0, 3, 0, 3, 3]]} for key in range(10)
    ]
    path = write({"categories": [{"id": 1, "name": "x"}], "images": images, "annotations": instances})
    write_split(path, tmp_path / "a.json", tmp_path / "b.json", 0.2, 0)
    assert (len(load_annotations(tmp_path / "a.json")), len(load_annotations(tmp_path / "b.json"))) == (8, 2)


def test_a_part_without_videos_is_refused(document, write, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"3 videos would be trained on and 0 measured on, with a share of 0\.1"):
        write_split(write(document), tmp_path / "a.json", tmp_path / "b.json", 0.1, 0)
    assert not (tmp_path / "a.json").exists()


def test_unsound_files_are_not_split(document, write, tmp_path) -> None:
    document["annotations"][0]["category_id"] = 1
    with pytest.raises(ValueError, match="video 3, annotation 21: there is no category 1"):
        write_split(write(document), tmp_path / "a.json", tmp_path / "b.json", 0.2, 0)
    del document["annotations"]
    with pytest.raises(ValueError, match="no annotations to split"):
        write_split(write(document), tmp_path / "a.json", tmp_path / "b.json", 0.2, 0)
    assert not (tmp_path / "a.json").exists()

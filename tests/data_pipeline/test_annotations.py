from __future__ import annotations

import gc
import multiprocessing
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.packed_videos import pack_videos
from video_mask2former.data.segmentations import unpack_mask
from video_mask2former.rle import decode_rle, encode_masks


def test_classes_are_contiguous_in_sorted_order(annotation_set) -> None:
    assert annotation_set.category_ids == (-2, 11, 70)
    assert annotation_set.class_names == ("cat", "dog", "zebra")


def test_videos_are_ordered_by_id_and_keep_everything_in_the_order_of_the_file(annotation_set) -> None:
    assert [annotation_set[index].video_id for index in range(3)] == [3, 5, 9]
    record = annotation_set[0]
    assert record.size == (24, 32) and record.num_frames == 6
    assert record.file_names[4] == "3/004.png"
    assert record.annotation_ids == (21, 20, 22)
    assert record.labels == (2, 0, 1)
    assert record.is_crowd == (False, False, True)
    assert annotation_set[2].annotation_ids == ()
    with pytest.raises(IndexError, match="must be in"):
        annotation_set[3]


def test_visible_instances_leave_crowd_out(annotation_set) -> None:
    visible = annotation_set.visible_instances(0)
    np.testing.assert_array_equal(visible, [[True] * 6, [True, False, False, False, False, True], [False] * 6])
    assert annotation_set.visible_instances(2).shape == (0, 4)


def test_annotated_videos_are_those_with_an_instance_to_learn(document, write) -> None:
    assert load_annotations(write(document)).annotated_videos().tolist() == [0, 1]
    document["annotations"] = document["annotations"][2:]  # crowd alone in video 3
    assert load_annotations(write(document)).annotated_videos().tolist() == [1]
    document["annotations"][1]["segmentations"] = [None]
    assert load_annotations(write(document)).annotated_videos().tolist() == []
    document["annotations"] = []
    assert load_annotations(write(document)).annotated_videos().tolist() == []


def test_files_of_images_are_told_from_files_of_videos(document, write) -> None:
    assert not load_annotations(write(document)).is_of_images
    document.update(videos=[document["videos"][2]], annotations=[document["annotations"][3]])
    assert load_annotations(write(document)).is_of_images


def test_clip_target_has_one_label_whatever_frames_show_the_instance(annotation_set) -> None:
    target = annotation_set.clip_target(0, (0, 2))  # instance 20 is gone on the last one
    assert target.instance_ids.tolist() == [21, 20]
    assert target.labels.tolist() == [2, 0]
    assert target.masks.flatten(2).sum(-1).tolist() == [[48, 48], [48, 0]]
    assert target.masks[0, 1, 2:8, 6:14].all()


def test_clip_target_drops_instances_that_are_nowhere(annotation_set) -> None:
    assert annotation_set.clip_target(0, (1, 3)).instance_ids.tolist() == [21]
    empty = annotation_set.clip_target(2, (0, 1, 3))
    assert len(empty) == 0 and empty.masks.shape == (0, 3, 24, 32)


def test_ground_truth_has_crowd_and_only_frames_with_masks(annotation_set) -> None:
    video = annotation_set.ground_truth(0)
    assert (video.video_id, video.num_frames, video.size) == (3, 6, (24, 32))
    assert video.class_names == ("cat", "dog", "zebra")
    assert [(track.track_id, track.label, track.is_crowd) for track in video.tracks] == [
        (21, 2, False),
        (20, 0, False),
        (22, 1, True),
    ]
    assert sorted(video.tracks[1].segmentations) == [0, 5]
    target = annotation_set.clip_target(0, (0, 5))
    for position, frame in enumerate((0, 5)):
        np.testing.assert_array_equal(decode_rle(video.tracks[1].segmentations[frame]), target.masks[1, position])
    assert [video.video_id for video in annotation_set.iterate_ground_truth()] == [3, 5, 9]


def test_polygons_become_masks(annotation_set) -> None:
    mask = annotation_set.clip_target(1, (0,)).masks[0, 0]
    assert mask[4:18, 4:20].all() and mask.sum() == 14 * 16


def test_hidden_annotations(document, write) -> None:
    del document["annotations"]
    annotations = load_annotations(write(document))
    assert len(annotations) == 3 and not annotations.has_annotations
    with pytest.raises(ValueError, match="no annotations: those of this set are hidden"):
        annotations.ground_truth(0)


def test_wrong_files_are_refused_with_file_video_and_annotation(document, write) -> None:
    document["annotations"][1]["category_id"] = 5
    path = write(document)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: video 3, annotation 20: there is no category 5"):
        load_annotations(path)


def test_bad_rle_is_an_error_with_its_place_when_it_is_read(document, write) -> None:
    document["annotations"][0]["segmentations"][3]["counts"] = "23"
    annotations = load_annotations(write(document))
    assert len(annotations.clip_target(0, (0, 1))) == 2
    for read in (lambda: annotations.clip_target(0, (2, 3)), lambda: annotations.ground_truth(0)):
        with pytest.raises(
            ValueError, match="video 3, annotation 21, frame 3: the RLE cannot be read, its runs cover 5"
        ):
            read()


def test_classes_of_one_name_stay_apart(document, write) -> None:
    document["categories"] = [{"id": key, "name": "cat"} for key in (70, -2, 11)]
    assert load_annotations(write(document)).class_names == ("cat", "cat (11)", "cat (70)")


def test_doubtful_polygons_are_logged_once(document, write, caplog) -> None:
    document["annotations"][3]["segmentations"] = [[[1, 1, 2, 2], [4, 4, 20, 4, 20, 18]]]
    load_annotations(write(document))
    assert [record.message for record in caplog.records] == [
        f"{write(document)}: 1 things are doubtful, first: video 5, annotation 23, frame 0: "
        "1 of its polygons have fewer than three points and are left out."
    ]


def test_no_annotations_at_all(document, write) -> None:
    document["annotations"] = []
    annotations = load_annotations(write(document))
    assert annotations.has_annotations
    assert annotations.ground_truth(0).tracks == ()


@settings(max_examples=40)
@given(st.data())
def test_packing_keeps_every_mask_and_name(data) -> None:
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    video_ids = data.draw(st.permutations(range(10, 10 + len(lengths))))
    names = st.text(min_size=1, max_size=5)
    videos = [
        {"id": key, "height": 3, "width": 5, "file_names": [data.draw(names) for _ in range(length)]}
        for key, length in zip(video_ids, lengths, strict=True)
    ]
    runs = st.one_of(st.none(), st.integers(0, 15).map(lambda first: {"size": [3, 5], "counts": [first, 15 - first]}))
    annotations = [
        {
            "id": index,
            "video_id": video["id"],
            "category_id": data.draw(st.sampled_from([5, 8])),
            "iscrowd": data.draw(st.integers(0, 1)),
            "segmentations": [data.draw(runs) for _ in video["file_names"]],
        }
        for index in range(data.draw(st.integers(0, 6)))
        for video in [data.draw(st.sampled_from(videos))]
    ]
    expected = [dict(annotation) for annotation in annotations]
    packed = pack_videos(videos, annotations, {5: 0, 8: 1})
    for index, video in enumerate(sorted(videos, key=lambda video: video["id"])):
        assert [packed.file_name(index, frame) for frame in range(len(video["file_names"]))] == video["file_names"]
    for row, annotation_id in enumerate(packed.annotation_ids.tolist()):
        annotation = next(entry for entry in expected if entry["id"] == annotation_id)
        assert packed.labels[row] == {5: 0, 8: 1}[annotation["category_id"]]
        assert packed.is_crowd[row] == bool(annotation["iscrowd"])
        for frame, segmentation in enumerate(annotation["segmentations"]):
            area = 0 if segmentation is None else segmentation["counts"][1]
            assert unpack_mask(*packed.mask(row, frame), (3, 5)).sum() == area
    assert len(packed.annotation_ids) == len(expected)


def test_everything_is_in_a_few_tensors(annotation_set) -> None:
    """Whatever pickles apart from the tensors is small and does not grow with the file."""
    tensors = vars(annotation_set.packed).values()
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors)
    assert annotation_set.packed.num_bytes == sum(tensor.nbytes for tensor in tensors)
    copy = pickle.loads(pickle.dumps(annotation_set))
    assert copy[0] == annotation_set[0] and copy.ground_truth(1) == annotation_set.ground_truth(1)


def _read_in_worker(annotations, queue) -> None:
    annotations.clip_target(0, (0, 1))  # what the interpreter needs for itself
    gc.collect()  # writes to every object, however many modules the tests have imported
    before = _private_kib()
    for index in range(len(annotations)):
        annotations.visible_instances(index)
        annotations.clip_target(index, (0, 19))
        annotations[index]
    queue.put(_private_kib() - before)


def _private_kib() -> int:
    with open("/proc/self/smaps_rollup") as file:
        return int(re.search(r"Private_Dirty:\s+(\d+) kB", file.read())[1])


@pytest.mark.skipif(sys.platform != "linux", reason="counts pages in /proc")
def test_forked_workers_share_the_annotations(write) -> None:
    rng = np.random.default_rng(0)
    masks = [dict(rle) for rle in encode_masks(rng.random((50, 64, 64)) > 0.5)]
    videos = [
        {"id": key, "height": 64, "width": 64, "file_names": [f"{key}/{frame}" for frame in range(20)]}
        for key in range(300)
    ]
    annotations = [
        {"id": key, "video_id": key, "category_id": 1, "segmentations": [masks[(key + t) % 50] for t in range(20)]}
        for key in range(300)
    ]
    loaded = load_annotations(
        write({"categories": [{"id": 1, "name": "x"}], "videos": videos, "annotations": annotations})
    )
    assert loaded.packed.num_bytes > 12e6
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_read_in_worker, args=(loaded, queue))
    worker.start()
    grown = queue.get(timeout=60)
    worker.join()
    assert 1024 * grown < loaded.packed.num_bytes / 4, f"a worker that reads everything has {grown} KiB of its own"


def test_sample_data_loads(sample_data) -> None:
    for name in ("davis2016_val", "davis2016_train", "pumavos_sample", "coco128", "coco_pan100"):
        annotations = load_annotations(sample_data / name / "instances.json")
        masks = sum(len(track.segmentations) for video in annotations.iterate_ground_truth() for track in video.tracks)
        assert masks == int((annotations.packed.mask_kinds != 0).sum()) > 0

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.rle import encode_masks
from video_mask2former.structures import FrameInstances
from video_mask2former.visualization import MaskAnnotator, track_color
from video_mask2former.visualization.mask_annotator import MASKS_ONLY_BACKGROUND, Anchor, _place

SIZE = (120, 160)


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def plain(**options):
    return MaskAnnotator(show_id=False, show_class=False, show_score=False, contours=False, **options)


def test_masks_are_blended_and_the_rest_is_left(frame, instances_maker):
    instances = instances_maker(SIZE, [(20, 30, 60, 90)])
    before = frame.copy()
    picture = plain(opacity=0.25).annotate(frame, instances)
    assert np.array_equal(frame, before)
    inside = np.zeros(SIZE, bool)
    inside[20:60, 30:90] = True
    assert np.array_equal(picture[~inside], frame[~inside])
    expected = 0.75 * frame[inside] + 0.25 * np.asarray(track_color(1))
    assert np.abs(picture[inside] - expected).max() <= 0.5


def test_small_objects_stay_on_top(frame, instances_maker):
    instances = instances_maker(SIZE, [(40, 40, 50, 50), (20, 20, 100, 100)])
    picture = plain(opacity=1.0).annotate(frame, instances)
    assert tuple(picture[45, 45]) == track_color(1)
    assert tuple(picture[30, 30]) == track_color(2)


def test_modes(frame, instances_maker):
    instances = instances_maker(SIZE, [(20, 30, 60, 90)])
    overlay = MaskAnnotator("overlay").annotate(frame, instances, ["dog"])
    both_annotator = MaskAnnotator("side_by_side")
    both = both_annotator.annotate(frame, instances, ["dog"])
    assert both.shape[:2] == both_annotator.output_size(SIZE) == (120, 320)
    assert np.array_equal(both[:, :160], frame)
    assert np.array_equal(both[:, 160:], overlay)
    masks = plain(mode="masks_only").annotate(frame, instances)
    assert tuple(masks[40, 60]) == track_color(1)
    assert (masks[:20] == MASKS_ONLY_BACKGROUND).all()


def test_contours_are_opaque(frame, instances_maker):
    instances = instances_maker(SIZE, [(20, 30, 60, 90)])
    annotator = MaskAnnotator(show_id=False, show_class=False, show_score=False)
    picture = annotator.annotate(frame, instances)
    color = np.asarray(track_color(1), dtype=int)
    # smoothing may leave a trace of what is below
    assert np.abs(picture[20, 31:89] - color).max() < 20
    assert np.abs(picture[21:59, 30] - color).max() < 20


def test_labels_say_what_is_asked(frame, instances_maker):
    instances = instances_maker(SIZE, [(50, 30, 100, 90)])
    everything = MaskAnnotator()._label(instances, 0, ["dog"])
    assert everything == "#1 dog 0.90"
    assert MaskAnnotator(show_score=False)._label(instances, 0, []) == "#1 class 0"
    assert MaskAnnotator(show_id=False, show_class=False)._label(instances, 0, ["dog"]) == "0.90"
    ground = (MaskAnnotator().annotate(frame, instances, ["dog"])[37:50, 30:100] == track_color(1)).all(axis=2)
    assert ground.mean() > 0.4


@pytest.mark.parametrize("contours", [True, False])
def test_a_label_is_at_the_largest_part_of_its_mask(frame, contours):
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0, 5:8, 150:155] = mask[0, 60:110, 20:60] = True
    instances = FrameInstances(0, SIZE, (1,), (0,), (0.9,), tuple(encode_masks(mask)))
    picture = MaskAnnotator(show_class=False, show_score=False, contours=contours, opacity=0.0).annotate(
        frame, instances
    )
    rows, columns = np.nonzero((picture == track_color(1)).all(axis=2) & ~mask[0])
    assert np.percentile(rows, 5) > 40 and np.percentile(rows, 95) < 62
    assert np.percentile(columns, 5) >= 19 and np.percentile(columns, 95) < 62


@pytest.mark.parametrize("is_stuff", [False, True])
@pytest.mark.parametrize("shape", ["diagonal", "ring", "low", "speck"])
def test_a_label_touches_its_object(frame, shape, is_stuff):
    rows, columns = np.indices(SIZE)
    distance = np.hypot(rows - 70, columns - 90)
    mask = {
        "diagonal": abs(rows - columns + 20) < 8,
        "ring": (distance < 45) & (distance > 35),
        "low": (rows > 100) & (columns > 120),
        "speck": (distance < 3) | ((rows < 2) & (columns < 2)),
    }[shape]
    instances = FrameInstances(0, SIZE, (1,), (0,), (0.9,), tuple(encode_masks(mask[None])))
    annotator = MaskAnnotator(contours=False, opacity=0.0, stuff_labels=[0] if is_stuff else [])
    picture = annotator.annotate(frame, instances, ["dog"])
    rows, columns = np.nonzero((picture != frame).any(axis=2))
    label = np.zeros(SIZE, bool)
    label[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert (label & mask).any() and label.sum() < 1500


def test_labels_stay_in_the_frame_and_apart():
    taken = np.zeros((0, 4), dtype=np.int64)
    for left, top, width, height in [(0, 0, 10, 10), (150, 110, 10, 10), (70, 50, 30, 30), (70, 50, 30, 30)]:
        x, y = left + width // 2, top + height // 2
        anchor = Anchor((x, top), (x, y), (x, top + height), (height, width))
        x, y = _place((14, 60), anchor, SIZE, taken)
        assert 0 <= x <= 160 - 60
        assert 0 <= y <= 120 - 14
        for left, top, right, bottom in taken:
            assert x + 60 <= left or right <= x or y + 14 <= top or bottom <= y
        taken = np.concatenate([taken, [[x, y, x + 60, y + 14]]])


def test_crowds_are_labelled_by_id(frame, instances_maker, monkeypatch):
    rectangles = [(10 * row, 20 * column, 10 * row + 6, 20 * column + 9) for row in range(10) for column in range(6)]
    instances = instances_maker(SIZE, rectangles)
    annotator = MaskAnnotator()
    texts = []
    patch = annotator._patch
    monkeypatch.setattr(annotator, "_patch", lambda text, *rest: texts.append(text) or patch(text, *rest))
    annotator.annotate(frame, instances, ["dog"] * 60)
    assert sorted(texts[60:]) == sorted(f"#{index}" for index in range(1, 61))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    count=st.integers(0, 5),
    mode=st.sampled_from(["overlay", "side_by_side", "masks_only"]),
)
def test_any_size_and_any_masks(size, seed, count, mode):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *size)) < rng.random((count, 1, 1))
    frame = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    ids = tuple(int(value) for value in rng.choice(10**6, count, replace=False))
    instances = FrameInstances(3, size, ids, (0,) * count, (0.5,) * count, tuple(encode_masks(masks)))
    annotator = MaskAnnotator(mode)
    picture = annotator.annotate(frame, instances, ["a class with a long name"])
    assert picture.shape == (*annotator.output_size(size), 3)
    assert picture.dtype == np.uint8


def test_wrong_input_is_refused(frame, instances_maker):
    with pytest.raises(ValueError, match="mode must be one of overlay, side_by_side, masks_only"):
        MaskAnnotator("video")
    with pytest.raises(ValueError, match="opacity"):
        MaskAnnotator(opacity=1.5)
    with pytest.raises(ValueError, match="120x160"):
        MaskAnnotator().annotate(frame, instances_maker((60, 80), []))
    with pytest.raises(ValueError, match="uint8 RGB"):
        MaskAnnotator().annotate(frame.astype(float), instances_maker(SIZE, []))


def test_stuff_is_drawn_lightly_under_things():
    frame = np.full((40, 60, 3), 100, np.uint8)
    thing, stuff = np.zeros((40, 60), bool), np.ones((40, 60), bool)
    thing[10:20, 10:20] = True
    small, large = encode_masks(np.stack([thing, stuff]))
    both = FrameInstances(0, (40, 60), (7, 2), (0, 1), (0.9, 0.9), (small, large))
    options = {"show_id": False, "show_class": False, "show_score": False, "contours": False}
    picture = MaskAnnotator(stuff_labels=(1,), **options).annotate(frame, both).astype(int)
    strong = MaskAnnotator(**options).annotate(frame, both).astype(int)
    change, usual = (np.abs(drawn[30, 30] - 100).sum() for drawn in (picture, strong))
    assert 0 < change < 0.6 * usual
    # whatever the order of their sizes, the thing is on top
    reverse = FrameInstances(0, (40, 60), (2, 7), (0, 1), (0.9, 0.9), (large, small))
    drawn = MaskAnnotator("masks_only", stuff_labels=(1,), **options).annotate(frame, reverse)
    assert (drawn[15, 15] == drawn[30, 30]).all()

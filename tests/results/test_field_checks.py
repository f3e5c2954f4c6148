from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from video_mask2former.results.field_checks import class_index, class_indices, dataset_category, require_rle
from video_mask2former.rle import encode_masks


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_good_masks_pass_compressed_or_not(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = encode_masks(mask[None])[0]
    assert require_rle(dict(rle), (height, width), "here") == rle
    runs = np.diff(np.flatnonzero(np.concatenate([[True], np.diff(mask.ravel(order="F")), [True]])))
    counts = ([0] if mask[0, 0] else []) + [int(run) for run in runs]
    assert require_rle({"size": [height, width], "counts": counts}, None, "here") == rle


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
def test_bad_counts_never_reach_the_decoder(counts):
    try:
        rle = require_rle({"size": [3, 4], "counts": counts}, None, "here")
    except ValueError as error:
        assert "here" in str(error)
    else:
        assert 0 <= coco_mask.area(rle) <= 12


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "JSON object"),
        ({"counts": "0"}, "lacks 'size'"),
        ({"size": [3], "counts": "<"}, "must be \\[height, width\\]"),
        ({"size": [3, 0], "counts": ""}, "must be \\[height, width\\]"),
        ({"size": [3, 4]}, "lacks 'counts'"),
        ({"size": [3, 4], "counts": 5}, "'counts' must be a string or array"),
        ({"size": [3, 4], "counts": "äöü"}, "characters that no RLE has"),
        ({"size": [3, 4], "counts": "P"}, "cut off in the middle"),
        ({"size": [3, 4], "counts": "5"}, "cover 5 pixels, the frame has 3 x 4 = 12"),
        ({"size": [3, 4], "counts": [6, 7]}, "cover 13"),
        ({"size": [3, 4], "counts": [14, -2]}, "integers >= 0"),
        ({"size": [3, 4], "counts": [6.0, 6]}, "a list of integers"),
        ({"size": [4, 3], "counts": "<"}, r"mask is \(4, 3\)"),
    ],
)
def test_bad_masks_are_named(value, message):
    with pytest.raises(ValueError, match=f"place 7.*{message}"):
        require_rle(value, (3, 4), "place 7")


@pytest.mark.parametrize("category_ids", [None, [3, 1, 90], {0: 3, 1: 1, 2: 90}])
def test_categories_there_and_back(category_ids):
    back = class_indices(category_ids)
    for label in range(3):
        assert class_index(dataset_category(label, category_ids), back, "here") == label


def test_unknown_categories_are_refused():
    with pytest.raises(ValueError, match="no entry for class index 3"):
        dataset_category(3, [1, 2, 3])
    with pytest.raises(ValueError, match="7 is not among"):
        class_index(7, class_indices([1, 2]), "here")
    with pytest.raises(ValueError, match="must be 1 or more"):
        class_index(0, None, "here")
    with pytest.raises(ValueError, match="several class indices"):
        class_indices([1, 1])

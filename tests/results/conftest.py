"""Random results for round trips."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import strategies as st

from video_mask2former.rle import encode_masks
from video_mask2former.structures import FrameInstances, Track, VideoInstances

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
SCORES = st.floats(0.0, 1.0, allow_nan=False)


@st.composite
def random_rles(draw, size):
    """A mask of any shape, empty and full ones included."""
    height, width = size
    bits = draw(st.integers(0, 2 ** (height * width) - 1))
    flat = [bits >> position & 1 for position in range(height * width)]
    return encode_masks(np.asarray(flat, dtype=bool).reshape(1, height, width))[0]


@st.composite
def random_videos(draw, *, has_frame_scores=True):
    """A small result with everything that may vary."""
    size = draw(SIZES)
    num_frames = draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, 10**6), max_size=4, unique=True))
    tracks = []
    for track_id in ids:
        indices = draw(st.sets(st.integers(0, num_frames - 1)))
        masks = {index: draw(random_rles(size)) for index in sorted(indices)}
        scores = {index: draw(SCORES) for index in sorted(indices)} if has_frame_scores and draw(st.booleans()) else {}
        tracks.append(Track(track_id, draw(st.integers(0, 5)), draw(SCORES), masks, scores, draw(st.booleans())))
    rate = draw(st.sampled_from([None, Fraction(30000, 1001), Fraction(25)]))
    names = draw(st.sampled_from([(), ("person", "dog"), ("Mensch", "犬", 'a "quoted"', "d", "e", "f")]))
    return VideoInstances(tuple(tracks), num_frames, size, rate, names, draw(st.sampled_from([None, 7])))


@st.composite
def random_frames(draw):
    """Frames in ascending order, some of them empty, not all indices present."""
    size = draw(SIZES)
    frames = []
    for index in sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=4))):
        ids = draw(st.lists(st.integers(1, 50), max_size=3, unique=True))
        frames.append(
            FrameInstances(
                index,
                size,
                tuple(ids),
                tuple(track_id % 3 for track_id in ids),
                tuple(draw(SCORES) for _ in ids),
                tuple(draw(random_rles(size)) for _ in ids),
            )
        )
    return frames


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A folder that many examples of one property test may share."""
    return tmp_path_factory.mktemp("results")


def box_mask(size, top, left, bottom, right):
    """A rectangle as RLE."""
    mask = np.zeros((1, *size), dtype=bool)
    mask[0, top:bottom, left:right] = True
    return encode_masks(mask)[0]


@pytest.fixture(scope="session")
def boxes():
    """Builder of rectangles: :func:`box_mask`."""
    return box_mask


@pytest.fixture(scope="session")
def videos():
    """Strategy of results: :func:`random_videos`."""
    return random_videos


@pytest.fixture(scope="session")
def frame_lists():
    """Strategy of streams: :func:`random_frames`."""
    return random_frames

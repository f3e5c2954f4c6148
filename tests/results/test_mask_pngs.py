from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from video_mask2former.results import MaskPngWriter, assemble_tracks, read_mask_pngs, without_overlaps
from video_mask2former.results.mask_pngs import davis_palette
from video_mask2former.rle import encode_masks
from video_mask2former.structures import FrameInstances


@settings(max_examples=50)
@given(st.data())
def test_round_trip(frame_lists, scratch, data):
    frames = data.draw(frame_lists())
    folder = scratch / "masks"
    shutil.rmtree(folder, ignore_errors=True)
    with MaskPngWriter(folder) as writer:
        for frame in frames:
            writer.write(frame)
    read = read_mask_pngs(folder)
    assert (read.num_frames, read.size) == (frames[-1].frame_index + 1, frames[0].size)
    visible = assemble_tracks([without_overlaps(frame) for frame in frames])
    found = {track.track_id: track for track in read.tracks if track.segmentations}
    assert {track_id: track.segmentations for track_id, track in found.items()} == {
        track.track_id: track.segmentations for track in visible.tracks
    }
    for track in assemble_tracks(frames).tracks:
        (same,) = (other for other in read.tracks if other.track_id == track.track_id)
        assert same.label == track.label
        assert same.score == pytest.approx(track.score)


@pytest.fixture
def frame(boxes):
    masks = (boxes((5, 9), 1, 3, 4, 8), boxes((5, 9), 0, 0, 2, 4))
    return FrameInstances(2, (5, 9), (40, 7), (1, 0), (0.5, 0.9), masks)


def test_the_pictures_are_indexed(tmp_path, frame):
    with MaskPngWriter(tmp_path / "masks") as writer:
        writer.write(frame)
    with Image.open(tmp_path / "masks" / "00002.png") as picture:
        assert picture.mode == "P"
        indices = np.asarray(picture)
        palette = picture.getpalette()
    assert indices[3, 5] == 1
    assert indices[1, 3] == 2
    assert indices[4, 0] == 0
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def test_palette():
    palette = davis_palette()
    assert palette[[0, 1, 5, 8, 9, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [128, 0, 128],
        [64, 0, 0],
        [192, 0, 0],
        [224, 224, 192],
    ]
    assert len(np.unique(palette, axis=0)) == 256


def test_folders_of_davis(tmp_path):
    for index, value in enumerate((0, 1, 3, 255)):
        picture = Image.fromarray(np.full((3, 4), value, np.uint8))
        picture.putpalette(davis_palette().tobytes())
        picture.save(tmp_path / f"{10 * index:05d}.png")
    video = read_mask_pngs(tmp_path)
    assert video.num_frames == 4
    assert {track.track_id: set(track.segmentations) for track in video.tracks} == {1: {1}, 3: {2}}


def test_an_error_leaves_no_folder(tmp_path, frame):
    with pytest.raises(RuntimeError), MaskPngWriter(tmp_path / "masks") as writer:
        writer.write(frame)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_killed_program_is_called_partial(tmp_path, frame, caplog):
    MaskPngWriter(tmp_path / "masks").write(frame)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.partial"]
    assert [path.name for path in (tmp_path / "masks.partial").iterdir()] == ["00002.png"]
    with pytest.raises(FileNotFoundError, match=r"incomplete masks\.partial"):
        read_mask_pngs(tmp_path / "masks")
    with MaskPngWriter(tmp_path / "masks") as writer:
        writer.write(FrameInstances(0, (5, 9), (), (), (), ()))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["00000.png", "masks", "objects.json"]


def test_folders_with_content_are_left_alone(tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        MaskPngWriter(tmp_path)


def test_too_many_objects(tmp_path):
    empty = FrameInstances(0, (2, 2), (), (), (), ())
    with (
        pytest.raises(ValueError, match="254 objects, track 254 is one too many"),
        MaskPngWriter(tmp_path / "m") as out,
    ):
        rle = encode_masks(np.ones((1, 2, 2), bool))[0]
        out.write(empty)
        for index in range(255):
            out.write(FrameInstances(index + 1, (2, 2), (index,), (0,), (0.5,), (rle,)))


def test_sizes_must_agree(tmp_path, frame):
    with pytest.raises(ValueError, match="has size"), MaskPngWriter(tmp_path / "masks") as writer:
        writer.write(frame)
        writer.write(FrameInstances(3, (9, 5), (), (), (), ()))


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no PNG"):
        read_mask_pngs(tmp_path)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"1\.png cannot be read as a PNG"):
        read_mask_pngs(tmp_path)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png is a RGB picture"):
        read_mask_pngs(tmp_path)
    Image.fromarray(np.zeros((4, 3), np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png is \(4, 3\)"):
        read_mask_pngs(tmp_path)

from __future__ import annotations

import av
import numpy as np
import pytest

from video_mask2former.video_io import open_video
from video_mask2former.video_io.container import Orientation, probe_container

ALL = [Orientation(bool(bits & 1), bool(bits & 2), bool(bits & 4)) for bits in range(8)]


@pytest.mark.parametrize("orientation", ALL)
def test_orientations(orientation):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = orientation.apply(image)
    assert turned.flags.c_contiguous
    # rotations are those that some quarter turn gives
    is_turn = any(np.array_equal(turned, np.rot90(image, turns)) for turns in range(4))
    assert orientation.is_rotation == is_turn


def test_orientations_differ():
    image = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3)
    assert len({orientation.apply(image).tobytes() for orientation in ALL}) == 8


def test_probe(plain_video):
    info = probe_container(plain_video)
    assert info.num_frames == info.declared_num_frames == len(info.presentation_times) == 50
    assert info.damage is None
    assert info.orientation == Orientation()


def test_mirrored_videos(tmp_path, video_maker, numbered_frames, frame_number):
    """Front cameras write a mirroring display matrix, which decord does not know."""
    plain = video_maker(tmp_path / "plain.mp4", [numbered_frames(index) for index in range(4)])
    path = tmp_path / "mirrored.mp4"
    matrix = [-(1 << 16), 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_matrix(matrix)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert [frame_number(image[:, ::-1]) for image in open_video(path)] == [0, 1, 2, 3]


def test_a_title_that_is_no_text(tmp_path, plain_video):
    path = tmp_path / "titled.mp4"
    with av.open(str(plain_video)) as source, av.open(str(path), "w") as target:
        target.metadata["title"] = "a title"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = path.read_bytes()
    assert content.count(b"a title") == 1
    path.write_bytes(content.replace(b"a title", b"\xff\xfe\xfd\xfc!!!"))
    assert open_video(path).num_frames == 50

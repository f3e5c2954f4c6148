"""Files in stores: in memory, and on the disk by way of fsspec."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from video_mask2former.remote_files import Store, fetched, is_address, is_stored, send_folder

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def test_what_is_an_address_and_what_is_in_a_store():
    assert [is_address(word) for word in ("s3://a/b", "https://a", "C:/a", "a.mp4", 3)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [is_stored(word) for word in ("s3://a/b", "memory://x", "https://a", "rtsp://a", "a")] == [True, True] + [
        False
    ] * 3


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_folder_is_sent_whole_and_holds_nothing_else(memory, tmp_path, kind):
    address = "memory://results" if kind == "memory" else f"file://{tmp_path}/results"
    store, folder = Store(address), tmp_path / "street"
    (folder / "masks").mkdir(parents=True)
    for name in ("tracks.json", "done.json", "masks/0.png"):
        (folder / name).write_text(name)
    for _ in range(2):
        send_folder(folder, store, "street", last="done.json")
        assert store.entries("street") == [("done.json", False), ("masks", True), ("tracks.json", False)]
        assert store.read_text("street/masks/0.png") == "masks/0.png"
    (folder / "masks/0.png").rename(folder / "masks/1.png")
    (folder / "tracks.json").unlink()
    send_folder(folder, store, "street", last="done.json")
    assert store.entries("street") == [("done.json", False), ("masks", True)]
    assert [name for name, _ in store.entries("street/masks")] == ["1.png"]
    with fetched(f"{address}/street") as copy:
        assert (copy / "masks/1.png").read_text() == "masks/0.png" and copy.name == "street"
    assert not copy.exists()


def test_an_interrupted_sending_has_no_marker(memory, tmp_path, monkeypatch):
    folder = tmp_path / "street"
    folder.mkdir()
    for name in ("a.json", "done.json", "z.json"):
        (folder / name).write_text(name)
    store = Store("memory://results")
    send_folder(folder, store, "street", last="done.json")
    put = type(memory).put_file

    def fails(self, source, target, **options):
        if "z.json" in target:
            raise ConnectionError("the cable is out")
        put(self, source, target, **options)

    monkeypatch.setattr(type(memory), "put_file", fails)
    with pytest.raises(OSError, match=r"memory://results/street/z\.json cannot be written \(the cable is out\)"):
        send_folder(folder, store, "street", last="done.json")
    assert not store.exists("street/done.json")


def test_errors_name_the_address(memory, monkeypatch):
    with (
        pytest.raises(FileNotFoundError, match=r"no such file: memory://nowhere/a\.mp4"),
        fetched("memory://nowhere/a.mp4"),
    ):
        pass
    with pytest.raises(ValueError, match="abracadabra"):
        Store("abracadabra://a")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"s3://a needs the package fsspec: pip install '.*\[remote\]'"):
        Store("s3://a")


def test_results_are_saved_in_a_store(memory, tmp_path):
    from video_mask2former.structures import VideoInstances

    VideoInstances((), 3, (20, 30)).save("memory://results/mine")
    assert Store("memory://results/mine").entries() == [("results.json", False), ("tracks.json", False)]


def test_frames_of_a_folder_in_a_store_are_a_video(memory):
    from PIL import Image

    from video_mask2former.cli.predict_inputs import find_inputs
    from video_mask2former.video_io import open_video

    for index in (10, 9):
        buffer = io.BytesIO()
        Image.fromarray(np.full((20, 30, 3), index * 10, np.uint8)).save(buffer, "PNG")
        memory.pipe_file(f"/clips/street/f{index}.png", buffer.getvalue())
    memory.pipe_file("/clips/b.mp4", b"")
    with open_video("memory://clips/street") as reader:
        assert [int(frame.mean()) for frame in reader] == [90, 100] and reader.name == "memory://clips/street"
    assert [entry.source for entry in find_inputs(["memory://clips"])] == ["memory://clips/b.mp4"]
    memory.rm("/clips/b.mp4")
    assert [(entry.source, entry.name) for entry in find_inputs(["memory://clips"])] == [
        ("memory://clips/street", "street")
    ]
    assert [entry.source for entry in find_inputs(["memory://none/*.mp4"])] == ["memory://none/*.mp4"]


def test_a_checkpoint_is_read_from_a_store(memory):
    import torch

    from video_mask2former.convert import read_checkpoint

    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.arange(3.0)}}, buffer)
    memory.pipe_file("/runs/model_final.pth", buffer.getvalue())
    assert torch.equal(read_checkpoint("memory://runs/model_final.pth").weights["weight"], torch.arange(3.0))
    with pytest.raises(FileNotFoundError, match=r"no such file: memory://runs/none\.pth"):
        read_checkpoint("memory://runs/none.pth")

"""``video-mask2former predict`` from a store and into it: a local server that speaks S3."""

from __future__ import annotations

import os

import pytest

from video_mask2former.cli import main
from video_mask2former.video_io import open_video

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def bucket():
    """A server with one bucket, for everybody: the clients cache their connection."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = {name: os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }
    files = fsspec.filesystem("s3")
    files.mkdir("videos")
    yield files
    files.clear_instance_cache()
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def test_videos_in_a_bucket_are_predicted_into_it(bucket, tmp_path, model_arguments, write_video, capsys):
    for name in ("in/a.mp4", "in/b.mp4"):
        bucket.put_file(str(write_video(tmp_path / "local.mp4")), f"videos/{name}")
    words = ["predict", "s3://videos/in/", "--output", "s3://videos/out", *model_arguments, "--no-viewer"]
    assert main(words) == 0
    written = sorted(name.removeprefix("videos/out/") for name in bucket.find("videos/out"))
    files = ["contact_sheet.png", "done.json", "overlay.mp4", "results.json", "tracks.json"]
    assert written == [f"{name}/{file}" for name in "ab" for file in files]
    assert b'"path": "s3://videos/in/a.mp4"' in bucket.cat_file("videos/out/a/tracks.json")
    with open_video("s3://videos/out/a/overlay.mp4") as overlay, open_video(tmp_path / "local.mp4") as local:
        assert (overlay.num_frames, overlay.size) == (local.num_frames, local.size)
        assert len(list(overlay)) == local.num_frames

    before = bucket.info("videos/out/a/tracks.json")["LastModified"]
    bucket.put_file(str(write_video(tmp_path / "longer.mp4", num_frames=9)), "videos/in/b.mp4")
    capsys.readouterr()
    assert main(words) == 0
    assert "a: already done, skipped" in capsys.readouterr().err
    bucket.invalidate_cache()
    assert bucket.info("videos/out/a/tracks.json")["LastModified"] == before
    assert b'"num_frames": 9' in bucket.cat_file("videos/out/b/tracks.json")
    assert main(["predict", "s3://videos/none.mp4", *words[2:]]) == 1
    assert "s3://videos/none.mp4" in capsys.readouterr().err

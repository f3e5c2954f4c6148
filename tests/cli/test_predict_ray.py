"""``video-mask2former predict --ray``: a cluster of two nodes, of which one is killed in the middle."""

from __future__ import annotations

import json
import sys
import threading
import time

import pytest

from video_mask2former.cli import main
from video_mask2former.results import read_tracks


def test_a_missing_ray_is_named(monkeypatch, tmp_path, write_video, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    video = write_video(tmp_path / "a.mp4", num_frames=2)
    assert main(["predict", str(video), "--output", str(tmp_path / "out"), "--ray", "local"]) == 1
    assert "--ray needs the package ray: pip install 'video-mask2former[ray]'" in capsys.readouterr().err


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes with a core each, in processes of their own."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "120000")  # a busy machine starts its agents slowly
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    try:
        cluster = Cluster(initialize_head=True, head_node_args=node)
    except Exception as error:  # it waits half a minute for its own processes, which a busy machine may not keep to
        pytest.skip(f"Ray does not start on this machine: {error}")
    yield cluster
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_every_video_is_done_once_though_a_node_is_killed(
    cluster, tmp_path, model_arguments, write_video, capsys
) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    names = [f"{letter}.mp4" for letter in "abcde"]
    for name in names:
        write_video(tmp_path / "in" / name, num_frames=60)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    words = [
        "predict",
        str(tmp_path / "in"),
        "--output",
        str(out),
        "--ray",
        cluster.address,
        *model_arguments,
        "--coco",
    ]

    def kill_a_node() -> None:
        # both nodes have a video in hand as long as some wait
        while len(list(out.glob("*/.*.tmp*"))) < 2 or not 1 <= len(list(out.glob("*/done.json"))) <= 2:
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    assert main(words) == 1
    killer.join(timeout=30)
    assert not killer.is_alive()
    messages = _messages(capsys)
    assert _count(messages, "", "went away; it is done again") == 1
    assert [_count(messages, f"{letter}: ", " on 60 frames") for letter in "abcde"] == [1] * 5
    assert _count(messages, "", "broken.mp4") == 1
    for name in "abcde":
        files = {path.name for path in (out / name).iterdir()}
        assert set(json.loads((out / name / "done.json").read_text())["files"]) | {"done.json"} == files
        assert read_tracks(out / name / "tracks.json").num_frames == 60
    assert not list(out.glob("*/.*")) and not (out / "broken").exists()

    assert main(words) == 1
    assert _count(_messages(capsys), "", "already done, skipped") == 5


def _messages(capsys) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line.partition("predict_ray: ")[2] for line in lines if "predict_ray: " in line]


def _count(messages: list[str], start: str, part: str) -> int:
    return sum(message.startswith(start) and part in message for message in messages)

"""``video-mask2former predict --ray``: a cluster of two nodes, of which one is killed in the middle."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from video_mask2former.cli import main
from video_mask2former.cli.predict_jobs import Outcome
from video_mask2former.results import read_tracks


def test_a_missing_ray_is_named(monkeypatch, tmp_path, write_video, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    video = write_video(tmp_path / "a.mp4", num_frames=2)
    assert main(["predict", str(video), "--output", str(tmp_path / "out"), "--ray", "local"]) == 1
    assert "--ray needs the package ray: pip install 'video-mask2former[ray]'" in capsys.readouterr().err


class FakeRay:
    """What :mod:`video_mask2former.cli.predict_ray` needs of Ray; ``fate`` says what becomes of each call, in turn."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self, fate) -> None:
        self.fate = fate
        self.calls: list[tuple[str, str | None]] = []

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value):
        return value

    def remote(self, **options):
        assert options == {"num_cpus": 1, "max_restarts": 0}
        return lambda kind: SimpleNamespace(remote=lambda *arguments: FakeWorker(self))

    def wait(self, references, num_returns, timeout):
        return references[:1], references[1:]

    def get(self, reference):
        self.calls.append(reference)
        answer = self.fate(*reference[:2])
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeWorker:
    def __init__(self, ray: FakeRay) -> None:
        def call(what):
            return SimpleNamespace(remote=lambda entry=None: (what, entry and entry.name, object()))

        self.prepare, self.predict = call("prepare"), call("predict")


def run_with(monkeypatch, fate, tmp_path, *words) -> tuple[int, FakeRay]:
    ray = FakeRay(fate)
    monkeypatch.setitem(sys.modules, "ray", ray)
    inputs = [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]
    return main(["predict", *inputs, "--output", str(tmp_path / "out"), "--ray", "auto", *words]), ray


def test_a_video_that_workers_die_with_is_given_up(monkeypatch, tmp_path, capsys) -> None:
    def fate(what, name):
        if what == "prepare":
            return None
        return FakeRay.exceptions.RayError("killed") if name == "b" else Outcome("done", f"{name}: well")

    status, ray = run_with(monkeypatch, fate, tmp_path)
    assert status == 1
    messages = _messages(capsys)
    assert _count(messages, "b: ", "it is done again") == 2
    assert _count(messages, "", "b.mp4: 3 workers died with it. killed") == 1
    assert [name for what, name, _ in ray.calls if what == "predict"].count("b") == 3
    assert _count(messages, "", ": well") == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("no such file: model.pth.", "error: no such file: model.pth."),
        (FakeRay.exceptions.RayError("no module"), "the workers die before they have loaded the model. no module"),
    ],
)
def test_workers_that_cannot_start_end_the_run(monkeypatch, tmp_path, capsys, answer, message) -> None:
    status, ray = run_with(monkeypatch, lambda what, name: answer, tmp_path)
    assert status == 1 and message in capsys.readouterr().err
    assert len(ray.calls) < 10


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

"""Models in folders, and in a hub that runs on this machine."""

from __future__ import annotations

import builtins
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import video_mask2former as vm2f
from video_mask2former.api import training_config
from video_mask2former.cli import main
from video_mask2former.config import Config, apply_overrides
from video_mask2former.recipes.hub import hub_address
from video_mask2former.recipes.published_weights import UNKNOWN, published_weights, weights_advice
from video_mask2former.recipes.source import read_config, shipped_configs

sys.path.append(str(Path(__file__).parents[1] / "support"))
from hub_server import COMMIT, serve


@pytest.fixture
def model(small_config):
    options = ["data.train=[/home/me/secret::a.json]", "training.init_weights=/home/me/start.pth"]
    torch.manual_seed(3)
    return vm2f.load(apply_overrides(small_config, [*options, "training.output=/home/me/runs"]), device="cpu")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, as huggingface_hub sees it."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with serve(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def same_weights(first, second) -> bool:
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_folder_has_all_that_loading_takes(model, tmp_path) -> None:
    folder = tmp_path / "mine"
    vm2f.save_pretrained(model, folder, license="apache-2.0")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.yaml", "model.safetensors"]
    for loaded in (vm2f.load(folder, device="cpu"), vm2f.from_pretrained(folder, device="cpu")):
        assert same_weights(loaded, model)
    assert read_config(folder / "config.yaml").model.options["backbone"]["embed_dim"] == 8

    card = (folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0" and head["library_name"] == "video-mask2former"
    assert "vm2f.load(" in card and "3 classes without names" in card
    assert "/home/me" not in card + (folder / "config.yaml").read_text()
    assert b"/home/me" not in (folder / "model.safetensors").read_bytes()


def test_a_model_that_follows_objects_keeps_its_tracker(small_config, tmp_path) -> None:
    tracked = vm2f.load(apply_overrides(small_config, ["model.frame_by_frame=true", "tracker=minvis"]), device="cpu")
    vm2f.save_pretrained(tracked, tmp_path)
    again = vm2f.load(tmp_path, device="cpu")
    assert same_weights(again, tracked) and type(again) is type(tracked)


def test_there_and_back_through_the_hub(model, hub, tmp_path) -> None:
    address = vm2f.push_to_hub(model, "somebody/squares", token="hf_writer", license="mit")
    assert address == f"{hub.address}/somebody/squares/commit/{COMMIT}"
    assert 'vm2f.load("somebody/squares")' in (hub.root / "somebody" / "squares" / "README.md").read_text()
    (hub.root / "somebody" / "squares" / "optimizer.pth").write_bytes(b"x" * 100)

    loaded = vm2f.load("somebody/squares", device="cpu")
    assert same_weights(loaded, model)
    assert not any("optimizer" in request for request in hub.requests), "only what a model is made of is downloaded"
    assert same_weights(vm2f.from_pretrained("somebody/squares", revision="main", device="cpu"), model)

    downloads = sum(request.startswith("GET") and "safetensors" in request for request in hub.requests)
    assert downloads == 1, "what is there is not downloaded again"


def test_weights_of_a_repository_go_with_a_configuration(model, hub, small_config, tmp_path) -> None:
    folder = hub.root / "somebody" / "checkpoints" / "vis"
    folder.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    loaded = vm2f.load(small_config, weights="hf://somebody/checkpoints/vis/model.pth", device="cpu")
    assert same_weights(loaded, model)


def test_training_starts_from_a_model_of_the_hub(model, hub) -> None:
    vm2f.save_pretrained(model, hub.root / "somebody" / "squares")
    for source, weights in (("somebody/squares", None), ("synthetic/tiny", "hf://somebody/squares/model.safetensors")):
        start = training_config(source, weights).training.init_weights
        assert start is not None and Path(start).exists() and "somebody--squares" in start


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("nobody/nothing", None, "nobody/nothing is neither a file or folder here nor one of the shipped"),
        ("somebody/squares", "nowhere", "somebody/squares at nowhere"),
    ],
)
def test_what_the_hub_does_not_have_is_named(model, hub, name, revision, message) -> None:
    vm2f.save_pretrained(model, hub.root / "somebody" / "squares")
    with pytest.raises(FileNotFoundError, match=message):
        vm2f.from_pretrained(name, revision=revision)


def test_without_a_network_there_is_advice(model, hub) -> None:
    vm2f.save_pretrained(model, hub.root / "somebody" / "squares")
    vm2f.load("somebody/squares", device="cpu")
    hub.shutdown()
    hub.server_close()
    assert same_weights(vm2f.load("somebody/squares", device="cpu"), model), "what was downloaded is still there"
    with pytest.raises(FileNotFoundError, match="hf download somebody/other --local-dir FOLDER"):
        vm2f.load("somebody/other")


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch) -> None:
    def refuse(name, *rest):
        if name == "huggingface_hub":
            raise ImportError(name)
        return imported(name, *rest)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'video-mask2former\[hub\]'"):
        vm2f.load("somebody/squares")


def test_mistakes_are_named(model, hub, tmp_path, small_config) -> None:
    with pytest.raises(ValueError, match="could not be written in the hub"):
        vm2f.push_to_hub(model, "somebody/squares", token="hf_reader")
    with pytest.raises(ValueError, match="named owner/name, got 'squares'"):
        vm2f.push_to_hub(model, "squares", token="hf_writer")
    with pytest.raises(ValueError, match="is a configuration without weights"):
        vm2f.from_pretrained("ytvis_2019/r50")
    with pytest.raises(ValueError, match="only repositories of the hub have revisions"):
        vm2f.from_pretrained(tmp_path, revision="main")
    model.built_from = None
    with pytest.raises(ValueError, match="must have been built from a configuration"):
        vm2f.save_pretrained(model, tmp_path)


def test_which_names_are_of_the_hub(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_address("somebody/model-1.5") == "somebody/model-1.5"
    assert hub_address("hf://somebody/model/a/b.pth") == "somebody/model/a/b.pth"
    for local in ("ytvis_2019/r50", "ytvis_2019/r5o", "demo", "runs/model.pth", "a/b/c", Path("a/b"), "./a", Config()):
        assert hub_address(local) is None
    (tmp_path / "here" / "model").mkdir(parents=True)
    assert hub_address("here/model") is None


def test_every_published_checkpoint_has_its_configuration() -> None:
    weights = published_weights()
    shipped = set(shipped_configs())
    configs = [each.config for each in weights]
    assert len(weights) > 120 and len(set(configs)) == len(configs)
    assert set(configs) <= shipped
    for each in weights:
        assert each.address == UNKNOWN or each.address.startswith("https://"), each
        assert all(0 < value < 100 for value in each.figures.values())
    by_config = {each.config: each for each in weights}
    assert by_config["ytvis_2019/r50"].md5_prefix == "34112b" and by_config["ytvis_2019/r50"].results == "AP 46.4"
    assert by_config["videomt/ovis/vit_large_dinov2"].hub_address == "hf://tue-mps/VidEoMT/ovis_vit_large_52.5.pth"
    assert by_config["ctvis/ovis/r50"].licence == UNKNOWN


def test_a_missing_file_says_where_the_published_one_is(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"AP 46\.4; licence CC BY-NC 4\.0\) are at https://dl\.fbaipublic"):
        vm2f.load("ytvis_2019/r50", weights=tmp_path / "model_final.pkl")
    advice = weights_advice("configs/videomt/ytvis_2019/vit_small_dinov2.yaml")
    assert "weights='hf://tue-mps/VidEoMT/yt_2019_vit_small_52.8.pth'" in advice
    assert weights_advice("synthetic/tiny") == weights_advice(Config()) == ""


def test_the_list_of_weights_is_printed(capsys) -> None:
    assert main(["weights", "vita", "ovis"]) == 0
    printed = capsys.readouterr().out
    assert "VITA (licence Apache-2.0)" in printed and "vita/ovis/r50" in printed and "ytvis" not in printed
    assert main(["weights", "nothing"]) == 1
    assert "no published weights have all of the words nothing" in capsys.readouterr().err


def test_an_own_repository_can_be_a_copy(model, hub, tmp_path) -> None:
    """A repository that was downloaded by other means is a folder like any other."""
    vm2f.save_pretrained(model, hub.root / "somebody" / "squares")
    shutil.copytree(hub.root / "somebody" / "squares", tmp_path / "copy")
    assert same_weights(vm2f.load(tmp_path / "copy", device="cpu"), model)

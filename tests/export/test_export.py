"""Exported models against the models that they were made of."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import video_mask2former as vm2f
from tests.conftest import SMALL_MODEL
from video_mask2former.cli import main
from video_mask2former.config import Config, apply_overrides, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.export import ExportedModel, GraphWriter, export_folder
from video_mask2former.export.quantization import quantize_frame_step, sample_frames
from video_mask2former.export.standard_attention import standard_ms_deform_attn
from video_mask2former.models.backbones import Backbone, FeatureInfo
from video_mask2former.ops import ms_deform_attn
from video_mask2former.recipes.model import build_model

SIZES = [(1, 64, 96), (2, 33, 70), (1, 97, 40)]


class FewConvolutions(Backbone):
    """Patches of each stride, projected."""

    is_convolutional = True

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = {f"res{level}": FeatureInfo(8, 2**level) for level in range(2, 6)}
        self.patches = nn.ModuleList(nn.Conv2d(3, 8, 2**level, stride=2**level) for level in range(2, 6))

    def forward(self, frames):
        return {name: patch(frames) for name, patch in zip(self.feature_info, self.patches, strict=True)}


SMALLER_MODEL = [*SMALL_MODEL, "model.num_decoder_layers=1", "model.class_names=[a, b, c]"]
CONVOLUTIONAL = [*SMALLER_MODEL, f"model.backbone={__name__}:FewConvolutions"]


def a_model(options):
    torch.manual_seed(0)
    config = apply_overrides(Config(), options)
    return build_model(config).eval(), config


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model with its configuration inside."""
    model, config = a_model(CONVOLUTIONAL)
    path = tmp_path_factory.mktemp("checkpoints") / "model.pth"
    write_checkpoint(path, model.state_dict(), to_yaml(config))
    return path


@pytest.fixture(scope="module")
def exports(checkpoint, tmp_path_factory):
    """Makes a folder of each format, once; its graphs also start from queries."""
    made = {}

    def of(form):
        if form == "onnx":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnxscript")
        if form not in made:
            folder = tmp_path_factory.mktemp(form) / "export"
            words = ["export", "--config", str(checkpoint), "--output", str(folder), "--format", form, "--propagate"]
            assert main([*words, "--size", "64", "96"]) == 0
            made[form] = folder
        return made[form]

    return of


@pytest.fixture(scope="module", params=["onnx", "torch"])
def pair(request, checkpoint, exports):
    """A model and its export."""
    return vm2f.load(checkpoint, device="cpu"), ExportedModel(exports(request.param))


def frames_of(num_frames, height, width):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, num_frames, 3, height, width), np.uint8))


def assert_same(output, expected):
    assert output.frame_size == expected.frame_size
    assert output.padded_size == expected.padded_size
    for name in ("class_logits", "query_embeddings", "queries"):
        torch.testing.assert_close(getattr(output, name), getattr(expected, name), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(output.mask_logits.dense(), expected.mask_logits.dense(), atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("shape", SIZES)
def test_frames_of_any_size_and_number(pair, shape):
    model, exported = pair
    frames = frames_of(*shape)
    assert_same(exported.decode(exported.encode(frames)), model(frames))


@torch.no_grad()
def test_starts_from_queries(pair):
    model, exported = pair
    frames = frames_of(2, 40, 70)
    queries = model(frames).queries + 1.0
    assert_same(exported.decode(exported.encode(frames), queries), model(frames, queries))


def test_a_video_gives_the_same_tracks(pair):
    model, exported = pair
    video = np.random.default_rng(1).integers(0, 256, (5, 48, 64, 3), np.uint8)
    options = {"short_side": 48, "score_threshold": 0.0, "top_k": 3, "window": 2}
    mine, theirs = (vm2f.segment_video(each, video, **options) for each in (exported, model))
    assert [(track.track_id, track.label) for track in mine.tracks] == [
        (track.track_id, track.label) for track in theirs.tracks
    ]
    assert mine.tracks


def test_windows_are_split_outside_of_the_graph(exports, checkpoint, tmp_path):
    folder = shutil.copytree(exports("torch"), tmp_path / "split")
    manifest = json.loads((folder / "export.json").read_text())
    assert manifest["split_share"] == 0.0
    (folder / "export.json").write_text(
        json.dumps(manifest | {"split_share": 0.05, "duplicate_iou": 0.5, "propagates": False})
    )
    model, exported = vm2f.load(checkpoint, device="cpu"), ExportedModel(folder)
    model.split_share, model.duplicate_iou = 0.05, 0.5
    frames = frames_of(1, 64, 96)
    with torch.no_grad():
        expected = model(frames)
        assert expected.mask_logits.num_queries > model.num_queries
        assert_same(exported.decode(exported.encode(frames)), expected)
        with pytest.raises(ValueError, match="--propagate"):
            exported.decode(exported.encode(frames), expected.queries)


def test_transformer_backbones_take_frames_up_to_a_size(tmp_path):
    model, _ = a_model(SMALLER_MODEL)
    with export_folder(tmp_path / "swin") as folder:
        GraphWriter(model, form="torch", size=(64, 96), propagates=False).write(folder)
    exported = ExportedModel(tmp_path / "swin")
    frames = frames_of(2, 64, 96)
    with torch.no_grad():
        assert_same(exported.decode(exported.encode(frames)), model(frames))
        smaller = exported.decode(exported.encode(frames[..., :50, :60]))
    assert smaller.frame_size == (50, 60)
    assert smaller.padded_size == (64, 96)
    with pytest.raises(ValueError, match="at most 64 x 96, got 65 x 96"):
        exported.encode(frames_of(1, 65, 96))


def test_is_measured_like_a_model(exports, checkpoint, tmp_path):
    write_synthetic_dataset(tmp_path, 1, SceneStyle(num_frames=2, size=(48, 64), object_sides=(0.4, 0.8)), seed=1)
    data = tmp_path / "instances.json", tmp_path / "JPEGImages"
    exported, model = ExportedModel(exports("torch")), vm2f.load(checkpoint, device="cpu")
    mine, theirs = (
        vm2f.evaluate_model(each, *data, is_class_agnostic=True, output=tmp_path / name)
        for each, name in ((exported, "export"), (model, "model"))
    )
    assert mine.summary == pytest.approx(theirs.summary)
    assert json.loads((tmp_path / "export" / "results.json").read_text())
    with pytest.raises(ValueError, match="another model"):
        vm2f.evaluate_model(model, *data, is_class_agnostic=True, output=tmp_path / "export")


class TestFiles:
    def test_predict_runs_them(self, exports, checkpoint, tmp_path):
        frames = tmp_path / "frames"
        frames.mkdir()
        write_frames(frames)
        common = ["predict", str(frames), "inference.short_side=48", "--score-threshold", "0", "--no-overlay"]
        run = [*common, "--weights", str(exports("onnx")), "--runtime", "onnx", "--output", str(tmp_path / "a")]
        assert main(run) == 0
        assert main([*common, "--weights", str(checkpoint), "--output", str(tmp_path / "b")]) == 0
        mine, theirs = (json.loads((tmp_path / side / "frames" / "tracks.json").read_text()) for side in "ab")
        assert mine["tracks"]
        for track, expected in zip(mine["tracks"], theirs["tracks"], strict=True):
            assert track.pop("score") == pytest.approx(expected.pop("score"), abs=1e-4)
            assert (track["id"], track["label"]) == (expected["id"], expected["label"])

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--runtime", "onnx"], "video-mask2former export --config demo"),
            (["--weights", "{made}", "--config", "ytvis_2019/r50"], "leave --config out"),
            (["--weights", "{made}", "model.num_queries=3"], "model.num_queries cannot be changed"),
            (["--weights", "{made}", "--runtime", "onnx"], "was exported for torch"),
        ],
    )
    def test_predict_says_what_does_not_fit(self, exports, tmp_path, capsys, words, message):
        write_frames(tmp_path)
        given = [word.format(made=exports("torch")) for word in words]
        assert main(["predict", str(tmp_path), "--output", str(tmp_path / "out"), *given]) == 1
        assert message in capsys.readouterr().err

    def test_an_export_is_replaced_and_nothing_else(self, exports, tmp_path):
        made = exports("torch")
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(ValueError, match="no exported model"), export_folder(tmp_path):
            pass
        before = sorted(made.parent.iterdir())
        with pytest.raises(OSError, match="full"), export_folder(made) as folder:
            (folder / "frame_step.pt2").write_text("half")
            raise OSError("the disk is full")
        assert sorted(made.parent.iterdir()) == before
        assert ExportedModel(made).num_classes == 3

    def test_what_is_missing_or_of_another_version(self, exports, tmp_path):
        made = exports("torch")
        with pytest.raises(FileNotFoundError, match=r"no export\.json"):
            ExportedModel(tmp_path)
        manifest = json.loads((made / "export.json").read_text())
        (tmp_path / "export.json").write_text(json.dumps(manifest | {"version": 9}))
        with pytest.raises(ValueError, match="version 9"):
            ExportedModel(tmp_path)
        (tmp_path / "export.json").write_text(json.dumps(manifest))
        with pytest.raises(FileNotFoundError, match="frame_step"):
            ExportedModel(tmp_path)


def test_eight_bits(exports, checkpoint, tmp_path):
    folder = exports("onnx")
    write_frames(tmp_path)
    with export_folder(tmp_path / "int8") as output:
        quantize_frame_step(folder, output, sample_frames(tmp_path, 64, 96))
    exported = ExportedModel(tmp_path / "int8")
    assert exported.manifest["precision"] == "int8"
    frames = frames_of(1, 64, 96)
    with torch.no_grad():
        features, expected = exported.encode(frames), vm2f.load(checkpoint, device="cpu").encode(frames)
    for mine, theirs in zip(features.tensors(), expected.tensors(), strict=True):
        assert torch.cosine_similarity(mine.flatten(), theirs.flatten(), dim=0) > 0.98
        assert not torch.equal(mine, theirs)
    with (
        pytest.raises(ValueError, match="only exports in ONNX and float32"),
        export_folder(tmp_path / "again") as output,
    ):
        quantize_frame_step(tmp_path / "int8", output, [])
    assert not (tmp_path / "again").exists()


def test_trackers_with_weights_are_left_to_torch(tmp_path):
    model, _ = a_model([*SMALL_MODEL, "tracker=dvis"])
    with pytest.raises(ValueError, match="only the segmenter is"):
        GraphWriter(model, propagates=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_standard_attention(dtype):
    rng = np.random.default_rng(2)
    for heads, dim, points, shapes in (
        (1, 2, 1, [(1, 1)]),
        (2, 4, 3, [(3, 5), (2, 2)]),
        (4, 8, 4, [(7, 1), (4, 6), (2, 3)]),
    ):
        total = sum(height * width for height, width in shapes)
        value = torch.from_numpy(rng.standard_normal((2, total, heads, dim))).to(dtype)
        locations = torch.from_numpy(rng.uniform(-0.3, 1.3, (2, 5, heads, len(shapes), points, 2))).to(dtype)
        weights = torch.from_numpy(rng.random((2, 5, heads, len(shapes), points))).to(dtype)
        flat = [side for shape in shapes for side in shape]
        mine = standard_ms_deform_attn(value, flat, locations, weights)
        torch.testing.assert_close(mine, ms_deform_attn(value, shapes, locations, weights), atol=1e-5, rtol=1e-5)


def write_frames(folder):
    import cv2

    rng = np.random.default_rng(3)
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))

"""A published-style training script with one changed import: it trains, saves, resumes, evaluates and predicts."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch

import video_mask2former as vm2f

pytestmark = pytest.mark.filterwarnings("ignore:Please use the new API settings")

SCRIPT = Path(__file__).with_name("train_net_video.py")
PUBLISHED = "from mask2former_video import ("
CHANGED = "from video_mask2former.integrations.detectron2 import ("


@pytest.fixture
def script(video_dataset):
    """The script as a module, after the one change."""
    from detectron2.data import DatasetCatalog

    from video_mask2former.integrations import detectron2 as drop_in

    if "script_squares" not in DatasetCatalog:
        drop_in.register_ytvis_instances("script_squares", {}, video_dataset.json_file, video_dataset.image_root)
    source = SCRIPT.read_text()
    assert source.count(PUBLISHED) == 1
    module = types.ModuleType("train_net_video")
    exec(compile(source.replace(PUBLISHED, CHANGED), str(SCRIPT), "exec"), module.__dict__)
    return module


def run(script, config_file, output, *words: str):
    from detectron2.engine import default_argument_parser, launch

    options = ["DATASETS.TRAIN", "('script_squares',)", "DATASETS.TEST", "('script_squares',)", "OUTPUT_DIR", output]
    flags = [word for word in words if word.startswith("--")]
    pairs = [word for word in words if not word.startswith("--")]
    arguments = ["--config-file", str(config_file), *flags, *map(str, options), *pairs]
    args = default_argument_parser().parse_args(arguments)
    return launch(script.main, args.num_gpus, args=(args,))


def test_the_script_trains_resumes_and_evaluates(script, config_file, tmp_path) -> None:
    trainer = run(script, config_file, tmp_path, "SOLVER.MAX_ITER", "5", "SOLVER.CHECKPOINT_PERIOD", "3")
    losses = trainer._trainer.losses
    assert len(losses) == 5 and {*losses[0]} >= {"loss_ce", "loss_mask_0", "loss_dice_1"}
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert len(rates) == 2, "the backbone is found by the names of its modules"
    assert (tmp_path / "inference" / "results.json").is_file() and {*trainer._last_eval_results} == {"segm"}

    resumed = run(script, config_file, tmp_path, "--resume", "SOLVER.MAX_ITER", "6")
    assert resumed.start_iter == 5 and len(resumed._trainer.losses) == 1

    weights = str(tmp_path / "model_final.pth")
    figures = run(script, config_file, tmp_path / "evaluated", "--eval-only", "MODEL.WEIGHTS", weights)
    expected = resumed._last_eval_results["segm"]
    assert figures["segm"] == pytest.approx(expected, nan_ok=True)

    # what it leaves loads here: the whole configuration, and the checkpoint under its published names
    model = vm2f.load(tmp_path / "config.yaml", weights=weights, device="cpu")
    for name, value in resumed.model.segmenter.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_one_batch_is_learned(script, config_file, tmp_path) -> None:
    words = ["SOLVER.MAX_ITER", "25", "SOLVER.STEPS", "(1000,)", "SOLVER.AMP.ENABLED", "False"]
    words += ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "10.0", "SOLVER.BASE_LR", "0.003", "DATASETS.TEST", "()"]
    totals = [sum(step.values()) for step in run(script, config_file, tmp_path, *words)._trainer.losses]
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5])


def test_predictors_of_images_and_of_videos(script, make_cfg, tmp_path) -> None:
    """``DefaultPredictor`` for images, and the published demo's way of giving it the frames of a video."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.engine import DefaultPredictor
    from detectron2.modeling import build_model

    frames = [np.random.default_rng(index).integers(0, 255, (40, 60, 3), np.uint8) for index in range(3)]

    def saved(cfg):
        torch.manual_seed(0)
        DetectionCheckpointer(build_model(cfg), str(tmp_path)).save("model_final")
        cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
        return cfg

    instance = {"MODEL.MASK_FORMER.TEST.SEMANTIC_ON": False, "MODEL.MASK_FORMER.TEST.INSTANCE_ON": True}
    found = DefaultPredictor(saved(make_cfg("MaskFormer", instance)))(frames[0])
    assert {*found} == {"instances"} and found["instances"].image_size == (40, 60)

    class VideoPredictor(DefaultPredictor):
        def __call__(self, frames):
            with torch.no_grad():
                images = []
                for frame in frames:
                    image = self.aug.get_transform(frame).apply_image(frame[:, :, ::-1])
                    images.append(torch.as_tensor(image.astype("float32").transpose(2, 0, 1)))
                height, width = frames[0].shape[:2]
                return self.model([{"image": images, "height": height, "width": width}])

    for architecture in ("VideoMaskFormer", "VideoMaskFormer_frame"):
        found = VideoPredictor(saved(make_cfg(architecture)))(frames)
        assert found["image_size"] == (40, 60) and len(found["pred_masks"]) == 10

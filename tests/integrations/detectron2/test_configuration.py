"""Configurations: the published defaults, whole ones, and what happens without detectron2."""

from __future__ import annotations

import subprocess
import sys

import pytest

from video_mask2former.convert.detectron2_defaults import MASK2FORMER, MINVIS, VIDEO
from video_mask2former.recipes.source import read_config


@pytest.fixture
def drop_in():
    from video_mask2former.integrations import detectron2

    return detectron2


def value_at(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def test_every_published_option_is_added_at_its_default(drop_in) -> None:
    from detectron2.config import CfgNode, get_cfg

    cfg = get_cfg()
    drop_in.add_maskformer2_config(cfg)
    assert "SAMPLING_FRAME_NUM" not in cfg.INPUT
    drop_in.add_maskformer2_video_config(cfg)
    drop_in.add_minvis_config(cfg)
    for key, value in (MASK2FORMER | VIDEO | MINVIS).items():
        assert value_at(cfg, key) == value, key
    assert isinstance(cfg.MODEL.MASK_FORMER.TEST, CfgNode)
    # defaults that people rely on, as the published code has them
    former = cfg.MODEL.MASK_FORMER
    assert (former.CLASS_WEIGHT, former.MASK_WEIGHT, former.DICE_WEIGHT) == (1.0, 20.0, 1.0)
    assert (former.DEC_LAYERS, former.TRAIN_NUM_POINTS, cfg.MODEL.SWIN.DROP_PATH_RATE) == (6, 12544, 0.3)
    assert (cfg.SOLVER.OPTIMIZER, cfg.INPUT.SAMPLING_FRAME_RANGE) == ("ADAMW", 20)


def test_lists_of_two_configurations_are_two(drop_in) -> None:
    from detectron2.config import get_cfg

    first, second = get_cfg(), get_cfg()
    for cfg in (first, second):
        drop_in.add_maskformer2_config(cfg)
    first.MODEL.SWIN.DEPTHS.append(1)
    assert second.MODEL.SWIN.DEPTHS == [2, 2, 6, 2] == MASK2FORMER["MODEL.SWIN.DEPTHS"]


@pytest.mark.parametrize("architecture", ["VideoMaskFormer", "MaskFormer", "VideoMaskFormer_frame"])
def test_a_whole_cfg_is_what_its_file_is(drop_in, make_cfg, config_file, tmp_path, architecture) -> None:
    cfg = make_cfg(architecture)
    dumped = tmp_path / "config.yaml"  # what default_setup leaves in the output folder
    dumped.write_text(cfg.dump())
    whole, converted = read_config(dumped), drop_in.convert_cfg(cfg)
    assert converted.inference == whole.inference
    assert converted.tracker == whole.tracker
    assert (converted.model.frame_by_frame, whole.model.frame_by_frame) == (architecture.endswith("_frame"), False)
    assert converted.model.options == whole.model.options
    if architecture == "VideoMaskFormer":
        assert read_config(config_file).model == whole.model
        assert converted.loss == whole.loss


def test_a_lazy_configuration_with_the_same_keys_is_read(drop_in, make_cfg) -> None:
    from omegaconf import OmegaConf

    cfg = make_cfg()
    assert drop_in.convert_cfg(OmegaConf.create(_plain(cfg))) == drop_in.convert_cfg(cfg)


def _plain(cfg):
    if hasattr(cfg, "items"):
        return {key: _plain(value) for key, value in cfg.items()}
    return list(cfg) if isinstance(cfg, tuple) else cfg


def test_the_loop_and_other_projects_keep_their_options(drop_in, make_cfg) -> None:
    """The solver is detectron2's; keys that others have added say nothing here."""
    cfg = make_cfg(changes={"SOLVER.OPTIMIZER": "SGD", "INPUT.FORMAT": "BGR"})
    cfg.MODEL.MINE = type(cfg)({"OPTION": 3})
    assert drop_in.convert_cfg(cfg).model.num_classes == 3


def test_without_detectron2_there_is_one_clear_error() -> None:
    code = (
        "import sys; sys.modules['detectron2'] = None\n"
        "import video_mask2former\n"
        "try:\n"
        "    import video_mask2former.integrations.detectron2\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs detectron2, which is not installed" in output
    assert "conda install -c conda-forge detectron2" in output and "video-mask2former train" in output


def test_both_packages_at_once_are_refused(drop_in) -> None:
    from video_mask2former.integrations.detectron2.meta_architectures import _registered

    class VideoMaskFormer:
        """That of mask2former_video, imported before."""

    with pytest.raises(ImportError, match="a meta-architecture VideoMaskFormer already, of mask2former"):
        _registered(VideoMaskFormer)

"""A training script for detectron2 as those of Mask2Former's video version are: same steps, same names, same calls."""

from __future__ import annotations

import itertools
import logging
import os
from collections import OrderedDict
from typing import Any

import detectron2.utils.comm as comm
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, launch
from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.projects.deeplab import add_deeplab_config, build_lr_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils.logger import setup_logger
from mask2former_video import (
    YTVISDatasetMapper,
    YTVISEvaluator,
    add_maskformer2_config,
    add_maskformer2_video_config,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)

NORMS = (torch.nn.GroupNorm, torch.nn.LayerNorm, torch.nn.BatchNorm2d)


class Trainer(DefaultTrainer):
    """Detectron2's, with the data, the optimizer and the evaluation of videos."""

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> Any:
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        os.makedirs(folder, exist_ok=True)
        return YTVISEvaluator(dataset_name, cfg, True, folder)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        records = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN[0],
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
        return build_detection_train_loader(cfg, mapper=YTVISDatasetMapper(cfg, is_train=True), dataset=records)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        return build_detection_test_loader(cfg, dataset_name, mapper=YTVISDatasetMapper(cfg, is_train=False))

    @classmethod
    def build_lr_scheduler(cls, cfg: Any, optimizer: Any) -> Any:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_optimizer(cls, cfg: Any, model: Any) -> Any:
        groups: list[dict[str, Any]] = []
        for name, module in model.named_modules():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                group = {"params": [parameter], "lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
                if "backbone" in name:
                    group["lr"] *= cfg.SOLVER.BACKBONE_MULTIPLIER
                if "relative_position_bias_table" in parameter_name:
                    group["weight_decay"] = 0.0
                if isinstance(module, NORMS):
                    group["weight_decay"] = cfg.SOLVER.WEIGHT_DECAY_NORM
                if isinstance(module, torch.nn.Embedding):
                    group["weight_decay"] = cfg.SOLVER.WEIGHT_DECAY_EMBED
                groups.append(group)
        clip = cfg.SOLVER.CLIP_GRADIENTS

        class ClippingAdamW(torch.optim.AdamW):
            def step(self, closure: Any = None) -> None:
                parameters = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
                torch.nn.utils.clip_grad_norm_(list(parameters), clip.CLIP_VALUE)
                super().step(closure)

        assert cfg.SOLVER.OPTIMIZER == "ADAMW"
        whole = clip.ENABLED and clip.CLIP_TYPE == "full_model"
        optimizer = (ClippingAdamW if whole else torch.optim.AdamW)(groups, cfg.SOLVER.BASE_LR)
        return optimizer if whole else maybe_add_gradient_clipping(cfg, optimizer)

    @classmethod
    def test(cls, cfg: Any, model: Any, evaluators: Any = None) -> Any:
        results = OrderedDict()
        for dataset_name in cfg.DATASETS.TEST:
            loader = cls.build_test_loader(cfg, dataset_name)
            evaluator = cls.build_evaluator(cfg, dataset_name)
            results[dataset_name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                logging.getLogger(__name__).info("results of %s", dataset_name)
                print_csv_format(results[dataset_name])
        return next(iter(results.values())) if len(results) == 1 else results


def setup(args: Any) -> Any:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_maskformer2_config(cfg)
    add_maskformer2_video_config(cfg)
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    setup_logger(name="mask2former")
    setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="mask2former_video")
    return cfg


def main(args: Any) -> Any:
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()
    return trainer


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))

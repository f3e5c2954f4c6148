"""Training loops and predictors."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

import torch

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import transforms as T
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model

__all__ = ["AMPTrainer", "DefaultPredictor", "DefaultTrainer", "SimpleTrainer"]


def default_argument_parser() -> argparse.ArgumentParser:
    """The flags of every training script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", default="")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--num-gpus", type=int, default=1)
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0)
    parser.add_argument("--dist-url", default="auto")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    return parser


def default_setup(cfg: Any, args: Any) -> None:
    """Write the configuration into the output folder, and seed."""
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    with open(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), "w") as file:
        file.write(cfg.dump())
    torch.manual_seed(max(cfg.SEED, 0))


def launch(main_func: Any, num_gpus_per_machine: int, **options: Any) -> Any:
    """One process runs it here."""
    return main_func(*options["args"])


class SimpleTrainer:
    """One step after the other."""

    def __init__(self, model: Any, data_loader: Any, optimizer: Any) -> None:
        model.train()
        self.model, self._batches, self.optimizer = model, iter(data_loader), optimizer
        self.losses: list[dict[str, float]] = []

    def run_step(self) -> None:
        assert self.model.training, "the model was changed to eval mode!"
        loss_dict = self._loss_dict(next(self._batches))
        self.optimizer.zero_grad()
        sum(loss_dict.values()).backward()
        self.optimizer.step()
        self._write(loss_dict)

    def _loss_dict(self, data: Any) -> dict[str, torch.Tensor]:
        return self.model(data)

    def _write(self, loss_dict: dict[str, torch.Tensor]) -> None:
        metrics = {name: float(value.detach()) for name, value in loss_dict.items()}
        if not torch.isfinite(torch.tensor(sum(metrics.values()))):
            raise FloatingPointError(f"Loss became infinite or NaN! loss_dict = {metrics}")
        self.losses.append(metrics)


class AMPTrainer(SimpleTrainer):
    """In mixed precision; the real one asks for a GPU, where this one takes bfloat16 on the CPU."""

    def _loss_dict(self, data: Any) -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.model(data)


class DefaultTrainer:
    """Everything that a configuration says, built and run."""

    def __init__(self, cfg: Any) -> None:
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        self._trainer = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(model, loader, optimizer)
        self.model, self.optimizer, self.cfg = model, optimizer, cfg
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, optimizer=optimizer, scheduler=self.scheduler)
        self.iter = self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER

    def resume_or_load(self, resume: bool = True) -> None:
        checkpoint = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.iter = self.start_iter = checkpoint["iteration"] + 1

    def train(self) -> Any:
        for iteration in range(self.start_iter, self.max_iter):
            self.iter = iteration
            self._trainer.run_step()
            self.scheduler.step()
            if (self.iter + 1) % self.cfg.SOLVER.CHECKPOINT_PERIOD == 0:
                self.checkpointer.save(f"model_{self.iter:07d}", iteration=self.iter)
        self.checkpointer.save("model_final", iteration=self.iter)
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    @classmethod
    def build_model(cls, cfg: Any) -> Any:
        model = build_model(cfg)
        logging.getLogger(__name__).info("Model:\n%s", model)
        return model

    @classmethod
    def test(cls, cfg: Any, model: Any, evaluators: Any = None) -> Any:
        results = {}
        for name in cfg.DATASETS.TEST:
            loader = cls.build_test_loader(cfg, name)
            results[name] = inference_on_dataset(model, loader, cls.build_evaluator(cfg, name))
        return next(iter(results.values())) if len(results) == 1 else results


class DefaultPredictor:
    """An image in BGR to what the model says of it."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg.clone()
        self.model = build_model(self.cfg)
        self.model.eval()
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self.aug = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST)
        self.input_format = cfg.INPUT.FORMAT
        assert self.input_format in ["RGB", "BGR"], self.input_format

    def __call__(self, original_image: Any) -> Any:
        with torch.no_grad():
            if self.input_format == "RGB":
                original_image = original_image[:, :, ::-1]
            height, width = original_image.shape[:2]
            image = self.aug.get_transform(original_image).apply_image(original_image)
            image = torch.as_tensor(image.astype("float32").transpose(2, 0, 1))
            return self.model([{"image": image, "height": height, "width": width}])[0]

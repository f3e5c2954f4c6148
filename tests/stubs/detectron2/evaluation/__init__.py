"""The interface of evaluators, and the loop over a dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

__all__ = ["DatasetEvaluator", "inference_on_dataset", "print_csv_format", "verify_results"]


class DatasetEvaluator:
    """Takes in inputs and outputs, and gives figures in the end."""

    def reset(self):
        """Forget everything."""

    def process(self, inputs, outputs):
        """Take in one batch."""

    def evaluate(self):
        """Task to metric to figure."""


def inference_on_dataset(model, data_loader, evaluator):
    """Run a model on everything a loader has."""
    evaluator.reset()
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for inputs in data_loader:
            evaluator.process(inputs, model(inputs))
    model.train(was_training)
    results = evaluator.evaluate()
    return {} if results is None else results


def print_csv_format(results):
    """Log the figures to be pasted."""
    assert isinstance(results, Mapping) or not len(results), results
    logger = logging.getLogger(__name__)
    for task, figures in results.items():
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(name for name in figures if "-" not in name))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for name, value in figures.items() if "-" not in name))


def verify_results(cfg, results):
    """Compare with the expected figures of a configuration."""
    return not cfg.TEST.EXPECTED_RESULTS

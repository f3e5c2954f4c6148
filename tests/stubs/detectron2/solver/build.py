"""Schedules."""

import torch


def build_lr_scheduler(cfg, optimizer):
    """Linear warm-up and steps."""

    def factor(step):
        warm = min(1.0, (step + 1) / max(1, cfg.SOLVER.WARMUP_ITERS))
        warmup = cfg.SOLVER.WARMUP_FACTOR * (1 - warm) + warm
        return warmup * cfg.SOLVER.GAMMA ** sum(step >= milestone for milestone in cfg.SOLVER.STEPS)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def maybe_add_gradient_clipping(cfg, optimizer):
    """None of detectron2's own kinds is asked for."""
    assert not cfg.SOLVER.CLIP_GRADIENTS.ENABLED
    return optimizer

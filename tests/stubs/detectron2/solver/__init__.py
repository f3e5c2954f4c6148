from detectron2.solver.build import build_lr_scheduler, maybe_add_gradient_clipping

__all__ = ["build_lr_scheduler", "maybe_add_gradient_clipping"]

"""Options of the training recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_mask2former.config.schema import Section, option


@dataclass(frozen=True)
class TrainingConfig(Section):
    """The published recipe of M2F-VIS (arXiv:2112.10764) on YouTube-VIS 2019 is the default."""

    init_weights: str | None = option(None, "Checkpoint of a whole model to start from.")
    allow_class_mismatch: bool = option(True, "Start the class head anew where init_weights has other classes.")
    freeze: tuple[str, ...] = option((), "Parts of the model that are not trained, such as 'backbone'.")
    batch_size: int = option(16, "Clips of one step, over all ranks and accumulation steps.", at_least=1)
    accumulation_steps: int = option(1, "Forward and backward passes of one step.", at_least=1)
    max_steps: int = option(6000, "Steps in all.", at_least=1)
    learning_rate: float = option(1e-4, "Learning rate of AdamW.", at_least=0)
    backbone_multiplier: float = option(0.1, "Factor on the learning rate of the backbone.", at_least=0)
    layer_decay: float | None = option(
        None,
        "The recipe of mask transformers on ViT: factor on the learning rate from each block of the backbone to the "
        "one before, in place of backbone_multiplier, and all parameters are decayed; null is Mask2Former's recipe.",
        at_least=0,
        at_most=1,
    )
    full_rate_blocks: int = option(0, "Last blocks that layer_decay leaves at the full rate.", at_least=0)
    weight_decay: float = option(0.05, "Weight decay; norms and embeddings have none.", at_least=0)
    schedule: Literal["multistep", "polynomial", "cosine", "constant", "two_part"] = option(
        "multistep",
        "How the learning rate falls; two_part is a polynomial after a warm-up from 0, which the backbone only begins "
        "when that of everything else is over.",
    )
    decay_steps: tuple[int, ...] = option((4000,), "Steps after which the learning rate is lowered.", at_least=0)
    decay_factor: float = option(0.1, "Factor on the learning rate at each of decay_steps.", at_least=0)
    polynomial_power: float = option(0.9, "Power of the polynomial schedule.", at_least=0)
    warmup_steps: int = option(10, "Steps of linear warm-up.", at_least=0)
    backbone_warmup_steps: int = option(0, "Steps of the backbone's own warm-up in a two_part schedule.", at_least=0)
    warmup_factor: float = option(1.0, "Factor on the learning rate at the first step.", at_least=0)
    clip_norm: float = option(0.01, "Largest norm of the gradient of the whole model; 0 is no limit.", at_least=0)
    amp_dtype: Literal["float32", "bfloat16", "float16"] = option(
        "bfloat16", "Type of autocast; float32 is no autocast."
    )
    propagation_frames: int = option(
        0,
        "Train models whose queries propagate on chunks of so many frames of each clip: queries go on from chunk to "
        "chunk, gradients do not, and memory does not depend on the length of the clip; 0 is whole clips.",
        at_least=0,
    )
    ema_decay: float = option(0.0, "Decay of a moving average of the weights; 0 is none.", at_least=0, at_most=1)
    compile: bool = option(False, "Compile the model with torch.compile.")
    sharding: Literal["none", "fsdp2"] = option(
        "none",
        "Where several processes train: none gives each a whole copy of the model, fsdp2 splits weights, gradients and "
        "optimizer state over them, for models that do not fit a GPU. Checkpoints are whole in both.",
    )
    output: str = option("output", "Folder of checkpoints, logs and pictures.")
    checkpoint_period: int = option(1000, "Steps between checkpoints.", at_least=1)
    keep_checkpoints: int = option(2, "How many of the newest checkpoints stay.", at_least=1)
    log_period: int = option(20, "Steps between records of the log.", at_least=1)
    tensorboard: bool = option(False, "Write TensorBoard files too; needs the extra 'train'.")
    eval_period: int = option(0, "Steps between evaluations; 0 is at the end only.", at_least=0)
    evaluate: bool = option(True, "Evaluate on data.test while training; false needs no test dataset.")
    best_metric: str | None = option(
        None, "Metric whose highest value marks the best model; null is AP, PQ or mIoU, as the task has it."
    )
    sample_pictures: int = option(4, "Videos whose predictions are drawn at every evaluation.", at_least=0)
    max_skipped_steps: int = option(
        20, "Steps in a row whose loss is not finite, before training stops; single ones are skipped.", at_least=1
    )
    seed: int = option(0, "Seed of initialisation, sampling and transforms.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size must be a multiple of accumulation_steps, got {self.batch_size = } and "
                f"{self.accumulation_steps = }."
            )
        if self.ema_decay == 1:
            raise ValueError("ema_decay must be below 1, got 1: the average would stay at the first weights.")

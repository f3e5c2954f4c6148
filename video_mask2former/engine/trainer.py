"""The training loop. It receives built objects and knows neither the model nor the data nor the configuration."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import operator
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from video_mask2former import distributed
from video_mask2former.engine.checkpoint import CheckpointFolder, save_state
from video_mask2former.engine.ema import ExponentialMovingAverage
from video_mask2former.engine.logging import TrainingLog, memory_mib
from video_mask2former.engine.optimizer import clip_gradient_norm
from video_mask2former.engine.plan import Batch, Criterion, Evaluate, Loader, TrainingPlan, TrainingResult
from video_mask2former.engine.precision import Precision, to_float32
from video_mask2former.engine.random_state import random_state, random_state_kept, set_random_state
from video_mask2former.engine.sharding import (
    load_model_state,
    load_optimizer_state,
    whole_model,
    whole_state,
    without_reduction,
    wrap,
)
from video_mask2former.engine.stopping import StopRequest, sigterm_withheld
from video_mask2former.engine.truncated import chunk_losses
from video_mask2former.structures import ClipTarget

logger = logging.getLogger(__name__)

MAX_SAVED_BATCHES = 3  # of steps that were skipped; one is enough to look at


class Trainer:
    """Train a model, alone or as one of several ranks.

    A step is the same whatever parts it is made of: one large batch, several accumulated ones, or one on each of
    several ranks, since every part is normalised by the whole.

    Args:
        model: On its device, in training mode.
        criterion: On the same device.
        optimizer: Over the model's parameters.
        loader: Of this rank's batches.
        plan: How long and how.
        device: Where the model is.
        checkpoints: Of this run; ``model_best.pth`` and ``model_final.pth`` go beside them.
        log: Receives losses and metrics.
        ema: Moving average of the model's weights, which is then what is evaluated and exported.
        evaluate: Maps the model, in evaluation mode, and the step to metrics; called on every rank.
        metadata: Plain values stored in every file, such as the configuration.
        outline: What ``shard`` returned, where the model is split over the ranks.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        loader: Loader,
        *,
        plan: TrainingPlan,
        device: torch.device,
        checkpoints: CheckpointFolder,
        log: TrainingLog,
        ema: ExponentialMovingAverage | None = None,
        evaluate: Evaluate | None = None,
        metadata: Mapping[str, Any] | None = None,
        outline: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.loader = loader
        self.plan = plan
        self.device = device
        self.checkpoints = checkpoints
        self.log = log
        self.ema = ema
        self.evaluate = evaluate
        self.metadata = dict(metadata or {})
        self.outline = outline
        self.step = 0
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._evaluated_step = 0
        self._saved_step = -1
        self._metrics: dict[str, float] = {}
        self._best_value: float | None = None
        self._precision = Precision(plan.dtype, device)
        self._network = wrap(model, device, plan.use_compile)

    def train(self) -> TrainingResult:
        """Train from the current step to the last, or until a signal.

        Raises:
            FloatingPointError: If the loss or gradient stays infinite or NaN.
            OSError: If a checkpoint cannot be written.
            ValueError: If the loader has no batches.
        """
        signal_number = 0
        batches = self._batches()
        self.log.start(self.step, self._evaluated_step)
        try:
            with StopRequest() as stop:
                if self._is_evaluation_due():  # the run that is resumed was stopped in the middle of it
                    self._run_evaluation()
                while self.step < self.plan.max_steps and not (signal_number := _agreed(stop)):
                    started = time.perf_counter()
                    parts = [next(batches) for _ in range(self.plan.accumulation_steps)]
                    data_seconds = time.perf_counter() - started
                    losses = self._train_step(parts)
                    self.step += 1
                    times = {"step_seconds": time.perf_counter() - started, "data_seconds": data_seconds}
                    self.log.add(self.step, losses | times | {"memory_mib": memory_mib(self.device)})
                    if self._is_checkpoint_due():
                        self.save_checkpoint()
                    if self._is_evaluation_due():
                        self._run_evaluation()
                if signal_number and self._saved_step != self.step:
                    self.save_checkpoint()
        finally:
            batches.close()  # ends the workers of the loader
            self.log.close()
        if self.step >= self.plan.max_steps:
            self._export("model_final.pth")
        return TrainingResult(self.step, signal_number, self._metrics)

    def save_checkpoint(self) -> None:
        """Write everything that :meth:`load_state_dict` needs; call it on every rank."""
        state = self.state_dict()
        if distributed.is_main_process():
            path = self.checkpoints.save(self.step, state)
            logger.info("wrote %s", path)
        self._saved_step = self.step

    def state_dict(self) -> dict[str, Any]:
        """The whole state of the run, with the random state of every rank; call it on every rank."""
        return self.metadata | {
            "iteration": self.step,
            "model": whole_state(self.model.state_dict()),
            "optimizer": whole_state(self.optimizer.state_dict()),
            "scaler": self._precision.scaler.state_dict(),
            "ema": None if self.ema is None else whole_state(self.ema.state_dict()),
            "loader": self.loader.state_dict(),
            "log": self.log.state_dict(),
            "random": distributed.gather_objects(random_state()),
            "skipped_steps": self.skipped_steps,
            "skipped_in_a_row": self._skipped_in_a_row,
            "evaluated_step": self._evaluated_step,
            "metrics": self._metrics,
            "best_value": self._best_value,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from a saved state; learning rates and weight decays stay those of this run's options.

        Raises:
            ValueError: If the weights or the optimizer's state do not fit, or the run had a moving average and this one
                has not.
        """
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        try:
            load_model_state(self.model, state["model"])
            load_optimizer_state(self.optimizer, state["optimizer"])
        except (RuntimeError, ValueError) as error:
            cause = " ".join(line.strip() for line in str(error).splitlines()[:2])
            raise ValueError(
                f"the run that is resumed had another model or other frozen parts; its config.yaml says which. {cause}"
            ) from error
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            parameters = group["params"]
            group.clear()
            group.update(own, params=parameters)
        if state["scaler"]:
            self._precision.scaler.load_state_dict(state["scaler"])
        if (state["ema"] is None) != (self.ema is None):
            raise ValueError("training.ema_decay must be on or off as in the run that is resumed.")
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.loader.load_state_dict(state["loader"])
        self.log.load_state_dict(state["log"])
        self.step = state["iteration"]
        self.skipped_steps, self._skipped_in_a_row = state["skipped_steps"], state["skipped_in_a_row"]
        self._evaluated_step, self._metrics = state["evaluated_step"], dict(state["metrics"])
        self._best_value = state["best_value"]
        if len(state["random"]) == distributed.world_size():
            set_random_state(state["random"][distributed.rank()])
        else:
            logger.warning(
                "the run that is resumed had %d ranks, this one has %d: it goes on, but with other random draws.",
                len(state["random"]),
                distributed.world_size(),
            )
            torch.manual_seed(self.step * distributed.world_size() + distributed.rank())

    def _batches(self) -> Generator[Batch, None, None]:
        was_empty = False  # once is right: the run that is resumed was stopped after the last batch of an epoch
        while True:
            # Making an iterator draws from the global generator; a resumed run would draw once more than the first.
            with random_state_kept(), sigterm_withheld():
                iterator = iter(self.loader)
                first = next(iterator, None)
            if first is not None:
                yield first
                yield from iterator
            elif was_empty:
                raise ValueError("the training loader has no batches. Is the dataset empty, or smaller than a batch?")
            was_empty = first is None

    def _train_step(self, parts: Sequence[Batch]) -> dict[str, float]:
        """One optimizer step; returns the losses of the whole batch, none where the step was skipped."""
        self.plan.schedule.apply(self.optimizer, self.step)
        begin_step = getattr(self.model, "begin_step", None)
        if callable(begin_step):  # not every model that is trained here is a segmenter
            begin_step(self.step)
        begin_loss = getattr(self.criterion, "begin_step", None)
        if callable(begin_loss):
            begin_loss(self.step / self.plan.max_steps)
        self.optimizer.zero_grad(set_to_none=True)
        losses = _mean_over_ranks(self._backward(parts))
        scaler = self._precision.scaler
        scaler.unscale_(self.optimizer)
        gradient_norm = clip_gradient_norm(self.model, self.plan.clip_norm).item()
        total = sum(losses.values())
        if math.isfinite(total) and math.isfinite(gradient_norm):
            scaler.step(self.optimizer)
            scaler.update()
            if self.ema is not None:
                self.ema.update()
            self._skipped_in_a_row = 0
            learning_rate = max(group["lr"] for group in self.optimizer.param_groups)
            return {"loss": total} | losses | {"learning_rate": learning_rate, "gradient_norm": gradient_norm}
        scaler.update()
        is_overflow = math.isfinite(total) and scaler.is_enabled() and scaler.get_scale() >= 1
        if not is_overflow:  # float16 finds its scale by overflowing now and then
            self._skip(parts, losses, gradient_norm)
        return {}

    def _backward(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """Gradients of the whole batch, this rank's part of it; returns the losses averaged over ``parts``."""
        normalizer = self._normalizer(parts)
        sums: dict[str, Tensor] = {}
        for index, batch in enumerate(parts):
            frames = [clip.to(self.device, non_blocking=True) for clip in batch.frames]
            targets = [target.to(self.device) for target in batch.targets]
            for losses in self._losses(frames, targets, normalizer, reduces=index == len(parts) - 1):
                loss = torch.stack(list(losses.values())).sum() / len(parts)
                self._precision.scaler.scale(loss).backward()
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value.detach() / len(parts)
        return sums

    def _losses(
        self, frames: list[Tensor], targets: list[ClipTarget], normalizer: Any, *, reduces: bool
    ) -> Iterator[dict[str, Tensor]]:
        """Losses of some clips, all at once or chunk by chunk; each is gone back through before the next is taken.

        Args:
            frames: Of each clip.
            targets: Of each clip.
            normalizer: Of the whole batch.
            reduces: Whether gradients are averaged over the ranks afterwards.
        """
        on_its_rank = functools.partial(without_reduction, self._network)
        if self.plan.propagation_frames:
            yield from chunk_losses(
                self._network,
                self.criterion,
                frames,
                targets,
                normalizer,
                chunk=self.plan.propagation_frames,
                autocast=self._precision.autocast,
                without_reduction=on_its_rank,
                reduces=reduces,
            )
            return
        with contextlib.nullcontext() if reduces else on_its_rank():
            with self._precision.autocast():
                output = self._network(frames)
            yield self.criterion(to_float32(output), targets, normalizer)

    def _normalizer(self, parts: Sequence[Batch]) -> Any:
        """The normaliser of the whole batch over its number of parts, since gradients are averaged over parts."""
        own = [self.criterion.normalizer(batch.targets, self.plan.num_queries) for batch in parts]
        everyone = [part for rank in distributed.gather_objects(own) for part in rank]
        return functools.reduce(operator.add, everyone) / len(everyone)

    def _skip(self, parts: Sequence[Batch], losses: Mapping[str, float], gradient_norm: float) -> None:
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        cause = f"{', '.join(bad[:3])} not finite" if bad else f"gradient norm {gradient_norm}"
        message = f"step {self.step + 1} is skipped: {cause} ({self._skipped_in_a_row} in a row)."
        if self.skipped_steps <= MAX_SAVED_BATCHES:
            path = self.checkpoints.folder / "skipped" / f"step_{self.step + 1:07d}_rank{distributed.rank()}.pth"
            save_state(path, _saved_batch(parts) | {"losses": dict(losses), "gradient_norm": gradient_norm})
            message += f" Its batch is in {path}."
        logger.warning(message)
        if self._skipped_in_a_row >= self.plan.max_skipped_steps:
            raise FloatingPointError(
                f"training stopped at step {self.step + 1}: {cause} for {self._skipped_in_a_row} steps in a row. The "
                f"batches of the first are in {self.checkpoints.folder / 'skipped'}, and the last checkpoint is from "
                "before them. A lower training.learning_rate, or training.amp_dtype=float32, is what usually helps."
            )

    def _is_checkpoint_due(self) -> bool:
        # Evaluations take long: what is stopped in the middle of one goes on from right before it.
        if self.step == self.plan.max_steps or self._is_evaluation_due():
            return True
        # Weights that give no finite loss must not drive out the last ones that did.
        return self.step % self.plan.checkpoint_period == 0 and not self._skipped_in_a_row

    def _is_evaluation_due(self) -> bool:
        if self.evaluate is None or self.step == self._evaluated_step:
            return False
        period = self.plan.evaluation_period
        return self.step == self.plan.max_steps or (period > 0 and self.step > 0 and self.step % period == 0)

    def _run_evaluation(self) -> None:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self.evaluate is not None
        with contextlib.ExitStack() as stack:
            stack.enter_context(random_state_kept())
            stack.enter_context(_evaluation_mode(self.model))
            if self.ema is not None:
                stack.enter_context(self.ema.in_model())
            model = self.model if self.outline is None else whole_model(self.outline, self.model)
            self._metrics = dict(distributed.broadcast_object(self.evaluate(model, self.step)))
        self._evaluated_step, self._saved_step = self.step, -1
        self.log.evaluation(self.step, self._metrics)
        if self.plan.best_metric not in self._metrics:
            raise KeyError(
                f"training.best_metric {self.plan.best_metric!r} is not among the metrics of the evaluation: "
                f"{', '.join(self._metrics)}."
            )
        value = self._metrics[self.plan.best_metric]
        if self._best_value is None or value > self._best_value:
            self._best_value = value
            self._export("model_best.pth")

    def _export(self, name: str) -> None:
        """Write the weights alone, averaged where there is a moving average."""
        with contextlib.nullcontext() if self.ema is None else self.ema.in_model():
            state = self.metadata | {
                "iteration": self.step,
                "model": whole_state(self.model.state_dict()),
                "metrics": self._metrics if self._evaluated_step == self.step else {},
            }
            if distributed.is_main_process():
                save_state(self.checkpoints.folder / name, state)


def _agreed(stop: StopRequest) -> int:
    """The signal that any rank has received, 0 if none has."""
    return int(distributed.all_reduce_max(float(stop.signal_number)))


def _mean_over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    names = list(losses)
    values = distributed.all_reduce_mean(torch.stack([losses[name] for name in names]))
    return dict(zip(names, values.tolist(), strict=True))


def _saved_batch(parts: Iterable[Batch]) -> dict[str, Any]:
    batches = list(parts)
    return {
        "frames": [clip.cpu() for batch in batches for clip in batch.frames],
        "labels": [target.labels.cpu() for batch in batches for target in batch.targets],
        "masks": [target.masks.cpu() for batch in batches for target in batch.targets],
        "sources": [source for batch in batches for source in batch.sources],
    }


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training

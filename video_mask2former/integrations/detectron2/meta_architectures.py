"""The meta-architectures of Mask2Former, its video version and MinVIS, as detectron2 builds, trains and runs them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from detectron2.config import configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from video_mask2former.convert import DETECTRON2
from video_mask2former.convert.formats import MASKFORMER
from video_mask2former.convert.key_map import KeyMap
from video_mask2former.integrations.detectron2.batches import Record, clips_of, output_size_of, targets_of
from video_mask2former.integrations.detectron2.config import convert_cfg
from video_mask2former.integrations.detectron2.image_results import ImageAnswers, ImageTask
from video_mask2former.losses import Criterion
from video_mask2former.models import Segmenter
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.tasks import build_task
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tasks.mask_encoding import upsample_logits
from video_mask2former.tasks.postprocess import output_geometry

T = TypeVar("T", bound=type)

_SEGMENTER = "segmenter."
_EMPTY_WEIGHT = "criterion.empty_weight"  # a buffer of the published criterion, in every published checkpoint


def _registered(architecture: T) -> T:
    """Add a meta-architecture to detectron2's registry.

    Raises:
        ImportError: If the published package has added its own.
    """
    if architecture.__name__ in META_ARCH_REGISTRY:
        raise ImportError(
            f"detectron2 has a meta-architecture {architecture.__name__} already, of mask2former or mask2former_video. "
            "A script can import those or video_mask2former.integrations.detectron2, not both."
        )
    META_ARCH_REGISTRY.register(architecture)
    return architecture


class PublishedPart:
    """Stands where the published model has a module, such as ``model.sem_seg_head.predictor``.

    Checkpointers walk along the names of weights that differ in shape, and scripts freeze ``model.backbone``.
    """

    def __init__(self, model: PublishedModel, path: str) -> None:
        self._model = model
        self._path = path

    def __getattr__(self, name: str) -> PublishedPart | Tensor:
        parameters = self._model.published_parameters()
        path = f"{self._path}.{name}"
        if path in parameters:
            return parameters[path]
        if not any(other.startswith(path + ".") for other in parameters):
            raise AttributeError(f"the published model has nothing at {path!r}.")
        return PublishedPart(self._model, path)

    def parameters(self) -> Iterator[Tensor]:
        """The parameters below."""
        for name, parameter in self._model.published_parameters().items():
            if name.startswith(self._path + "."):
                yield parameter


class PublishedModel(nn.Module):
    """A segmenter and its criterion behind detectron2's ``forward``; its state dict has the published names.

    Args:
        segmenter: Of this package.
        criterion: Its loss; None for a model that is not trained.
    """

    def __init__(self, segmenter: Segmenter, criterion: Criterion | None = None) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.criterion = criterion
        self._key_map = _published_names(segmenter)
        self.register_state_dict_post_hook(_to_published_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_to_our_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_report_published_names)  # type: ignore[no-untyped-call]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.segmenter.pixel_mean.device

    @property
    def backbone(self) -> PublishedPart:
        """Where the published model has its backbone."""
        return PublishedPart(self, "backbone")

    @property
    def sem_seg_head(self) -> PublishedPart:
        """Where the published model has pixel decoder and decoder."""
        return PublishedPart(self, "sem_seg_head")

    def published_parameters(self) -> dict[str, Tensor]:
        """The parameters under their published names."""
        return self._key_map.to_theirs(_own_names(self.segmenter.named_parameters()))

    def forward(self, batched_inputs: Sequence[Record]) -> Any:
        """Weighted losses by their published names in training, results in the published form otherwise."""
        clips = [clip.to(self.device) for clip in clips_of(batched_inputs, self.segmenter.pixel_mean)]
        if not self.training:
            return self.results(batched_inputs, clips)
        if self.criterion is None:
            raise ValueError("training needs a criterion; this model was made without one.")
        return self.criterion(self.segmenter(clips), targets_of(batched_inputs, clips))

    def results(self, batched_inputs: Sequence[Record], clips: Sequence[Tensor]) -> Any:
        """What is found in some clips, in the published form."""
        raise NotImplementedError

    def encode(self, clip: Tensor, chunk_size: int) -> ClipFeatures:
        """The features of a clip ``(T, 3, H, W)``, made of so many frames at once."""
        return ClipFeatures.concatenate([self.segmenter.encode(part[None]) for part in clip.split(chunk_size)])


@_registered
class VideoMaskFormer(PublishedModel):
    """Mask2Former for videos (arXiv:2112.10764): the whole video is one clip.

    Args:
        segmenter: Of this package.
        criterion: Its loss; None for a model that is not trained.
        top_k: Pairs of query and class that are reported of a video.
        chunk_size: Frames that pass through the backbone at once; results do not depend on it.
    """

    is_frame_by_frame: ClassVar[bool] = False

    @configurable
    def __init__(
        self, *, segmenter: Segmenter, criterion: Criterion | None = None, top_k: int = 10, chunk_size: int = 4
    ) -> None:
        super().__init__(segmenter, criterion)
        if self.is_frame_by_frame != getattr(segmenter, "is_frame_by_frame", False):
            kind = "a model with model.frame_by_frame=true" if self.is_frame_by_frame else "one that decodes clips"
            raise ValueError(f"the segmenter of {type(self).__name__} must be {kind}, got {type(segmenter).__name__}.")
        self.top_k = top_k
        self.chunk_size = chunk_size

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """The arguments that a ``cfg`` stands for."""
        config = convert_cfg(cfg)
        return {
            "segmenter": build_model(config),
            "criterion": build_criterion(config),
            "top_k": config.inference.top_k,
            "chunk_size": config.inference.chunk_size,
        }

    def results(self, batched_inputs: Sequence[Record], clips: Sequence[Tensor]) -> dict[str, Any]:
        """The objects of one video: ``image_size``, and a list each of ``pred_scores, pred_labels, pred_masks``.

        Masks are ``(T, H, W)`` bool on the CPU. As published, it is one dict for a batch of one video.
        """
        if len(clips) != 1:
            raise ValueError(f"videos are run one at a time, got a batch of {len(clips)}. Use a test batch of 1.")
        output = self.segmenter.decode(self.encode(clips[0], self.chunk_size))
        size = output_size_of(batched_inputs[0], output.frame_size)
        probabilities = output.class_probabilities()[0, :, :-1]
        scores, pairs = probabilities.flatten().topk(min(self.top_k, probabilities.numel()))
        masks = _dense_masks(output, pairs // output.num_classes, size)
        return {
            "image_size": size,
            "pred_scores": scores.tolist(),
            "pred_labels": (pairs % output.num_classes).tolist(),
            "pred_masks": list(masks),
        }


@_registered
class VideoMaskFormer_frame(VideoMaskFormer):
    """MinVIS (arXiv:2208.02245): every frame by itself, in training, too; queries are matched from frame to frame.

    The segmenter is a :class:`~video_mask2former.refinement.TrackedModel`, see :class:`VideoMaskFormer` for the rest.
    """

    is_frame_by_frame = True


@_registered
class MaskFormer(PublishedModel):
    """Mask2Former for images (arXiv:2112.01527), and MaskFormer (arXiv:2107.06278).

    Args:
        segmenter: Of this package.
        criterion: Its loss; None for a model that is not trained.
        tasks: What is asked for: "semantic", "instance", "panoptic".
        thing_classes: Indices of the classes with countable objects.
        top_k: Instances that are reported of an image.
        object_mask_threshold: See :func:`~video_mask2former.tasks.postprocess.image_panoptic`.
        overlap_threshold: See there.
        resize_scores: Bring semantic scores, not mask logits, to the size of the image.
        fill: Give a panoptic segment every pixel that its query won, as in MaskFormer.
    """

    @configurable
    def __init__(
        self,
        *,
        segmenter: Segmenter,
        criterion: Criterion | None = None,
        tasks: tuple[ImageTask, ...] = ("instance",),
        thing_classes: Collection[int] = (),
        top_k: int = 100,
        object_mask_threshold: float = 0.8,
        overlap_threshold: float = 0.8,
        resize_scores: bool = False,
        fill: bool = False,
    ) -> None:
        super().__init__(segmenter, criterion)
        self.answers = ImageAnswers(
            tasks, frozenset(thing_classes), top_k, object_mask_threshold, overlap_threshold, resize_scores, fill
        )

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """The arguments that a ``cfg`` stands for."""
        config = convert_cfg(cfg)
        segmenter = build_model(config)
        test = cfg.MODEL.MASK_FORMER.TEST
        switches = {"semantic": test.SEMANTIC_ON, "instance": test.INSTANCE_ON, "panoptic": test.PANOPTIC_ON}
        before = test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE or test.PANOPTIC_ON or test.INSTANCE_ON
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]) if len(cfg.DATASETS.TRAIN) else None
        things = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
        if things is None:
            is_thing = build_task(config).is_thing(segmenter.class_names, segmenter.num_classes)
            things = {label: label for label, is_one in enumerate(is_thing) if is_one}
        return {
            "segmenter": segmenter,
            "criterion": build_criterion(config),
            "tasks": tuple(name for name, is_on in switches.items() if is_on),
            "thing_classes": tuple(things.values()),
            "top_k": config.inference.top_k,
            "object_mask_threshold": test.OBJECT_MASK_THRESHOLD,
            "overlap_threshold": test.OVERLAP_THRESHOLD,
            "resize_scores": not before,
            "fill": bool(config.task.options.get("fill", False)),
        }

    def results(self, batched_inputs: Sequence[Record], clips: Sequence[Tensor]) -> list[dict[str, Any]]:
        """A dict for each image with ``sem_seg``, ``panoptic_seg`` and ``instances``, as far as they are asked for."""
        answers = []
        for record, clip in zip(batched_inputs, clips, strict=True):
            output = self.segmenter(clip[None])
            answers.append(self.answers(output, output_size_of(record, output.frame_size)))
        return answers


def _dense_masks(output: ClipOutput, queries: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks of some queries ``(N, T, *size)`` bool on the CPU, made frame by frame."""
    chosen = output.mask_logits.select(queries)
    geometry = output_geometry(output, size)
    frames = [
        (upsample_logits(chosen.frames(index, index + 1).dense()[0], geometry) > 0).cpu()
        for index in range(chosen.shape[2])
    ]
    return torch.cat(frames, dim=1)


def _published_names(segmenter: Segmenter) -> KeyMap:
    """The table of names that has all parameters of a segmenter.

    Raises:
        ValueError: If none has.
    """
    for candidate in (DETECTRON2, MASKFORMER):
        with contextlib.suppress(KeyError):
            candidate.key_map.to_theirs(segmenter.state_dict())
            return candidate.key_map
    raise ValueError(
        f"{type(segmenter).__name__} has parameters without a published name; the drop-in is for Mask2Former, MinVIS "
        "and MaskFormer."
    )


def _own_names(named: Any) -> dict[str, Any]:
    """The names of a segmenter inside of what may be around it (see :class:`TrackedModel`)."""
    return {name.removeprefix(_SEGMENTER): value for name, value in named}


def _to_published_names(module: PublishedModel, state: Any, prefix: str, metadata: Mapping[str, Any]) -> None:
    inner = prefix + _SEGMENTER
    ours = {name.removeprefix(inner): state.pop(name) for name in list(state) if name.startswith(inner)}
    for name, value in module._key_map.to_theirs(ours).items():
        state[prefix + name] = value
    weights = getattr(module.criterion, "class_weights", None)
    if weights is not None:
        state[prefix + _EMPTY_WEIGHT] = weights


def _to_our_names(module: PublishedModel, state: Any, prefix: str, *_: object) -> None:
    theirs = {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
    converted = module._key_map.to_ours(theirs)
    for name, value in converted.weights.items():
        state[prefix + _SEGMENTER + name] = value
    for name in converted.unknown:
        state[prefix + name] = theirs[name]


def _report_published_names(module: PublishedModel, incompatible: Any) -> None:
    """What is missing, under the names that the file would have it by."""
    missing = incompatible.missing_keys
    for index, name in enumerate(missing):
        before, found, ours = name.rpartition(_SEGMENTER)
        if found:
            theirs = next(iter(module._key_map.to_theirs({ours: torch.empty(0)})))
            missing[index] = before.removesuffix(_SEGMENTER) + theirs

"""Options of the model: what is built, not how it is trained or run."""

from __future__ import annotations

from dataclasses import dataclass

from video_mask2former.config.schema import PartSection, option


@dataclass(frozen=True)
class ModelConfig(PartSection):
    """A segmenter and its classes; further keys are the segmenter's own options and the parts inside it."""

    name: str = option("mask2former", "The kind of segmenter, or module:Class, a subclass of Segmenter.")
    num_classes: int = option(40, "Classes, without 'no object'.", at_least=1)
    class_list: str | None = option(
        None, "Known list that names the classes: ytvis_2019, ytvis_2021, ovis, coco_instance, ..."
    )
    class_names: tuple[str, ...] = option((), "Names of the classes, where they are not a known list.")
    frame_by_frame: bool = option(
        False,
        "Decode every frame of a clip by itself, in training, too, and leave it to the tracker which object is which; "
        "always so where the tracker has weights, or there is a refiner.",
    )
    activation_checkpointing: bool = option(False, "Recompute activations in the backward pass to save memory.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_names and self.class_list is not None:
            raise ValueError(
                f"give class_names or class_list, not both: got {self.class_list = } and {len(self.class_names)} "
                "class_names. Set class_list to null."
            )
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names must name each of the num_classes = {self.num_classes} classes, "
                f"got {len(self.class_names)} names."
            )

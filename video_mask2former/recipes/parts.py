"""Parts chosen by name in a configuration: known ones, custom classes as ``module:Class``, each with its own options.

The options of a part are what its constructor takes (``part_options``). Arguments that are parts themselves are
built first, from the mapping of their name. Other arguments come from the part's own mapping; or, if they are shared by
the parts of a segmenter, from the mapping around it (``model.num_queries`` reaches the decoder); or from what has been
built before (``feature_info`` of the backbone, ``mask_dim`` of the pixel decoder); or are left at their defaults.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin

from video_mask2former.config import PartConfig
from video_mask2former.config.schema import suggestion
from video_mask2former.losses import CRITERIA, LOSSES, Criterion, Loss
from video_mask2former.messages import shortened
from video_mask2former.models import (
    BACKBONES,
    DECODERS,
    PIXEL_DECODERS,
    PROMPTABLE_MODELS,
    SEGMENTERS,
    Backbone,
    Decoder,
    PixelDecoder,
    PromptableModel,
    Segmenter,
)
from video_mask2former.option_values import is_plain, parse_value
from video_mask2former.recipes.class_path import import_class
from video_mask2former.recipes.part_options import REQUIRED, PartOption, part_options
from video_mask2former.refinement import REFINERS, Refiner
from video_mask2former.tasks import TASKS, Task
from video_mask2former.tracking import LEARNED_TRACKERS, TRACKERS, LearnedTracker, Tracker

CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
# Keys of a part's mapping that are not arguments of its constructor: which part, and what training starts it from.
RESERVED = ("name", "weights")
# Options that the parts of a segmenter share: given once, beside the parts, they reach each that takes them.
SHARED = ("hidden_dim", "num_heads", "num_queries")


@dataclass(frozen=True)
class PartKind:
    """One kind of part.

    Attributes:
        title: What it is called in messages.
        base: What every part of this kind is a subclass of.
        known: Name to class.
        offers: Attributes that parts built after it can take as arguments.
        inherits: Whether it takes shared options from the mapping around its own.
    """

    title: str
    base: type
    known: Mapping[str, type]
    offers: tuple[str, ...] = ()
    inherits: bool = True


SEGMENTER = PartKind("segmenter", Segmenter, SEGMENTERS)
TRACKER = PartKind("tracker", Tracker, TRACKERS)
LEARNED_TRACKER = PartKind("tracker with weights", LearnedTracker, LEARNED_TRACKERS)
REFINER = PartKind("refiner", Refiner, REFINERS)
TASK = PartKind("task", Task, TASKS)
CRITERION = PartKind("criterion", Criterion, CRITERIA)
LOSS = PartKind("loss", Loss, LOSSES)
KINDS = (
    PartKind("backbone", Backbone, BACKBONES, ("feature_info",), inherits=False),
    PartKind("pixel decoder", PixelDecoder, PIXEL_DECODERS, ("mask_dim", "hidden_dim", "memory_channels")),
    PartKind("decoder", Decoder, DECODERS),
    PartKind("promptable model", PromptableModel, PROMPTABLE_MODELS, inherits=False),
    SEGMENTER,
    TRACKER,
    LEARNED_TRACKER,
    REFINER,
    TASK,
    CRITERION,
    LOSS,
)


@dataclass(frozen=True)
class PartPlan:
    """A part whose options were checked, ready to be built.

    Attributes:
        part: Its class.
        kind: Its kind, None of a group of options that is not a part by itself.
        name: The name it was chosen by.
        key: Dotted name of its place in the configuration.
        arguments: Argument to value, or to the plan of a part.
        provided: Arguments that its builder gives, which are not options.
    """

    part: type
    kind: PartKind | None
    name: str
    key: str
    arguments: Mapping[str, Any]
    provided: frozenset[str] = frozenset()

    def build(self, **provided: Any) -> Any:
        """Build the part, and the parts inside it.

        Args:
            provided: Values for arguments that no configuration gives, such as ``num_classes``.

        Raises:
            ValueError: If the part rejects its options, or one that it needs is missing.
        """
        arguments: dict[str, Any] = {}
        for name, option in part_options(self.part).items():
            value = self.arguments.get(name, provided.get(name, option.default))
            if isinstance(value, PartPlan):
                value = value.build(**provided)
                offers = self.arguments[name].kind.offers if self.arguments[name].kind is not None else ()
                provided |= {offer: getattr(value, offer) for offer in offers}
            if value is REQUIRED:
                raise ValueError(f"{self.key}.{name} must be given: {self.name} has no default for it. {option.doc}")
            if name in self.arguments or name in provided or not option.is_unpacked:
                arguments[name] = value
        try:
            return self.part(**arguments)
        except ValueError as error:
            raise ValueError(f"{error} Found in {self.key} ({self.name}).") from error

    def complete(self, offered: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Name and options as a configuration has them, with those that were left at their defaults.

        Args:
            offered: Arguments that come from parts built before, where they are not given.
        """
        options: dict[str, Any] = {} if self.kind is None else {"name": self.name}
        for name, option in part_options(self.part).items():
            value = self.arguments.get(name, option.default)
            if isinstance(value, PartPlan):
                options[name] = value.complete(offered)
                offered |= frozenset(value.kind.offers if value.kind is not None else ())
            elif name in self.arguments or (name not in self.provided | offered and _is_writable(value)):
                options[name] = list(value) if isinstance(value, tuple) else value
        return options | self._hoisted(options)

    def _hoisted(self, options: dict[str, Any]) -> dict[str, Any]:
        """Move shared options on which the parts inside agree beside those parts, where an override reaches them."""
        plans = {name: plan for name, plan in self.arguments.items() if isinstance(plan, PartPlan)}
        inner = [options[name] for name, plan in plans.items() if plan.kind is not None and plan.kind.inherits]
        hoisted = {}
        for name in SHARED:
            values = [part[name] for part in inner if name in part]
            if values and all(value == values[0] for value in values):
                hoisted[name] = values[0]
                for part in inner:
                    part.pop(name, None)
        return hoisted


def plan_part(
    kind: PartKind,
    config: PartConfig | Mapping[str, Any] | str,
    key: str,
    *,
    provided: tuple[str, ...] = (),
    origin: str = "the configuration",
) -> PartPlan:
    """Find the class of a part and check its options, without building it.

    Args:
        kind: What it must be.
        config: Name and options.
        key: Dotted name of its place in the configuration, for errors.
        provided: Arguments that its builder gives; they are not options.
        origin: Where the configuration comes from, for errors.

    Raises:
        ImportError: If it is a custom class and Python does not find its module.
        ValueError: If the name is unknown or of another kind, or an option is unknown or has the wrong type.
    """
    mapping = {"name": config.name, **config.options} if isinstance(config, PartConfig) else config
    return _Planner(frozenset(provided), origin).part(kind, mapping, key, {}, None)[0]


def find_part(kind: PartKind, name: str, key: str) -> type:
    """The class of a known name, or of ``module:Class``.

    Raises:
        ImportError: If it is a custom class and Python does not find its module.
        ValueError: If there is no such name, or the class is of another kind or cannot be made.
    """
    if CLASS_PATH.fullmatch(name):
        return import_class(name, kind.base)
    if name not in kind.known or not issubclass(kind.known[name], kind.base):
        known = ", ".join(name for name, part in kind.known.items() if issubclass(part, kind.base))
        raise ValueError(f"{key} must be one of {known}, or a custom {kind.title} as module:Class, got {name!r}.")
    return kind.known[name]


class _Planner:
    """Checks the options of a part and of the parts inside it.

    Args:
        provided: Arguments that its builder gives.
        origin: Where the options come from.
    """

    def __init__(self, provided: frozenset[str], origin: str) -> None:
        self._provided = provided
        self._origin = origin

    def part(
        self, kind: PartKind, mapping: object, key: str, around: Mapping[str, Any], default_name: str | None
    ) -> tuple[PartPlan, frozenset[str]]:
        """The plan of a part, and the options around it that it took."""
        mapping = {"name": mapping} if isinstance(mapping, str) else mapping
        if not isinstance(mapping, Mapping):
            raise ValueError(f"{key} must be a mapping or a name, got {shortened(mapping)} in {self._origin}.")
        name = mapping.get("name", default_name)
        if not isinstance(name, str):
            raise ValueError(f"{key} needs the name of a {kind.title}, got {shortened(mapping)} in {self._origin}.")
        part = find_part(kind, name, f"{key}.name")
        own = {option: value for option, value in mapping.items() if option not in RESERVED}
        return self._plan(part, kind, name, own, key, around if kind.inherits else {})

    def _plan(
        self, part: type, kind: PartKind | None, name: str, own: Mapping[str, Any], key: str, around: Mapping[str, Any]
    ) -> tuple[PartPlan, frozenset[str]]:
        options = part_options(part)
        reachable = {**around, **own}
        arguments: dict[str, Any] = {}
        taken: set[str] = set()
        for option in options.values():
            if option.name in self._provided:
                continue
            inner = kind_of(option)
            if inner is not None:
                plan, from_around = self._inner(part, inner, option, own, f"{key}.{option.name}", reachable)
                arguments[option.name] = plan
                taken |= from_around
            elif option.name in reachable:
                arguments[option.name] = self._value(option, reachable[option.name], f"{key}.{option.name}")
                taken.add(option.name)
        unknown = [given for given in own if given not in taken and given not in arguments]
        if unknown:
            known = dict.fromkeys([*options, *_shared_inside(arguments)])
            names = [option for option in known if option not in self._provided]
            hint = suggestion(str(unknown[0]), names, f"{key}.")
            raise ValueError(f"unknown config key '{key}.{unknown[0]}' of {name} in {self._origin}{hint}")
        return PartPlan(part, kind, name, key, arguments, self._provided), frozenset(taken - own.keys())

    def _inner(
        self,
        part: type,
        kind: PartKind,
        option: PartOption,
        own: Mapping[str, Any],
        key: str,
        around: Mapping[str, Any],
    ) -> tuple[PartPlan | None, frozenset[str]]:
        default_name = getattr(part, "default_parts", {}).get(option.name)
        mapping = own.get(option.name, {} if default_name is not None else None)
        if mapping is None and option.default is None:
            return None, frozenset()
        shared = {name: value for name, value in around.items() if name in SHARED}
        return self.part(kind, mapping or {}, key, shared, default_name)

    def _value(self, option: PartOption, value: object, key: str) -> Any:
        group = _dataclass_in(option.hint)
        if group is None or (value is None and types.NoneType in get_args(option.hint)):
            return parse_value(value, option.hint, key, self._origin)
        if not isinstance(value, Mapping):
            raise ValueError(f"{key} must be a mapping of options, got {shortened(value)} in {self._origin}.")
        return self._plan(group, None, group.__name__, value, key, {})[0]


def kind_of(option: PartOption) -> PartKind | None:
    """The kind of part that an argument is, None where it is an ordinary value.

    An argument may ask for a subclass of a kind's base, as mask transformers ask for a vision transformer.
    """
    for hint in (option.hint, *(get_args(option.hint) if _is_union(option.hint) else ())):
        for kind in KINDS:
            if isinstance(hint, type) and issubclass(hint, kind.base):
                return replace(kind, base=hint)
    return None


def _shared_inside(arguments: Mapping[str, Any]) -> list[str]:
    """The shared options that parts among the arguments take."""
    plans = [plan for plan in arguments.values() if isinstance(plan, PartPlan) and plan.kind and plan.kind.inherits]
    return [option for plan in plans for option in part_options(plan.part) if option in SHARED]


def _dataclass_in(hint: Any) -> type | None:
    members = get_args(hint) if _is_union(hint) else (hint,)
    return next(
        (member for member in members if isinstance(member, type) and hasattr(member, "__dataclass_fields__")), None
    )


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _is_writable(value: object) -> bool:
    return value is not REQUIRED and is_plain(value)

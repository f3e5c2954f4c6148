"""Records and loaders, as the published training scripts ask for them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from detectron2 import data
from detectron2.data import DatasetCatalog

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]
Mapper = Callable[[Any], Any]


def get_detection_dataset_dicts(
    dataset_names: str | Sequence[str], filter_empty: bool = True, proposal_files: None = None
) -> Records:
    """The records of one or more datasets.

    Args:
        dataset_names: Their names in detectron2's catalog.
        filter_empty: Leave out those without an instance (crowd is none).
        proposal_files: Not used; published scripts pass None.

    Raises:
        ValueError: If there is none.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)
    if not names:
        raise ValueError("expected at least one dataset, got none. Set DATASETS.TRAIN.")
    records: Records = list(itertools.chain.from_iterable(DatasetCatalog.get(name) for name in names))
    if filter_empty and records and "annotations" in records[0]:
        usable = [record for record in records if _has_instance(record)]
        logger.info("left out %d of %d records without an instance", len(records) - len(usable), len(records))
        records = usable
    if not records:
        raise ValueError(f"the datasets {', '.join(names)} have nothing to train on.")
    return records


def build_detection_train_loader(
    cfg: Any, mapper: Mapper, *, dataset: Records | None = None, sampler: Iterable[int] | None = None
) -> Any:
    """Batches for training without end, of ``SOLVER.IMS_PER_BATCH`` clips over all processes.

    Args:
        cfg: A ``CfgNode``.
        mapper: Makes inputs of records.
        dataset: The records; None takes those of ``DATASETS.TRAIN``.
        sampler: Their order; None draws them at random.
    """
    if dataset is None:
        dataset = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
    return data.build_detection_train_loader(
        dataset=dataset,
        mapper=mapper,
        sampler=sampler,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_detection_test_loader(cfg: Any, dataset_name: str | Sequence[str], mapper: Mapper) -> Any:
    """Every video of a dataset once, a batch each.

    Args:
        cfg: A ``CfgNode``.
        dataset_name: One or more names of detectron2's catalog.
        mapper: Makes inputs of records.
    """
    return data.build_detection_test_loader(
        dataset=get_detection_dataset_dicts(dataset_name, filter_empty=False),
        mapper=mapper,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _has_instance(record: Mapping[str, Any]) -> bool:
    """Of a video, whose annotations are a list for each frame, or of an image."""
    annotations = record.get("annotations") or []
    flat = itertools.chain.from_iterable(item if isinstance(item, list) else [item] for item in annotations)
    return any(not annotation.get("iscrowd", 0) for annotation in flat)

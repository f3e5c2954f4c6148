"""Catalogs and loaders."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import torch

__all__ = ["DatasetCatalog", "MetadataCatalog", "build_detection_test_loader", "build_detection_train_loader"]


class _DatasetCatalog(dict):
    def register(self, name: str, func: Any) -> None:
        assert callable(func), "You must register a function with `DatasetCatalog.register`!"
        assert name not in self, f"Dataset '{name}' is already registered!"
        self[name] = func

    def get(self, name: str) -> Any:
        if name not in self:
            raise KeyError(f"Dataset '{name}' is not registered! Available datasets are: {', '.join(self)}")
        return self[name]()


class Metadata(SimpleNamespace):
    """What is known of a dataset; an attribute never changes."""

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.__dict__:
            assert getattr(self, key) == value, f"Attribute '{key}' in the metadata cannot be set to a different value!"
        else:
            super().__setattr__(key, value)

    def set(self, **kwargs: Any) -> Metadata:
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)


class _MetadataCatalog(dict):
    def get(self, name: str) -> Metadata:
        assert name
        if name not in self:
            self[name] = Metadata(name=name)
        return self[name]


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()


class _Mapped(torch.utils.data.Dataset):
    def __init__(self, dataset: Any, mapper: Any) -> None:
        self._dataset, self._mapper = dataset, mapper

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        return self._mapper(self._dataset[index])


def trivial_batch_collator(batch: list) -> list:
    """A batch is a list."""
    return batch


def build_detection_train_loader(
    dataset, *, mapper, sampler=None, total_batch_size, aspect_ratio_grouping=True, num_workers=0, collate_fn=None
):
    """Batches without end, by the explicit arguments of detectron2's."""
    assert total_batch_size > 0

    def order():
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from torch.randperm(len(dataset), generator=generator).tolist()

    def batches():
        mapped, indices = _Mapped(dataset, mapper), order() if sampler is None else iter(sampler)
        while True:
            yield [mapped[index] for index in itertools.islice(indices, total_batch_size)]

    return batches()


def build_detection_test_loader(dataset, *, mapper, sampler=None, batch_size=1, num_workers=0, collate_fn=None):
    """Every item once, by the explicit arguments of detectron2's."""
    return torch.utils.data.DataLoader(
        _Mapped(dataset, mapper), batch_size=batch_size, collate_fn=collate_fn or trivial_batch_collator
    )

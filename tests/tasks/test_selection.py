"""Which queries are reported."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.config import InferenceSettings
from video_mask2former.tasks.selection import class_indices, select_instances


def _logits(*probabilities: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(probabilities).log()


LOGITS = _logits((0.5, 0.4, 0.1), (0.2, 0.1, 0.7), (0.05, 0.9, 0.05))


def test_the_published_rules_keep_duplicates() -> None:
    chosen = select_instances(LOGITS, InferenceSettings.published(top_k=4))
    assert chosen.indices.tolist() == [2, 0, 0, 1]
    assert chosen.labels.tolist() == [1, 0, 1, 0]
    assert chosen.scores.tolist() == pytest.approx([0.9, 0.5, 0.4, 0.2])


def test_people_get_one_label_per_query() -> None:
    chosen = select_instances(LOGITS, InferenceSettings(score_threshold=0.15))
    assert chosen.indices.tolist() == [2, 0, 1]
    assert chosen.labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize("one_label_per_query", [True, False])
def test_threshold_and_top_k(one_label_per_query) -> None:
    rules = InferenceSettings(score_threshold=0.45, one_label_per_query=one_label_per_query)
    assert len(select_instances(LOGITS, rules)) == 2
    rules = InferenceSettings(top_k=1, score_threshold=0.45, one_label_per_query=one_label_per_query)
    assert select_instances(LOGITS, rules).indices.tolist() == [2]


def test_a_class_filter_does_not_relabel_objects() -> None:
    chosen = select_instances(LOGITS, InferenceSettings(score_threshold=0.0, classes=(1,)))
    assert chosen.indices.tolist() == [2]  # query 0 is likelier to be class 0
    published = InferenceSettings(score_threshold=0.3, one_label_per_query=False, classes=(1,))
    assert select_instances(LOGITS, published).indices.tolist() == [2, 0]


def test_more_than_there_is_and_nothing_at_all() -> None:
    assert len(select_instances(LOGITS, InferenceSettings(top_k=50, score_threshold=0.0))) == 3
    assert len(select_instances(LOGITS[:0], InferenceSettings())) == 0
    assert len(select_instances(LOGITS, InferenceSettings(score_threshold=1.0))) == 0


def test_queries_that_are_not_finite_are_never_reported() -> None:
    logits = LOGITS.clone()
    logits[2] = float("nan")
    assert select_instances(logits, InferenceSettings(score_threshold=0.0)).indices.tolist() == [0, 1]


def test_classes_by_name_and_index() -> None:
    names = ("person", "dog", "giant panda")
    assert class_indices(["Dog", 0, "2", "dog"], names, 3) == (1, 0, 2)
    with pytest.raises(ValueError, match="did you mean 'person'"):
        class_indices(["persn"], names, 3)
    with pytest.raises(ValueError, match="unknown class 3"):
        class_indices([3], names, 3)
    with pytest.raises(ValueError, match="no class names"):
        class_indices(["person"], (), 3)


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"score_threshold": 1.5}, {"score_threshold": float("nan")}])
def test_rules_reject_nonsense(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InferenceSettings(**wrong)
    with pytest.raises(ValueError, match=r"\(Q, K \+ 1\)"):
        select_instances(torch.zeros(3), InferenceSettings())

from __future__ import annotations

import itertools
import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.clip_dataset import ClipDataset
from video_mask2former.data.frame_sampler import sample_around
from video_mask2former.data.loader import BatchSampler, TrainingLoader
from video_mask2former.data.mixed import MixedClips, SampleOrder
from video_mask2former.data.transforms import Compose, RandomFlip, ResizeShortSide

# a machine of one core is not a failure
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def sample_two(num_frames, rng):
    return sample_around(num_frames, 2, 20, rng)


@pytest.fixture
def dataset(annotation_set, image_folder) -> ClipDataset:
    return ClipDataset(
        annotation_set,
        image_folder,
        name="toy",
        sample_frames=sample_two,
        transform=Compose([RandomFlip(), ResizeShortSide((12, 16), 99)]),
        copy_paste_probability=0.3,
    )


def make_loader(dataset, *, batch_size: int = 4, seed: int = 3, **options) -> TrainingLoader:
    return TrainingLoader(MixedClips([dataset]), SampleOrder([len(dataset)], seed=seed), batch_size, **options)


def take(loader: TrainingLoader, count: int) -> list[tuple]:
    """Everything about some batches, in a form that can be compared."""
    iterator = iter(loader)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return [describe(sample) for batch in batches for sample in batch.samples]


def describe(sample) -> tuple:
    target = sample.target
    return (
        sample.video_id,
        sample.frame_indices,
        sample.frames.numpy().tobytes(),
        target.masks.numpy().tobytes(),
        tuple(target.instance_ids.tolist()),
    )


@given(st.integers(1, 40), st.integers(0, 5))
def test_every_epoch_is_a_permutation(size, seed) -> None:
    order = SampleOrder([size], seed=seed)
    for epoch in range(3):
        indices = [order[epoch * size + place].index for place in range(size)]
        assert sorted(indices) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    order, other = SampleOrder([50], seed=0), SampleOrder([50], seed=1)
    epochs = [[order[epoch * 50 + place].index for place in range(50)] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [other[place].index for place in range(50)]
    assert len({order[number].seed for number in range(150)}) == 150


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 5)), min_size=1, max_size=4),
    st.lists(st.integers(0, 3000), min_size=1, max_size=20),
)
def test_any_part_of_the_order_can_be_had_alone(datasets, numbers) -> None:
    sizes, ratios = zip(*datasets, strict=True)
    order = SampleOrder(sizes, ratios, seed=0)
    assert [order[number] for number in numbers] == [SampleOrder(sizes, ratios, seed=0)[number] for number in numbers]
    assert all(0 <= order[number].index < sum(sizes) for number in numbers)


def test_ratios_are_kept_in_every_epoch_and_no_sample_comes_twice_in_a_pass() -> None:
    sizes, ratios = (100, 7), (3.0, 1.0)
    order = SampleOrder(sizes, ratios, seed=0)
    assert order.epoch_length == 133  # all of the first, 33 of the second
    drawn = [order[number].index for number in range(5 * 133)]
    for epoch in range(5):
        assert sum(index >= 100 for index in drawn[133 * epoch : 133 * (epoch + 1)]) == 33
    second = [index for index in drawn if index >= 100]
    counts = [second.count(index) for index in range(100, 107)]
    assert max(counts) - min(counts) <= 1
    assert all(drawn[:133].count(index) == 1 for index in range(100))


@pytest.mark.parametrize(
    ("ratios", "message"), [((1.0,), "one ratio for each of 2"), ((1.0, 0.0), r"above 0, got \(1.0, 0.0\)")]
)
def test_impossible_ratios(ratios, message) -> None:
    with pytest.raises(ValueError, match=message):
        SampleOrder([3, 4], ratios, seed=0)


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 5))
def test_ranks_divide_the_same_batches(world_size, first_batch) -> None:
    def batches(rank, world_size):
        sampler = BatchSampler(SampleOrder([17], seed=0), 12, rank, world_size, first_batch)
        return list(itertools.islice(sampler, 4))

    whole = batches(0, 1)
    parts = [batches(rank, world_size) for rank in range(world_size)]
    assert whole == [list(itertools.chain.from_iterable(part)) for part in zip(*parts, strict=True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5, 0, 2), "multiple of the number of ranks"), ((4, 2, 2), r"rank must be in \[0, 2\), got 2")],
)
def test_impossible_batches(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSampler(SampleOrder([9], seed=0), *arguments)


def test_workers_do_not_change_the_batches(dataset) -> None:
    expected = take(make_loader(dataset), 5)
    assert take(make_loader(dataset, num_workers=1), 5) == expected
    assert take(make_loader(dataset, num_workers=2, prefetch_factor=3), 5) == expected
    assert take(make_loader(dataset, seed=4), 5) != expected


def test_ranks_do_not_change_the_samples(dataset) -> None:
    expected = take(make_loader(dataset), 3)
    parts = [take(make_loader(dataset, rank=rank, world_size=2), 3) for rank in range(2)]
    joined = [part[2 * batch + place] for batch in range(3) for part in parts for place in range(2)]
    assert joined == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_goes_on_where_it_stopped(dataset, num_workers) -> None:
    expected = take(make_loader(dataset), 7)
    first = make_loader(dataset, num_workers=num_workers)
    start = take(first, 3)
    assert first.num_batches_taken == 3, "batches that workers have ready do not count"
    second = make_loader(dataset)
    second.load_state_dict(first.state_dict())
    assert start + take(second, 4) == expected
    assert start + take(first, 4) == expected, "a new iterator goes on as well"


def test_state_knows_what_it_belongs_to(dataset) -> None:
    state = make_loader(dataset).state_dict()
    assert state == {"num_batches": 0, "batch_size": 4, "seed": 3}
    with pytest.raises(ValueError, match="seed must be that of the first run, 3, got 5"):
        make_loader(dataset, seed=5).load_state_dict(state)


def test_resuming_with_other_batches_takes_up_the_same_samples(dataset) -> None:
    samples = take(make_loader(dataset), 6)
    first = make_loader(dataset)
    assert take(first, 3) == samples[:12]
    second = make_loader(dataset, batch_size=2)  # as when the same batch is accumulated of two parts
    second.load_state_dict(first.state_dict())
    assert take(second, 6) == samples[12:]
    with pytest.raises(ValueError, match="has taken 12 samples, which do not fill a number of batches of 5"):
        make_loader(dataset, batch_size=5).load_state_dict(first.state_dict())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_global_generators_are_left_alone(dataset, num_workers) -> None:
    before = torch.get_rng_state()
    take(make_loader(dataset, num_workers=num_workers), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_may_have_many_files_open(dataset) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        take(make_loader(dataset), 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256, "without workers nothing is handed over"
        take(make_loader(dataset, num_workers=1), 1)
        assert 256 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 65536
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_errors_of_workers_reach_the_caller(dataset, image_folder) -> None:
    for path in image_folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no image") as error:
        next(iter(make_loader(dataset, num_workers=1)))
    assert error.traceback, "which holds the frames, and they the iterator"
    assert not multiprocessing.active_children()


def test_mixed_datasets(dataset, document, write, image_folder, tmp_path) -> None:
    document["annotations"] = [document["annotations"][3]]  # video 5 alone
    (tmp_path / "second").mkdir()
    other = ClipDataset(
        load_annotations(write(document)), image_folder, name="other", sample_frames=sample_two, transform=Compose([])
    )
    mixed = MixedClips([dataset, other])
    assert len(mixed) == 3 and mixed.sizes == (2, 1)
    order = SampleOrder(mixed.sizes, (1.0, 2.0), seed=0)
    samples = [mixed[order[number]] for number in range(order.epoch_length)]
    assert sorted(sample.dataset for sample in samples) == ["other"] * 4 + ["toy"] * 2
    assert {sample.video_id for sample in samples if sample.dataset == "other"} == {5}


def test_mixed_datasets_must_have_the_same_classes(dataset, document, write, image_folder) -> None:
    document["categories"][0]["name"] = "horse"
    other = ClipDataset(
        load_annotations(write(document)), image_folder, name="other", sample_frames=sample_two, transform=Compose([])
    )
    with pytest.raises(ValueError, match="same classes in the same order"):
        MixedClips([dataset, other])

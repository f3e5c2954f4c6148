"""The whole model: clips and images, batches and single clips, chunks and whole videos, compiled and eager."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from video_mask2former.models import SwinTransformer
from video_mask2former.models.pixel_decoders import deformable
from video_mask2former.ops import ms_deform_attn
from video_mask2former.structures import ClipFeatures, ClipOutput


def assert_same_output(first: ClipOutput, second: ClipOutput, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(first.class_logits, second.class_logits, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(first.mask_logits.dense(), second.mask_logits.dense(), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(first.query_embeddings, second.query_embeddings, atol=tolerance, rtol=tolerance)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(2, 3, 3, 50, 70, dtype=torch.float64) * 255


@torch.no_grad()
def test_a_batch_of_clips_equals_clips_one_by_one(tiny_model, frames):
    model = tiny_model(dtype=torch.float64)
    batch = model(frames)
    for index in range(2):
        assert_same_output(batch.clip(index), model(frames[index : index + 1]))


@torch.no_grad()
def test_chunks_of_frames_equal_the_whole_clip(tiny_model, frames):
    model = tiny_model(dtype=torch.float64)
    chunks = [model.encode(frames[:, start:stop]) for start, stop in ((0, 2), (2, 3))]
    assert_same_output(model.decode(ClipFeatures.concatenate(chunks)), model(frames))


@torch.no_grad()
def test_clips_of_different_sizes_are_padded_to_one(tiny_model, frames):
    model = tiny_model(dtype=torch.float64)
    smaller = frames[1, :, :, :33, :64]
    output = model([frames[0], smaller])
    assert output.padded_size == (64, 96) and output.frame_size == (50, 70)
    assert_same_output(output.clip(0), model(frames[:1]))


@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame(tiny_model, frames):
    """An image model's frames do not see each other's time: with T = 1 every clip length gives the image's output."""
    model = tiny_model(temporal=False, dtype=torch.float64)
    images = frames[0][:, None]  # three images as a batch of clips with T = 1
    batch = model(images)
    for index in range(3):
        assert_same_output(batch.clip(index), model(images[index : index + 1]))


@torch.no_grad()
def test_bytes_and_floats_are_the_same_frames(tiny_model):
    model = tiny_model()
    frames = torch.randint(0, 256, (1, 2, 3, 40, 40), dtype=torch.uint8)
    assert_same_output(model(frames), model(frames.float()))


@torch.no_grad()
def test_precision_of_the_model_is_kept(tiny_model, frames):
    assert tiny_model(dtype=torch.float64)(frames.float()).class_logits.dtype == torch.float64
    assert tiny_model()(frames).class_logits.dtype == torch.float32


@torch.no_grad()
def test_output_shapes(tiny_model, frames):
    output = tiny_model(num_classes=3, num_queries=6)(frames)
    assert output.class_logits.shape == (2, 6, 4)
    assert output.mask_logits.dense().shape == (2, 6, 3, 16, 24)
    assert (output.frame_size, output.padded_size) == ((50, 70), (64, 96))


@torch.no_grad()
def test_training_and_evaluation_run_the_same_model(tiny_model, frames):
    model = tiny_model(dtype=torch.float64)
    assert_same_output(model.train()(frames), model.eval()(frames))


def test_recomputed_activations_give_the_same_gradients(tiny_model, frames):
    model = tiny_model(dtype=torch.float64).train()

    def gradients(recompute: bool) -> list[torch.Tensor]:
        model.recompute_activations(recompute)
        output = model(frames)
        total = output.class_logits.square().mean() + output.mask_logits.dense().square().mean()
        return list(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))

    torch.testing.assert_close(gradients(True), gradients(False))


@torch.no_grad()
def test_autocast_stays_close(tiny_model, frames):
    model = tiny_model()
    full = model(frames)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(frames)
    assert (half.class_logits.float() - full.class_logits).abs().max() < 0.2 * full.class_logits.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_precision_samples_where_a_precise_one_does(tiny_model, dtype, monkeypatch):
    """Rounded to bfloat16, positions on wide maps would be off by a pixel and more."""
    locations = []

    def record(value, spatial_shapes, sampling_locations, attention_weights):
        locations.append(sampling_locations)
        return ms_deform_attn(value, spatial_shapes, sampling_locations, attention_weights)

    monkeypatch.setattr(deformable, "ms_deform_attn", record)
    model, width = tiny_model(), 4096
    frames = torch.rand(1, 1, 3, 32, width) * 255
    model(frames)
    assert model.to(dtype)(frames).class_logits.dtype == dtype
    precise, half = locations
    assert half.dtype == torch.float32
    assert ((half - precise).abs()[..., 0] * (width / 8)).max() < 0.25


class RecordOperators(TorchDispatchMode):
    """Names of the operators that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


# What reads numbers from a GPU, or copies them there from the host, and so waits for it.
WAITING = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "unique_dim", "_unique2"}


@torch.no_grad()
def test_no_operator_would_wait_for_a_gpu(tiny_model, frames):
    model = tiny_model()
    swin = SwinTransformer(embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=2).eval()
    with RecordOperators() as recorded:
        model(frames)
        swin(frames[0].float())
    assert {"ms_deform_attn", "_to_copy"} <= recorded.names
    assert not recorded.names & WAITING


@pytest.mark.cuda
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize("is_training", [False, True])
def test_the_host_never_waits_for_the_gpu(tiny_model, device, is_training):
    model = tiny_model().to(device)
    frames = torch.randint(0, 256, (2, 3, 3, 64, 96), dtype=torch.uint8, device=device)
    model(frames)  # kernels are loaded on first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.set_grad_enabled(is_training):
            model(frames)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
@torch.no_grad()
def test_compiled_equals_eager(tiny_model, frames):
    model = tiny_model(dtype=torch.float64)
    model.decoder.layers = model.decoder.layers[:1]  # compiling takes its time
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_same_output(compiled(frames), model(frames), tolerance=1e-7)


class TensorsOnly(torch.nn.Module):
    """A model for export, which knows tensors but not :class:`ClipOutput`."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model(frames)
        return output.class_logits, output.mask_logits.dense()


@pytest.mark.slow
@torch.no_grad()
def test_exported_equals_eager_at_every_length(tiny_model, frames):
    model = TensorsOnly(tiny_model(dtype=torch.float64))
    model.model.decoder.layers = model.model.decoder.layers[:1]
    length = torch.export.Dim("T", min=2, max=64)
    exported = torch.export.export(model, (frames,), dynamic_shapes={"frames": {1: length}}).module()
    for clips in (frames, frames[:, :2]):
        torch.testing.assert_close(exported(clips), model(clips))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(3, 3, 40, 40), r"must be \(B, T, 3, H, W\)"),
        (torch.zeros(1, 2, 40, 40, 3), r"must be \(T, 3, H, W\)"),
        (torch.zeros(1, 0, 3, 40, 40), r"must be \(T, 3, H, W\)"),
        (torch.zeros(0, 2, 3, 40, 40), "at least one clip"),
        ([torch.zeros(2, 3, 40, 40), torch.zeros(1, 3, 40, 40)], "T = 2"),
    ],
)
def test_frames_are_checked(tiny_model, bad, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(bad)


@pytest.mark.parametrize("frames", [np.zeros((1, 2, 3, 40, 40)), [np.zeros((2, 3, 40, 40))]])
def test_arrays_are_not_taken_for_tensors(tiny_model, frames):
    with pytest.raises(TypeError, match="clips must be tensors, got ndarray"):
        tiny_model()(frames)


def test_class_names_must_fit(tiny_model):
    assert tiny_model(class_names=("a", "b", "c")).class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="class_names must name 3"):
        tiny_model(class_names=("a",))


def test_pixel_features_are_what_mask_features_are_projected_from(tiny_model):
    model, frames = tiny_model(), torch.randint(0, 256, (1, 2, 3, 40, 60))
    assert model.encode(frames).pixel_features is None
    model.keeps_pixel_features = True
    features = model.encode(frames)
    projected = model.pixel_decoder.mask_projection(features.pixel_features[0])
    torch.testing.assert_close(projected[None], features.mask_features)

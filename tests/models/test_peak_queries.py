"""Queries that are born at pixels: where, what their windows do, and what the rest of the package sees of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from video_mask2former.config import apply_overrides
from video_mask2former.mask_logits import multiply
from video_mask2former.models.decoders import PeakQueryDecoder
from video_mask2former.models.decoders.peak_queries import find_peaks, window_embeddings, with_places
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.structures import ClipFeatures

SIZES = ((2, 3), (4, 6), (8, 12))


def make_decoder(**options) -> PeakQueryDecoder:
    sizes = {"hidden_dim": 32, "mask_dim": 16, "num_queries": 5, "num_layers": 3, "num_heads": 4, "feedforward_dim": 32}
    return PeakQueryDecoder(3, **sizes | {"centre_dim": 32} | options).eval()


def make_features(batch: int = 2, num_frames: int = 1) -> ClipFeatures:
    levels = tuple(torch.randn(batch, num_frames, 32, *size) for size in SIZES)
    return ClipFeatures(torch.randn(batch, num_frames, 16, 16, 24), levels, (64, 96), (64, 96))


def test_peaks_are_pixels_that_no_neighbour_surpasses_highest_first():
    logits = torch.full((1, 2, 2, 5, 7), -9.0)
    logits[0, 0, 1, 1, 2], logits[0, 0, 0, 1, 3] = 3.0, 2.0  # neighbours, whatever their classes
    logits[0, 1, 0, 4, 6], logits[0, 1, 1, 0, 0] = 4.0, 1.0
    assert find_peaks(logits, 3).tolist() == [[35 + 34, 1 * 7 + 2, 35 + 0]]


def test_where_peaks_are_few_other_pixels_follow_and_then_the_first_again():
    logits = torch.tensor([[5.0, 4.0], [3.0, 2.0]])[None, None, None]
    assert find_peaks(logits, 6).tolist() == [[0, 1, 2, 3, 0, 0]]


def test_the_product_of_a_window_is_the_weighted_distance_from_its_centre():
    centres, steepness = torch.randn(2, 4, 2).double(), torch.rand(2, 4, 2).double()
    places = with_places(torch.zeros(2, 3, 0, 8, 12).double())
    logits = multiply(window_embeddings(centres, steepness), places)  # (B, Q, T, h, w)
    y, x = torch.meshgrid((torch.arange(8) - 3.5) / 1.2, (torch.arange(12) - 5.5) / 1.2, indexing="ij")
    offset = torch.stack([x, y], dim=2).double() - centres[:, :, None, None]
    expected = -(steepness[:, :, None, None] * offset.square()).sum(dim=4)
    torch.testing.assert_close(logits, expected[:, :, None].expand(-1, -1, 3, -1, -1), rtol=1e-5, atol=1e-5)


def test_a_query_stands_for_its_peak():
    """With a steep window, the mask of each query is the pixels around the peak that it was born at."""
    decoder, features = make_decoder(), make_features()
    with torch.no_grad():
        decoder.window_embed.bias[2:] = 20.0
    output = decoder(features)
    highest = output.mask_logits.dense()[:, :, 0].flatten(2).argmax(dim=2)  # at stride 4
    row, column = highest // 24 // 2, highest % 24 // 2
    assert torch.equal(row * 12 + column, find_peaks(output.centre_logits, 5))


def test_without_a_window_masks_are_those_of_the_mask_features():
    output = make_decoder(has_window=False)(make_features())
    assert output.mask_logits.features.shape[2] == 16


def test_a_query_knows_the_features_and_the_place_of_its_pixel():
    decoder, features = make_decoder(), make_features(batch=1)
    decoder.centre_embed = Ramp()
    born = decoder(features).auxiliary[0].queries
    torch.testing.assert_close(born[0, 0], decoder.birth(features.levels[-1][0, 0, :, 0, 0]))
    features.levels[-1][0, 0, :, 0, 1] = features.levels[-1][0, 0, :, 0, 0]  # the place alone tells these queries apart
    output = decoder(features)
    torch.testing.assert_close(*output.auxiliary[0].queries[0, :2])
    assert not torch.allclose(*output.queries[0, :2], atol=1e-3)


class Ramp(nn.Module):
    """Heat maps that fall from the first pixel to the last."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        count, _, height, width = maps.shape
        return -torch.arange(height * width).float().view(1, 1, height, width).expand(count, 3, -1, -1)


def test_queries_of_a_clip_come_from_all_its_frames():
    decoder = make_decoder(num_queries=4, temporal_position_encoding=True)
    features = make_features(batch=1, num_frames=2)
    output = decoder(features)
    assert output.centre_logits.shape == (1, 2, 3, 8, 12)
    assert output.mask_logits.shape == (1, 4, 2, 16, 24)
    frames = find_peaks(output.centre_logits, 200)[0] // (8 * 12)
    assert set(frames.tolist()) == {0, 1}


def test_frames_by_themselves_are_clips_of_one_frame():
    decoder, features = make_decoder(), make_features(batch=2, num_frames=3)
    joined = decoder(features.single_frames()).joined_frames(3)
    alone = decoder(features.frames(1, 2))
    torch.testing.assert_close(joined.frames(1, 2).mask_logits.dense(), alone.mask_logits.dense())
    torch.testing.assert_close(joined.centre_logits[:, 1:2], alone.centre_logits)
    torch.testing.assert_close(joined.frames(1, 2).centre_logits, alone.centre_logits)


def test_queries_of_another_clip_have_no_pixel_here():
    with pytest.raises(ValueError, match=r"queries that are born at pixels cannot go on .* choose a tracker"):
        make_decoder()(make_features(), torch.zeros(2, 5, 32))


def test_windows_keep_their_precision_in_half_precision():
    decoder, features = make_decoder(num_queries=1), make_features(batch=1)
    decoder.centre_embed = Ramp()
    decoder.mask_embed = Nothing()
    with torch.no_grad():
        decoder.window_embed.bias[2:] = 20.0
    expected = decoder(features).mask_logits.dense()
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(features).mask_logits
    torch.testing.assert_close(output.dense(), expected, atol=0.2, rtol=0.02)


class Nothing(nn.Module):
    """Mask embeddings that leave everything to the window."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(embeddings[..., :16])


def test_a_configuration_trains_it(small_config, clip_maker):
    config = apply_overrides(
        small_config,
        ["model.decoder={name: peak_queries, centre_dim: 32}", "losses=[{name: centres, weight: 2.0}]"],
    )
    model, criterion = build_model(config).train(), build_criterion(config)
    frames, target = clip_maker(num_frames=1)
    losses = criterion(model([frames.float()]), [target])
    sum(losses.values()).backward()
    assert "loss_centre" in losses
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())

"""Weights by name, as the recorded runs of DVIS, DVIS++ and CTVIS had them."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from video_mask2former.convert import load_weights
from video_mask2former.convert.key_map import Entry, KeyMap
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models import MSDeformAttnPixelDecoder, ResNet, VideoMask2Former
from video_mask2former.models.decoders import ReidDecoder
from video_mask2former.structures import ClipOutput, ClipTarget

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def published_shapes(model: str) -> dict[str, list[int]]:
    """Name to shape of one of the published models."""
    return json.loads(gzip.decompress((GOLDEN / "state_dict_shapes_dvis_ctvis.json.gz").read_bytes()))[model]


def training_figures(name: str) -> dict:
    """Recorded losses."""
    return json.loads(gzip.decompress((GOLDEN / "dvis_ctvis_train.json.gz").read_bytes()))[name]


def weight_by_name(name: str, shape: Iterable[int]) -> torch.Tensor:
    """The weight of a published name and shape: random but the same everywhere, and queries that stay apart."""
    x = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(tuple(shape))
    last = name.rsplit(".", 1)[-1]
    is_query = "query" in name or "level_embed" in name
    if last == "running_var":
        x = 1 + 0.1 * np.abs(x)
    elif last in ("running_mean", "relative_position_bias_table"):
        x = 0.1 * x
    elif last == "bias":
        x = 0.02 * x
    elif x.ndim == 1:
        x = 1 + 0.1 * x
    elif not is_query:
        x = x / np.sqrt(np.prod(x.shape[1:]))
    if x.ndim >= 2 and not name.startswith("backbone.") and not is_query:
        x = x - x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
        if "pixel_decoder" not in name:
            x = x * _gain(name)
    return torch.from_numpy(x)


def _gain(name: str) -> float:
    in_head = name.startswith("sem_seg_head.")
    if name.endswith("in_proj_weight") or name.endswith("class_embed.weight"):
        return 3.0
    if name.endswith("out_proj.weight"):
        return 0.15 if in_head else 0.06
    if name.endswith("linear2.weight"):
        return 0.7 if in_head else 0.35
    return 1.0


def load_part(part: torch.nn.Module, entries: Iterable[Entry], prefix: str, num_classes: int = 10) -> torch.nn.Module:
    """Give a tracker or refiner its published weights by way of its table of names, in float64 and eval mode."""
    key_map = KeyMap(list(entries))
    theirs = {}
    for name, value in key_map.to_theirs(part.state_dict()).items():
        theirs[name] = weight_by_name(prefix + name, value.shape)
    converted = key_map.to_ours(theirs)
    assert not converted.unknown
    part.double().load_state_dict(converted.weights)
    return part.eval()


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def segmenter_output(embeddings, queries, mask_features, hidden_dim: int) -> ClipOutput:
    """Frames ``(T, Q, C)`` of made queries as a segmenter gives them."""
    num_frames, num_queries, _ = embeddings.shape
    features = torch.from_numpy(mask_features)[:, None]
    single = ClipOutput(
        torch.zeros(num_frames, num_queries, 11, dtype=torch.float64),
        MaskLogits(torch.zeros(num_frames, num_queries, features.shape[2], dtype=torch.float64), features),
        torch.from_numpy(embeddings),
        torch.from_numpy(queries[..., :hidden_dim]),
        (24, 32),
        (24, 32),
    )
    return single.joined_frames(num_frames)


def shuffled_frames_v1() -> ClipOutput:
    rng = generator(100)
    base = rng.standard_normal((7, 256))
    frames = []
    for _ in range(4):
        order = rng.permutation(7)
        frames.append((base + 0.6 * rng.standard_normal((7, 256)))[order])
    embeddings = np.stack(frames)
    return segmenter_output(embeddings, embeddings, rng.standard_normal((4, 256, 6, 8)), 256)


def shuffled_frames_plus() -> ClipOutput:
    """As the segmenter gives them: embeddings with the re-ID part behind, and queries before their norm.

    The recorded queries have another re-ID part than the embeddings, so all of them counts as before the norm.
    """
    rng = generator(101)
    base = rng.standard_normal((8, 512))
    embeddings, queries = [], []
    for _ in range(5):
        order = rng.permutation(8)
        normed = (base + 0.6 * rng.standard_normal((8, 512)))[order]
        embeddings.append(normed)
        queries.append(1.5 * normed + 0.2 * rng.standard_normal((8, 512)))
    return segmenter_output(np.stack(embeddings), np.stack(queries), rng.standard_normal((5, 256, 6, 8)), 512)


def close(value: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(value.detach().numpy(), expected, atol=1e-5, rtol=1e-5)


def block_clip(seed: int, num_frames: int, height: int, width: int) -> torch.Tensor:
    """The recorded runs' frames ``(T, 3, H, W)``: random colours in blocks of 16x16 pixels."""
    values = generator(seed).random((num_frames, 3, -(-height // 16), -(-width // 16)))
    return torch.from_numpy(np.kron(values, np.ones((16, 16)))[..., :height, :width] * 255)


def published_checkpoint(model: str, num_queries: int = 12, num_classes: int = 10) -> dict[str, torch.Tensor]:
    """A checkpoint as published, with fewer queries and classes; buffers that are recomputed are left out."""
    weights = {}
    for name, shape in published_shapes(model).items():
        if name.endswith(("relative_position_index", "empty_weight", "num_batches_tracked")):
            continue
        if name.endswith(("query_feat.weight", "query_embed.weight")):
            shape = [num_queries, *shape[1:]]
        elif name.endswith(("class_embed.weight", "class_embed.bias")):
            shape = [num_classes + 1, *shape[1:]]
        weights[name] = weight_by_name(name, shape)
    return weights


@functools.cache
def published_segmenter(embeddings: str = "both") -> VideoMask2Former:
    """The R50 segmenter of DVIS, DVIS++ and CTVIS, which have one set of weights by name; float64, eval mode."""
    backbone = ResNet(depth=50)
    pixel_decoder = MSDeformAttnPixelDecoder(backbone.feature_info)
    decoder = ReidDecoder(10, num_queries=12, embeddings=embeddings)
    model = VideoMask2Former(backbone, pixel_decoder, decoder).double()
    load_weights(model, published_checkpoint("ctvis_r50"))
    return model.eval().requires_grad_(False)


def rectangles(objects, num_frames: int, size: tuple[int, int]) -> ClipTarget:
    """Recorded targets, objects [class, {frame: [y0, y1, x0, x1]}]."""
    masks = torch.zeros(len(objects), num_frames, *size, dtype=torch.bool)
    for index, (_, boxes) in enumerate(objects):
        for frame, (top, bottom, left, right) in boxes.items():
            masks[index, int(frame), top:bottom, left:right] = True
    return ClipTarget(torch.tensor([label for label, _ in objects]), masks)

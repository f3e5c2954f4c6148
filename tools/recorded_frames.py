"""What a frozen segmenter says of frames, recorded, so that every frame goes through it once only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.decoders.reid import ReidDecoder
from video_mask2former.refinement import TrackedModel
from video_mask2former.structures import ClipFeatures, ClipOutput

# Of one frame: class logits (Q, K + 1), mask embeddings (Q, C), queries (Q, C), mask features (C, h, w); and, where a
# tracker or refiner projects mask features of its own, the maps that it projects them from
Record = tuple[Tensor, ...]


class RecordedSegmenter:
    """What the segmenter of a model says of frames that it has seen before.

    Queries are recorded before the norm and the re-ID head of its decoder, so that the head can be trained.

    Args:
        model: Its ``encode`` and ``decode_window`` are replaced.
        records: By the content of the frame.
    """

    def __init__(self, model: TrackedModel, records: dict[bytes, Record]) -> None:
        self._model = model
        self._segmenter = model.segmenter
        self.records = records
        model.encode = self.encode  # type: ignore[method-assign]
        model.decode_window = self.decode_window  # type: ignore[method-assign]
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._keys = list(records)
        self._number = {key: number for number, key in enumerate(self._keys)}

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The mask features of some clips of one size, recorded or made; the tokens are the numbers of records."""
        clips = list(frames)
        keys = [[_key(frame) for frame in clip] for clip in clips]
        new = {
            key: frame
            for row, clip in zip(keys, clips, strict=True)
            for key, frame in zip(row, clip, strict=True)
            if key not in self.records
        }
        if new or self._sizes is None:
            self._sizes = self._record(new or {keys[0][0]: clips[0][0]})
        features, *pixel_features = (
            torch.stack([torch.stack([self.records[key][part] for key in row]) for row in keys]).float()
            for part in range(3, len(self.records[keys[0][0]]))
        )
        numbers = torch.tensor([[self._number[key] for key in row] for row in keys], dtype=torch.float32)
        maps = pixel_features[0] if pixel_features else None
        return ClipFeatures(features, (), *self._sizes, tokens=numbers[..., None, None], pixel_features=maps)

    def decode_window(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """What was recorded of some frames."""
        assert features.tokens is not None
        records = [self.records[self._keys[int(number)]] for number in features.tokens.flatten()]
        class_logits, embeddings, queries = (torch.stack([record[part] for record in records]) for part in range(3))
        decoder = self._segmenter.decoder
        normed = decoder.norm(queries)
        output = ClipOutput(
            class_logits,
            MaskLogits(embeddings, features.pixels.flatten(0, 1)[:, None]),
            normed,
            queries,
            features.frame_size,
            features.padded_size,
        )
        if isinstance(decoder, ReidDecoder):
            reid = decoder.reid_embed(normed)
            both = decoder.embeddings == "both"
            output = replace(
                output,
                query_embeddings=torch.cat([normed, reid], dim=2) if both else reid,
                contrast_embeddings=reid[:, None],
            )
        return replace(output.joined_frames(features.num_frames), pixel_features=features.pixel_features)

    @torch.no_grad()
    def _record(self, frames: dict[bytes, Tensor]) -> tuple[tuple[int, int], tuple[int, int]]:
        features = self._segmenter.encode(torch.stack(list(frames.values()))[None])
        output = self._segmenter.decode(features.single_frames())
        parts = [output.class_logits, output.mask_logits.embeddings, output.queries, features.pixels[0].half()]
        if features.pixel_features is not None:
            parts.append(features.pixel_features[0].half())
        for index, key in enumerate(frames):
            if key not in self._number:
                self._number[key] = len(self._keys)
                self._keys.append(key)
            self.records[key] = tuple(part[index].clone() for part in parts)
        return features.frame_size, features.padded_size


def _key(frame: Tensor) -> bytes:
    return hashlib.blake2b(frame.contiguous().numpy().data, digest_size=16).digest()

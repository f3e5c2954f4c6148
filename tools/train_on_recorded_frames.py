"""Train what comes after a frozen segmenter, with what it says of each frame recorded: for machines without a GPU.

As ``video-mask2former train``, with the same configurations, checkpoints and logs, but every frame goes through the
segmenter once only. It pays off where frames come again as they are: a few videos, one size, no flips. ``--help``.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from video_mask2former.atomic import atomic_path
from video_mask2former.config import load_config
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.decoders.reid import ReidDecoder
from video_mask2former.recipes.training import build_trainer
from video_mask2former.refinement import TrackedModel
from video_mask2former.structures import ClipFeatures, ClipOutput

# Of one frame: class logits (Q, K + 1), mask embeddings (Q, C), queries (Q, C), mask features (C, h, w)
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
        self._sizes: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
        self._last: list[list[bytes]] = []

    def encode(self, frames: Tensor | Sequence[Tensor]) -> ClipFeatures:
        """The mask features of some clips of one size, recorded or made."""
        clips = list(frames)
        self._last = [[_key(frame) for frame in clip] for clip in clips]
        new = {
            key: frame
            for keys, clip in zip(self._last, clips, strict=True)
            for key, frame in zip(keys, clip, strict=True)
            if key not in self.records
        }
        if new or not any(self._sizes):
            self._record(new or {self._last[0][0]: clips[0][0]})
        features = torch.stack([torch.stack([self.records[key][3] for key in keys]) for keys in self._last])
        return ClipFeatures(features.float(), (), *self._sizes)

    def decode_window(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        """What was recorded of the clips that were encoded last."""
        records = [self.records[key] for keys in self._last for key in keys]
        class_logits, embeddings, queries = (torch.stack([record[part] for record in records]) for part in range(3))
        decoder = self._segmenter.decoder
        normed = decoder.norm(queries)
        output = ClipOutput(
            class_logits,
            MaskLogits(embeddings, features.pixels.flatten(0, 1)[:, None]),
            normed,
            queries,
            *self._sizes,
        )
        if isinstance(decoder, ReidDecoder):
            reid = decoder.reid_embed(normed)
            both = decoder.embeddings == "both"
            output = replace(
                output,
                query_embeddings=torch.cat([normed, reid], dim=2) if both else reid,
                contrast_embeddings=reid[:, None],
            )
        return output.joined_frames(features.num_frames)

    @torch.no_grad()
    def _record(self, frames: dict[bytes, Tensor]) -> None:
        features = self._segmenter.encode(torch.stack(list(frames.values()))[None])
        self._sizes = (features.frame_size, features.padded_size)
        output = self._segmenter.decode(features.single_frames())
        parts = (output.class_logits, output.mask_logits.embeddings, output.queries, features.pixels[0].half())
        for index, key in enumerate(frames):
            self.records[key] = tuple(part[index].clone() for part in parts)


def _key(frame: Tensor) -> bytes:
    return hashlib.blake2b(frame.contiguous().numpy().data, digest_size=16).digest()


def main() -> None:
    """Train, and keep the records for the next stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--records", type=Path, help="file of records, read if it is there and written at the end")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    overrides = ["data.flip_probability=0", "training.evaluate=false", *args.overrides]
    trainer = build_trainer(load_config(args.config, overrides), args.output, torch.device("cpu"))
    assert isinstance(trainer.model, TrackedModel)
    has_records = args.records is not None and args.records.exists()
    segmenter = RecordedSegmenter(trainer.model, torch.load(args.records) if has_records else {})
    trainer.train()
    if args.records is not None:
        with atomic_path(args.records) as temporary:
            torch.save(segmenter.records, temporary)


if __name__ == "__main__":
    main()

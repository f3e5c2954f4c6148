"""The tracker of GenVIS (arXiv:2211.08834): video queries are handed on from clip to clip, and remember."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from video_mask2former.losses.object_output import ObjectOutput, TokenLayerObjects
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.object_aggregator import AggregatorOptions, ObjectAggregator
from video_mask2former.models.object_decoder import ObjectPrediction
from video_mask2former.option_values import MaskQualityChoice, PositiveInt
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.learned import LearnedTracker, TrackerState
from video_mask2former.tracking.object_clips import object_tokens, pixel_features, token_layer_objects


class GenvisTracker(LearnedTracker):
    """Video queries that start each clip where the last one left them, and read what they remember of earlier clips.

    A query stays with the object that it found first; there is nothing to match. The score of a class is the greatest
    of all clips so far. Clips are taken from the frames in the order in which they come: online with ``clip_length`` 1,
    semi-online with a few frames, in which case windows of frames should be multiples of it.

    Args:
        num_classes: K, without "no object".
        clip_length: Frames of a clip.
        memory_clips: Most clips remembered; beyond, the oldest is forgotten. The published code forgets nothing, which
            is the same for videos of up to so many clips.
        num_token_layers: Last layers of the segmenter whose queries are tokens in training.
        options: See :class:`~video_mask2former.models.object_aggregator.ObjectAggregator`.
    """

    options_of = ObjectAggregator
    criterion = "objects"
    reads_pixel_features = True
    mask_quality: MaskQualityChoice = "model"

    def __init__(
        self,
        num_classes: int,
        *,
        clip_length: PositiveInt = 1,
        memory_clips: PositiveInt = 512,
        num_token_layers: PositiveInt = 3,
        **options: Unpack[AggregatorOptions],
    ) -> None:
        super().__init__()
        if clip_length < 1 or memory_clips < 1 or num_token_layers < 1:
            raise ValueError(
                "clip_length, memory_clips and num_token_layers must be at least 1, got "
                f"{clip_length = }, {memory_clips = }, {num_token_layers = }."
            )
        self.clip_length = self.online_window = clip_length
        self.memory_clips = memory_clips
        self.num_token_layers = num_token_layers
        self.aggregator = ObjectAggregator(num_classes, window=0, **options)
        self.memory = QueryMemory(self.aggregator.hidden_dim)

    def advance(self, output: ClipOutput, state: TrackerState | None = None) -> tuple[ClipOutput, TrackerState]:
        """Track through the next clips; see :meth:`LearnedTracker.advance`.

        In training the result is an :class:`~video_mask2former.losses.object_output.ObjectOutput`, and a state goes
        with the tokens of several layers.
        """
        num_layers = self.num_token_layers if self.training else 1
        tokens = object_tokens(output, num_layers)
        features = self.aggregator.mask_features(pixel_features(output))
        state = dict(state or {})
        clips: list[tuple[TokenLayerObjects, ...]] = []
        last: list[ObjectPrediction] = []
        lengths: list[int] = []
        for clip_tokens, clip_features in zip(
            tokens.split(self.clip_length, dim=1), features.split(self.clip_length, dim=1), strict=True
        ):
            encoded = self.aggregator.encoder(clip_tokens)
            predictions = self.aggregator.decoder(encoded, self._queries(state, len(tokens)))
            state = self._remember(state, predictions[-1])
            if self.training:
                clips.append(token_layer_objects(self.aggregator, encoded, predictions, clip_features, output))
            last.append(_last_batches(predictions[-1], num_layers))
            lengths.append(clip_tokens.shape[1])
        tracked = _joined(last, lengths, features, output)
        tracked = replace(tracked, class_scores=state["class_scores"][-len(features) :])
        if self.training:
            fields = {name: getattr(tracked, name) for name in ClipOutput.__dataclass_fields__}
            tracked = ObjectOutput(**fields, clips=tuple(clips), segmenter=output)
        return tracked, state

    def _queries(self, state: TrackerState, batch: int) -> Tensor:
        """What the next clip starts from, ``(B, Q, C)``."""
        queries = state.get("queries")
        if queries is None:
            queries = self.aggregator.decoder.query_feat.weight.expand(batch, -1, -1)
        return self.memory.read(queries, state.get("memory_keys"), state.get("memory_values"))

    def _remember(self, state: TrackerState, prediction: ObjectPrediction) -> TrackerState:
        """The state after a clip."""
        keys, values = self.memory.entry(prediction.embeddings)
        scores = prediction.class_logits.detach().softmax(dim=2)[..., :-1]
        return {
            "queries": prediction.queries,
            "memory_keys": _appended(state.get("memory_keys"), keys, self.memory_clips),
            "memory_values": _appended(state.get("memory_values"), values, self.memory_clips),
            "class_scores": torch.maximum(state["class_scores"], scores) if "class_scores" in state else scores,
        }


class QueryMemory(nn.Module):
    """What queries were after earlier clips, and how each of them reads its own past.

    Args:
        hidden_dim: C.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.query_key = nn.Linear(hidden_dim, hidden_dim)
        self.query_value = nn.Linear(hidden_dim, hidden_dim)
        self.memory_key = nn.Linear(hidden_dim, hidden_dim)
        self.memory_value = nn.Linear(hidden_dim, hidden_dim)

    def entry(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Key and value that are remembered of queries ``(B, Q, C)`` after a clip, each of the same shape."""
        return self.memory_key(embeddings), self.memory_value(embeddings)

    def read(self, queries: Tensor, keys: Tensor | None, values: Tensor | None) -> Tensor:
        """Queries ``(B, Q, C)`` with what they remember.

        Args:
            queries: As the last clip left them.
            keys: Of each query after each of M clips, ``(B, M, Q, C)``; None: there is nothing to remember yet.
            values: Likewise.
        """
        updated = queries + self.query_value(queries)
        if keys is None or values is None:
            return updated
        return updated + (self.attention(queries, keys)[..., None] * values).sum(dim=1)

    def attention(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Weight of each remembered clip for each query, ``(B, M, Q)``; shapes as in :meth:`read`."""
        return torch.einsum("bqc,bmqc->bmq", self.query_key(queries), keys).softmax(dim=1)


def _appended(memory: Tensor | None, entry: Tensor, most: int) -> Tensor:
    """The memory ``(B, M, Q, C)`` with one clip more, without the oldest where there would be too many."""
    if memory is None:
        return entry[:, None]
    return torch.cat([memory[:, max(0, memory.shape[1] + 1 - most) :], entry[:, None]], dim=1)


def _last_batches(prediction: ObjectPrediction, num_layers: int) -> ObjectPrediction:
    """The part that was made of the tokens of the last layer, ``B`` of ``L * B``."""
    batch = len(prediction.queries) // num_layers
    return ObjectPrediction(
        prediction.class_logits[-batch:],
        prediction.mask_embeddings[-batch:],
        prediction.embeddings[-batch:],
        prediction.queries[-batch:],
    )


def _joined(clips: list[ObjectPrediction], lengths: list[int], features: Tensor, like: ClipOutput) -> ClipOutput:
    """One output of the predictions of some clips, ``lengths`` frames each, that follow each other."""

    def by_frame(parts: list[Tensor]) -> Tensor:
        frames = [part[:, None].expand(-1, length, -1, -1) for part, length in zip(parts, lengths, strict=True)]
        return torch.cat(frames, dim=1)

    logits = by_frame([clip.class_logits for clip in clips])
    return ClipOutput(
        class_logits=logits.mean(dim=1),
        mask_logits=MaskLogits(by_frame([clip.mask_embeddings for clip in clips]), features),
        query_embeddings=clips[-1].embeddings,
        queries=clips[-1].queries,
        frame_size=like.frame_size,
        padded_size=like.padded_size,
        frame_class_logits=logits,
        frame_embeddings=by_frame([clip.embeddings for clip in clips]),
        frame_queries=by_frame([clip.queries for clip in clips]),
    )

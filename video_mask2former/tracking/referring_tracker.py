"""Referring trackers: attention from the objects of the last frame to the queries of this one.

DVIS (arXiv:2306.03413) and DVIS++ (arXiv:2312.13305). A track is a query of the tracker. On each frame it starts from
the segmenter's query that is most like the one before, and is refined by layers that ask the frame's queries for the
object that it was on the last frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.attention_layers import CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from video_mask2former.models.layers import MLP
from video_mask2former.option_values import PositiveInt, Share
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.association import match_queries
from video_mask2former.tracking.learned import LearnedTracker, TrackerState
from video_mask2former.tracking.reference_noise import NoiseKind, ReferenceNoise


@dataclass(frozen=True)
class ReferringTrace:
    """What a referring tracker does on T frames.

    Attributes:
        layers: Queries after each layer in training, after the last one otherwise, ``(L or 1, B, T, Q, C)``.
        references: What the last frame left to refer to, ``(B, T, Q, C)``.
        order: The segmenter's query that each track starts from, ``(B, T, Q)`` int64.
        state: What the next frames go on from.
    """

    layers: Tensor
    references: Tensor
    order: Tensor
    state: TrackerState


class ReferringLayer(nn.Module):
    """Cross-attention to the queries of a frame, self-attention, feed-forward network; post-norm.

    Args:
        hidden_dim: C.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward network.
    """

    def __init__(self, hidden_dim: int, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.cross_attention = CrossAttentionLayer(hidden_dim, num_heads)
        self.self_attention = SelfAttentionLayer(hidden_dim, num_heads)
        self.feed_forward = FeedForwardLayer(hidden_dim, feedforward_dim)

    def forward(self, identity: Tensor, reference: Tensor, memory: Tensor) -> Tensor:
        """What was found of the references in the memory, added to the identity; all ``(B, Q, C)``."""
        found = self.cross_attention(reference, memory, identity=identity)
        return self.feed_forward(self.self_attention(found))


class DVISTracker(LearnedTracker):
    """The referring tracker of DVIS (arXiv:2306.03413).

    The published code orders each frame's queries by the inverse of the permutation that it means. Published weights
    were trained with that, so it is what ``inverse_order`` does unless it is switched off for custom weights.

    Args:
        num_classes: K, without "no object".
        embedding_dim: C of the segmenter's query embeddings, which the tracker works in.
        mask_dim: Channels of the mask features.
        num_layers: L.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        inverse_order: Whether queries are ordered as the published code orders them.

    Attributes:
        recompute: Part of every model's interface; a tracker is too small for it to matter.
    """

    recompute: bool = False

    def __init__(
        self,
        num_classes: int,
        *,
        embedding_dim: PositiveInt = 256,
        mask_dim: PositiveInt = 256,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        inverse_order: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim
        self.inverse_order = inverse_order
        self.layers = nn.ModuleList(
            ReferringLayer(embedding_dim, num_heads, feedforward_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embedding_dim)
        self.class_embed = nn.Linear(self._class_features(), num_classes + 1)
        self.mask_embed = MLP(embedding_dim, embedding_dim, mask_dim, num_layers=3)

    def advance(self, output: ClipOutput, state: TrackerState | None = None) -> tuple[ClipOutput, TrackerState]:
        """Track the objects through the next frames; see :meth:`LearnedTracker.advance`."""
        queries, embeddings = self._inputs(output)
        trace = self.follow(queries, embeddings, state)
        features = self._mask_features(output.mask_logits.features)
        outputs = [self._predict(layer, trace.references, output, features) for layer in trace.layers]
        tracked = replace(
            outputs[-1],
            auxiliary=tuple(outputs[:-1]),
            frame_embeddings=self._embeddings(trace.layers[-1]),
            frame_queries=trace.layers[-1],
        )
        if self.training:
            tracked = replace(tracked, guide=reordered(output, trace.order), contrast_embeddings=trace.references)
        return tracked, trace.state

    def follow(self, queries: Tensor, embeddings: Tensor, state: TrackerState | None = None) -> ReferringTrace:
        """The tracker without its heads.

        Args:
            queries: What the layers attend to and start from on each frame, ``(B, T, Q, C)``.
            embeddings: What queries are compared by, ``(B, T, Q, C)``.
            state: From the frames before, None at the start.
        """
        layers, references, orders = [], [], []
        for memory, keys in zip(queries.unbind(1), embeddings.unbind(1), strict=True):
            outputs, reference, order = self._frame(memory, keys, state)
            layers.append(torch.stack(outputs if self.training else outputs[-1:]))
            references.append(reference)
            orders.append(order)
            state = {"queries": outputs[-1], "embeddings": _take(keys, order)}
        assert state is not None
        return ReferringTrace(
            torch.stack(layers, dim=2), torch.stack(references, dim=1), torch.stack(orders, dim=1), state
        )

    def refiner_memory(self, output: ClipOutput) -> Tensor:
        """The layers on each frame by itself, as if every frame were the first, ``(B, T, Q, C)``."""
        queries, _ = self._inputs(output)
        batch = queries.shape[:2]
        single = self.follow(queries.flatten(0, 1)[:, None], queries.flatten(0, 1)[:, None])
        return self.norm(single.layers[-1].squeeze(1)).unflatten(0, batch)

    def _frame(
        self, memory: Tensor, embeddings: Tensor, state: TrackerState | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Outputs of the layers on one frame, the references, and the order of its queries."""
        if state is None:
            order = torch.arange(memory.shape[1], device=memory.device).expand(memory.shape[:2])
            start, reference = memory, self._reference(memory)
        else:
            reference = self._reference(state["queries"])
            start, order = self._start(memory, embeddings, state["embeddings"])
        outputs: list[Tensor] = []
        x, query = start, reference
        for layer in self.layers:
            x = layer(x, query, memory)
            if state is None:  # there is nothing to refer to but what was found so far
                query = self._reference(x)
            outputs.append(x)
        return outputs, reference, order

    def _start(self, memory: Tensor, embeddings: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """What each track starts a frame from, ``(B, Q, C)``, and which query that is, ``(B, Q)``."""
        order = torch.stack([match_queries(*pair) for pair in zip(previous, embeddings, strict=True)])
        if self.inverse_order:
            order = order.argsort(dim=1)
        order = order.to(memory.device)
        return _take(memory, order), order

    def _inputs(self, output: ClipOutput) -> tuple[Tensor, Tensor]:
        """What is attended to, and what queries are compared by."""
        if output.frame_embeddings is None:
            raise ValueError(
                "a referring tracker needs the embeddings of each frame: run the segmenter frame by frame."
            )
        if output.frame_embeddings.shape[3] != self.embedding_dim:
            raise ValueError(
                f"the tracker is made for query embeddings of {self.embedding_dim} features, the segmenter gives "
                f"{output.frame_embeddings.shape[3]}. Does tracker.embedding_dim fit the segmenter's re-ID head?"
            )
        embeddings = output.frame_embeddings.to(self.norm.weight.dtype)
        return embeddings, embeddings

    def _reference(self, queries: Tensor) -> Tensor:
        """What a frame's queries leave for the next frame to refer to."""
        return queries

    def _embeddings(self, queries: Tensor) -> Tensor:
        """What a refiner is given of the last layer's queries."""
        return self.norm(queries)

    def _class_features(self) -> int:
        return self.embedding_dim

    def _class_logits(self, queries: Tensor, references: Tensor) -> Tensor:
        return self.class_embed(queries)

    def _mask_features(self, features: Tensor) -> Tensor:
        return features

    def _predict(self, queries: Tensor, references: Tensor, output: ClipOutput, features: Tensor) -> ClipOutput:
        """One layer's prediction; ``queries (B, T, Q, C)``."""
        normed = self.norm(queries)
        class_logits = self._class_logits(normed, references)
        return ClipOutput(
            class_logits=class_logits.mean(dim=1),
            mask_logits=MaskLogits(self.mask_embed(normed).to(features.dtype), features),
            query_embeddings=normed[:, -1],
            queries=queries[:, -1],
            frame_size=output.frame_size,
            padded_size=output.padded_size,
            frame_class_logits=class_logits,
            frame_embeddings=normed,
        )


class DVISPlusTracker(DVISTracker):
    """The referring tracker of DVIS++ (arXiv:2312.13305), which is trained on noisy starts.

    It attends to the segmenter's queries before their norm, makes what it refers to by a network of its own, judges
    classes by references and queries together, and has mask features of its own.

    Args:
        num_classes: K, without "no object".
        embedding_dim: C of the segmenter's query embeddings with those of its re-ID head beside them.
        mask_dim: Channels of the mask features.
        num_layers: L.
        num_heads: Attention heads.
        feedforward_dim: Hidden features of the feed-forward networks.
        noise: Kind of noise in training: see :class:`~video_mask2former.tracking.reference_noise.ReferenceNoise`.
        noise_probability: Chance that a frame has it.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        embedding_dim: PositiveInt = 512,
        mask_dim: PositiveInt = 256,
        num_layers: PositiveInt = 6,
        num_heads: PositiveInt = 8,
        feedforward_dim: PositiveInt = 2048,
        noise: NoiseKind = "none",
        noise_probability: Share = 0.5,
    ) -> None:
        super().__init__(
            num_classes,
            embedding_dim=embedding_dim,
            mask_dim=mask_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            inverse_order=False,
        )
        self.noise = ReferenceNoise(noise, noise_probability)
        self.reference_projection = MLP(embedding_dim, embedding_dim, embedding_dim, num_layers=3)
        self.mask_feature_projection = nn.Conv2d(mask_dim, mask_dim, kernel_size=1)

    def refiner_memory(self, output: ClipOutput) -> Tensor:
        """The segmenter's queries of each frame before their norm, ``(B, T, Q, C)``."""
        return self._inputs(output)[0]

    def _start(self, memory: Tensor, embeddings: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        noisy = self.noise.draw(memory) if self.training else None
        return super()._start(memory, embeddings, previous) if noisy is None else noisy

    def _inputs(self, output: ClipOutput) -> tuple[Tensor, Tensor]:
        _, embeddings = super()._inputs(output)
        if output.frame_queries is None:
            raise ValueError("a referring tracker needs the queries of each frame: run the segmenter frame by frame.")
        width = output.frame_queries.shape[3]  # what the re-ID head made of them comes after
        queries = output.frame_queries.to(embeddings.dtype)
        return torch.cat([queries, embeddings[..., width:]], dim=3), embeddings

    def _reference(self, queries: Tensor) -> Tensor:
        return self.reference_projection(queries)

    def _embeddings(self, queries: Tensor) -> Tensor:
        return queries

    def _class_features(self) -> int:
        return 2 * self.embedding_dim

    def _class_logits(self, queries: Tensor, references: Tensor) -> Tensor:
        return self.class_embed(torch.cat([references, queries], dim=3))

    def _mask_features(self, features: Tensor) -> Tensor:
        folded = features.flatten(0, 1).to(self.mask_feature_projection.weight.dtype)
        return self.mask_feature_projection(folded).unflatten(0, features.shape[:2])


def reordered(output: ClipOutput, order: Tensor) -> ClipOutput:
    """An output made frame by frame with the queries of each frame in another order, without auxiliary predictions.

    Args:
        output: Of the segmenter.
        order: Index of the query that comes at each place, ``(B, T, Q)``.
    """
    assert output.frame_class_logits is not None and output.mask_logits.is_per_frame
    class_logits = _take_frames(output.frame_class_logits, order)
    embeddings = _take_frames(output.mask_logits.embeddings, order)
    return replace(
        output,
        class_logits=class_logits.mean(dim=1),
        mask_logits=MaskLogits(embeddings, output.mask_logits.features),
        auxiliary=(),
        frame_class_logits=class_logits,
        frame_embeddings=None,
        frame_queries=None,
        contrast_embeddings=None,
    )


def _take(queries: Tensor, order: Tensor) -> Tensor:
    return queries.gather(1, order[..., None].expand(-1, -1, queries.shape[2]))


def _take_frames(values: Tensor, order: Tensor) -> Tensor:
    return values.gather(2, order[..., None].expand(-1, -1, -1, values.shape[3]))

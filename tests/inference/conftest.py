"""A model that sees colours, and videos of coloured squares: what is in a frame is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipFeatures, ClipOutput, FrameInstances, VideoInstances

PALETTE = {
    "red": (220, 20, 20),
    "green": (20, 200, 30),
    "blue": (30, 40, 230),
    "yellow": (230, 220, 40),
    "cyan": (40, 210, 220),
    "magenta": (210, 40, 200),
}
CLASS_NAMES = ("warm", "cold")
CLASS_OF_COLOUR = (0, 1, 1, 0, 1, 0)
STRIDE = 4
NUM_SPARE_QUERIES = 2


class ColourModel(nn.Module):
    """One query per colour of the palette, and some for nothing; their order changes from clip to clip.

    The order depends on the frames alone, so that the same clip always gives the same output. Queries that are started
    from a colour's query stay with that colour.
    """

    def __init__(self, confidence: float = 4.0) -> None:
        super().__init__()
        self.class_names = CLASS_NAMES
        self.num_classes = len(CLASS_NAMES)
        self.confidence = confidence
        generator = torch.Generator().manual_seed(7)
        self.register_buffer("colours", torch.tensor(list(PALETTE.values()), dtype=torch.float32))
        num_queries = len(PALETTE) + NUM_SPARE_QUERIES
        # a part that all queries share, as real ones do, and one of their own
        shared = 3.0 * torch.randn(1, 16, generator=generator)
        self.register_buffer("looks", shared + torch.randn(num_queries, 16, generator=generator))
        self.encoded_chunks: list[int] = []

    def encode(self, frames: Tensor) -> ClipFeatures:
        batch, num_frames, _, height, width = frames.shape
        self.encoded_chunks.append(num_frames)
        padded = (-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)
        pixels = frames.float()
        pixels = nn.functional.pad(pixels, (0, padded[1] - width, 0, padded[0] - height))
        cells = nn.functional.avg_pool2d(pixels.flatten(0, 1), STRIDE).unflatten(0, (batch, num_frames))
        distance = (cells[:, :, None] - self.colours[None, None, :, :, None, None]).abs().amax(dim=3)
        features = torch.where(distance < 40, 10.0, -10.0)  # (B, T, number of colours, h, w)
        return ClipFeatures(features, (features[..., :1, :1],), (height, width), padded)

    def decode(self, features: ClipFeatures, initial_queries: Tensor | None = None) -> ClipOutput:
        seen = (features.mask_features[0] > 0).flatten(2).any(dim=2).any(dim=0)  # (number of colours,)
        order = self._order(features, initial_queries)
        num_queries, num_colours = len(order), len(seen)
        mask_embeddings = torch.full((num_queries, num_colours), 0.1)
        logits = torch.full((num_queries, self.num_classes + 1), 0.0)
        for query, thing in enumerate(order):
            if thing < num_colours and seen[thing]:
                mask_embeddings[query] = 0.0
                mask_embeddings[query, thing] = 1.0
                logits[query, CLASS_OF_COLOUR[thing]] = self.confidence
            else:
                logits[query, -1] = self.confidence
        mask_logits = MaskLogits(mask_embeddings[None], features.mask_features)
        # queries that see nothing look much alike
        looks = 0.9 * self.looks.mean(dim=0) + 0.1 * self.looks[order]
        is_there = [thing < num_colours and bool(seen[thing]) for thing in order]
        looks[is_there] = self.looks[order][is_there]
        looks = looks[None]

        def output(queries: Tensor, auxiliary: tuple[ClipOutput, ...]) -> ClipOutput:
            return ClipOutput(
                logits[None], mask_logits, looks, queries, features.frame_size, features.padded_size, auxiliary
            )

        learned = torch.zeros_like(looks) if initial_queries is None else initial_queries
        return output(looks, (output(learned, ()),))

    def _order(self, features: ClipFeatures, initial_queries: Tensor | None) -> list[int]:
        num_queries = len(self.looks)
        seed = int((features.mask_features > 0).float().mul(1000).mean().item() * 1e3) + features.num_frames
        shuffled = torch.randperm(num_queries, generator=torch.Generator().manual_seed(seed)).tolist()
        held: dict[int, int] = {}
        if initial_queries is not None:
            for query, start in enumerate(initial_queries[0]):
                nearest = int((self.looks - start).square().sum(dim=1).argmin())
                if torch.equal(self.looks[nearest], start):
                    held[query] = nearest
        free = [thing for thing in shuffled if thing not in held.values()]
        return [held[query] if query in held else free.pop() for query in range(num_queries)]


Scene = Sequence[dict[str, tuple[int, int]]]


def paint(scene: Scene, size: tuple[int, int] = (48, 80), side: int = 12) -> np.ndarray:
    """Frames ``(T, H, W, 3)`` of squares by colour name and (top, left); later ones hide earlier ones."""
    frames = np.full((len(scene), *size, 3), 90, dtype=np.uint8)
    for frame, squares in zip(frames, scene, strict=True):
        for name, (top, left) in squares.items():
            frame[max(0, top) : top + side, max(0, left) : left + side] = PALETTE[name]
    return frames


def colour_under(mask: np.ndarray, frame: np.ndarray) -> str:
    """The palette's colour that most pixels of a mask have."""
    distance = np.abs(frame[mask][:, None].astype(int) - np.array(list(PALETTE.values()))).max(axis=2)
    names, counts = np.unique(distance.argmin(axis=1), return_counts=True)
    return list(PALETTE)[names[counts.argmax()]]


def colours_of_frame(instances: FrameInstances, frame: np.ndarray) -> dict[int, str]:
    """Track id to the colour under its mask."""
    return {
        track_id: colour_under(decode_rle(mask), frame)
        for track_id, mask in zip(instances.track_ids, instances.segmentations, strict=True)
    }


def colours_of_tracks(result: VideoInstances, frames: np.ndarray) -> dict[str, dict[int, list[int]]]:
    """Colour to {track id: frames}: one id per colour where identities are right."""
    found: dict[str, dict[int, list[int]]] = {}
    for track in result.tracks:
        for index, mask in track.segmentations.items():
            colour = colour_under(decode_rle(mask), frames[index])
            found.setdefault(colour, {}).setdefault(track.track_id, []).append(index)
    return found


@pytest.fixture
def colour_model() -> ColourModel:
    return ColourModel().eval()


@pytest.fixture
def painter() -> Callable[..., np.ndarray]:
    """:func:`paint`."""
    return paint


@pytest.fixture
def track_colours() -> Callable[..., dict[str, dict[int, list[int]]]]:
    """:func:`colours_of_tracks`."""
    return colours_of_tracks


@pytest.fixture
def frame_colours() -> Callable[..., dict[int, str]]:
    """:func:`colours_of_frame`."""
    return colours_of_frame


@pytest.fixture
def busy_scene() -> Scene:
    """24 frames: two squares cross, one is born in the middle, one leaves and comes back."""
    scene = []
    for index in range(24):
        squares = {"red": (16, 3 * index), "blue": (20, 69 - 3 * index)}
        if index >= 9:
            squares["green"] = (0, 2 * index)
        if index < 6 or index >= 18:
            squares["yellow"] = (36, 30 + index)
        scene.append(squares)
    return scene

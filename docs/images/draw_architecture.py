"""Draw ``architecture.svg``: data flowing through the rooms, with its shapes on the arrows.

python docs/images/draw_architecture.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1200, 960
TARGET = Path(__file__).with_name("architecture.svg")
# fill and outline of each kind of room
MODEL, VIDEO, TRAIN, SETUP = (
    ("#e3edfb", "#3a6ea5"),
    ("#e4f3e6", "#3d7f48"),
    ("#fdeee0", "#b0692b"),
    ("#eeeaf6", "#6b579c"),
)
STYLE = """
    text { font-family: Helvetica, Arial, sans-serif; font-size: 13px; fill: #1d2430; }
    .room { font-weight: bold; font-size: 14px; }
    .lane { font-weight: bold; font-size: 15px; }
    .shape { font-family: DejaVu Sans Mono, Menlo, monospace; font-size: 11.5px; }
    .arrow { stroke: #475063; stroke-width: 1.6; fill: none; marker-end: url(#head); }
"""


class Drawing:
    """Boxes, arrows and text."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def panel(self, x: int, y: int, width: int, height: int, title: str, color: tuple[str, str]) -> None:
        """A large box with a title, for others to stand in."""
        self._rectangle(x, y, width, height, color, opacity=0.35)
        self.text(x + 14, y + 24, title, "lane")

    def box(self, x: int, y: int, width: int, title: str, lines: Sequence[str], color: tuple[str, str]) -> None:
        """A room, or a part of one: what it is, and what it does."""
        self._rectangle(x, y, width, 32 + 18 * len(lines), color, opacity=1.0)
        self.text(x + 12, y + 22, title, "room")
        for index, line in enumerate(lines):
            self.text(x + 12, y + 41 + 18 * index, line)

    def arrow(self, points: Sequence[tuple[int, int]]) -> None:
        """From the first point to the last, bending at those between."""
        path = " L ".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="arrow" d="M {path}"/>')

    def shapes(self, x: int, y: int, lines: Sequence[str], anchor: str = "start") -> None:
        """What an arrow carries."""
        for index, line in enumerate(lines):
            self.text(x, y + 15 * index, line, "shape", anchor)

    def text(self, x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> None:
        """One line."""
        self.parts.append(f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def _rectangle(self, x: int, y: int, width: int, height: int, color: tuple[str, str], opacity: float) -> None:
        fill, outline = color
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{outline}" '
            f'stroke-width="1.5" fill-opacity="{opacity}"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M 0 0 L 10 5 L 0 10 z" fill="#475063"/></marker>'
        )
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}">\n'
            f"<title>Data flowing through video_mask2former</title>\n<style>{STYLE}</style>\n<defs>{head}</defs>\n"
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
        )


def draw_sources(d: Drawing) -> None:
    """Where frames come from: videos to the left, annotated clips to the right."""
    d.box(20, 20, 235, "video_io", ["files, folders, arrays,", "cameras; one frame at a time"], VIDEO)
    d.arrow([(255, 54), (385, 54)])
    d.shapes(320, 46, ["(H, W, 3) uint8"], "middle")
    d.box(385, 20, 240, "inference", ["resize to the short side;", "chunks and windows of frames"], VIDEO)
    d.arrow([(505, 88), (505, 158)])
    d.shapes(513, 118, ["(1, T, 3, H, W)", "RGB 0..255"])
    d.box(950, 20, 230, "data", ["annotations, frame sampling,", "transforms, TrainingLoader"], TRAIN)
    d.arrow([(950, 54), (720, 54), (720, 158)])
    d.shapes(835, 46, ["list of B clips (T, 3, H_i, W_i)"], "middle")
    d.shapes(728, 118, ["padded to one size:", "(B, T, 3, H, W)"])


def draw_model(d: Drawing) -> None:
    """The model: encode by frame, decode by clip."""
    d.panel(20, 160, 930, 350, "models: VideoMask2Former", MODEL)
    d.text(34, 212, "encode, frame by frame")
    d.box(34, 224, 190, "normalise, pad", ["to a multiple of 32"], MODEL)
    d.arrow([(224, 249), (375, 249)])
    d.shapes(300, 241, ["(B·T, 3, H, W)"], "middle")
    d.box(375, 224, 150, "backbone", ["ResNet, Swin, ..."], MODEL)
    d.arrow([(525, 249), (690, 249)])
    d.shapes(607, 226, ["res2 .. res5", "(B·T, C_l, h, w)"], "middle")
    d.shapes(607, 266, ["strides 4 .. 32"], "middle")
    d.box(690, 224, 245, "pixel decoder", ["6 deformable layers on strides", "32, 16, 8: ops.ms_deform_attn"], MODEL)
    d.arrow([(812, 292), (812, 392)])
    lines = ["ClipFeatures", "mask_features (B, T, C, H/4, W/4)", "levels (B, T, C, h, w), strides 32, 16, 8"]
    d.shapes(802, 322, lines, "end")
    d.text(34, 380, "decode, clip by clip")
    decoder = [
        "learned queries (B, Q, C); 9 layers of",
        "masked attention over T·h·w tokens,",
        "a prediction before each and at the end",
    ]
    d.box(650, 392, 285, "transformer decoder", decoder, MODEL)
    d.arrow([(650, 435), (455, 435)])
    d.shapes(552, 412, ["class_logits (B, Q, K+1)", "mask_embed (B, Q, C)"], "middle")
    output = [
        "class_logits, query_embeddings, auxiliary predictions",
        "MaskLogits: mask_embed × mask_features, multiplied",
        "out only where asked: (B, Q, T, H/4, W/4)",
    ]
    d.box(34, 392, 421, "ClipOutput", output, MODEL)


def draw_tracks(d: Drawing) -> None:
    """From predictions to files."""
    d.arrow([(155, 478), (155, 560)])
    d.shapes(163, 530, ["query_embeddings (1, Q, C)", "class and mask logits"])
    d.box(20, 560, 270, "tracking", ["which query is which object:", "query, overlap, propagate, minvis"], VIDEO)
    d.arrow([(155, 628), (155, 690)])
    d.shapes(163, 656, ["TrackUpdate: N track ids", "and their queries"])
    d.box(20, 690, 270, "inference", ["choose, upsample N masks to", "(H, W), encode as RLE, record"], VIDEO)
    d.arrow([(290, 724), (440, 724)])
    d.arrow([(290, 724), (420, 724), (420, 585), (440, 585)])
    d.arrow([(290, 724), (420, 724), (420, 826), (440, 826)])
    d.shapes(298, 700, ["FrameInstances,", "VideoInstances:"])
    d.shapes(298, 742, ["ids, labels,", "scores, RLE"])
    d.box(440, 560, 215, "visualization", ["overlay, contact sheet"], VIDEO)
    d.box(440, 690, 215, "results", ["tracks.json, results.json, ...", "appear by atomic rename"], VIDEO)
    d.box(440, 800, 215, "evaluation", ["AP, HOTA, IDF1, PQ, mIoU"], VIDEO)


def draw_training(d: Drawing) -> None:
    """From predictions and targets to weights."""
    d.arrow([(840, 510), (840, 560)])
    d.shapes(848, 530, ["ClipOutput"])
    d.arrow([(1080, 88), (1080, 585), (985, 585)])
    d.shapes(1088, 300, ["ClipTarget", "labels (N,)", "masks bool", "(N, T, H, W)"])
    d.box(715, 560, 270, "losses", ["mask logits at points (B, Q, T, P);", "HungarianMatcher, SetCriterion"], TRAIN)
    d.arrow([(850, 628), (850, 690)])
    d.shapes(858, 656, ["loss_ce, loss_mask, loss_dice,", "of 10 predictions: scalars"])
    d.box(715, 690, 270, "engine", ["Trainer: precision, accumulation,", "ranks, averages, checkpoints, logs"], TRAIN)
    d.arrow([(1080, 585), (1080, 826), (655, 826)])
    d.shapes(868, 818, ["ground truth as VideoInstances"], "middle")


def draw_setup(d: Drawing) -> None:
    """What makes the objects above."""
    d.box(20, 880, 250, "config", ["strict YAML to frozen sections"], SETUP)
    d.arrow([(270, 905), (440, 905)])
    d.shapes(355, 897, ["Config"], "middle")
    d.box(440, 880, 330, "build", ["the only place where options become objects"], SETUP)
    d.box(930, 880, 250, "convert", ["checkpoints by key tables"], SETUP)
    d.arrow([(930, 905), (770, 905)])
    d.shapes(850, 897, ["name -> tensor"], "middle")


def draw() -> str:
    """The picture as SVG."""
    d = Drawing()
    draw_sources(d)
    draw_model(d)
    draw_tracks(d)
    draw_training(d)
    draw_setup(d)
    return d.svg()


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")

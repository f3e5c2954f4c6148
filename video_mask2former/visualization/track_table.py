"""A video's tracks as a small table of HTML, which notebooks show."""

from __future__ import annotations

from html import escape

from video_mask2former.structures import Track, VideoInstances
from video_mask2former.visualization.colors import track_color

MOST_TRACKS = 50
_WIDTH = 300  # of a time line, in pixels


def track_table(video: VideoInstances) -> str:
    """A row for each track, the most confident first: id, class, score, and when it is in view."""
    height, width = video.size
    best = sorted(video.tracks, key=lambda track: -track.score)
    rows = "".join(_row(track, video) for track in best[:MOST_TRACKS])
    more = f"<p>{len(best) - MOST_TRACKS} more tracks</p>" if len(best) > MOST_TRACKS else ""
    title = f"{len(best)} tracks on {video.num_frames} frames of {width}x{height}"
    head = "".join(f"<th>{name}</th>" for name in ("id", "class", "score", "frames", ""))
    return f"<div><b>{escape(title)}</b><table><tr>{head}</tr>{rows}</table>{more}</div>"


def _row(track: Track, video: VideoInstances) -> str:
    red, green, blue = track_color(track.track_id)
    colour = f"rgb({red},{green},{blue})"
    scale = _WIDTH / video.num_frames
    bars = "".join(
        f'<rect x="{start * scale:.1f}" width="{max(1.0, (stop - start) * scale):.1f}" height="10" fill="{colour}"/>'
        for start, stop in visible_spans(track)
    )
    line = f'<svg width="{_WIDTH}" height="10" style="background:#8883">{bars}</svg>'
    cells = (
        f'<span style="color:{colour}">&#9632;</span> {track.track_id}',
        escape(video.class_name(track)),
        f"{track.score:.2f}",
        f"{len(track)}",
        line,
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def visible_spans(track: Track) -> list[tuple[int, int]]:
    """The runs of frames on which a track has a mask, as first frame and one past the last."""
    spans: list[tuple[int, int]] = []
    for index in sorted(track.segmentations):
        if spans and spans[-1][1] == index:
            spans[-1] = (spans[-1][0], index + 1)
        else:
            spans.append((index, index + 1))
    return spans

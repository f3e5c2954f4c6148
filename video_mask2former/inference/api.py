"""The public calls: a video, or many, to their tracks, and a stream of frames to their instances."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from video_mask2former.config import InferenceOptions, InferenceSettings
from video_mask2former.inference.frame_stream import FrameStream, check_state
from video_mask2former.inference.option_signature import with_options
from video_mask2former.inference.predictor import Progress, VideoPredictor, as_video, frames_from, read_frames
from video_mask2former.inference.segmentation_model import SegmentationModel
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks import Task, find_task
from video_mask2former.video_io import VideoSource, open_video

if TYPE_CHECKING:
    from typing_extensions import Unpack


@with_options()
def segment_video(
    model: SegmentationModel,
    source: VideoSource,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    task: str | Task | None = None,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
    **options: Unpack[InferenceOptions],
) -> VideoInstances:
    """Find and track the objects of a video; a single image is a video of one frame.

    ::

        result = segment_video(model, "in.mp4")  # any length, bounded memory
        result = segment_video(model, "in.mp4", window=4, overlap=1, score_threshold=0.3)
        # as one clip, the way published numbers were made:
        result = segment_video(model, "in.mp4", settings=InferenceSettings.published())

    Options that are None are as ``settings`` have them,
    :class:`~video_mask2former.inference.InferenceSettings` if those are None, too.

    Args:
        model: A :class:`~video_mask2former.models.Segmenter` in eval mode, or anything with its ``encode`` and
            ``decode``; it runs on the device it is on.
        source: A video file, an image, a folder, glob or list of images, an address (``https://``, ``rtsp://``), a
            camera index, a PIL image, an array ``(T, H, W, 3)`` or ``(H, W, 3)``, a tensor ``(T, 3, H, W)``, or any
            iterable of frames; all uint8 RGB.
        start: Index of the first frame.
        end: Index to stop before.
        every: Take every n-th frame.
        task: ``instance``, ``video_panoptic``, ``video_semantic``, or a :class:`~video_mask2former.tasks.Task` with
            options of its own. Masks of the last two do not overlap; the id of stuff is that of its class.
        settings: All of the options below in one object.
        progress: Called with the number of frames done, whenever some are.
        **options: Any option of :class:`~video_mask2former.inference.InferenceSettings`.

    Returns:
        Tracks with ids from 1; masks have the size of the source and its frame indices.

    Raises:
        FileNotFoundError: If the source does not exist.
        TypeError: If there is no such option.
        ValueError: If the source cannot be read, or an option makes no sense.
        MemoryError: If a clip is too long for the memory there is.
    """
    chosen = _chosen("segment_video", settings, options)
    return VideoPredictor(model, chosen, find_task(task)).predict(
        source, start=start, end=end, every=every, progress=progress
    )


@with_options()
def segment_videos(
    model: SegmentationModel,
    sources: Iterable[VideoSource],
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    task: str | Task | None = None,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
    **options: Unpack[InferenceOptions],
) -> Iterator[VideoInstances]:
    """Find and track the objects of several videos, one after the other.

    ::

        for result in segment_videos(model, ["a.mp4", "frames/", "rtsp://camera/1", array]):
            result.save(f"out/{result.source}")

    Args:
        model: See :func:`segment_video`.
        sources: The videos, each what :func:`segment_video` takes. A camera or an address that never ends needs
            ``end``.
        start: See :func:`segment_video`; of every video, like all that follows.
        end: See :func:`segment_video`.
        every: See :func:`segment_video`.
        task: See :func:`segment_video`.
        settings: All of the options below in one object.
        progress: Called with the number of frames done of the video that is under way.
        **options: Any option of :class:`~video_mask2former.inference.InferenceSettings`.

    Returns:
        The tracks of each video, in order, as soon as they are known.

    Raises:
        TypeError: If ``sources`` is a single source, or there is no such option.
        ValueError: If an option makes no sense. What is wrong with a video is raised when its turn comes.
    """
    if isinstance(sources, (str, bytes, os.PathLike)) or not isinstance(sources, Iterable):
        raise TypeError(f"sources must be a list of videos, got {sources!r}. segment_video takes a single one.")
    chosen = _chosen("segment_videos", settings, options)
    predictor = VideoPredictor(model, chosen, find_task(task))
    return (predictor.predict(source, start=start, end=end, every=every, progress=progress) for source in iter(sources))


@with_options(but=("mode", "keep_empty"))
def stream_video(
    model: SegmentationModel,
    source: VideoSource,
    *,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    task: str | Task | None = None,
    settings: InferenceSettings | None = None,
    state: Mapping[str, Any] | None = None,
    **options: Unpack[InferenceOptions],
) -> FrameStream:
    """Find and track objects while frames arrive: one :class:`FrameInstances` per frame, in bounded memory.

    ::

        stream = stream_video(model, 0)                     # a camera
        for image, instances in stream.with_frames():
            show(image, instances)

        torch.save(stream.state_dict(), "stream.pt")        # at any frame; later, with the same ids:
        stream = stream_video(model, source, state=torch.load("stream.pt"))

    Results of a window's frames come when it is full. Scores are averaged over the frames so far.

    Args:
        model: See :func:`segment_video`.
        source: See :func:`segment_video`. With ``state``, files and arrays go on after the last frame that was read;
            cameras and iterators are expected to give the frames that follow it.
        start: See :func:`segment_video`.
        end: See :func:`segment_video`.
        every: See :func:`segment_video`.
        task: See :func:`segment_video`.
        settings: All of the options below in one object. The mode is ``online``, whatever they say.
        state: From :meth:`FrameStream.state_dict`, with the same options.
        **options: Any option of :class:`~video_mask2former.inference.InferenceSettings`.

    Returns:
        An iterator, which can also give the frames and save its state.

    Raises:
        FileNotFoundError: If the source does not exist.
        TypeError: If there is no such option.
        ValueError: If the source cannot be read, an option makes no sense, or the state does not fit the options.
    """
    if options.get("mode") == "clip":
        raise ValueError("a stream is decoded online, got mode 'clip'. segment_video decodes clips.")
    chosen = _chosen("stream_video", settings, {**options, "mode": "online"})
    predictor = VideoPredictor(model, chosen, find_task(task))
    video = as_video(source)
    backend = chosen.video_backend
    if state is None:
        return predictor.stream(read_frames(open_video(video, start=start, end=end, every=every, backend=backend)))
    last_read = check_state(state)["last_read"]
    first = last_read + every if last_read >= 0 else start or 0
    return predictor.stream(frames_from(video, first, end=end, every=every, backend=backend), state=state)


def _chosen(caller: str, settings: InferenceSettings | None, options: InferenceOptions) -> InferenceSettings:
    """The settings with the options of a call."""
    known = list(InferenceOptions.__annotations__)
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(known)}."
            raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}; {hint}")
    return (settings or InferenceSettings()).updated(**options)

"""The two public calls: a video to its tracks, and a stream of frames to their instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from video_mask2former.inference.frame_stream import FrameStream, check_state
from video_mask2former.inference.model_runner import SegmentationModel
from video_mask2former.inference.predictor import Progress, VideoPredictor, as_video, frames_from, read_frames
from video_mask2former.inference.settings import InferenceSettings, Mode, Precision, TrackerChoice
from video_mask2former.structures import VideoInstances
from video_mask2former.video_io import VideoSource, open_video


def segment_video(
    model: SegmentationModel,
    source: VideoSource,
    *,
    mode: Mode | None = None,
    window: int | None = None,
    overlap: int | None = None,
    tracker: TrackerChoice | None = None,
    score_threshold: float | None = None,
    top_k: int | None = None,
    classes: Sequence[str | int] | None = None,
    one_label_per_query: bool | None = None,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    short_side: int | None = None,
    dtype: Precision | None = None,
    chunk_size: int | None = None,
    settings: InferenceSettings | None = None,
    progress: Progress | None = None,
) -> VideoInstances:
    """Find and track the objects of a video; a single image is a video of one frame.

    ::

        result = segment_video(model, "in.mp4")  # any length, bounded memory
        # as one clip, the way published numbers were made:
        result = segment_video(model, "in.mp4", settings=InferenceSettings.published())

    Options that are None stay as ``settings`` has them, which describes each of them.

    Args:
        model: A :class:`~video_mask2former.models.VideoMask2Former` in eval mode, or anything with its ``encode`` and
            ``decode``; it runs on the device it is on.
        source: A video file, an image, a folder, glob or list of images, a camera index, an array ``(T, H, W, 3)`` or
            ``(H, W, 3)``, a tensor ``(T, 3, H, W)``, or any iterable of frames; all uint8 RGB.
        mode: ``online``, window by window with a tracker, or ``clip``, as one clip.
        window: Frames of a window.
        overlap: Frames that neighbouring windows share.
        tracker: ``query``, ``overlap``, ``propagate``, ``minvis``, or a class of your own: see
            :class:`~video_mask2former.tracking.Tracker`.
        score_threshold: Least score of an object.
        top_k: Most objects.
        classes: Names or indices of the classes reported.
        one_label_per_query: Report an object under its likeliest class only.
        start: Index of the first frame.
        end: Index to stop before.
        every: Take every so many frames.
        short_side: Short side that frames are resized to for the model; None is what its configuration says.
        dtype: Precision that the model runs in.
        chunk_size: Frames that the backbone sees at once.
        settings: All of the above and more, in one object.
        progress: Called with the number of frames done, whenever some are.

    Returns:
        Tracks with ids from 1; masks have the size of the source and its frame indices.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If the source cannot be read, or an option makes no sense.
        MemoryError: If a clip is too long for the memory there is.
    """
    chosen = (settings or InferenceSettings()).updated(
        mode=mode,
        window=window,
        overlap=overlap,
        tracker=tracker,
        score_threshold=score_threshold,
        top_k=top_k,
        classes=classes,
        one_label_per_query=one_label_per_query,
        short_side=short_side,
        dtype=dtype,
        chunk_size=chunk_size,
    )
    return VideoPredictor(model, chosen).predict(source, start=start, end=end, every=every, progress=progress)


def stream_video(
    model: SegmentationModel,
    source: VideoSource,
    *,
    window: int | None = None,
    overlap: int | None = None,
    tracker: TrackerChoice | None = None,
    score_threshold: float | None = None,
    top_k: int | None = None,
    classes: Sequence[str | int] | None = None,
    start: int | None = None,
    end: int | None = None,
    every: int = 1,
    short_side: int | None = None,
    dtype: Precision | None = None,
    settings: InferenceSettings | None = None,
    state: Mapping[str, Any] | None = None,
) -> FrameStream:
    """Find and track objects while frames arrive: one :class:`FrameInstances` per frame, in bounded memory.

    ::

        stream = stream_video(model, 0)                     # a camera
        for image, instances in stream.with_frames():
            show(image, instances)

        torch.save(stream.state_dict(), "stream.pt")        # at any frame; later, with the same ids:
        stream = stream_video(model, source, state=torch.load("stream.pt"))

    Args:
        model: See :func:`segment_video`.
        source: See :func:`segment_video`. With ``state``, files and arrays go on after the last frame that was read;
            cameras and iterators are expected to give the frames that follow it.
        window: See :func:`segment_video`; results of a window's frames come when it is full.
        overlap: See :func:`segment_video`.
        tracker: See :func:`segment_video`.
        score_threshold: Least score, averaged over the frames so far, of an object that is shown.
        top_k: Most objects shown on a frame.
        classes: See :func:`segment_video`.
        start: See :func:`segment_video`.
        end: See :func:`segment_video`.
        every: See :func:`segment_video`.
        short_side: See :func:`segment_video`.
        dtype: See :func:`segment_video`.
        settings: All of the above and more, in one object. The mode is ``online``, whatever they say.
        state: From :meth:`FrameStream.state_dict`, with the same options.

    Returns:
        An iterator, which can also give the frames and save its state.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If the source cannot be read, an option makes no sense, or the state does not fit the options.
    """
    chosen = (settings or InferenceSettings()).updated(
        mode="online",
        window=window,
        overlap=overlap,
        tracker=tracker,
        score_threshold=score_threshold,
        top_k=top_k,
        classes=classes,
        short_side=short_side,
        dtype=dtype,
    )
    predictor = VideoPredictor(model, chosen)
    video = as_video(source)
    backend = chosen.video_backend
    if state is None:
        return predictor.stream(read_frames(open_video(video, start=start, end=end, every=every, backend=backend)))
    last_read = check_state(state)["last_read"]
    first = last_read + every if last_read >= 0 else start or 0
    return predictor.stream(frames_from(video, first, end=end, every=every, backend=backend), state=state)

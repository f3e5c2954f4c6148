"""A page to try a model in the browser, by Gradio: drop a video or an image, see its objects."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_mask2former.inference import InferenceSettings, SegmentationModel, VideoPredictor
from video_mask2former.inference.outputs import FILE_NAMES, IMAGE_OVERLAY, OutputChoice
from video_mask2former.inference.video_job import VideoJob
from video_mask2former.structures import VideoInstances
from video_mask2former.tasks import Task

TITLE = "video_mask2former"
MOST_FRAMES = 300  # of a video, unless more are asked for
HEAD = ["id", "class", "score", "first frame", "last frame", "frames"]
_FRAME_HEIGHT = 900


@dataclass(frozen=True)
class Answer:
    """What the page shows of a video or an image.

    Attributes:
        overlay: The picture or video with its objects drawn.
        rows: A row for each track, see ``HEAD``.
        viewer: The page of ``viewer.html``.
        files: What was written, to be downloaded.
    """

    overlay: Path
    rows: list[list[Any]]
    viewer: str
    files: list[str]


class AppModel:
    """A model as the page uses it: one call from a file to what is shown.

    Args:
        model: In evaluation mode.
        settings: How it is run, but for the least score.
        task: What is made of its masks.
        folder: Where the files of each answer go, in a folder of their own; nothing is deleted.
    """

    def __init__(self, model: SegmentationModel, settings: InferenceSettings, task: Task, folder: Path) -> None:
        self._model, self.settings, self._task, self._folder = model, settings, task, folder

    def answer(
        self,
        source: str | Path,
        score_threshold: float,
        num_frames: int,
        progress: Callable[[int], None] | None = None,
    ) -> Answer:
        """Find the objects of a video or an image.

        Args:
            source: The file.
            score_threshold: Least score of an object.
            num_frames: Later frames are left out.
            progress: Called with the number of frames done, whenever some are.

        Raises:
            ValueError: If the file cannot be read.
        """
        settings = self.settings.updated(score_threshold=score_threshold)
        predictor = VideoPredictor(self._model, settings, self._task)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        job = VideoJob(source, folder, OutputChoice(), end=num_frames, backend=settings.video_backend)
        with job.open() as reader:
            result = job.run(predictor, reader, progress)
        overlay = folder / (IMAGE_OVERLAY if job.is_image else FILE_NAMES["overlay"])
        viewer = (folder / FILE_NAMES["viewer"]).read_text(encoding="utf-8")
        return Answer(overlay, _rows(result), viewer, sorted(str(path) for path in folder.iterdir()))


def _rows(result: VideoInstances) -> list[list[Any]]:
    """The tracks that have a mask, the most confident first."""
    tracks = sorted((track for track in result.tracks if len(track)), key=lambda track: -track.score)
    return [
        [
            *(track.track_id, result.class_name(track), round(track.score, 3)),
            *(min(track.segmentations), max(track.segmentations), len(track)),
        ]
        for track in tracks
    ]


def require_gradio() -> Any:
    """The module ``gradio``.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the app needs Gradio. Install it with: pip install 'video-mask2former[app]'.") from error
    return gradio


def build_app(model: AppModel) -> Any:
    """The page, a ``gradio.Blocks`` that can be launched or mounted.

    Raises:
        ImportError: If Gradio is not installed.
    """
    gr = require_gradio()

    def segment(source: str | None, score: float, num_frames: float, progress: Any) -> Answer:
        if not source:
            raise gr.Error("Choose a video or an image first.", print_exception=False)
        try:
            return model.answer(source, score, int(num_frames), lambda done: progress((done, int(num_frames))))
        except (OSError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def shown(answer: Answer) -> tuple[Any, ...]:
        # a page inside of the page, so that neither touches the other
        frame = (
            f'<iframe srcdoc="{html.escape(answer.viewer)}" sandbox="allow-scripts allow-downloads" '
            f'title="viewer" style="width:100%;height:{_FRAME_HEIGHT}px;border:0"></iframe>'
        )
        return answer.rows, frame, answer.files

    def of_video(source: str | None, score: float, count: float, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        answer = segment(source, score, count, progress)
        return gr.update(value=str(answer.overlay), visible=True), gr.update(visible=False), *shown(answer)

    def of_image(source: str | None, score: float, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        answer = segment(source, score, 1, progress)
        return gr.update(visible=False), gr.update(value=str(answer.overlay), visible=True), *shown(answer)

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\nDrop a video or an image; every object gets a mask and an id.")
        with gr.Row():
            with gr.Column():
                with gr.Tab("Video"):
                    video = gr.Video(label="video", sources=["upload", "webcam"])
                    count = gr.Number(MOST_FRAMES, label="frames at most", precision=0, minimum=1)
                    run_video = gr.Button("Find objects", variant="primary", elem_id="run-video")
                with gr.Tab("Image"):
                    image = gr.Image(label="image", type="filepath", sources=["upload", "webcam", "clipboard"])
                    run_image = gr.Button("Find objects", variant="primary", elem_id="run-image")
                score = gr.Slider(0, 1, model.settings.score_threshold, step=0.01, label="least score of an object")
            with gr.Column():
                movie = gr.Video(label="objects", interactive=False, elem_id="overlay")
                picture = gr.Image(label="objects", interactive=False, visible=False, elem_id="overlay-image")
        with gr.Tab("Tracks"):
            table = gr.Dataframe(headers=HEAD, interactive=False, elem_id="tracks")
        with gr.Tab("Viewer"):
            viewer = gr.HTML()
        with gr.Tab("Files"):
            files = gr.Files(label="files", interactive=False)
        outputs = [movie, picture, table, viewer, files]
        # one at a time: they share the model
        run_video.click(
            of_video, [video, score, count], outputs, api_name="video", concurrency_id="model", concurrency_limit=1
        )
        run_image.click(
            of_image, [image, score], outputs, api_name="image", concurrency_id="model", concurrency_limit=1
        )
    return page

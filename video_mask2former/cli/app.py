"""``video-mask2former app``: try a model in the browser."""

from __future__ import annotations

import argparse

from video_mask2former.cli.loose_words import allow_words_anywhere
from video_mask2former.cli.predict import add_model_arguments, load_model

_DESCRIPTION = """\
Open a page on which a video, an image or the webcam goes in, and the objects come out: the video with masks, a table of
the tracks, the viewer, and the files that predict writes. It needs Gradio: pip install 'video-mask2former[app]'.

examples:
  video-mask2former app
  video-mask2former app --config ytvis_2019/r50 --weights model_final.pkl --device cuda --port 8080
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "app",
        help="try a model in the browser",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="options of the configuration, such as inference.window=4"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="port to listen on (%(default)s)")
    parser.add_argument("--share", action="store_true", help="a public address, by Gradio's servers")
    add_model_arguments(parser)
    allow_words_anywhere(parser, "overrides")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    import logging
    import tempfile
    from pathlib import Path

    from video_mask2former.app import AppModel, build_app, require_gradio

    require_gradio()  # before a large model is loaded
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio looks whether it is there itself
    with tempfile.TemporaryDirectory(prefix="video_mask2former_") as folder:
        page = build_app(AppModel(*load_model(args, args.overrides), Path(folder)))
        page.launch(server_name=args.host, server_port=args.port, share=args.share)
    return 0

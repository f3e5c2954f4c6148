"""The command line as a whole: help, version, and how errors end."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from video_mask2former import __version__, cli
from video_mask2former.cli import describe_error, main


def parser_that(action):
    """A stand-in for the parser, whose only command does ``action``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--debug", action="store_true")
    parser.set_defaults(run=action)
    return parser


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad value"), "error: bad value\n"),
        (FileNotFoundError("no file"), "error: no file\n"),
        (KeyError("no key"), "error: no key\n"),
        (ImportError("no module"), "error: no module\n"),
        (OSError(), "error: OSError\n"),
    ],
)
def test_expected_errors_are_one_line(monkeypatch, capsys, error, line):
    monkeypatch.setattr(cli, "make_parser", lambda: parser_that(raising(error)))
    assert cli.main([]) == 1
    assert capsys.readouterr().err == line


def test_changes_to_the_configuration_may_stand_anywhere():
    words = ["train", "model.num_queries=3", "--output", "runs", "training.seed=4", "--resume", "loss.x=5"]
    args = cli.make_parser().parse_args(words)
    assert args.overrides == ["model.num_queries=3", "training.seed=4", "loss.x=5"]
    assert args.output == "runs" and args.resume


def test_debug_shows_where_an_error_came_from(monkeypatch, capsys):
    monkeypatch.setattr(cli, "make_parser", lambda: parser_that(raising(ValueError("bad value"))))
    assert cli.main(["--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_defects_of_our_own_are_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "make_parser", lambda: parser_that(raising(AssertionError("ours"))))
    with pytest.raises(AssertionError, match="ours"):
        cli.main([])


def test_an_interrupt_is_status_130_and_a_command_sets_its_own(monkeypatch):
    monkeypatch.setattr(cli, "make_parser", lambda: parser_that(raising(KeyboardInterrupt())))
    assert cli.main([]) == 130
    monkeypatch.setattr(cli, "make_parser", lambda: parser_that(lambda args: 3))
    assert cli.main([]) == 3


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_module_runs_without_torch(word):
    code = (
        "import sys; from video_mask2former.cli import main\n"
        f"try: main(['{word}'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (__version__ if word == "--version" else "convert") in done.stdout


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_flags_are_taken_by_their_full_names(capsys):
    for command in (["predict", "in.mp4", "--output", "out"], ["train"], ["evaluate", "--output", "out"]):
        with pytest.raises(SystemExit):
            main([*command, "--conf", "x"])
        assert "unrecognized arguments: --conf" in capsys.readouterr().err


def test_a_configuration_alone_has_nothing_to_predict_with(tmp_path, capsys):
    assert main(["predict", "in.mp4", "--output", str(tmp_path), "--config", "ytvis_2019/r50", "--device", "cpu"]) == 1
    assert (
        capsys.readouterr().err == "error: ytvis_2019/r50 has no weights to predict with: give them with --weights.\n"
    )


def test_errors_are_lines_that_a_terminal_can_show():
    error = ValueError("first \x1b[2J\nsecond " + "x" * 5000)
    first, second = describe_error(error).splitlines()
    assert first == "first \ufffd[2J"
    assert len(second) < 2100

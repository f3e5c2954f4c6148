"""The one definition of the options of inference, and everything that follows from it."""

from __future__ import annotations

import argparse
import inspect
from dataclasses import fields, replace
from typing import get_type_hints

import pytest

import video_mask2former as vm2f
from video_mask2former.cli.option_flags import add_option_flags, flags_as_overrides
from video_mask2former.config import Config, InferenceOptions, InferenceSettings, apply_overrides
from video_mask2former.config.inference import PUBLISHED
from video_mask2former.recipes.inference import build_settings

NAMES = [field.name for field in fields(InferenceSettings)]


def test_keyword_arguments_have_the_names_and_types_of_the_settings() -> None:
    arguments, settings = get_type_hints(InferenceOptions), get_type_hints(InferenceSettings)
    assert list(arguments) == NAMES
    for name, hint in arguments.items():
        assert name == "classes" or hint == settings[name] | None


@pytest.mark.parametrize(
    ("function", "missing"),
    [(vm2f.segment_video, ()), (vm2f.segment_videos, ()), (vm2f.stream_video, ("mode", "keep_empty"))],
)
def test_help_has_every_option_with_its_sentence(function, missing) -> None:
    names = [name for name in NAMES if name not in missing]
    assert list(inspect.signature(function).parameters)[-len(names) :] == names
    text = " ".join(inspect.getdoc(function).split())
    for field in fields(InferenceSettings):
        assert (f"{field.name}: {field.metadata['doc']}" in text) == (field.name in names)


def test_unknown_arguments_are_named(colour_model) -> None:
    with pytest.raises(TypeError, match=r"segment_video\(\) got an unexpected .* 'top_n'; did you mean 'top_k'"):
        vm2f.segment_video(colour_model, "in.mp4", top_n=3)
    with pytest.raises(TypeError, match=r"stream_video\(\) .* 'wxyz'; the options are mode, window"):
        vm2f.stream_video(colour_model, "in.mp4", wxyz=3)
    with pytest.raises(ValueError, match="a stream is decoded online"):
        vm2f.stream_video(colour_model, "in.mp4", mode="clip")


def test_defaults_are_for_people_and_configurations_start_from_the_published_protocol() -> None:
    people, config = InferenceSettings(), Config().inference
    differing = {name for name in NAMES if getattr(people, name) != getattr(config, name)}
    assert differing == {*PUBLISHED, "short_side", "max_side"}
    assert InferenceSettings.published(top_k=3) == replace(InferenceSettings.published(), top_k=3)
    # an option that a file gives leaves the others as published
    assert apply_overrides(Config(), ["inference.top_k=20"]).inference == replace(config, top_k=20)


def test_every_option_is_a_flag_that_reaches_the_settings() -> None:
    given = {
        "--mode": ("clip", "clip"),
        "--window": ("5", 5),
        "--overlap": ("2", 2),
        "--remainder": ("short", "short"),
        "--tracker": ("propagate", "propagate"),
        "--short-side": ("100", 100),
        "--max-side": ("200", 200),
        "--tile-side": ("64", 64),
        "--tile-stride": ("48", 48),
        "--top-k": ("3", 3),
        "--score-threshold": ("0.25", 0.25),
        "--no-one-label-per-query": (None, False),
        "--keep-empty": (None, True),
        "--mask-quality": ("model", "model"),
        "--classes": ("cat, 2,yes", ("cat", "2", "yes")),
        "--resolve-overlaps": (None, True),
        "--chunk-size": ("2", 2),
        "--dtype": ("bfloat16", "bfloat16"),
        "--feature-dtype": ("float16", "float16"),
        "--feature-device": ("cpu", "cpu"),
        "--second-pass": ("encode", "encode"),
        "--video-backend": ("decord", "decord"),
        "--compile": (None, True),
    }
    parser = argparse.ArgumentParser()
    add_option_flags(parser.add_argument_group("inference"), "inference", InferenceSettings)
    assert flags_as_overrides(parser.parse_args([]), "inference", InferenceSettings) == []
    words = [word for flag, (text, _) in given.items() for word in (flag, text) if word is not None]
    overrides = flags_as_overrides(parser.parse_args(words), "inference", InferenceSettings)
    expected = {flag[2:].removeprefix("no-").replace("-", "_"): value for flag, (_, value) in given.items()}
    assert list(expected) == NAMES
    config = apply_overrides(Config(), overrides)
    assert config.tracker is not None and config.tracker.name == expected["tracker"]
    assert build_settings(config) == InferenceSettings(**expected)
    assert all(value != getattr(InferenceSettings(), name) for name, value in expected.items() if name != "mode")


def test_a_wrong_flag_is_an_error_about_the_option() -> None:
    parser = argparse.ArgumentParser()
    add_option_flags(parser.add_argument_group("inference"), "inference", InferenceSettings)
    overrides = flags_as_overrides(parser.parse_args(["--dtype", "int8"]), "inference", InferenceSettings)
    with pytest.raises(ValueError, match=r"inference.dtype must be one of 'float32', .*, got 'int8'"):
        apply_overrides(Config(), overrides)

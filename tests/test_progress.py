"""What progress looks like where the output is a file."""

from __future__ import annotations

import logging

import pytest

from video_mask2former import progress


@pytest.mark.parametrize(("seconds_each", "num_lines"), [(0.1, 0), (7.0, 11)])
def test_a_file_gets_a_line_a_minute_and_no_bar(monkeypatch, caplog, capsys, seconds_each, num_lines) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])  # commands of other tests left theirs
    with caplog.at_level(logging.INFO):
        for _ in progress.tracked(range(100), "predict", "video"):
            clock[0] += seconds_each
    assert capsys.readouterr().err == ""
    assert len(caplog.messages) == num_lines
    if caplog.messages:
        assert caplog.messages[0] == "predict: 9 of 100 videos, 0.143 a second"


def test_only_one_process_tells(monkeypatch, caplog) -> None:
    monkeypatch.setattr(progress, "LINE_PERIOD_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        assert list(progress.tracked(iter("ab"), "a", "letter", is_shown=False)) == ["a", "b"]
        assert caplog.messages == []
        list(progress.tracked(iter("ab"), "a", "letter"))
    assert [message.split(",")[0] for message in caplog.messages] == ["a: 1 letters", "a: 2 letters"]

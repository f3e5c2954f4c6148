from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from video_mask2former.structures import Track, VideoInstances
from video_mask2former.visualization import ContactSheet, track_color
from video_mask2former.visualization.contact_sheet import GROOVE, ROW_HEIGHT, WIDTH

SIZE = (72, 128)


def rows_with(sheet, color):
    return np.flatnonzero((sheet == color).all(axis=2).any(axis=1))


def timeline_of(sheet, track_id):
    """Share of each hundredth of the groove that is filled, found by its colours."""
    filled = (sheet == track_color(track_id)).all(axis=2)
    groove = (sheet == GROOVE).all(axis=2)
    row = max(range(sheet.shape[0]), key=lambda index: int(filled[index, 270:720].sum()))
    line = filled[row, 278:709]
    assert (line | groove[row, 278:709]).mean() > 0.98
    return line


def collect(instances_maker, present, *, num_frames=40, **options):
    """A sheet of objects that are there on the frames ``present[track_id]``."""
    sheet = ContactSheet(**options)
    for index in range(num_frames):
        frame = np.full((*SIZE, 3), 90, np.uint8)
        ids = [track_id for track_id, frames in present.items() if index in frames]
        parts = [
            instances_maker(
                SIZE, [(10, 10 + track_id % 90, 40, 40 + track_id % 90)], frame_index=index, first_id=track_id
            )
            for track_id in ids
        ]
        merged = instances_maker(SIZE, [], frame_index=index)
        for part in parts:
            merged = type(merged)(
                index,
                SIZE,
                merged.track_ids + part.track_ids,
                merged.labels + part.labels,
                merged.scores + part.scores,
                merged.segmentations + part.segmentations,
            )
        sheet.add(frame, merged)
    return sheet


def test_timelines_show_presence(instances_maker):
    present = {1: range(40), 2: [*range(10), *range(30, 40)], 3: range(20, 22)}
    sheet = collect(instances_maker, present, title="a.mp4", frame_rate=Fraction(25), class_names=["dog"]).render()
    assert sheet.shape[1] == WIDTH
    assert timeline_of(sheet, 1).mean() > 0.97
    second = timeline_of(sheet, 2)
    assert second[:100].all()
    assert not second[120:310].any()
    assert second[335:].all()
    third = np.flatnonzero(timeline_of(sheet, 3))
    assert 205 < third[0] < 225
    assert 230 < third[-1] < 245


def test_rows_are_in_order_of_appearance(instances_maker):
    sheet = collect(instances_maker, {5: range(20, 40), 9: range(40), 2: range(10, 40)}).render()
    tops = [rows_with(sheet[300:], track_color(track_id))[0] for track_id in (9, 2, 5)]
    assert tops == sorted(tops)
    assert tops[1] - tops[0] == pytest.approx(ROW_HEIGHT, abs=8)


def track(instances_maker, track_id, frames, label=0, score=0.9):
    mask = instances_maker(SIZE, [(10, 10 + track_id % 90, 40, 40 + track_id % 90)]).segmentations[0]
    return Track(track_id, label, score, dict.fromkeys(frames, mask))


def test_the_sheet_and_the_final_result_agree(instances_maker):
    sheet = collect(instances_maker, {1: range(40), 2: range(5, 20)}, class_names=["dog", "cat"])
    before = sheet.render()
    assert rows_with(before, track_color(2)).size
    # the second track was wrong, and the first is not on the last frames
    sheet.settle(VideoInstances((track(instances_maker, 1, range(20), 1, 0.25),), 40, SIZE))
    after = sheet.render()
    assert before.shape[0] - after.shape[0] == ROW_HEIGHT
    assert not rows_with(after, track_color(2)).size, "neither in a row nor in the strip"
    assert timeline_of(after, 1)[:210].all() and not timeline_of(after, 1)[220:].any()
    strip = (after[100:260] == track_color(1)).all(axis=2).any(axis=0)
    assert strip[: WIDTH // 3].any() and not strip[2 * WIDTH // 3 :].any()
    # its row says "cat 0.25" now, as the result does
    sheet.settle(VideoInstances((track(instances_maker, 1, range(20)),), 40, SIZE))
    assert not np.array_equal(sheet.render()[300:, :270], after[300:, :270])


def test_ids_in_the_strip_have_rows(instances_maker):
    present = {track_id: range(40) if track_id == 7 else range(15) for track_id in (3, 7, 50)}
    sheet = collect(instances_maker, present, max_tracks=1).render()
    found = [track_id for track_id in present if rows_with(sheet[:280], track_color(track_id)).size]
    assert found == [track_id for track_id in present if rows_with(sheet[300:], track_color(track_id)).size] == [7]


def test_stuff_is_drawn_lightly_and_comes_last(instances_maker):
    def strip(**options):
        sheet = ContactSheet(class_names=["sky", "dog"], **options)
        scene = instances_maker(SIZE, [(0, 0, 36, 128), (40, 20, 60, 60)])
        for index in range(4):
            sheet.add(np.full((*SIZE, 3), 90, np.uint8), replace(scene, frame_index=index))
        return sheet.render()

    sheets = strip(stuff_labels=[0]), strip()
    lightly, usual = (np.abs(sheet[110:150, 100:200].astype(int) - 90).sum() for sheet in sheets)
    assert 0 < lightly < 0.7 * usual
    tops = [rows_with(sheets[0][300:], track_color(track_id))[0] for track_id in (2, 1)]
    assert tops == sorted(tops)


def test_skipped_frames_are_no_gaps(instances_maker):
    sheet = ContactSheet()
    for index in range(0, 40, 4):
        frame = np.full((*SIZE, 3), 90, np.uint8)
        sheet.add(frame, instances_maker(SIZE, [(10, 10, 40, 40)], frame_index=index))
    assert timeline_of(sheet.render(), 1).mean() > 0.97


def test_the_most_important_tracks_are_shown(instances_maker):
    present = {track_id: range(track_id % 40 + 1) for track_id in range(1, 81)}
    collected = collect(instances_maker, present, num_frames=64, max_tracks=5)
    sheet = collected.render()
    assert sheet.shape[0] < 340 + 5 * ROW_HEIGHT
    # pictures are kept of twice as many tracks as are shown
    assert sum(len(record.thumbnails._items) > 0 for record in collected._records.values()) <= 10
    assert len(rows_with(sheet[270:], track_color(39))) > 0
    assert len(rows_with(sheet[270:], track_color(3))) == 0


def test_videos_without_objects_and_of_one_frame(instances_maker, tmp_path):
    sheet = ContactSheet()
    sheet.add(np.zeros((*SIZE, 3), np.uint8), instances_maker(SIZE, []))
    empty = sheet.render()
    sheet.save(tmp_path / "sheet.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1], empty)
    single = ContactSheet(frame_rate=Fraction(30))
    single.add(np.zeros((*SIZE, 3), np.uint8), instances_maker(SIZE, [(5, 5, 30, 30)]))
    assert timeline_of(single.render(), 1).mean() > 0.97


@pytest.mark.parametrize("size", [(1, 1), (400, 20), (20, 400)])
def test_any_frame_size(instances_maker, size):
    sheet = ContactSheet()
    sheet.add(np.zeros((*size, 3), np.uint8), instances_maker(size, [(0, 0, *size)]))
    assert sheet.render().shape[1] == WIDTH


def test_wrong_use_is_refused(instances_maker, tmp_path):
    with pytest.raises(ValueError, match="no frame was added"):
        ContactSheet().render()
    with pytest.raises(ValueError, match="max_tracks"):
        ContactSheet(max_tracks=0)
    with pytest.raises(ValueError, match="its instances are of"):
        ContactSheet().add(np.zeros((5, 5, 3), np.uint8), instances_maker(SIZE, []))

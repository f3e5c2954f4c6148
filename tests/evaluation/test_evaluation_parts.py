"""What the evaluate command is made of: classes by name, folders of predictions, pages of cases, kinds of files."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from video_mask2former.data.evaluation_sets import annotation_kind
from video_mask2former.data.panoptic_files import load_panoptic, read_segment_ids, write_segment_ids
from video_mask2former.evaluation.cases import Case, choose_cases, draw_case, with_matching_ids
from video_mask2former.evaluation.prediction import PredictionFolder, predict_missing
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.tasks import EvaluationOptions
from video_mask2former.tasks.class_mapping import ClassMapping
from video_mask2former.tasks.result_files import annotated_areas
from video_mask2former.tasks.video_instances import VideoEvaluation

SIZE = (30, 40)


def track(left, label=0, score=1.0, track_id=0, num_frames=2, **rest):
    mask = np.zeros((1, *SIZE), bool)
    mask[0, 5:15, left : left + 10] = True
    return Track(track_id, label, score, dict.fromkeys(range(num_frames), encode_masks(mask)[0]), **rest)


def video(*tracks, num_frames=2, video_id=1):
    return VideoInstances(tracks, num_frames, SIZE, video_id=video_id)


class TestClassMapping:
    def test_names_are_matched_whatever_their_spelling(self):
        mapping = ClassMapping(["Giant_panda", "traffic light", "cat"], 3, ["cat", "giant panda"])
        assert mapping.labels == [1, None, 0]
        assert mapping.unknown == ("traffic light",)
        mapped = mapping.apply(video(track(0, label=1), track(9, label=2), track(20, label=0)))
        assert [each.label for each in mapped.tracks] == [0, 1]

    def test_class_agnostic_keeps_everything(self):
        mapping = ClassMapping(["dog", "cat"], 2, ["person", "cat"], is_class_agnostic=True)
        assert (mapping.labels, mapping.unknown) == ([0, 1], ())
        assert ClassMapping([], 7, ["person"], is_class_agnostic=True).labels == [0] * 7

    def test_unnamed_classes_are_taken_in_order(self):
        assert ClassMapping([], 2, ["person", "cat"]).labels == [0, 1]

    def test_nothing_in_common(self):
        with pytest.raises(ValueError, match=r"it has dog, the dataset person, cat.*--class-agnostic"):
            ClassMapping(["dog"], 1, ["person", "cat"])
        with pytest.raises(ValueError, match="it has 7"):
            ClassMapping([], 7, ["person", "cat"])


class TestVideoEvaluation:
    def test_is_an_evaluator_whose_parts_merge(self):
        pairs = [(video(track(0, score=0.9), video_id=index), video(track(index), video_id=index)) for index in (1, 2)]
        whole, merged, parts = VideoEvaluation(["a"]), VideoEvaluation(["a"]), [VideoEvaluation(["a"]) for _ in pairs]
        for part, pair in zip(parts, pairs, strict=True):
            whole.process(*pair)
            part.process(*pair)
        merged.merge(part.state() for part in parts)
        keys = {1: "a", 2: "b"}
        assert merged.report(keys) == whole.report(keys)
        assert merged.evaluate() == whole.evaluate()
        assert merged.qualities() == whole.qualities()
        merged.reset()
        assert merged.evaluate()["AP"] == -1.0

    def test_min_score_is_for_identities_alone(self):
        evaluation = VideoEvaluation(["a"], EvaluationOptions(min_score=0.5))
        evaluation.process(video(track(0, score=0.4)), video(track(0)))
        report = evaluation.report({1: "first"})
        assert report.summary["AP"] == pytest.approx(1.0)
        assert (report.groups["identity"]["HOTA"], report.samples["per_video"]) == (0.0, {"first": 0.0})


class TestPredictionFolder:
    def test_finished_samples_are_not_done_again(self, tmp_path):
        done = []

        def predict(index):
            done.append(index)
            folder.path(ids[index]).write_text(json.dumps([{"id": ids[index]}]))

        ids = [4, 8, 15]
        folder = PredictionFolder(tmp_path / "predictions", {"weights": "abc"})
        folder.path(8).write_text("[]")
        predict_missing(folder, ids, predict)
        assert done == [0, 2]
        assert list(folder.entries(ids)) == [{"id": 4}, {"id": 15}]

    def test_predictions_of_another_model_are_refused(self, tmp_path):
        PredictionFolder(tmp_path, {"weights": "abc"})
        PredictionFolder(tmp_path, {"weights": "abc"})
        with pytest.raises(ValueError, match=r"another model.*made_by\.json.*Choose another --output"):
            PredictionFolder(tmp_path, {"weights": "abd"})


class TestCases:
    @pytest.mark.parametrize(
        ("num_cases", "worst", "best"), [(1, [2], [3]), (2, [2, 4], [3]), (5, [2, 4, 3], []), (0, [], [])]
    )
    def test_no_video_is_among_the_worst_and_the_best(self, num_cases, worst, best):
        assert choose_cases({1: -1.0, 2: 0.1, 3: 0.9, 4: 0.5}, num_cases) == (worst, best)

    def test_tracks_get_the_ids_of_the_objects_they_fit(self):
        prediction = video(track(22, track_id=9), track(1, track_id=9), track(11, track_id=9))
        matched, iou = with_matching_ids(prediction, video(track(0), track(20)))
        assert [each.track_id for each in matched.tracks] == [2, 1, 5]
        assert iou == pytest.approx({1: 9 / 11, 2: 8 / 12})

    def test_stuff_fits_its_own_class_wherever_it_is(self):
        truth = video(track(0, label=1), track(10, label=0), track(20, label=2))
        prediction = video(track(10, label=1), track(0, label=0), track(20, label=0))
        matched, iou = with_matching_ids(prediction, truth, stuff_labels=(1, 2))
        assert [each.track_id for each in matched.tracks] == [1, 5, 6]
        assert iou == {1: 0.0}
        assert with_matching_ids(video(), truth, (1,))[1] == {}

    def test_picture_has_truth_above_prediction(self, tmp_path):
        paths = tuple(tmp_path / f"{index}.png" for index in range(2))
        for index, path in enumerate(paths):
            cv2.imwrite(str(path), np.full((*SIZE, 3), 60 * index, np.uint8))
        seen = []

        def annotate(frame, instances, names):
            seen.append((int(frame[0, 0, 0]), instances.frame_index, len(instances), instances.track_ids, tuple(names)))
            return frame

        case = Case("a", 0.5, video(track(19), track(0)), video(track(20)), paths)
        picture = draw_case(case, ["cat"], annotate)
        assert seen == [
            (60 * index, index, *rest) for index in (0, 1) for rest in ((1, (1,), ("cat",)), (2, (1, 3), ("cat",)))
        ]
        assert picture.shape == (2 * (270 + 4), 2 * (360 + 4), 3)


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            ({"categories": [{"name": "videos"}], "images": [], "annotations": []}, "images"),
            ({"images": [], "annotations": [], "videos": []}, "videos"),
            ({"videos": [], "annotations": [{"annotations": [{"segments_info": []}]}]}, "panoptic"),
        ],
    )
    def test_kind_of_annotations(self, tmp_path, content, kind):
        (tmp_path / "file.json").write_text(json.dumps(content))
        assert annotation_kind(tmp_path / "file.json") == kind

    def test_areas_are_taken_all_or_none(self, tmp_path):
        path = tmp_path / "file.json"
        path.write_text(json.dumps({"annotations": [{"id": 5, "area": 2.5}]}))
        assert annotated_areas(path) == {5: 2.5}
        path.write_text(json.dumps({"annotations": [{"id": 5, "area": 2.5}, {"id": 6}]}))
        assert annotated_areas(path) is None

    def test_segment_ids_survive_a_png(self, tmp_path):
        ids = np.array([[0, 255, 256], [65535, 65536, 2**24 - 1]])
        write_segment_ids(tmp_path / "deep" / "ids.png", ids)
        assert read_segment_ids(tmp_path / "deep" / "ids.png").tolist() == ids.tolist()

    def test_bad_panoptic_files(self, tmp_path):
        path = tmp_path / "file.json"
        with pytest.raises(FileNotFoundError, match="no panoptic file"):
            load_panoptic(path)
        path.write_text("{")
        with pytest.raises(ValueError, match="not a JSON file"):
            load_panoptic(path)
        path.write_text("{}")
        with pytest.raises(FileNotFoundError, match="expected in the folder"):
            load_panoptic(path)
        (tmp_path / "file").mkdir()
        for content in ({}, {"annotations": [{"image_id": 1}]}, []):
            path.write_text(json.dumps(content))
            with pytest.raises(ValueError, match=r"is missing in|as every panoptic file does"):
                load_panoptic(path)
        segment = {"id": 1, "category_id": 9}
        entry = {"image_id": 1, "file_name": "1.png", "segments_info": [segment]}
        path.write_text(json.dumps({"annotations": [entry]}))
        file = load_panoptic(path)
        with pytest.raises(ValueError, match=r"1\.png: category_id 9 is not in the annotations"):
            file.read("1", (1, 2))
        with pytest.raises(FileNotFoundError, match="no image"):
            file.read("1", (9,))
        with pytest.raises(ValueError, match="no entry for 2"):
            file.read("2", (9,))

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.image_files import read_image
from video_mask2former.data.preparation.check import check_dataset
from video_mask2former.data.synthetic import AnnotatedSource, SceneStyle, random_scene, write_synthetic_dataset
from video_mask2former.data.synthetic.composites import AnnotatedBackdrop, random_cutout
from video_mask2former.data.synthetic.generator import tracks_of
from video_mask2former.data.synthetic.scenes import Motion, PaintedBackdrop, PanningCamera, Scene
from video_mask2former.data.synthetic.sprites import SHAPES, CutoutSprite, ShapeSprite
from video_mask2former.rle import decode_rle

SMALL = SceneStyle(num_frames=6, size=(48, 64), num_objects=(2, 4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic")
    write_synthetic_dataset(path, 6, SMALL, seed=1)
    return path


@pytest.fixture(scope="module")
def source(folder) -> AnnotatedSource:
    return AnnotatedSource(load_annotations(folder / "instances.json"), folder / "JPEGImages")


def test_written_dataset_is_sound_and_rich(folder) -> None:
    report = check_dataset(folder / "instances.json", folder / "JPEGImages")
    assert report.problems == ()
    assert (report.num_videos, report.num_frames) == (6, 36)
    assert sum(item.num_tracks for item in report.classes.values()) >= 10
    assert [item.name for item in report.classes.values()] == list(SHAPES)


def test_same_seed_same_files_and_more_videos_begin_the_same(folder, tmp_path) -> None:
    write_synthetic_dataset(tmp_path / "b", 2, SMALL, seed=1)
    for video in range(2):
        for frame in range(6):
            name = f"JPEGImages/{video:05d}/{frame:05d}.jpg"
            assert (tmp_path / "b" / name).read_bytes() == (folder / name).read_bytes()
    small, large = load_annotations(tmp_path / "b/instances.json"), load_annotations(folder / "instances.json")
    assert [small.ground_truth(index) for index in range(2)] == [large.ground_truth(index) for index in range(2)]
    write_synthetic_dataset(tmp_path / "c", 1, SMALL, seed=2)
    first = "JPEGImages/00000/00000.jpg"
    assert (tmp_path / "c" / first).read_bytes() != (folder / first).read_bytes()


def test_plain_shapes_have_one_colour_each() -> None:
    for seed in range(4):
        for style, most in ((replace(SMALL, has_plain_shapes=True), 1), (SMALL, 10_000)):
            scene = random_scene(style, np.random.default_rng(seed))
            for sprite in scene.sprites:
                picture, mask = sprite.patch(0)
                colours = len(np.unique(picture[mask > 0], axis=0))
                assert colours == 1 if most == 1 else colours > 1


def test_objects_move_deform_occlude_enter_and_leave() -> None:
    style = SceneStyle(num_frames=12, size=(60, 80), num_objects=(4, 6))
    moved = deformed = occluded = entered = left = same_class = 0
    for seed in range(12):
        scene = random_scene(style, np.random.default_rng(seed))
        owners = [scene.render(time)[1] for time in range(12)]
        alone = [
            [(scene_of_one.render(time)[1] > 0).sum() for time in range(12)]
            for scene_of_one in (
                Scene(scene.backdrop, [sprite], [motion])
                for sprite, motion in zip(scene.sprites, scene.motions, strict=True)
            )
        ]
        categories = [sprite.category_id for sprite in scene.sprites]
        same_class += len(set(categories)) < len(categories)
        for number in range(1, len(categories) + 1):
            areas = np.array([(owner == number).sum() for owner in owners])
            visible = np.flatnonzero(areas)
            if len(visible) < 2:
                continue
            centres = [np.argwhere(owners[time] == number).mean(axis=0) for time in (visible[0], visible[-1])]
            moved += np.abs(centres[0] - centres[1]).max() > 3
            deformed += len(set(areas[visible])) > 1
            occluded += (areas < alone[number - 1]).any()
            entered += visible[0] > 0
            left += visible[-1] < 11
    assert min(moved, deformed, occluded, entered, left, same_class) >= 3


def test_masks_are_exactly_the_pixels_of_the_object() -> None:
    class Flat:
        category_id = 1

        def __init__(self, value: int) -> None:
            self.value = value

        def patch(self, time: int):
            return np.full((9, 9, 3), self.value, np.uint8), np.ones((9, 9), np.uint8)

    backdrop = PaintedBackdrop((30, 40), np.random.default_rng(0))
    backdrop.render = lambda time: (np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.int32))
    still = {"swing": (0.0, 0.0), "swing_speed": 0.0, "scale": 1.5, "growth": 1.0, "spin": 5.0}
    motions = [
        Motion(position=(10.0, 12.0), velocity=(2.0, 1.0), angle=20.0, **still),
        Motion(position=(25.0, 15.0), velocity=(-2.0, 0.0), angle=0.0, **still),
    ]
    scene = Scene(backdrop, [Flat(100), Flat(200)], motions)
    for time in range(8):
        picture, owner = scene.render(time)
        np.testing.assert_array_equal(owner, np.select([picture[..., 0] == 200, picture[..., 0] == 100], [2, 1], 0))
    tracks = tracks_of([scene.render(time)[1] for time in range(8)], scene.category_ids)
    np.testing.assert_array_equal(decode_rle(tracks[0].segmentations[3]), scene.render(3)[1] == 1)


def test_motion_goes_where_it_says() -> None:
    motion = Motion((10.0, 20.0), (3.0, -1.0), (0.0, 0.0), 0.0, 2.0, 1.0, 90.0, 0.0)
    np.testing.assert_allclose(motion.matrix(4, (5, 7)) @ [3, 2, 1], [22, 16], atol=1e-9)  # the centre of the patch
    np.testing.assert_allclose(motion.matrix(0, (5, 7)) @ [4, 2, 1], [10, 18], atol=1e-9)  # turned and doubled


@pytest.mark.parametrize("category_id", range(1, len(SHAPES) + 1))
def test_shapes_are_whole_in_their_patch_and_breathe(category_id) -> None:
    sprite = ShapeSprite(category_id, 12, np.random.default_rng(0))
    masks = [sprite.patch(time)[1] for time in range(20)]
    for mask in masks:
        assert 150 < mask.sum() < 700
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    assert any((mask != masks[0]).any() for mask in masks)


def test_cutouts_come_from_real_objects_and_play_back_and_forth(source) -> None:
    sprite = random_cutout(source, 4, 20, np.random.default_rng(0))
    assert isinstance(sprite, CutoutSprite)
    picture, mask = sprite.patch(0)
    assert max(mask.shape) == 20 and mask.any() and picture.shape == (*mask.shape, 3)
    patches = [(np.full((1, 1, 3), value, np.uint8), np.ones((1, 1), np.uint8)) for value in range(3)]
    values = [int(CutoutSprite(1, patches).patch(time)[0][0, 0, 0]) for time in range(7)]
    assert values == [0, 1, 2, 1, 0, 1, 2]
    with pytest.raises(ValueError, match="at least once"):
        CutoutSprite(1, [])


def test_backdrop_keeps_the_objects_of_its_video(source) -> None:
    backdrop = AnnotatedBackdrop(source, 0, 4, (48, 64), np.random.default_rng(0))
    picture, owner = backdrop.render(0)
    assert picture.shape == (48, 64, 3) and owner.shape == (48, 64)
    assert set(np.unique(owner).tolist()) <= set(range(len(backdrop.category_ids) + 1))
    assert owner.any()


def test_composites_of_real_material(source, tmp_path) -> None:
    style = SceneStyle(num_frames=5, size=(40, 56), num_objects=(2, 3), source=source)
    path = write_synthetic_dataset(tmp_path, 3, style, seed=0)
    assert check_dataset(path, tmp_path / "JPEGImages").problems == ()
    annotations = load_annotations(path)
    assert annotations.class_names == SHAPES
    base_tracks = len(source.annotations[0].labels)
    assert sum(len(annotations[index].labels) for index in range(3)) > base_tracks


def test_photographs_as_backdrops(folder, tmp_path) -> None:
    photos = sorted((folder / "JPEGImages/00000").glob("*.jpg"))
    style = SceneStyle(num_frames=2, size=(40, 56), num_objects=(0, 0), photos=photos)
    write_synthetic_dataset(tmp_path, 1, style, seed=0)
    assert read_image(tmp_path / "JPEGImages/00000/00000.jpg").std() > 5
    assert load_annotations(tmp_path / "instances.json").ground_truth(0).tracks == ()


def test_impossible_styles() -> None:
    with pytest.raises(ValueError, match=r"at least one frame and 16 x 16 pixels, got 0 frames"):
        SceneStyle(num_frames=0)
    with pytest.raises(ValueError, match=r"got 12 frames and \(0, 40\)"):
        SceneStyle(size=(0, 40))
    with pytest.raises(ValueError, match="fewest <= most"):
        SceneStyle(num_objects=(3, 2))
    with pytest.raises(ValueError, match="smallest <= largest, above 0"):
        SceneStyle(object_sides=(0.0, 0.5))
    with pytest.raises(ValueError, match="does not fit"):
        PanningCamera(np.zeros((5, 5)), (6, 5), np.random.default_rng(0))


def test_photos_or_a_source(source, tmp_path) -> None:
    with pytest.raises(ValueError, match="not both"):
        SceneStyle(photos=[tmp_path], source=source)


def test_crossing_objects_are_of_one_class_meet_leave_and_return():
    style = SceneStyle(num_frames=48, size=(60, 80), num_objects=(3, 5), is_crossing=True)
    returns = meetings = 0
    for seed in range(8):
        scene = random_scene(style, np.random.default_rng(seed))
        assert len(set(scene.category_ids)) == 1
        owners = [scene.render(time)[1] for time in range(style.num_frames)]
        for number in range(1, len(scene.category_ids) + 1):
            seen = [bool((owner == number).any()) for owner in owners]
            runs = [seen[0], *(now for before, now in itertools.pairwise(seen) if now != before)]
            returns += sum(runs) - 1 if any(runs) else 0
        patch_sizes = [(20, 20)] * len(scene.motions)
        for time in range(style.num_frames):
            places = [
                motion.matrix(time, size) @ (9.5, 9.5, 1)
                for motion, size in zip(scene.motions, patch_sizes, strict=True)
            ]
            meetings += sum(
                bool(np.abs(first - second).max() < 8) for first, second in itertools.combinations(places, 2)
            )
    assert returns >= 8, "objects that leave, or are covered, and return"
    assert meetings >= 40

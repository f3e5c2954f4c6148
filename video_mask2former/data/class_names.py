"""Class lists of the published datasets, in the order of the columns of the published models' class logits.

The names are the datasets' own, misspellings included (OVIS has "Vehical"), so that they compare equal to those in
the annotation files. ADE20K names are cut to the first synonym.
"""

from __future__ import annotations

from collections.abc import Sequence


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


_YTVIS_2019 = _listed(
    """person, giant_panda, lizard, parrot, skateboard, sedan, ape, dog, snake, monkey, hand, rabbit, duck, cat, cow,
    fish, train, horse, turtle, bear, motorbike, giraffe, leopard, fox, deer, owl, surfboard, airplane, truck, zebra,
    tiger, elephant, snowboard, boat, shark, mouse, frog, eagle, earless_seal, tennis_racket"""
)

_YTVIS_2021 = _listed(
    """airplane, bear, bird, boat, car, cat, cow, deer, dog, duck, earless_seal, elephant, fish, flying_disc, fox,
    frog, giant_panda, giraffe, horse, leopard, lizard, monkey, motorbike, mouse, parrot, person, rabbit, shark,
    skateboard, snake, snowboard, squirrel, surfboard, tennis_racket, tiger, train, truck, turtle, whale, zebra"""
)

_OVIS = _listed(
    """Person, Bird, Cat, Dog, Horse, Sheep, Cow, Elephant, Bear, Zebra, Giraffe, Poultry, Giant_panda, Lizard, Parrot,
    Monkey, Rabbit, Tiger, Fish, Turtle, Bicycle, Motorcycle, Airplane, Boat, Vehical"""
)

_COCO_THINGS = _listed(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush"""
)

_COCO_STUFF = _listed(
    """banner, blanket, bridge, cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, gravel, house,
    light, mirror-stuff, net, pillow, platform, playingfield, railroad, river, road, roof, sand, sea, shelf, snow,
    stairs, tent, towel, wall-brick, wall-stone, wall-tile, wall-wood, water-other, window-blind, window-other,
    tree-merged, fence-merged, ceiling-merged, sky-other-merged, cabinet-merged, table-merged, floor-other-merged,
    pavement-merged, mountain-merged, grass-merged, dirt-merged, paper-merged, food-other-merged,
    building-other-merged, rock-merged, wall-other-merged, rug-merged"""
)

_ADE20K = _listed(
    """wall, building, sky, floor, tree, ceiling, road, bed, window, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, tub, rail, cushion, base, box, column, signboard,
    chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
    case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
    book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
    hovel, bus, towel, light, truck, tower, chandelier, awning, street lamp, booth, tv, plane, dirt track, clothes,
    pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
    canopy, washer, plaything, pool, stool, barrel, basket, falls, tent, bag, minibike, cradle, oven, ball, food,
    step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood,
    sconce, vase, traffic light, tray, trash can, fan, pier, crt screen, plate, monitor, bulletin board, shower,
    radiator, glass, clock, flag"""
)

# The 50 classes that ADE20K's panoptic task treats as stuff.
_ADE20K_STUFF = _listed(
    """wall, building, sky, floor, tree, ceiling, road, grass, sidewalk, earth, mountain, plant, water, house, sea,
    rug, field, rock, base, sand, skyscraper, grandstand, path, runway, stairway, river, bridge, blind, hill, bar,
    hovel, tower, dirt track, land, escalator, buffet, poster, stage, conveyer belt, canopy, pool, falls, tent,
    cradle, tank, lake, blanket, pier, crt screen, shower"""
)

_VSPW = _listed(
    """wall, ceiling, door, stair, ladder, escalator, Playground_slide, handrail_or_fence, window, rail, goal, pillar,
    pole, floor, ground, grass, sand, athletic_field, road, path, crosswalk, building, house, bridge, tower,
    windmill, well_or_well_lid, other_construction, sky, mountain, stone, wood, ice, snowfield, grandstand, sea,
    river, lake, waterfall, water, billboard_or_Bulletin_Board, sculpture, pipeline, flag, parasol_or_umbrella,
    cushion_or_carpet, tent, roadblock, car, bus, truck, bicycle, motorcycle, wheeled_machine, ship_or_boat, raft,
    airplane, tyre, traffic_light, lamp, person, cat, dog, horse, cattle, other_animal, tree, flower, other_plant,
    toy, ball_net, backboard, skateboard, bat, ball, cupboard_or_showcase_or_storage_rack, box,
    traveling_case_or_trolley_case, basket, bag_or_package, trash_can, cage, plate, tub_or_bowl_or_pot,
    bottle_or_cup, barrel, fishbowl, bed, pillow, table_or_desk, chair_or_seat, bench, sofa, shelf, bathtub, gun,
    commode, roaster, other_machine, refrigerator, washing_machine, Microwave_oven, fan, curtain, textiles, clothes,
    painting_or_poster, mirror, flower_pot_or_vase, clock, book, tool, blackboard, tissue, screen_or_television,
    computer, printer, Mobile_phone, keyboard, other_electronic_product, fruit, food, instrument, train"""
)

# The classes of VIPSeg, which has those of VSPW, that come as separate instances.
_VIPSEG_THINGS = _listed(
    """door, ladder, window, goal, sculpture, flag, parasol_or_umbrella, tent, roadblock, car, bus, truck, bicycle,
    motorcycle, ship_or_boat, raft, airplane, person, cat, dog, horse, cattle, other_animal, skateboard, ball, box,
    traveling_case_or_trolley_case, basket, bag_or_package, plate, tub_or_bowl_or_pot, bottle_or_cup, barrel,
    fishbowl, bed, pillow, table_or_desk, chair_or_seat, bench, sofa, gun, commode, roaster, refrigerator,
    washing_machine, Microwave_oven, fan, painting_or_poster, mirror, flower_pot_or_vase, clock,
    screen_or_television, computer, printer, Mobile_phone, keyboard, instrument, train"""
)

_CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)

# COCO skips the ids of ten things that were never annotated, and of stuff classes that were merged into others.
_COCO_UNUSED_THING_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_COCO_THING_IDS = tuple(index for index in range(1, 91) if index not in _COCO_UNUSED_THING_IDS)
# fmt: off
_COCO_STUFF_IDS = (
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154,
    155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201),
)
# fmt: on

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "ytvis_2019": _YTVIS_2019,
    "ytvis_2021": _YTVIS_2021,
    "ovis": _OVIS,
    "coco_instance": _COCO_THINGS,
    "coco_panoptic": _COCO_THINGS + _COCO_STUFF,
    "ade20k_semantic": _ADE20K,
    "cityscapes_semantic": _CITYSCAPES,
    "vspw": _VSPW,
    "vipseg": (*_VIPSEG_THINGS, *(name for name in _VSPW if name not in _VIPSEG_THINGS)),
}
"""Names of the classes by list, in the order of the class index. YouTube-VIS 2022 has the list of 2021."""

CATEGORY_IDS: dict[str, tuple[int, ...]] = {
    "ytvis_2019": tuple(range(1, 41)),
    "ytvis_2021": tuple(range(1, 41)),
    "ovis": tuple(range(1, 26)),
    "coco_instance": _COCO_THING_IDS,
    "coco_panoptic": _COCO_THING_IDS + _COCO_STUFF_IDS,
    "ade20k_semantic": tuple(range(1, 151)),  # 0 is "not labelled" in the annotation pictures
    # The ids of the published pictures; the others do not count
    "cityscapes_semantic": (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33),
    "vspw": tuple(range(1, 125)),  # 0 again
    "vipseg": tuple(map(_VSPW.index, CLASS_NAMES["vipseg"])),
}
"""The ``category_id`` that annotation and result files use for each class index."""

THING_INDICES: dict[str, frozenset[int]] = {
    **{name: frozenset(range(len(CLASS_NAMES[name]))) for name in ("ytvis_2019", "ytvis_2021", "ovis")},
    "coco_instance": frozenset(range(80)),
    "coco_panoptic": frozenset(range(80)),
    "ade20k_semantic": frozenset(index for index, name in enumerate(_ADE20K) if name not in _ADE20K_STUFF),
    "cityscapes_semantic": frozenset(range(11, 19)),
    "vspw": frozenset(map(_VSPW.index, _VIPSEG_THINGS)),
    "vipseg": frozenset(range(58)),
}
"""Class indices of things, which come as separate instances; the others are stuff."""


def known_things(class_names: Sequence[str], num_classes: int) -> tuple[bool, ...]:
    """Whether each class has countable objects, by the list that the classes are; all have where they are none."""
    name = _list_of(class_names)
    things = range(num_classes) if name is None else THING_INDICES[name]
    return tuple(index in things for index in range(num_classes))


def known_category_ids(class_names: Sequence[str], num_classes: int) -> tuple[int, ...]:
    """Category id of each class, by the list that the classes are; counted from 1 where they are none."""
    name = _list_of(class_names)
    return tuple(range(1, num_classes + 1)) if name is None else CATEGORY_IDS[name]


def _list_of(class_names: Sequence[str]) -> str | None:
    return next((name for name, names in CLASS_NAMES.items() if names == tuple(class_names)), None)

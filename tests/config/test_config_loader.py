"""YAML files, their bases, and overrides."""

from __future__ import annotations

import pytest
import yaml

from video_mask2former.config import Config, apply_overrides, config_from_mapping, load_config, to_yaml


def write(folder, **files: str):
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_an_empty_file_is_the_default(tmp_path):
    write(tmp_path, empty="")
    assert load_config(tmp_path / "empty.yaml") == Config()


def test_bases_are_merged_and_later_files_win(tmp_path):
    write(
        tmp_path,
        first="model: {num_queries: 10, backbone: {name: swin, swin: {embed_dim: 64}}}\ndata: {short_sides: [1, 2, 3]}",
        second="model: {num_queries: 20}\nloss: {class_weight: 4}",
        child="_base_: [first.yaml, second.yaml]\nmodel: {backbone: {swin: {window_size: 5}}}\n"
        "data: {short_sides: [9]}",
    )
    config = load_config(tmp_path / "child.yaml")
    assert config.model.options["num_queries"] == 20
    assert (config.model.options["backbone"]["embed_dim"], config.model.options["backbone"]["window_size"]) == (64, 5)
    assert config.data.short_sides == (9,)
    assert config.loss.options["class_weight"] == 4.0


def test_bases_chain_relative_to_the_file_that_names_them(tmp_path):
    write(
        tmp_path,
        **{
            "a/b/leaf": "_base_: ../middle.yaml\n",
            "a/middle": "_base_: ../root.yaml\nmodel: {num_classes: 3}",
            "root": "model: {num_classes: 2, num_queries: 7}",
        },
    )
    config = load_config(tmp_path / "a/b/leaf.yaml")
    assert (config.model.num_classes, config.model.options["num_queries"]) == (3, 7)


def test_a_base_may_be_shared_but_not_lead_back(tmp_path):
    write(tmp_path, root="model: {num_queries: 7}", left="_base_: root.yaml", right="_base_: root.yaml")
    write(tmp_path, diamond="_base_: [left.yaml, right.yaml]", one="_base_: two.yaml", two="_base_: one.yaml")
    assert load_config(tmp_path / "diamond.yaml").model.options["num_queries"] == 7
    with pytest.raises(ValueError, match=r"leads back.*one.yaml -> .*two.yaml -> .*one.yaml"):
        load_config(tmp_path / "one.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "is not a YAML file"),
        ("- 1", "must be a mapping of sections, got list"),
        ("model: {num_queries: 1, num_queries: 2}", "key 'num_queries' occurs twice"),
        ("training: {max_step: 1}", "'training.max_step' in .*bad.yaml; did you mean 'training.max_steps'"),
        ("training: {max_steps: 0}", "max_steps must be at least 1, got 0.*Found in .*bad.yaml"),
        ("model: 7", "model must be a mapping, got 7 in .*bad.yaml"),
        ("model: {backbone: !!binary aGk=}", "it holds a bytes"),
        ("tracker: {x: 1}", "tracker needs the name of a part, got {'x': 1}"),
        ("losses: [{weight: 1}]", "losses needs the name of a part"),
        ("losses: contrastive", "losses must be a list, got 'contrastive'"),
        ("model: {num_classes: 2, class_names: [a]}", "class_names must name each of the num_classes = 2"),
        ("model: {class_names: [a], num_classes: 1, class_list: ovis}", "class_names or class_list, not both"),
        ("data: {train: [a, b], train_ratios: [1.0]}", "train_ratios must have one number for each of the 2"),
        ("data: {train: [a, b], train_ratios: [1.0, 0.0]}", "train_ratios must be above 0, got .*Leave out a dataset"),
        ("MODEL: {META_ARCHITECTURE: VideoMaskFormer}", "is a detectron2 configuration"),
        ("_base_: 7", "_base_ in .*bad.yaml must be a file or a list of files, got 7"),
        ("model: !!python/object/apply:os.system ['true']", "is not a YAML file"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, text, message):
    write(tmp_path, bad=text)
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "bad.yaml")


def test_errors_name_the_base_they_are_in(tmp_path):
    write(tmp_path, broken="training: {learning_rat: 1}", child="_base_: broken.yaml")
    with pytest.raises(ValueError, match=r"in .*broken.yaml; did you mean 'training.learning_rate'"):
        load_config(tmp_path / "child.yaml")
    with pytest.raises(FileNotFoundError, match=r"no configuration file .*absent.yaml"):
        load_config(write(tmp_path, other="_base_: absent.yaml") / "other.yaml")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("model.num_queries=20", lambda config: config.model.options["num_queries"] == 20),
        ("training.learning_rate=5e-5", lambda config: config.training.learning_rate == 5e-5),
        ("training.learning_rate=1", lambda config: config.training.learning_rate == 1.0),
        ("data.short_sides=[360, 480]", lambda config: config.data.short_sides == (360, 480)),
        ("model.backbone={name: swin}", lambda config: config.model.options["backbone"]["name"] == "swin"),
        ("training.init_weights=a=b.pth", lambda config: config.training.init_weights == "a=b.pth"),
        ("training.init_weights=null", lambda config: config.training.init_weights is None),
        (
            "model.temporal_position_encoding=false",
            lambda config: config.model.options["decoder"] == {"temporal_position_encoding": False},
        ),
    ],
)
def test_overrides_are_yaml(override, value):
    assert value(apply_overrides(Config(), [override]))


def test_overrides_may_be_a_mapping_of_values():
    changes = {"model.num_queries": 20, "data.train": ["a [1], b::c.json"], "model.backbone": {"name": "swin"}}
    config = apply_overrides(Config(), changes)
    assert (config.model.options["num_queries"], config.model.options["backbone"]["name"]) == (20, "swin")
    assert config.data.train == ("a [1], b::c.json",), "no YAML, so nothing to be quoted"
    for wrong, message in (
        ({"data.trian": 1}, "unknown config key 'data.trian' in override.*did you mean 'data.train'"),
        ({"model.num_classes": "20"}, "num_classes must be an integer, got '20'"),
        ({"model.": 1}, "must read section.option=value"),
    ):
        with pytest.raises(ValueError, match=message):
            apply_overrides(Config(), wrong)


def test_the_last_override_wins_and_the_rest_stays():
    start = apply_overrides(Config(), ["model.num_classes=3", "model.backbone={name: swin, window_size: 5}"])
    changed = apply_overrides(start, ["model.num_queries=1", "model.num_queries=2", "model.backbone.name=swin"])
    assert changed.model.options["num_queries"] == 2
    assert (changed.model.num_classes, changed.model.options["backbone"]["window_size"]) == (3, 5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_queries", "must read section.option=value, got 'model.num_queries'"),
        ("=3", "must read section.option=value"),
        ("model..x=3", "must read section.option=value"),
        ("model.num_queries=[", "is not YAML"),
        ("max_steps=3", "did you mean 'training.max_steps'"),
        ("training.max_steps.x=3", "training.max_steps must be an integer"),
        ("training.max_steps=-1", "max_steps must be at least 1, got -1"),
    ],
)
def test_bad_overrides_say_what_is_wrong(override, message):
    with pytest.raises(ValueError, match=message):
        apply_overrides(Config(), [override])


def test_yaml_reads_back_to_an_equal_configuration(tmp_path):
    config = apply_overrides(
        Config(),
        ["model.num_classes=2", "model.class_names=[a, 'no']", "training.learning_rate=1e-7", "data.crop_size=[3, 4]"],
    )
    (tmp_path / "dump.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "dump.yaml") == config
    assert config_from_mapping(yaml.safe_load(to_yaml(config)), "a checkpoint") == config


def test_a_part_of_another_name_takes_no_options_over(tmp_path):
    write(tmp_path, base="model: {num_classes: 3, backbone: {name: resnet, depth: 101}}\ntracker: {name: a, x: 1}")
    write(tmp_path, child="_base_: base.yaml\nmodel: {backbone: {name: swin}}\ntracker: b")
    config = load_config(tmp_path / "child.yaml")
    assert config.model.options == {"backbone": {"name": "swin"}} and config.model.num_classes == 3
    assert (config.tracker.name, config.tracker.options) == ("b", {})
    assert apply_overrides(config, ["tracker.x=2"]).tracker.options == {"x": 2}


def test_parts_read_back_from_yaml(tmp_path):
    write(tmp_path, one="model: {name: 'a:B', depth: [1, {x: 2}]}\ntracker: query\nlosses: [{name: c, weight: 2}, d]")
    config = load_config(tmp_path / "one.yaml")
    assert config.losses[0].options == {"weight": 2} and config.losses[1].name == "d"
    write(tmp_path, two=to_yaml(config))
    assert load_config(tmp_path / "two.yaml") == config

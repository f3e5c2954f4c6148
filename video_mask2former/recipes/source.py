"""Configurations from wherever they are: YAML of ours or published, shipped ones by name, folders, checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from video_mask2former.config import Config, Overrides, config_from_mapping, load_config
from video_mask2former.convert import (
    Checkpoint,
    convert_detectron2_config,
    convert_lightning_config,
    convert_vit_config,
    is_lightning_config,
    is_vit_config,
    read_detectron2_yaml,
    read_huggingface_config,
)
from video_mask2former.documents import MAX_YAML_LENGTH, check_plain, parse_yaml, read_text, read_yaml
from video_mask2former.recipes.model import check_parts
from video_mask2former.recipes.overrides import override, override_detectron2

_CONFIG_FOLDER = "configs"


def read_config(source: str | os.PathLike[str], overrides: Overrides = ()) -> Config:
    """Read a configuration from wherever it is.

    Args:
        source: One of: a YAML file of this package, of detectron2, or of EoMT or PMT in Lightning's form; a Hugging
            Face folder with a ``config.json``; or the name of a shipped configuration, such as ``ytvis_2019/r50`` or
            ``configs/ytvis_2019/r50.yaml``.
        overrides: ``section.option=value``, or a mapping from option to value; they win over the source, whatever its
            kind. Options may have detectron2's names (``SOLVER.MAX_ITER=100``).

    Raises:
        FileNotFoundError: If there is no such file, folder or name.
        ValueError: If it does not hold a valid configuration.
    """
    path = Path(source)
    if path.is_dir():
        return _checked(override(config_from_mapping(read_huggingface_config(path), str(path)), overrides), path)
    if not path.is_file():
        path = _find_shipped(os.fspath(source))
    if is_detectron2_yaml(path):
        theirs, overrides = override_detectron2(read_detectron2_yaml(path), overrides)
        convert = convert_vit_config if is_vit_config(theirs) else convert_detectron2_config
        return _checked(override(config_from_mapping(convert(theirs, str(path)), str(path)), overrides), path)
    values = _lightning_values(path)
    if values is not None:
        options = convert_lightning_config(values, str(path))
        return _checked(override(config_from_mapping(options, str(path)), overrides), path)
    return _checked(override(load_config(path), overrides), path)


def config_of_checkpoint(checkpoint: Checkpoint, origin: str, overrides: Overrides = ()) -> Config | None:
    """The configuration that was saved inside a checkpoint, None where there is none."""
    values = checkpoint.config
    problem = f"the configuration inside {origin} cannot be read"
    values = parse_yaml(values, problem) if isinstance(values, str) else check_plain(values, problem)
    if values is None:
        return None
    origin = f"the configuration inside {origin}"
    return _checked(override(config_from_mapping(values, origin), overrides), origin)


def is_detectron2_yaml(path: Path) -> bool:
    """Whether a YAML file has sections in capitals, as detectron2's have."""
    lines = read_text(path, 4 * MAX_YAML_LENGTH).splitlines()
    keys = [line.split(":")[0] for line in lines if line[:1].isalpha() or line.startswith("_")]
    return bool(keys) and all(key == key.upper() for key in keys)


def shipped_configs() -> list[str]:
    """Names of the configurations that :func:`read_config` knows, such as ``ytvis_2019/r50``."""
    root = _shipped_root()
    files = sorted(file.relative_to(root) for file in root.rglob("*.yaml"))
    return [file.with_suffix("").as_posix() for file in files if not file.parts[0].startswith("_")]


def _lightning_values(path: Path) -> dict[str, Any] | None:
    """What a configuration of Lightning's command line holds; None where a file is one of ours."""
    if "class_path:" not in read_text(path, 4 * MAX_YAML_LENGTH):
        return None
    values = read_yaml(path)
    return values if is_lightning_config(values) else None


def _checked(config: Config, origin: Path | str) -> Config:
    """The configuration, once the options of its parts are known to be theirs."""
    check_parts(config, str(origin))
    return config


def _find_shipped(name: str) -> Path:
    root = _shipped_root()
    relative = Path(name.removesuffix(".yaml") + ".yaml")
    if relative.parts[0] == _CONFIG_FOLDER:
        relative = relative.relative_to(_CONFIG_FOLDER)
    path = root / relative
    if relative.is_absolute() or ".." in relative.parts or not path.is_file():
        shipped = ", ".join(shipped_configs())
        raise FileNotFoundError(f"no configuration {name!r}: neither a file nor a folder, nor one of: {shipped}.")
    return path


def _shipped_root() -> Path:
    """The folder of shipped configurations: at the top of a clone, or inside an installed package."""
    package = Path(__file__).parents[1]
    clone = package.parent / _CONFIG_FOLDER
    if clone.is_dir() and (package.parent / "pyproject.toml").is_file():
        return clone
    installed = package / _CONFIG_FOLDER
    if not installed.is_dir():
        raise FileNotFoundError(f"this installation came without its configurations ({installed}); install it again.")
    return installed

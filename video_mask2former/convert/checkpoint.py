"""Reading and writing checkpoint files: ``.pth``, detectron2's ``.pkl``, ``.safetensors``, and folders."""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from video_mask2former.atomic import atomic_path
from video_mask2former.convert.restricted_pickle import load_arrays
from video_mask2former.documents import read_json
from video_mask2former.messages import shortened
from video_mask2former.option_values import parse_value
from video_mask2former.remote_files import fetched, is_stored

# In the order they are looked for in a folder.
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_INDEX_SUFFIX = ".index.json"
_WEIGHT_KEYS = ("model", "state_dict", "blobs")
_CONFIG_KEY = "config"
_DTYPES = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
# What torch raises for a damaged file, by where the damage is
_TORCH_ERRORS = (
    *(RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error, zipfile.BadZipFile, UnicodeError),
)
_URL = re.compile(r"[a-z0-9]+://")
_DETECTRON2_SCHEME, _DETECTRON2_FILES = "detectron2://", "https://dl.fbaipublicfiles.com/detectron2/"
# How torch.save began before it wrote zip files.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class _ShardIndex(TypedDict):
    weight_map: Mapping[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds of a model.

    Attributes:
        weights: Name to tensor, as named in the file.
        config: The configuration saved with it, None where there is none: YAML text, or plain values.
    """

    weights: dict[str, Tensor]
    config: str | Mapping[str, Any] | None = None


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU, telling its kind by its content. Nothing in the file is ever executed.

    Args:
        path: A file, the index of a checkpoint in several files, or a folder that holds one of ``FOLDER_FILES``; in a
            store (``s3://...``) as well, from where it is fetched.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, is not a checkpoint, or asks for code to be run.
    """
    address = _URL.match(os.fspath(path))
    if is_stored(path) and not os.fspath(path).startswith(_DETECTRON2_SCHEME):
        with fetched(os.fspath(path)) as copy:
            return read_checkpoint(copy)
    if address is not None:
        raise FileNotFoundError(
            f"{os.fspath(path)} is an address, and nothing is downloaded here. Download "
            f"{address.string.replace(_DETECTRON2_SCHEME, _DETECTRON2_FILES)} and name the file instead."
        )
    file = _find_file(Path(path))
    if file.name.endswith(_INDEX_SUFFIX):
        return _read_parts(file)
    with file.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise ValueError(f"{file} is empty. Download it again.")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size:
        return _read_safetensors(file)
    if head.startswith(b"PK") and file.suffix == ".npz":
        return _read_arrays(file)
    if head.startswith(b"PK") or head.startswith(_LEGACY_TORCH):
        return _from_content(read_torch_file(file), file)
    if head.startswith(b"\x80") or file.suffix == ".pkl":
        return _read_pickle(file)
    raise ValueError(f"{file} is not a checkpoint: {_describe_content(head)}.")


def write_checkpoint(
    path: str | os.PathLike[str], weights: Mapping[str, Tensor], config_yaml: str | None = None
) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: The suffix tells the kind: ``.safetensors``, ``.pth`` or ``.pt``, or detectron2's ``.pkl``.
        weights: Name to tensor.
        config_yaml: Configuration of the model, kept beside the weights where the kind has room for it.
    """
    suffix = Path(path).suffix
    if suffix not in (".safetensors", ".pth", ".pt", ".pkl"):
        raise ValueError(f"a checkpoint ends in .safetensors, .pth, .pt or .pkl, got {os.fspath(path)!r}.")
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
    with atomic_path(path) as temporary:
        if suffix == ".safetensors":
            metadata = {"format": "pt"} | ({_CONFIG_KEY: config_yaml} if config_yaml is not None else {})
            save_file(tensors, temporary, metadata=metadata)
        elif suffix == ".pkl":
            arrays = {key: _to_array(key, tensor) for key, tensor in tensors.items()}
            temporary.write_bytes(pickle.dumps({"model": arrays, "__author__": "video_mask2former"}, protocol=2))
        else:
            torch.save({"model": tensors} | ({_CONFIG_KEY: config_yaml} if config_yaml is not None else {}), temporary)


def _find_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint {path}.")
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"folder {path} has none of {', '.join(FOLDER_FILES)}.")


def _read_parts(index: Path) -> Checkpoint:
    """A checkpoint in several files, which an index lists."""
    content = parse_value(read_json(index, dict, "index of a checkpoint"), _ShardIndex, "", str(index))
    file_of_key: Mapping[str, str] = content["weight_map"]
    weights: dict[str, Tensor] = {}
    config: str | Mapping[str, Any] | None = None
    for name in sorted(set(file_of_key.values())):
        # a folder, such as "", would lead back here
        if Path(name).name != name or name.endswith(_INDEX_SUFFIX) or (index.parent / name).is_dir():
            raise ValueError(
                f"{index} names the file {shortened(name)}, which is not a part of a checkpoint beside it."
            )
        part = read_checkpoint(index.parent / name)
        weights |= part.weights
        config = config or part.config
    absent = sorted(file_of_key.keys() - weights.keys())
    if absent:
        raise ValueError(f"{len(absent)} tensors that {index} lists are not in its files, first: {absent[0]!r}.")
    return Checkpoint(weights, config)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            weights = {key: _checked(key, file.get_tensor(key), path) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} is a damaged safetensors file: {error}. Download it again.") from error
    return Checkpoint(weights, metadata.get(_CONFIG_KEY))


def read_torch_file(path: Path) -> Any:
    """What a file of torch holds, on the CPU; no code in it is run.

    Raises:
        ValueError: If it holds more than tensors and plain containers, is damaged, or is no file of torch.
    """
    try:
        _check_is_stored(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        culprit = f" (it asks for {match[1]})" if match else ""
        raise ValueError(
            f"{path} was refused, since it holds more than tensors and plain containers{culprit}, and no code is run. "
            "If you trust it, save its weights alone: torch.save({'model': weights}, FILE)."
        ) from error
    except _TORCH_ERRORS as error:
        if "TorchScript" in str(error):
            raise ValueError(f"{path} is a TorchScript program, not a checkpoint of weights.") from error
        raise ValueError(f"{path} is a damaged torch file: {_first_line(error)} Download it again.") from error


def _read_arrays(path: Path) -> Checkpoint:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _from_content({name: arrays[name] for name in arrays.files}, path)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file of arrays that can be read: {_first_line(error)}") from error


def _read_pickle(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            content = load_arrays(file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return _from_content(content, path)


def _from_content(content: object, path: Path) -> Checkpoint:
    """Find the weights in what a file holds: a mapping of tensors, or a mapping that has one under a usual name."""
    config = None
    weights = content
    if isinstance(content, Mapping):
        key = next((key for key in _WEIGHT_KEYS if isinstance(content.get(key), Mapping)), None)
        if key is not None:
            weights = content[key]
            config = content.get(_CONFIG_KEY)
    if not isinstance(weights, Mapping):
        raise ValueError(f"{path} holds {type(weights).__name__}, expected a mapping of names to tensors.")
    tensors = {
        str(key): _to_tensor(str(key), value, path)
        for key, value in weights.items()
        if isinstance(value, (Tensor, np.ndarray))
    }
    if not tensors:
        raise ValueError(f"{path} holds no tensors; its entries are {shortened(list(weights))}.")
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return Checkpoint(tensors, config if isinstance(config, (str, Mapping)) else None)


def _to_tensor(key: str, value: Tensor | np.ndarray[Any, Any], path: Path) -> Tensor:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
            raise ValueError(f"{shortened(key)} in {path} must hold numbers, got an array of dtype {value.dtype}.")
        value = torch.from_numpy(np.array(value, order="C", dtype=value.dtype.newbyteorder("=")))
    return _checked(key, value, path)


def _checked(key: str, tensor: Tensor, path: Path) -> Tensor:
    """The same tensor, if it holds a number of its own for each element, in a type that computes."""
    kind = "sparse" if tensor.layout != torch.strided else "nested" if tensor.is_nested else tensor.device.type
    if tensor.is_quantized or tensor.dtype not in _DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
    elif kind == "cpu":
        if tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes():
            return tensor.detach()
        kind = "expanded"
    raise ValueError(
        f"{shortened(key)} in {path} is a {kind} tensor; weights are plain numbers: floats, integers or booleans."
    )


def _check_is_stored(path: Path) -> None:
    """Torch never compresses what it writes; a compressed file from elsewhere could fill any memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**26:
            raise ValueError("it is compressed, which torch does not do.")


def _to_array(key: str, tensor: Tensor) -> np.ndarray[Any, Any]:
    if tensor.dtype == torch.bfloat16:
        raise ValueError(f"{key} is bfloat16, which numpy lacks; write .safetensors or .pth, or float16.")
    return tensor.numpy()


def _describe_content(head: bytes) -> str:
    if head.startswith(b"version https://"):
        return "it is a Git LFS pointer; fetch the file itself with 'git lfs pull'"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; the download failed"
    return f"it begins with {head[:8]!r}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

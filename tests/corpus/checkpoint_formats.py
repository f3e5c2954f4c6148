"""Checkpoints of all kinds, states and logs of trainings."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import torch
import yaml
from samples import SMALL, Case

from video_mask2former.config import config_from_mapping, to_yaml
from video_mask2former.convert import load_weights, read_checkpoint, write_checkpoint
from video_mask2former.engine.checkpoint import load_state
from video_mask2former.engine.logging import read_records
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import config_of_checkpoint


class Checkpoint(Case):
    """A file with weights and a configuration, read and loaded into its model."""

    suffix = ".pth"

    def make(self) -> None:
        torch.manual_seed(0)
        self.config = config_from_mapping(SMALL, "test")
        self.weights = {key: value.clone() for key, value in build_model(self.config).state_dict().items()}
        self.file_name = f"input{self.suffix}"
        path = self.folder / f"sound{self.suffix}"
        write_checkpoint(path, self.weights, None if self.suffix == ".pkl" else to_yaml(self.config))
        self.sound = path.read_bytes()

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.mutate_bytes(rng, self.sound)

    def read(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        config = config_of_checkpoint(checkpoint, str(path)) or self.config
        load_weights(build_model(config), checkpoint.weights)


def torch_file(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def nested(levels: int, width: int) -> list[Any]:
    """A list that holds another many times, and so on: small in a file, endless to walk through."""
    value: list[Any] = [0] * width
    for _ in range(levels):
        value = [value] * width
    return value


class TorchCheckpoint(Checkpoint):
    def crafted(self) -> list[Any]:
        weights = self.weights
        key = next(iter(weights))
        deep: list[Any] = []
        for _ in range(250):
            deep = [deep]
        endless: dict[str, Any] = {}
        endless["a"] = endless
        compressed = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(torch_file({"model": {"w": torch.zeros(2**26)}}))) as source,
            zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        configs: list[Any] = [
            to_yaml(self.config).replace("num_queries: 4", "num_queries: 1000000000000"),
            to_yaml(self.config).replace("hidden_dim: 32", "hidden_dim: 100000000"),
            {"model": {"num_queries": deep}},
            {"model": endless},
            endless,
            {"model": nested(20, 10)},
            mutations.dump_yaml(random.Random(3), yaml.safe_load(to_yaml(self.config))).decode(errors="replace"),
            "x0: &x0 [1, 1, 1, 1, 1, 1]\n"
            + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 12)),
            "[" * 5000,
            "model: {backbone: {name: 'os:system'}}",
            [1, 2],
        ]
        tensors: list[Any] = [
            torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
            torch.empty(10**12, device="meta"),
            torch.zeros(1).expand(10**7, 10**7),
            torch.ones(3).to_sparse(),
            torch.ones(3, dtype=torch.complex64),
            torch.ones(3, dtype=torch.float8_e4m3fn),
            torch.nn.Parameter(torch.ones(2)),
            torch.ones(2, 2, dtype=torch.bool),
        ]
        return [
            *(torch_file({"model": weights, "config": config}) for config in configs),
            *(torch_file({"model": weights | {key: tensor}}) for tensor in tensors),
            torch_file({"model": nested(20, 10)}),
            torch_file(nested(20, 10)),
            torch_file(deep),
            torch_file(endless),
            torch_file({"model": weights | {"x" * 10**6: torch.ones(1)}}),
            torch_file({"model": {1: torch.ones(1), (2, 3): torch.ones(1)}}),
            torch_file(weights, _use_new_zipfile_serialization=False),
            torch_file({"model": nested(20, 10)}, _use_new_zipfile_serialization=False),
            compressed.getvalue(),
        ]


class LegacyTorchCheckpoint(Checkpoint):
    def make(self) -> None:
        super().make()
        self.sound = torch_file(
            {"model": self.weights, "config": to_yaml(self.config)}, _use_new_zipfile_serialization=False
        )


class PickledCheckpoint(Checkpoint):
    suffix = ".pkl"

    def crafted(self) -> list[Any]:
        arrays = {key: value.numpy() for key, value in self.weights.items()}
        key = next(iter(arrays))
        proto = b"\x80\x02"
        deep = b"(" * 5000 + b"l" * 5000 + b"."
        return [
            pickle.dumps({"model": nested(20, 10)}),
            pickle.dumps(nested(20, 10), protocol=4),
            pickle.dumps(tuple(nested(20, 10))),
            pickle.dumps({"model": arrays | {key: np.ones(3, np.longdouble)}}),
            pickle.dumps({"model": arrays | {key: np.array(["a"])}}),
            pickle.dumps({"model": arrays | {key: np.ones(3, np.complex64)}}),
            pickle.dumps({"model": arrays | {key: np.array(1.0)}}),
            pickle.dumps({"model": arrays | {key: np.float32(3)}}),
            pickle.dumps({"model": arrays | {key: np.zeros((0, 3), ">f4")}}),
            pickle.dumps({"model": arrays | {key: torch.zeros(1).expand(10**6, 10**6)}}),
            pickle.dumps({"model": arrays | {key: torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}}),
            pickle.dumps(os.system),
            proto + deep,
            proto + b"]" * 5000 + b"a" * 4999 + b".",
            proto + b"N" + b"r" + struct.pack("<I", 2**31 - 8) + b".",
            proto + b"N" + b"r" + struct.pack("<I", 2**28) + b".",
            proto + b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01" * 100 + b".",
            proto + b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".",
            b"I" + b"9" * 100_000 + b"\n.",
            b"L" + b"9" * 100_000 + b"L\n.",
            proto + b"\x8e" + struct.pack("<Q", 2**40) + b"abc.",
            proto + b"\x95" + struct.pack("<Q", 2**62) + b".",
            proto + b"}" + b"(" + b"K\x01" * 3 + b"u.",
            proto + b"](h\x00e.",
            proto + b"}q\x00(X\x01\x00\x00\x00ah\x00u.",
            proto + b"ccollections\nOrderedDict\n" + b"2" * 300_000 + b".",
        ]


class SafetensorsCheckpoint(Checkpoint):
    suffix = ".safetensors"

    def crafted(self) -> list[Any]:
        def raw(header: Any, body: bytes = b"") -> bytes:
            text = header if isinstance(header, bytes) else json.dumps(header).encode()
            return struct.pack("<Q", len(text)) + text + body

        deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
        return [
            raw({"a": {"dtype": "F32", "shape": [10**12, 10**12], "data_offsets": [0, 4]}}, b"1234"),
            raw({"a": {"dtype": "F32", "shape": [2**62, 4, 0], "data_offsets": [0, 0]}}),
            raw({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, b"1234"),
            raw({"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
            raw({}),
            raw(deep),
            raw(
                {"__metadata__": {"config": "[" * 5000}, "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}},
                b"1234",
            ),
            raw(
                {
                    "__metadata__": {"config": "model: 7"},
                    "decoder.a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                },
                b"1234",
            ),
            struct.pack("<Q", 2**40) + b"{" * 100,
        ]

    def damaged(self, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return super().damaged(rng)
        length = struct.unpack("<Q", self.sound[:8])[0]
        header = mutations.dump_json(rng, mutations.mutate_document(rng, json.loads(self.sound[8 : 8 + length])))
        return struct.pack("<Q", len(header)) + header + self.sound[8 + length :]


class TrainingState(Case):
    file_name = "checkpoint_0000001.pth"

    def make(self) -> None:
        self.sound = torch_file(
            {"model": {"a": torch.ones(3)}, "step": 1, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}
        )

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.mutate_bytes(rng, self.sound)

    def read(self, path: Path) -> None:
        load_state(path)


class TrainingLog(Case):
    file_name = "metrics.jsonl"

    def damaged(self, rng: random.Random) -> bytes:
        lines = [{"step": step, "loss": 0.5, "learning_rate": 1e-4} for step in range(4)]
        lines.append({"step": 4, "evaluation": {"AP": 0.5}})  # type: ignore[dict-item]
        at = rng.randrange(5)
        text = [json.dumps(line).encode() for line in lines]
        text[at] = mutations.dump_json(rng, mutations.mutate_document(rng, lines[at]))
        return b"\n".join(text) + b"\n"

    def read(self, path: Path) -> None:
        from video_mask2former.engine.curves import draw_curves
        from video_mask2former.engine.logging import keep_records

        draw_curves(read_records(path), self.folder / "out" / "curves.png")
        keep_records(path, 3, 3)

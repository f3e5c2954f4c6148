"""Configurations: ours, published ones, Hugging Face folders, overrides."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import mutations
import torch
import yaml
from safetensors.torch import save_file
from samples import SMALL, Case, predict, write_video

from video_mask2former.config import apply_overrides, config_from_mapping, to_yaml
from video_mask2former.convert import read_checkpoint, write_checkpoint
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config


class YamlConfig(Case):
    file_name = "input.yaml"

    def make(self) -> None:
        self.document = yaml.safe_load(to_yaml(config_from_mapping(SMALL, "test")))
        for level in range(40):
            bases = f"[l{level + 1}.yaml, l{level + 1}.yaml]" if level < 39 else "[]"
            (self.folder / f"l{level}.yaml").write_text(f"_base_: {bases}\nmodel: {{num_queries: {level + 1}}}\n")
        for index in range(200):
            (self.folder / f"c{index}.yaml").write_text(f"_base_: c{index + 1}.yaml\n")

    def crafted(self) -> list[Any]:
        small = "model: {num_classes: 3, "
        return [
            "_base_: l0.yaml\n",
            "_base_: c0.yaml\n",
            "_base_: input.yaml\n",
            "_base_: [[input.yaml]]\n",
            small + "num_queries: 1000000000000}",
            small + "hidden_dim: 100000000}",
            small + "decoder: {num_layers: 1000000000000}}",
            small + "backbone: {name: swin, depths: [1000000000, 1, 1, 1]}}",
            small + "backbone: {name: swin, embed_dim: 1000000000}}",
            small + "backbone: {name: 'video_mask2former.models:Backbone'}}",
            small + "backbone: {name: 'typing:Protocol'}}",
            "model: {num_classes: 1000000000000}",
            "model: {num_classes: 9000000000000000000}",
            "tracker: {name: 'video_mask2former.tracking:Tracker'}",
            "inference: {feature_device: cuda}",
            "inference: {feature_device: nonsense}",
            "model: {pixel_mean: [.nan, .inf, 0], pixel_std: [0, 0, 0]}",
        ]

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.dump_yaml(rng, mutations.mutate_document(rng, self.document))

    def read(self, path: Path) -> None:
        build_model(read_config(path))


class PredictConfig(YamlConfig):
    """A model that can be made is run on a video, too."""

    def make(self) -> None:
        super().make()
        write_video(self.folder / "sound.mp4")

    def read(self, path: Path) -> None:
        config = read_config(path)
        weights = self.folder / "weights.safetensors"
        if not weights.exists():
            write_checkpoint(weights, build_model(config_from_mapping(SMALL, "test")).state_dict())
        predict(self.folder, self.folder / "sound.mp4", "--config", path, "--weights", weights, "--published")
        assert config


class Overrides(Case):
    def crafted(self) -> list[Any]:
        return [
            "a." * 100_000 + "b=1",
            "model." * 500 + "b=1",
            "model.num_queries=" + "[" * 10_000,
            "model.num_queries=" + "9" * 5000,
            "training.output.x=1",
            "=",
            "model.=1",
            "model.num_queries=1000000000000",
        ]

    def make(self) -> None:
        self.config = config_from_mapping(SMALL, "test")
        self.names = [
            "model.num_queries",
            "model.backbone",
            "data.short_sides",
            "inference.top_k",
            "task",
            "tracker",
            "training.output",
            "loss.num_points",
            "model.class_names",
            "inference.classes",
            "x.y",
        ]

    def damaged(self, rng: random.Random) -> str:
        value = rng.choice(mutations.VALUES)
        text = json.dumps(value) if rng.random() < 0.7 else str(value)[:3000]
        return f"{rng.choice(self.names)}{rng.choice(('=', '=', '=', '.x=', ''))}{text}"

    def write(self, content: Any) -> Any:
        return content

    def read(self, text: str) -> None:
        build_model(apply_overrides(self.config, [text]))


PUBLISHED = {
    "MODEL": {
        "META_ARCHITECTURE": "VideoMaskFormer",
        "WEIGHTS": "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "BACKBONE": {"FREEZE_AT": 0, "NAME": "build_resnet_backbone"},
        "RESNETS": {
            "DEPTH": 50,
            "STEM_TYPE": "basic",
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
            "RES5_MULTI_GRID": [1, 1, 1],
        },
        "SEM_SEG_HEAD": {
            "NUM_CLASSES": 40,
            "CONVS_DIM": 256,
            "MASK_DIM": 256,
            "NORM": "GN",
            "TRANSFORMER_ENC_LAYERS": 6,
        },
        "MASK_FORMER": {
            "TRANSFORMER_DECODER_NAME": "VideoMultiScaleMaskedTransformerDecoder",
            "NUM_OBJECT_QUERIES": 100,
            "DEC_LAYERS": 10,
            "TEST": {"INSTANCE_ON": True, "SEMANTIC_ON": False},
        },
    },
    "DATASETS": {"TRAIN": '("ytvis_2019_train",)', "TEST": '("ytvis_2019_val",)'},
    "SOLVER": {
        "IMS_PER_BATCH": 16,
        "BASE_LR": 0.0001,
        "STEPS": "(4000,)",
        "MAX_ITER": 6000,
        "AMP": {"ENABLED": True},
        "CLIP_GRADIENTS": {"ENABLED": True, "CLIP_VALUE": 0.01},
    },
    "INPUT": {
        "MIN_SIZE_TRAIN": "(360, 480)",
        "CROP": {"ENABLED": True, "TYPE": "absolute_range", "SIZE": "(600, 720)"},
        "AUGMENTATIONS": [],
        "DATASET_MAPPER_NAME": "mask_former_semantic",
    },
    "TEST": {"EVAL_PERIOD": 0, "DETECTIONS_PER_IMAGE": 100},
    "SEED": 1,
}
PUBLISHED["INPUT"]["CROP"] = {"ENABLED": False}  # type: ignore[index]


class Detectron2Yaml(Case):
    file_name = "input.yaml"

    def crafted(self) -> list[Any]:
        sizes = 'INPUT: {MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 1024) for x in range(5, %s)]"]}\n'
        return [
            yaml.safe_dump(PUBLISHED),
            sizes % 10**12,
            sizes % ("9" * 5000),
            "SOLVER: {STEPS: '" + "(" * 900 + "'}\n",
            "SOLVER: {STEPS: '" + "-" * 900 + "1'}\n",
            "SOLVER: {STEPS: '" + "[" * 90_000 + "'}\n",
            "_BASE_: input.yaml\nMODEL: {MASK_ON: true}\n",
            "MODEL: {MASK_FORMER: {DEC_LAYERS: [1]}}\n",
        ]

    def damaged(self, rng: random.Random) -> bytes:
        return mutations.dump_yaml(rng, mutations.mutate_document(rng, PUBLISHED))

    def read(self, path: Path) -> None:
        read_config(path)


HUGGINGFACE: dict[str, Any] = {
    "architectures": ["Mask2FormerForUniversalSegmentation"],
    "model_type": "mask2former",
    "backbone_config": {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 2,
        "drop_path_rate": 0.3,
        "mlp_ratio": 4.0,
    },
    "num_queries": 4,
    "hidden_dim": 32,
    "num_attention_heads": 2,
    "dim_feedforward": 8,
    "encoder_layers": 1,
    "encoder_feedforward_dim": 8,
    "mask_feature_size": 16,
    "feature_size": 32,
    "decoder_layers": 2,
    "class_weight": 2.0,
    "id2label": {"0": "a", "1": "b"},
    "label2id": {"a": 0, "b": 1},
    "feature_strides": [4, 8, 16, 32],
}
PREPROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"shortest_edge": 48, "longest_edge": 1333},
}


EOMT: dict[str, Any] = {
    "model_type": "eomt",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "image_size": 64,
    "num_blocks": 1,
    "num_queries": 4,
    "id2label": {"0": "a", "1": "b"},
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_DETR = {"decoder_attention_heads": 4, "decoder_ffn_dim": 16}
MASKFORMER: dict[str, Any] = {
    "model_type": "maskformer",
    "backbone_config": HUGGINGFACE["backbone_config"],
    "decoder_config": {"model_type": "detr", "d_model": 256, "decoder_layers": 1, "num_queries": 4, **_DETR},
    "fpn_feature_size": 32,
    "mask_feature_size": 32,
    "id2label": {"0": "a", "1": "b"},
}


class HuggingFaceFolder(Case):
    def make(self) -> None:
        self.model = self.folder / "hf"
        self.model.mkdir()
        save_file({"model.a": torch.ones(2)}, self.model / "part-1.safetensors")
        self.parts = {
            "config.json": HUGGINGFACE,
            "preprocessor_config.json": PREPROCESSOR,
            "model.safetensors.index.json": {
                "metadata": {"total_size": 8},
                "weight_map": {"model.a": "part-1.safetensors"},
            },
        }

    def prepare(self, rng: random.Random, index: int) -> Path:
        chosen = rng.choice(["config.json", *self.parts])
        parts = self.parts | {"config.json": rng.choice((HUGGINGFACE, HUGGINGFACE, EOMT, MASKFORMER))}
        for name, document in parts.items():
            content = json.dumps(document).encode()
            if name == chosen:
                content = mutations.dump_json(rng, mutations.mutate_document(rng, document))
            (self.model / name).write_bytes(content)
        return self.model

    def read(self, folder: Path) -> None:
        build_model(read_config(folder))
        read_checkpoint(folder)

"""The table of :mod:`detectron2_config`: every key of the published configurations, and what it is here."""

from __future__ import annotations

from typing import Any

from video_mask2former.convert.config_rules import Built, Combined, Option, Rule, Unused
from video_mask2former.convert.detectron2_defaults import DETECTRON2, MASK2FORMER, MINVIS, VIDEO
from video_mask2former.convert.detectron2_other_keys import OTHER_KEYS
from video_mask2former.convert.tracked_config import DECODERS, TRACKED_KEYS
from video_mask2former.convert.vita_config import VITA_KEYS


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_LEVELS = ["res2", "res3", "res4", "res5"]
_ALL_LEVELS = (_LEVELS,)
_ENCODER_LEVELS = (_LEVELS[1:],)

_MODEL: dict[str, Rule] = {
    "MODEL.META_ARCHITECTURE": Combined(("inference.mode", "inference.top_k", "data.num_frames")),
    "MODEL.DEVICE": Unused("the device is chosen where the model is loaded"),
    "MODEL.MASK_ON": Unused("there are always masks"),
    "MODEL.WEIGHTS": Combined(("model.backbone.weights", "training.init_weights")),
    "MODEL.PIXEL_MEAN": Option("model.pixel_mean"),
    "MODEL.PIXEL_STD": Option("model.pixel_std"),
    "MODEL.BACKBONE.NAME": Combined(("model.backbone.name",)),
    "MODEL.BACKBONE.FREEZE_AT": Built((0,), "no layer of the backbone is frozen"),
    "MODEL.RESNETS.DEPTH": Option("resnet.depth"),
    "MODEL.RESNETS.STEM_TYPE": Built(("basic",), "the stem is one 7x7 convolution"),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": Built((64,), "the stem has 64 channels"),
    "MODEL.RESNETS.STRIDE_IN_1X1": Built((False,), "the stride is in the 3x3 convolution"),
    "MODEL.RESNETS.OUT_FEATURES": Built(_ALL_LEVELS, "all four levels are used"),
    "MODEL.RESNETS.NORM": Unused("batch norm is always frozen, with the same weights"),
    "MODEL.RESNETS.RES5_MULTI_GRID": Built(([1, 1, 1],), "nothing is dilated"),
    "MODEL.SWIN.EMBED_DIM": Option("swin.embed_dim"),
    "MODEL.SWIN.DEPTHS": Option("swin.depths"),
    "MODEL.SWIN.NUM_HEADS": Option("swin.num_heads"),
    "MODEL.SWIN.WINDOW_SIZE": Option("swin.window_size"),
    "MODEL.SWIN.DROP_PATH_RATE": Option("swin.drop_path_rate", float),
    "MODEL.SWIN.APE": Built((False,), "there is no absolute position embedding"),
    "MODEL.SWIN.PATCH_NORM": Built((True,), "patches are normalised"),
    "MODEL.SWIN.PATCH_SIZE": Built((4,), "patches are 4x4"),
    "MODEL.SWIN.MLP_RATIO": Built((4.0,), "the feed-forward networks are four times as wide"),
    "MODEL.SWIN.QKV_BIAS": Built((True,), "queries, keys and values have a bias"),
    "MODEL.SWIN.QK_SCALE": Built((None,), "attention is scaled by the head dimension"),
    "MODEL.SWIN.DROP_RATE": Built((0.0,), "there is no dropout"),
    "MODEL.SWIN.ATTN_DROP_RATE": Built((0.0,), "there is no dropout"),
    "MODEL.SWIN.OUT_FEATURES": Built(_ALL_LEVELS, "all four levels are used"),
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": Unused("only an absolute position embedding would need it"),
    "MODEL.SWIN.USE_CHECKPOINT": Option("model.activation_checkpointing"),
}

_HEAD: dict[str, Rule] = {
    "MODEL.SEM_SEG_HEAD.NAME": Built(("MaskFormerHead",), "there is one kind of head"),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": Option("model.num_classes"),
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": Unused("the datasets leave ignored pixels out of the targets"),
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": Unused("the published code does not use it"),
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": Option("model.hidden_dim"),
    "MODEL.SEM_SEG_HEAD.MASK_DIM": Option("model.pixel_decoder.mask_dim"),
    "MODEL.SEM_SEG_HEAD.NORM": Built(("GN",), "the pixel decoder has group norm"),
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": Built(("MSDeformAttnPixelDecoder",), "there is one pixel decoder"),
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": Built(_ALL_LEVELS, "all four levels are used"),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": Built(_ENCODER_LEVELS, "three levels attend"),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": Option("model.pixel_decoder.num_points"),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": Option("model.num_heads"),
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": Built((4,), "mask features have stride 4"),
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": Option("model.pixel_decoder.num_layers"),
    "MODEL.SEM_SEG_HEAD.PROJECT_DIM": Unused("belongs to other heads"),
}

_DECODER_WITH_TIME = {
    "MultiScaleMaskedTransformerDecoder": False,
    "VideoMultiScaleMaskedTransformerDecoder": True,
    # MinVIS decodes every frame by itself, with the encoding of images.
    "VideoMultiScaleMaskedTransformerDecoder_frame": False,
    "VitaMultiScaleMaskedTransformerDecoder": False,
    **dict.fromkeys(DECODERS, False),
}


def _has_time(name: str) -> bool:
    if name not in _DECODER_WITH_TIME:
        raise ValueError(
            f"MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME must be one of {', '.join(_DECODER_WITH_TIME)}, got {name!r}."
        )
    return _DECODER_WITH_TIME[name]


_MASK_FORMER: dict[str, Rule] = {
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": Option("model.decoder.temporal_position_encoding", _has_time),
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": Built(("multi_scale_pixel_decoder",), "the decoder sees three levels"),
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": Built((True,), "every layer's prediction has a loss"),
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": Option("loss.no_object_weight", float),
    "MODEL.MASK_FORMER.CLASS_WEIGHT": Option("loss.class_weight", float),
    "MODEL.MASK_FORMER.MASK_WEIGHT": Option("loss.mask_weight", float),
    "MODEL.MASK_FORMER.DICE_WEIGHT": Option("loss.dice_weight", float),
    "MODEL.MASK_FORMER.HIDDEN_DIM": Option("model.hidden_dim"),
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": Option("model.num_queries"),
    "MODEL.MASK_FORMER.NHEADS": Option("model.num_heads"),
    "MODEL.MASK_FORMER.DROPOUT": Unused("the published masked-attention decoder has no dropout whatever it says"),
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": Option("model.decoder.feedforward_dim"),
    "MODEL.MASK_FORMER.ENC_LAYERS": Built((0,), "the only encoder is the pixel decoder's"),
    "MODEL.MASK_FORMER.PRE_NORM": Built((False,), "layers are normalised after their residual"),
    "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": Built((False,), "levels enter the decoder as they are"),
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": Option("model.size_divisibility"),
    # The published number counts the prediction on the learned queries as a layer.
    "MODEL.MASK_FORMER.DEC_LAYERS": Option("model.decoder.num_layers", lambda count: count - 1),
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": Option("loss.num_points"),
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": Option("loss.oversample_ratio", float),
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": Option("loss.importance_sample_ratio", float),
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": Combined(("task",)),
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": Combined(("task",)),
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": Combined(("task",)),
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": Combined(("task",)),
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": Combined(("task",)),
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": Unused(
        "masks are always resized before they are merged where the task needs it"
    ),
    "MODEL.MASK_FORMER.TEST.WINDOW_INFERENCE": Unused("frames are always encoded in chunks"),
    "MODEL.MASK_FORMER.TEST.WINDOW_SIZE": Option("inference.chunk_size"),
}

DATA_KEYS: dict[str, Rule] = {
    "DATASETS.TRAIN": Option("data.train", _as_list),
    "DATASETS.TEST": Option("data.test", _as_list),
    "DATASETS.DATASET_RATIO": Option("data.train_ratios"),
    "INPUT.SAMPLING_FRAME_NUM": Option("data.num_frames"),
    "INPUT.SAMPLING_FRAME_RANGE": Option("data.frame_range"),
    "INPUT.SAMPLING_FRAME_RATIO": Built((1.0,), "frames are drawn evenly from the range"),
    "INPUT.SAMPLING_FRAME_SHUFFLE": Built((False,), "the frames of a clip are in order"),
    "INPUT.MIN_SIZE_TRAIN": Combined(("data.short_sides",)),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Built(("choice", "choice_by_clip"), "one of the sizes is drawn for each clip"),
    "INPUT.MAX_SIZE_TRAIN": Option("data.max_side"),
    "INPUT.MIN_SIZE_TEST": Option("inference.short_side"),
    "INPUT.MAX_SIZE_TEST": Option("inference.max_side"),
    "INPUT.RANDOM_FLIP": Option("data.flip_probability", lambda kind: 0.0 if kind == "none" else 0.5),
    "INPUT.AUGMENTATIONS": Combined(("data.color_jitter",)),
    "INPUT.COLOR_AUG_SSD": Combined(("data.color_jitter",)),
    "INPUT.CROP.ENABLED": Combined(("data.crop_size",)),
    "INPUT.CROP.TYPE": Combined(("data.crop_size",)),
    "INPUT.CROP.SIZE": Combined(("data.crop_size",)),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": Unused("crops are not drawn again"),
    "INPUT.IMAGE_SIZE": Combined(("data.crop_size",)),
    "INPUT.MIN_SCALE": Combined(("data.jitter_scales",)),
    "INPUT.MAX_SCALE": Combined(("data.jitter_scales",)),
    "INPUT.SIZE_DIVISIBILITY": Unused("training frames are padded as the model pads them"),
    "INPUT.FORMAT": Built(("RGB",), "frames are RGB"),
    "INPUT.DATASET_MAPPER_NAME": Combined(("data.resize",)),
    "INPUT.PSEUDO.AUGMENTATIONS": Unused("the augmentations of images made clips are fixed"),
    "INPUT.PSEUDO.MIN_SIZE_TRAIN": Unused("the augmentations of images made clips are fixed"),
    "INPUT.PSEUDO.MAX_SIZE_TRAIN": Unused("the augmentations of images made clips are fixed"),
    "INPUT.PSEUDO.MIN_SIZE_TRAIN_SAMPLING": Unused("the augmentations of images made clips are fixed"),
    "INPUT.PSEUDO.CROP.ENABLED": Combined(("data.crop_range",)),
    "INPUT.PSEUDO.CROP.TYPE": Combined(("data.crop_range",)),
    "INPUT.PSEUDO.CROP.SIZE": Combined(("data.crop_range",)),
    "INPUT.LSJ_AUG.ENABLED": Combined(("data.resize",)),
    "INPUT.LSJ_AUG.IMAGE_SIZE": Combined(("data.crop_size",)),
    "INPUT.LSJ_AUG.MIN_SCALE": Combined(("data.jitter_scales",)),
    "INPUT.LSJ_AUG.MAX_SCALE": Combined(("data.jitter_scales",)),
    "DATALOADER.NUM_WORKERS": Option("data.num_workers"),
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": Unused("clips without instances are trained on where they are sampled"),
}

SOLVER_KEYS: dict[str, Rule] = {
    "SOLVER.IMS_PER_BATCH": Option("training.batch_size"),
    "SOLVER.BASE_LR": Option("training.learning_rate", float),
    "SOLVER.BACKBONE_MULTIPLIER": Option("training.backbone_multiplier", float),
    "SOLVER.MAX_ITER": Option("training.max_steps"),
    "SOLVER.STEPS": Combined(("training.decay_steps",)),
    "SOLVER.GAMMA": Option("training.decay_factor", float),
    "SOLVER.LR_SCHEDULER_NAME": Combined(("training.schedule",)),
    "SOLVER.POLY_LR_POWER": Option("training.polynomial_power", float),
    "SOLVER.POLY_LR_CONSTANT_ENDING": Built((0.0,), "the polynomial schedule ends at zero"),
    "SOLVER.WARMUP_FACTOR": Option("training.warmup_factor", float),
    "SOLVER.WARMUP_ITERS": Option("training.warmup_steps"),
    "SOLVER.WARMUP_METHOD": Built(("linear",), "warm-up is linear"),
    "SOLVER.WEIGHT_DECAY": Option("training.weight_decay", float),
    "SOLVER.WEIGHT_DECAY_NORM": Built((0.0,), "norms are not decayed"),
    "SOLVER.WEIGHT_DECAY_EMBED": Built((0.0,), "embeddings are not decayed"),
    "SOLVER.OPTIMIZER": Built(("ADAMW",), "the optimizer is AdamW"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Combined(("training.clip_norm",)),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Built(("full_model",), "the gradient of the whole model is clipped"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Combined(("training.clip_norm",)),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Built((2.0,), "the norm is Euclidean"),
    "SOLVER.AMP.ENABLED": Option("training.amp_dtype", lambda enabled: "float16" if enabled else "float32"),
    "SOLVER.CHECKPOINT_PERIOD": Option("training.checkpoint_period"),
    "TEST.EVAL_PERIOD": Option("training.eval_period"),
    "TEST.DETECTIONS_PER_IMAGE": Combined(("inference.top_k",)),
    "TEST.AUG.ENABLED": Built((False,), "predictions are not averaged over augmentations"),
    "TEST.AUG.MIN_SIZES": Unused("predictions are not averaged over augmentations"),
    "TEST.AUG.MAX_SIZE": Unused("predictions are not averaged over augmentations"),
    "TEST.AUG.FLIP": Unused("predictions are not averaged over augmentations"),
    "SEED": Option("training.seed", lambda seed: max(seed, 0)),
    "OUTPUT_DIR": Unused("the output folder is chosen on the command line"),
    "CUDNN_BENCHMARK": Unused("chosen by the trainer"),
    "VERSION": Unused("the version of detectron2's key names"),
}

KEYS: dict[str, Rule] = _MODEL | _HEAD | _MASK_FORMER | DATA_KEYS | SOLVER_KEYS | VITA_KEYS | TRACKED_KEYS | OTHER_KEYS

_ADDED = {
    key: value
    for key, value in (MASK2FORMER | VIDEO | MINVIS).items()
    if isinstance(KEYS[key], (Option, Combined))  # the others say nothing, or have one value
}

# Rules of ResNets with the stem and the dilations of DeepLab, which the plain ones do not read
DEEPLAB_KEYS: dict[str, Rule] = {
    "MODEL.RESNETS.STEM_TYPE": Option("resnet.stem"),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": Unused("follows from the stem: 64, or 128 for deeplab"),
    "MODEL.RESNETS.RES5_MULTI_GRID": Option("resnet.res5_dilations"),
    "MODEL.RESNETS.RES4_DILATION": Built((1,), "strides are 4, 8, 16 and 32"),
    "MODEL.RESNETS.RES5_DILATION": Built((1,), "strides are 4, 8, 16 and 32"),
}

# What the published code and detectron2 take where a file does not say.
DEFAULTS: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "MaskFormer",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 256,
    "INPUT.LSJ_AUG.ENABLED": False,
    "INPUT.LSJ_AUG.IMAGE_SIZE": 1024,
    "INPUT.LSJ_AUG.MIN_SCALE": 0.1,
    "INPUT.LSJ_AUG.MAX_SCALE": 2.0,
    "SOLVER.POLY_LR_POWER": 0.9,
    **DETECTRON2,
    **_ADDED,
}
"""What is taken where a file does not say: the published defaults, or what all published files say."""

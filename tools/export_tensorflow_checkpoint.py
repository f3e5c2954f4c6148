"""Write the arrays of a TensorFlow checkpoint to an ``.npz`` file, which ``vm2f.load`` reads; needs TensorFlow.

python tools/export_tensorflow_checkpoint.py max_deeplab_s/ckpt-200000 max_deeplab_s.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from video_mask2former.atomic import atomic_path

# Optimisers keep arrays beside those of the model
_NOT_OF_THE_MODEL = ("optimizer", "save_counter", "global_step", "_CHECKPOINTABLE_OBJECT_GRAPH")


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="its prefix, without .index or .data-*")
    parser.add_argument("output", type=Path, help="file to write, ending in .npz")
    arguments = parser.parse_args()
    try:
        import tensorflow
    except ImportError as error:
        raise SystemExit(
            "TensorFlow is not installed: pip install tensorflow-cpu, in an environment of its own."
        ) from error
    reader = tensorflow.train.load_checkpoint(arguments.checkpoint)
    names = [name for name in reader.get_variable_to_shape_map() if not any(part in name for part in _NOT_OF_THE_MODEL)]
    with atomic_path(arguments.output) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name.split("/.ATTRIBUTES")[0]: reader.get_tensor(name) for name in names})
    print(f"{len(names)} arrays in {arguments.output}")


if __name__ == "__main__":
    main()

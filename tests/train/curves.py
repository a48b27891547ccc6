"""Prints, as JSON, the loss curves of small runs on several meshes of simulated devices: run by test_devices.py.

python tests/train/curves.py float32
python tests/train/curves.py float64
"""

import json
import sys

import jax
import numpy as np

DTYPE = sys.argv[1]
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", DTYPE == "float64")

from jax.sharding import AxisType, Mesh  # noqa: E402

from train import config as configs  # noqa: E402
from train import mesh as meshes  # noqa: E402
from train.data import TrainingBatches  # noqa: E402
from train.data.feeding import on_devices  # noqa: E402
from train.experiment import build  # noqa: E402
from train.step import compile_steps  # noqa: E402

STEPS = 20
MESHES = {  # data, fsdp, model, seq
    "one": (1, 1, 1, 1),
    "data 2": (2, 1, 1, 1),
    "data 8": (8, 1, 1, 1),
    "fsdp 8": (1, 8, 1, 1),
    "tensor 8": (1, 1, 8, 1),
    "sequence 2": (1, 1, 1, 2),
    "all": (2, 2, 2, 1),
    "sequence and tensor": (1, 1, 2, 2),
}
TYPES = [f"model.dtype={DTYPE}", f"model.param_dtype={DTYPE}"]
VIT = [
    "model.name=vit",
    "model.hidden_size=16",
    "model.num_layers=2",
    "model.num_heads=8",
    "model.mlp_size=32",
    "model.patch_size=4",
    "model.dropout_rate=0.2",
]
MODELS = {
    "mlp": ["model.name=mlp", "model.hidden_sizes=(32,32)", "model.normalization=batch", "model.dropout_rate=0.2"],
    "vit": VIT,
    "ring": [*VIT, "model.pool=mean", "model.mixer=ring"],  # on the meshes that cut the sequence
}


def curve(overrides: list[str], sizes: tuple[int, ...]) -> list[float]:
    """Losses of the first updates on a mesh of the given sizes."""
    experiment = build(configs.load("configs/quickstart.py:mlp", overrides))
    devices = np.asarray(jax.devices()[: int(np.prod(sizes))]).reshape(sizes)
    mesh = Mesh(devices, meshes.AXES, axis_types=(AxisType.Auto,) * 4)
    steps = compile_steps(experiment.recipe, mesh, experiment.spec)
    rows = meshes.local_rows(mesh, experiment.data.batch_size)
    state, losses = steps.init(experiment.run.seed), []
    with jax.set_mesh(mesh), jax.default_matmul_precision("highest"):
        for batch in on_devices(TrainingBatches(experiment.data, experiment.view, 0, STEPS, rows), mesh):
            state, metrics = steps.train(state, batch)
            losses.append(metrics["loss"])
    return [float(total / count) for total, count in jax.device_get(losses)]


def main() -> None:
    # Attention scores stay float32 whatever the type of its inputs, so float64 is for the MLP.
    models = ["mlp"] if DTYPE == "float64" else list(MODELS)
    common = [
        f"steps={STEPS}",
        "optimizer.schedule.warmup_steps=0",
        "data.batch_size=32",
        "optimizer.name=adam",
        "data.augmentation.random_shift.pixels=1",
    ]
    curves = {
        model: {
            name: curve([*MODELS[model], *common, *TYPES], sizes)
            for name, sizes in MESHES.items()
            if model != "ring" or name == "one" or sizes[-1] > 1
        }
        for model in models
    }
    print(json.dumps(curves))


if __name__ == "__main__":
    main()

"""Partition rules by path and shape; meshes that fit their devices."""

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from train.errors import UserError
from train.mesh import AXES, MeshShape, partition_spec


def mesh(*sizes: int) -> AbstractMesh:
    return AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 4)


@pytest.mark.parametrize(
    "path, shape, spec",
    [
        ("params/blocks/layer_0/attention/query/kernel", (8, 4, 2), ("fsdp", "model", None)),
        ("params/blocks/attention/query/kernel", (3, 8, 4, 2), (None, "fsdp", "model", None)),  # scanned layers
        ("params/blocks/layer_0/attention/output/kernel", (4, 2, 8), ("model", None, "fsdp")),
        ("params/blocks/layer_0/attention/mixer/key_kernel", (4, 6, 3), ("model", "fsdp", None)),  # linformer's E
        ("params/blocks/mixer/kernel", (1, 6, 3), (None, "fsdp", None)),  # of all heads and layers
        ("params/blocks/layers/attention/mixer/kernel", (3, 4, 6, 6), (None, "model", "fsdp", None)),  # synthesizer's R
        ("params/blocks/layer_0/attention/mixer/first_bias", (4, 6), ("model", None)),
        ("params/block_0/mlp/inner/kernel", (8, 16), ("fsdp", "model")),
        ("params/block_0/mlp/outer/kernel", (16, 8), ("model", "fsdp")),
        ("params/head/bias", (8,), (None,)),
        ("params/conv/kernel", (3, 3, 2, 4), (None, None, "fsdp", "model")),
        ("params/head/kernel", (7, 10), (None, "model")),  # 7 is odd
        ("opt_state/1/0/mu/block_0/mlp/outer/kernel", (16, 8), ("model", "fsdp")),
        ("opt_state/1/0/count", (), ()),
    ],
)
def test_rules(path, shape, spec):
    assert partition_spec(mesh(1, 2, 2, 1), path, shape) == PartitionSpec(*spec)


def test_the_rest_of_the_devices_goes_to_the_free_axis():
    assert dict(MeshShape().build().shape) == {"data": jax.device_count(), "fsdp": 1, "model": 1, "seq": 1}


@pytest.mark.parametrize(
    "shape", [MeshShape(data=3, model=5), MeshShape(data=-1, fsdp=-1, model=7), MeshShape(model=0)]
)
def test_meshes_that_do_not_fit_are_refused(shape):
    with pytest.raises(UserError, match="the axes must multiply to"):
        shape.build()

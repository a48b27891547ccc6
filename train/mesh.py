"""Devices, processes, mesh axes and partition rules: the only file that knows sharding.

A batch is cut over the axes `data` and `fsdp`; parameters over `fsdp` and `model` by the rules below; `seq` cuts the
second dimension of the batch. One program is compiled for the whole mesh (`jax.jit` with `NamedSharding`): the compiler
inserts the communication, and the numbers stay those of one device.
"""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from train.errors import UserError

AXES = ("data", "fsdp", "model", "seq")

# First match wins, on the path of a leaf (`params/blocks/layer_0/attention/query/kernel`). Specs align from the right:
# stacked layers, with a leading dimension more, follow the same rule. An axis that does not divide its dimension is
# left out. Optimizer moments have the path of their parameter within theirs, and so its rule.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"attention/(query|key|value)/kernel", ("fsdp", "model", None)),  # [D, H, K]: heads over model
    (r"attention/(query|key|value)/bias", ("model", None)),  # [H, K]
    (r"attention/output/kernel", ("model", None, "fsdp")),  # [H, K, D]
    (r"mixer/\w*kernel", ("model", "fsdp", None)),  # [H or 1, ...] of linformer and synthesizer
    (r"mixer/\w*bias", ("model", None)),  # [H, N]
    (r"mlp/inner/kernel", ("fsdp", "model")),  # [D, F]
    (r"mlp/outer/kernel", ("model", "fsdp")),  # [F, D]: contracts what mlp/inner cut
    (r"embedding", (None, "fsdp")),
    (r"kernel", ("fsdp", "model")),  # [..., in, out]
)
OTHER_KERNELS = RULES[-1]  # Those of convolutions among them.


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """How many ways each axis cuts; -1 means all devices that the others leave.

    Attributes:
        data: copies of the parameters, each with its part of the batch.
        fsdp: parts of the parameters and optimizer state, gathered when used; also cuts the batch.
        model: parts of each layer's heads and features (tensor parallelism).
        seq: parts of the batch's second dimension: time, tokens or image rows.
    """

    data: int = -1
    fsdp: int = 1
    model: int = 1
    seq: int = 1

    def build(self) -> Mesh:
        """The mesh over all devices of all processes.

        Raises:
            UserError: the axes do not multiply to the number of devices.
        """
        sizes = [getattr(self, axis) for axis in AXES]
        count, free = jax.device_count(), sizes.count(-1)
        fixed = math.prod(size for size in sizes if size != -1)
        if free == 1 and fixed > 0 and count % fixed == 0:
            sizes = [count // fixed if size == -1 else size for size in sizes]
        if min(sizes) < 1 or math.prod(sizes) != count:
            given = ", ".join(f"{axis}={getattr(self, axis)}" for axis in AXES)
            raise UserError(
                f"config.mesh: {given} does not fit {count} device(s); the axes must multiply to {count}, "
                "and one of them may be -1 for the rest."
            )
        return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))

    def abstract(self) -> AbstractMesh:
        """The mesh as what is traced on shapes alone sees it; how many devices the rest are is not known."""
        sizes = tuple(max(getattr(self, axis), 1) for axis in AXES)
        return AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def initialize_distributed() -> None:
    """Joins the processes of one job, if this is one of several.

    Explicitly by `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; on Slurm and on TPU VMs JAX
    finds these by itself. Must come before anything that touches a device.
    """
    if jax.distributed.is_initialized():
        return
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        missing = {"JAX_NUM_PROCESSES", "JAX_PROCESS_ID"} - os.environ.keys()
        if missing:
            raise UserError(f"JAX_COORDINATOR_ADDRESS is set, but not {', '.join(sorted(missing))}.")
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            os.environ["JAX_COORDINATOR_ADDRESS"],
            int(os.environ["JAX_NUM_PROCESSES"]),
            int(os.environ["JAX_PROCESS_ID"]),
        )
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize()
    elif _is_tpu_vm():
        jax.distributed.initialize()


def _is_tpu_vm() -> bool:
    has_library = importlib.util.find_spec("libtpu") is not None
    return has_library and (Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists())


def members_mesh(size: int) -> Mesh:
    """The devices for so many runs that are trained together: all that divide their number."""
    devices = max(count for count in range(1, jax.device_count() + 1) if size % count == 0)
    return Mesh(np.asarray(jax.devices()[:devices]), ("members",))


def by_member(mesh: Mesh) -> NamedSharding:
    """How an array with a leading dimension for the members lies on their mesh."""
    return NamedSharding(mesh, PartitionSpec("members"))


def map_members(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The function of one run as one of all of them: mapped on each device, and over devices."""
    spec = PartitionSpec("members")
    # What a layer loops over begins with constants, which do not say that they vary between devices.
    return jax.shard_map(jax.vmap(function), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)


def batch_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """How an array [B, ...] of a batch lies on the mesh."""
    cuts_second = len(shape) > 1 and mesh.shape["seq"] > 1 and shape[1] % mesh.shape["seq"] == 0
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"), *(["seq"] if cuts_second else [])))


def check_batch_size(mesh: Mesh, batch_size: int, accumulate_steps: int) -> None:
    """Raises UserError unless every device gets the same number of rows of every micro-batch."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"] * accumulate_steps
    if batch_size % parts:
        raise UserError(
            f"config.data.batch_size: {batch_size} is not divisible by {parts} "
            f"(mesh data {mesh.shape['data']} x fsdp {mesh.shape['fsdp']} x accumulate_steps {accumulate_steps})."
        )


def state_shardings(mesh: Mesh, abstract_state: PyTree) -> PyTree:
    """The sharding of every leaf of a state, by the partition rules."""

    def rule(path: Any, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        return NamedSharding(
            mesh, partition_spec(mesh, jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape)
        )

    return jax.tree_util.tree_map_with_path(rule, abstract_state)


def partition_spec(mesh: Mesh, path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """The first rule that matches `path`, aligned with `shape` from the right."""
    spec = _rule(path)[1]
    spec = spec[max(len(spec) - len(shape), 0) :]
    spec = (None,) * (len(shape) - len(spec)) + spec
    fits = [axis is not None and size % mesh.shape[axis] == 0 for axis, size in zip(spec, shape, strict=True)]
    return PartitionSpec(*(axis if fit else None for axis, fit in zip(spec, fits, strict=True)))


def _rule(path: str) -> tuple[str, tuple[str | None, ...]]:
    return next((rule for rule in RULES if re.search(rule[0], path)), ("", ()))


def gather_for_use(mesh: Mesh, params: PyTree) -> PyTree:
    """Parameters as layers use them, inside a compiled step: no longer cut over `fsdp`.

    Said explicitly, because XLA's partitioner gives wrong gradients (jax 0.10.2, openxla/xla has open issues of this
    kind) where one axis cuts both the batch and a weight that is also cut over `model`. Where `seq` cuts space or time,
    kernels of convolutions are not cut over `model` either: there the partitioner gives wrong outputs.
    """

    def gather(path: Any, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        convolves = _rule(name) is OTHER_KERNELS and leaf.ndim > 2 and mesh.shape["seq"] > 1
        whole = ("fsdp", "model") if convolves else ("fsdp",)
        spec = partition_spec(mesh, name, leaf.shape)
        used = PartitionSpec(*(None if axis in whole else axis for axis in spec))
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, used))

    return jax.tree_util.tree_map_with_path(gather, params)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """The contiguous rows of a global batch that the devices of this process hold."""
    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    parts = sharding.addressable_devices_indices_map((batch_size,)).values()
    rows = [part[0].indices(batch_size)[:2] for part in parts if part is not None]
    return slice(min(start for start, _ in rows), max(stop for _, stop in rows))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray], rows: slice, batch_size: int) -> dict[str, jax.Array]:
    """This process's rows of a batch as part of global arrays on the mesh."""

    def put(local: np.ndarray) -> jax.Array:
        shape = (batch_size, *local.shape[1:])
        sharding = batch_sharding(mesh, shape)
        if jax.process_count() == 1:
            return jax.device_put(local, sharding)

        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(batch_size)
            return local[(slice(start - rows.start, stop - rows.start), *index[1:])]

        return jax.make_array_from_callback(shape, sharding, part)

    return {key: put(value) for key, value in batch.items()}

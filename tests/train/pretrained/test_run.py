"""A run that starts from a folder, and a run written as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from archs import vit
from tests.train.runs import StopAt, final_state, same
from train import config as configs
from train import loop, pretrained, step
from train.errors import Stopped, UserError
from train.experiment import build
from train.mesh import MeshShape
from train.pretrained import folder as folders
from train.pretrained.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
SMALL = ["hidden_size=8", "num_layers=1", "num_heads=2", "mlp_size=8", "patch_size=4", "pool=token", "dropout_rate=0"]
STILL = ["optimizer.name=sgd", "optimizer.learning_rate=0", "optimizer.schedule.warmup_steps=0"]


def tiny(*overrides):
    """A ViT on digits that learns nothing."""
    flags = [*(f"model.{field}" for field in SMALL), *STILL, "data.batch_size=16", "steps=4", "log_every=1", *overrides]
    return configs.load("configs/quickstart.py:vit", flags)


def fresh(config):
    """Random variables of the model of a config, none where they start."""
    experiment = build(config)
    state = step.compile_steps(experiment.recipe, MeshShape().build(), experiment.spec).abstract_state
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), state.params)
    return experiment.model, {"params": params, **state.model_state}


@pytest.fixture
def folder(tmp_path):
    model, variables = fresh(tiny())
    folders.write(tmp_path / "pretrained", *pretrained.export(model, variables))
    return tmp_path / "pretrained", variables["params"]


def test_a_run_starts_from_a_folder(folder, tmp_path):
    path, params = folder
    config = tiny(f"init_from={path}", "steps=1", "optimizer.ema_decay=0.5")
    loop.train(config, tmp_path / "run")
    state = final_state(tmp_path / "run", config)
    assert same(state.params, params) and same(state.ema_params, params) and state.step == 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init_from"] == str(path)
    origin = json.loads((tmp_path / "run" / "provenance.json").read_text())["init_from"]
    assert origin["folder"] == str(path) and len(origin["sha256"]["model.safetensors"]) == 64
    with pytest.raises(UserError, match="init_from: .* -> None"):
        loop.train(tiny("steps=1", "optimizer.ema_decay=0.5"), tmp_path / "run")


def test_a_run_reads_images_of_another_size(folder, tmp_path):
    path, params = folder
    config = tiny(f"init_from={path}", "steps=1", "data.image_size=16")
    loop.train(config, tmp_path / "run")
    expected = jax.tree.map(np.asarray, vit.resize_positions(params, 4, 4))
    assert same(final_state(tmp_path / "run", config).params, expected)


def test_a_restart_does_not_read_the_folder_again(folder, tmp_path):
    path, _ = folder
    config = tiny(f"init_from={path}", "optimizer.learning_rate=0.1")
    loop.train(config, tmp_path / "whole")
    with pytest.raises(Stopped):
        loop.train(config, tmp_path / "stopped", writer=StopAt(2))
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    loop.train(config, tmp_path / "stopped")
    assert same(final_state(tmp_path / "stopped", config), final_state(tmp_path / "whole", config))
    assert "init_from" in json.loads((tmp_path / "stopped" / "provenance.json").read_text())


def test_a_mistake_leaves_nothing_behind(folder, tmp_path):
    path, _ = folder
    with pytest.raises(UserError, match="config.model.mlp_size is 16, and 8 there"):
        loop.train(tiny(f"init_from={path}", "model.mlp_size=16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_new_head_needs_a_folder():
    with pytest.raises(UserError, match="config.init_head: 'new' would do nothing without config.init_from"):
        build(tiny("init_head=new"))


def test_a_new_head_is_that_of_the_seed(folder, tmp_path):
    path, params = folder
    config = tiny(f"init_from={path}", "init_head=new", "steps=1")
    loop.train(config, tmp_path / "new")
    loop.train(tiny("steps=1"), tmp_path / "plain")
    state, plain = final_state(tmp_path / "new", config).params, final_state(tmp_path / "plain", tiny("steps=1")).params
    assert same(state["head"], plain["head"])
    assert same(state["blocks"], params["blocks"])


def test_a_run_is_written_and_starts_another(tmp_path, capsys):
    config = tiny("optimizer.learning_rate=0.1", "optimizer.ema_decay=0.5")
    loop.train(config, tmp_path / "first")
    command = [f"--workdir={tmp_path / 'first'}", f"--output={tmp_path / 'out'}"]
    main(command)
    assert "wrote ViTForImageClassification of step 4" in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    average = final_state(tmp_path / "first", config).ema_params
    second = tiny(f"init_from={tmp_path / 'out'}", "steps=1")
    loop.train(second, tmp_path / "second")
    assert same(final_state(tmp_path / "second", second).params, average)
    with pytest.raises(UserError, match="--output: .* is not empty"):
        main(command)


def test_only_a_trained_run_is_written(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        main([f"--workdir={tmp_path}", f"--output={tmp_path / 'out'}"])
    config = tiny("steps=1")
    loop.train(config, tmp_path / "run")
    with pytest.raises(UserError, match="what was trained must not be changed: model.mlp_size"):
        main([f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'out'}", "--config.model.mlp_size=16"])
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        (checkpoint / "seal.json").unlink()
    with pytest.raises(UserError, match="holds no whole checkpoint"):
        main([f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_arrive_in_their_shardings_and_are_written_from_them(folder, tmp_path):
    path, params = folder
    flags = [*(f"model.{field}" for field in SMALL), *STILL, "data.batch_size=16", "steps=1", f"init_from={path}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}

    def run(module, *arguments):
        subprocess.run([sys.executable, *module, *arguments], cwd=ROOT, env=environment, check=True)

    overrides = [f"--config.{flag}" for flag in (*flags, "mesh.data=2", "mesh.fsdp=2", "mesh.model=2")]
    work = f"--workdir={tmp_path / 'run'}"
    run(["-m", "train"], "--config=configs/quickstart.py:vit", *overrides, work)
    run(["-m", "train.pretrained"], work, f"--output={tmp_path / 'out'}")
    folders_equal = [(path / "model.safetensors").read_bytes(), (tmp_path / "out" / "model.safetensors").read_bytes()]
    assert folders_equal[0] == folders_equal[1]
    check = """
import sys, jax
from train import config, pretrained, step
from train.experiment import build
source, *flags = sys.argv[1:]
experiment = build(config.load("configs/quickstart.py:vit", flags))
mesh = experiment.mesh_shape.build()
with jax.set_mesh(mesh):
    steps = step.compile_steps(experiment.recipe, mesh, experiment.spec)
    before = steps.init(0)
    loaded = pretrained.load(source, experiment.model, {"params": before.params}, "load")
    after = steps.start(0, loaded)
wanted = jax.tree.map(lambda leaf: leaf.sharding, steps.abstract_state)
assert jax.tree.all(jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, after, wanted))
assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(after.params))
"""
    run(["-c", check], str(path), *(flag.removeprefix("--config.") for flag in overrides))

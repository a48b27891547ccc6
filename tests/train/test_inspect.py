"""The inspect command: published sizes, sums over modules, nothing allocated, one line for a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import archs
from train import flops, inspect

PROJECT = Path(__file__).resolve().parents[2]


def report(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    assert inspect.main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# Parameters, and billions of multiply-adds as torchvision prints them under the heading GFLOPS:
# https://pytorch.org/vision/stable/models/generated/torchvision.models.vit_b_16.html, and so on.
@pytest.mark.parametrize(
    ("variant", "parameters", "multiply_adds"),
    [
        ("B/16", 86_567_656, 17.56),
        pytest.param("B/32", 88_224_232, 4.41, marks=pytest.mark.slow),
        pytest.param("L/16", 304_326_632, 61.55, marks=pytest.mark.slow),
        pytest.param("H/14", 632_045_800, 167.29, marks=pytest.mark.slow),
    ],
)
def test_vision_transformers_have_their_published_cost(variant, parameters, multiply_adds):
    model = archs.build("vit", variant=variant, num_classes=1000)
    vit = inspect.inspect_model(model, {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)})
    assert vit.parameters == parameters
    assert vit.flops_matmul / 2e9 == pytest.approx(multiply_adds, abs=0.01)
    assert 1 < vit.flops_forward / vit.flops_matmul < 1.01


def test_lenet_reads_a_digit_by_default(capsys):
    lenet = report(capsys, "--model=lenet", "--variant=modern")
    assert lenet["parameters"] == 61_706
    assert lenet["by_module"]["c1"] == {
        "shape": [1, 28, 28, 6],
        "parameters": 5 * 5 * 6 + 6,
        "flops": 28 * 28 * 6 * (2 * 25 + 1),
    }


@pytest.mark.parametrize("name", archs.names())
def test_every_architecture_adds_up(capsys, name):
    variant = ["--variant=late"] if name == "fusion" else []  # without one it does not know its modalities
    cost = report(capsys, f"--model={name}", *variant)
    assert sum(module["parameters"] for module in cost["by_module"].values()) == cost["parameters"] > 0
    assert sum(module["flops"] for module in cost["by_module"].values()) == cost["flops_forward"] > 0
    assert cost["notes"] == []
    memory = cost["train_step_memory"]
    assert memory["parameters"] == memory["gradients"] == 4 * cost["parameters"]
    assert memory["lower_bound"] >= 4 * 4 * cost["parameters"]  # With AdamW's two moments.


def test_totals_are_those_of_the_plain_count(capsys):
    cost = report(capsys, "--model=rnn", "--input=50,3", "--model.num_layers=2", "--batch-size=7")
    model = archs.build("rnn", num_classes=10, num_layers=2)
    example = jax.ShapeDtypeStruct((1, 50, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), example)
    assert cost["flops_forward"] == flops.forward_flops(model.apply, variables, example)
    assert cost["inputs"] == {"sequence": [7, 50, 3]}


def test_flops_find_their_module_inside_loops_and_calls():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool = False):
            return x + nn.Dense(8, name="dense")(x)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool = False):
            body = nn.remat(lambda block, x, _: (block(x, train=train), None))
            layers = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return layers(Block(name="blocks"), x, None)[0] * 2

    cost = inspect.inspect_model(Network(), {"x": jax.ShapeDtypeStruct((32, 8), jnp.float32)})
    assert cost.modules == {
        "": inspect.Module((1, 8), parameters=0, flops=8),
        "blocks": inspect.Module((1, 8), parameters=0, flops=3 * 8),
        "blocks/dense": inspect.Module((1, 8), parameters=3 * 72, flops=3 * (2 * 64 + 8)),
    }


def test_parameters_outside_any_call_belong_to_the_module_that_made_them():
    class Network(nn.Module):
        def setup(self):
            self.table = nn.Embed(5, 4)

        @nn.compact
        def __call__(self, x):
            scales = self.param("scales", lambda _: {"inner": jnp.ones(3)})
            return self.table.attend(x) * scales["inner"].sum()

    cost = inspect.inspect_model(Network(), {"x": jax.ShapeDtypeStruct((1, 4), jnp.float32)})
    assert cost.modules[""].parameters == 3
    assert cost.modules["table"] == inspect.Module((1, 5), parameters=20, flops=2 * 4 * 5)


def test_what_cannot_be_counted_is_said():
    class Newton(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jax.lax.while_loop(lambda x: x.sum() > 1, lambda x: x / 2, nn.Dense(4)(x))

    cost = inspect.inspect_model(Newton(), {"x": jax.ShapeDtypeStruct((1, 4), jnp.float32)})
    assert len(cost.notes) == 1 and "no known trip count" in cost.notes[0]
    assert cost.flops_forward == 4 * (2 * 4 + 1) + 4


def test_config_is_inspected_as_it_would_be_trained(capsys):
    config = ["--config=configs/quickstart.py:lenet", "--config.data.batch_size=32"]
    cost = report(capsys, *config)
    assert cost["parameters"] == 61_706
    assert cost["inputs"] == {"image": [32, 28, 28, 1]}
    average = report(capsys, *config, "--config.optimizer.ema_decay=0.9", "--model.dtype=bfloat16")
    assert average["train_step_memory"]["other"] == 4 * cost["parameters"]
    assert average["parameters"] == cost["parameters"]


def test_compiled_step_needs_at_least_the_lower_bound_without_gradients(capsys):
    memory = report(capsys, "--model=mlp", "--batch-size=4", "--compile")["train_step_memory"]
    plan = memory["compiled"]
    assert plan["peak"] >= memory["parameters"] + memory["optimizer"]
    assert plan["peak"] == plan["arguments"] + plan["outputs"] + plan["temporary"] - plan["aliased"]


def test_table_shows_alike_modules_once(capsys):
    assert inspect.main(["--model=vit", "--model.num_layers=3", "--model.hidden_size=48", "--input=32,32,3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("layer_0 … layer_2 (each of 3)" in line for line in lines) == 1
    assert not any("layer_1" in line for line in lines)
    assert any(line.startswith("parameters ") for line in lines)


def test_nothing_is_allocated(capsys):
    before = len(jax.live_arrays())
    report(capsys, "--model=mlp")
    assert len(jax.live_arrays()) == before


def test_a_model_larger_than_memory_is_inspected_in_a_small_process():
    """Two layers of 300,000 units have 360 GB of parameters."""
    # The peak of its own memory: what the kernel reports to a parent includes the parent's at the time of the fork.
    program = (
        "import sys; from train.inspect import main; "
        "main(['--model=mlp', '--model.hidden_sizes=300000,300000', '--json']); "
        "print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    cost = json.loads(ended.stdout)
    assert cost["parameters"] == 785 * 300_000 + 300_001 * 300_000 + 300_001 * 10
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", ended.stderr)
    assert int(peak) * 1024 < 1e9


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--model --config is required"),
        (["--model=vitt"], "did you mean 'vit'?"),
        (["--model=vit", "--variant=B/17"], "did you mean 'B/16'?"),
        (["--model=vit", "--input=225,224,3"], "--input"),
        (["--model=vit", "--input=28,28"], "--input"),
        (["--model=vit", "--input=224,x"], "whole numbers"),
        (["--model=mlp", "--input=image=8,8,1"], "Allowed: features"),
        (["--model=mlp", "--model.hidden_size=3"], "did you mean 'hidden_sizes'?"),
        (["--model=mlp", "--model.hidden_sizes=3"], "must be tuple"),
        (["--model=mlp", "--model.hidden_sizes"], "needs a value"),
        (["--model=mlp", "--config.steps=3"], "needs a config"),
        (["--model=mlp", "--varian=x"], "did you mean '--variant'?"),
        (["--model=mlp", "--batch-size=0"], "at least 1"),
        (["--model=mlp", "--batch-size=many"], "--batch-size"),
        (["--model=mlp", "--config=configs/quickstart.py"], "not allowed with"),
        (["--config=configs/digit.py"], "does not exist"),
        (["--config=configs/quickstart.py", "--batch-size=2"], "goes with --model"),
        (["--config=configs/quickstart.py", "--config.model.hiden_sizes=2"], "did you mean 'hidden_sizes'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, argv, said):
    assert inspect.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err

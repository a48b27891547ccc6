"""What a model writes and finds is the same on one device and on several that share it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.texts import translation, write_pairs
from train import config as configs
from train import loop
from train.evaluate import evaluate
from train.workdir import at

ROOT = Path(__file__).resolve().parents[3]
CLIP = ["embedding_size=8", "image_hidden_size=16", "text_hidden_size=16", "num_image_layers=1", "num_text_layers=1"]
TRANSFORMER = ["name=transformer", "hidden_size=16", "num_heads=2", "num_layers=2", "mlp_size=32", "scan_layers=True"]
MEASURED = ["evaluators.bleu.by_length=True", "evaluators.exact_match.by_length=True", "steps=40"]


def shared(module, folder, axes, *flags, text=None):
    """What a command says on two devices along each axis."""
    mesh = [f"--config.mesh.{axis}=2" for axis in axes]
    command = [sys.executable, "-m", module, f"--workdir={folder}", *mesh, *flags]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(2 ** len(axes))}
    done = subprocess.run(command, cwd=ROOT, env=environment, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("model", ["seq2seq", "transformer"])
def test_texts_are_the_same(tmp_path, model):
    flags = [f"model.{field}" for field in TRANSFORMER] if model == "transformer" else []
    loop.train(translation(write_pairs(tmp_path / "pairs"), *flags, *MEASURED), tmp_path / "run")
    one = evaluate(at(tmp_path / "run"), [])
    written = (tmp_path / "run" / "evaluations" / "bleu_test.txt").read_text()
    (tmp_path / "run" / "evaluations" / "bleu_test.txt").unlink()
    several = json.loads(shared("train.evaluate", tmp_path / "run", ("data", "fsdp", "model")))
    assert several == pytest.approx(one) and len(set(one.values())) > 2
    assert (tmp_path / "run" / "evaluations" / "bleu_test.txt").read_text() == written
    english = (tmp_path / "pairs" / "train.en").read_text()
    assert shared("train.decode", tmp_path / "run", ("data", "fsdp"), "--beam=4", text=english) == written


@pytest.mark.slow
def test_what_is_found_is_the_same(tmp_path):
    flags = [*(f"model.{field}" for field in CLIP), "data.batch_size=120", "steps=5", "evaluators.retrieval.split=test"]
    config = configs.load("configs/captions.py:clip", [*flags, "data.cache=False"])
    one = loop.train(config, tmp_path / "run").metrics
    several = json.loads(shared("train.evaluate", tmp_path / "run", ("data", "fsdp")))
    for name in one:
        np.testing.assert_allclose(several[name], one[name], atol=0.01 if "recall" in name else 1e-4, err_msg=name)

"""ResNet against transformers': logits, gradients and batch statistics, in evaluation and in training."""

import jax
import numpy as np
import pytest

import archs
from tests.peers.comparison import compare

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="transformers is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

LEAVES = {
    "convolution.weight": ("params", "conv", "kernel"),
    "normalization.weight": ("params", "norm", "scale"),
    "normalization.bias": ("params", "norm", "bias"),
    "normalization.running_mean": ("batch_stats", "norm", "mean"),
    "normalization.running_var": ("batch_stats", "norm", "var"),
}


def place(name: str) -> tuple[str, ...]:
    """resnet.encoder.stages.1.layers.0.layer.2.convolution.weight: stage 1, block 0, conv 2, kernel."""
    parts = name.split(".")
    if parts[0] == "classifier":
        return ("params", "head", "dense", {"weight": "kernel", "bias": "bias"}[parts[2]])
    collection, *leaf = LEAVES[".".join(parts[-2:])]
    match parts[1:-2]:
        case ["embedder", "embedder"]:
            layer = ["stem"]
        case ["encoder", "stages", stage, "layers", block, "shortcut"]:
            layer = [f"stage_{stage}_block_{block}", "shortcut"]
        case ["encoder", "stages", stage, "layers", block, "layer", number]:
            layer = [f"stage_{stage}_block_{block}", f"conv_{number}"]
    return (collection, *layer, *leaf)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "variant, fields",
    [
        ("18", {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}),
        ("50", {"layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}),
    ],
)
def test_equal_to_transformers(variant, fields, train):
    torch.manual_seed(0)
    config = transformers.ResNetConfig(**fields, num_labels=10, downsample_in_bottleneck=False)
    peer = transformers.ResNetForImageClassification(config)
    image = np.random.default_rng(0).normal(size=(2, 64, 64, 3))
    model = archs.build("resnet", variant=variant, num_classes=10, dtype="float64", param_dtype="float64")
    with jax.enable_x64(True):
        compare(peer, lambda peer, x: [peer(x).logits], model, place, image, train)

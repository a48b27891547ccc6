"""Inception v3 against a PyTorch network built from torchvision's published structure: logits, auxiliary logits,
gradients and batch statistics, in evaluation and in training."""

import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import archs
from tests.peers.comparison import compare

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

nn = torch.nn


def conv(inputs, outputs, kernel=1, stride=1, padding=0):
    layers = (
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        nn.ReLU(),
    )
    return nn.Sequential(*layers)


class Join(nn.ModuleList):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self], dim=1)


def average(inputs, outputs):
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), conv(inputs, outputs))


def mixed_5(inputs, pooled):
    return Join(
        [
            conv(inputs, 64),
            nn.Sequential(conv(inputs, 48), conv(48, 64, 5, padding=2)),
            nn.Sequential(conv(inputs, 64), conv(64, 96, 3, padding=1), conv(96, 96, 3, padding=1)),
            average(inputs, pooled),
        ]
    )


def mixed_6a():
    double = nn.Sequential(conv(288, 64), conv(64, 96, 3, padding=1), conv(96, 96, 3, stride=2))
    return Join([conv(288, 384, 3, stride=2), double, nn.MaxPool2d(3, stride=2)])


def mixed_6(width):
    across, down = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    return Join(
        [
            conv(768, 192),
            nn.Sequential(conv(768, width), conv(width, width, **across), conv(width, 192, **down)),
            nn.Sequential(
                conv(768, width),
                conv(width, width, **down),
                conv(width, width, **across),
                conv(width, width, **down),
                conv(width, 192, **across),
            ),
            average(768, 192),
        ]
    )


def mixed_7a():
    return Join(
        [
            nn.Sequential(conv(768, 192), conv(192, 320, 3, stride=2)),
            nn.Sequential(
                conv(768, 192),
                conv(192, 192, (1, 7), padding=(0, 3)),
                conv(192, 192, (7, 1), padding=(3, 0)),
                conv(192, 192, 3, stride=2),
            ),
            nn.MaxPool2d(3, stride=2),
        ]
    )


def mixed_7(inputs):
    def fork():
        return Join([conv(384, 384, (1, 3), padding=(0, 1)), conv(384, 384, (3, 1), padding=(1, 0))])

    return Join(
        [
            conv(inputs, 320),
            nn.Sequential(conv(inputs, 384), fork()),
            nn.Sequential(conv(inputs, 448), conv(448, 384, 3, padding=1), fork()),
            average(inputs, 192),
        ]
    )


class Peer(nn.Module):
    """Parts are in the alphabetical order of ours."""

    def __init__(self, auxiliary):
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(1)
        if auxiliary:
            convolutions = conv(768, 128), conv(128, 768, 5)
            self.auxiliary = nn.Sequential(
                nn.AvgPool2d(5, stride=3), *convolutions, pool, nn.Flatten(), nn.Linear(768, 10)
            )
        self.fine = nn.Sequential(
            *(mixed_5(192, 32), mixed_5(256, 64), mixed_5(288, 64)),
            *(mixed_6a(), mixed_6(128), mixed_6(160), mixed_6(160), mixed_6(192)),
        )
        self.coarse = nn.Sequential(mixed_7a(), mixed_7(1280), mixed_7(2048))
        self.head = nn.Sequential(pool, nn.Flatten(), nn.Linear(2048, 10))
        self.stem = nn.Sequential(
            *(conv(3, 32, 3, stride=2), conv(32, 32, 3), conv(32, 64, 3, padding=1), nn.MaxPool2d(3, stride=2)),
            *(conv(64, 80), conv(80, 192, 3), nn.MaxPool2d(3, stride=2)),
        )

    def forward(self, x):
        x = self.fine(self.stem(x))
        outputs = [self.head(self.coarse(x))]
        if hasattr(self, "auxiliary") and self.training:
            outputs.append(self.auxiliary(x))
        return outputs


LEAVES = {
    ("conv", "weight"): ("params", "kernel"),
    ("norm", "weight"): ("params", "scale"),
    ("norm", "bias"): ("params", "bias"),
    ("norm", "running_mean"): ("batch_stats", "mean"),
    ("norm", "running_var"): ("batch_stats", "var"),
    ("dense", "weight"): ("params", "kernel"),
    ("dense", "bias"): ("params", "bias"),
}


def places(peer, model, image):
    """A function from names of tensors in the peer to paths in our variables: layers are in the same order."""
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
    layers = {path[:-1] for path in flatten_dict(params)}
    in_order = sorted(
        layers, key=lambda path: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", "/".join(path))]
    )
    kinds = nn.Conv2d, nn.BatchNorm2d, nn.Linear
    names = [name for name, module in peer.named_modules() if isinstance(module, kinds)]
    ours = dict(zip(names, in_order, strict=True))

    def place(name):
        layer, _, leaf = name.rpartition(".")
        collection, leaf = LEAVES[ours[layer][-1], leaf]
        return (collection, *ours[layer], leaf)

    return place


@pytest.mark.parametrize("size, auxiliary, train", [(75, False, False), (75, False, True), (299, True, True)])
def test_equal_to_pytorch(size, auxiliary, train):
    torch.manual_seed(0)
    peer = Peer(auxiliary)
    image = np.random.default_rng(0).normal(size=(2, size, size, 3))
    fields = {"auxiliary": auxiliary, "dropout_rate": 0.0, "dtype": "float64", "param_dtype": "float64"}
    model = archs.build("inception", num_classes=10, **fields)
    with jax.enable_x64(True):
        compare(peer, Peer.forward, model, places(peer, model, image), image, train)

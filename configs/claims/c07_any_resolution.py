"""A convolution takes images of any resolution, a fully connected layer only of one.

Weights made for 32×32 pixels are given 24×24 and 48×48. A convolution and a ResNet, which averages over all places
before its classifier, must take them with as many parameters; a perceptron must refuse them. LeNet-5, a convolutional
network too, ends in fully connected layers, and so takes one resolution: what counts is the layer between.

At the full scale a residual network learns CIFAR-10, and its accuracy at the three sizes is shown: that images of
another resolution are taken does not say that they are recognised.
"""

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "this layer can accept images of any resolution, whereas, the fully connected can work only with a fixed resolution"
)
SIZES = (24, 32, 48)
MADE_FOR = 32


def run(lab):
    networks = {
        "convolution": lambda size: lab.layer("Conv", (size, size, 3), features=8, kernel_size=(3, 3)),
        "ResNet": lambda size: lab.architecture(
            "resnet",
            {"image": (size, size, 3)},
            num_classes=10,
            block="basic",
            stage_sizes=(1, 1),
            hidden_sizes=(8, 16),
            stage_strides=(1, 2),
            stem="small",
        ),
        "LeNet-5": lambda size: lab.architecture("lenet", {"image": (size, size, 3)}, num_classes=10),
        "perceptron": lambda size: lab.architecture(
            "mlp", {"features": (size * size * 3,)}, num_classes=10, hidden_sizes=(64,)
        ),
    }
    taken = {name: accepted(build) for name, build in networks.items()}
    counts = {name: {build(size).parameters for size in SIZES} for name, build in networks.items()}
    for name in ("convolution", "ResNet"):
        yield lab.equal(f"resolutions out of {len(SIZES)} that one {name} takes", len(taken[name]), len(SIZES))
        yield lab.equal(f"different numbers of parameters of a {name} at these resolutions", len(counts[name]), 1)
    yield lab.equal(f"resolutions out of {len(SIZES)} that one perceptron takes", len(taken["perceptron"]), 1)
    rows = [
        [name, ", ".join(map(str, sizes)), ", ".join(f"{n:,}" for n in sorted(counts[name]))]
        for name, sizes in taken.items()
    ]
    lab.table(f"Weights made for {MADE_FOR} pixels", ("network", "take, pixels", "parameters at all sizes"), rows)
    if lab.scale == "full":
        at_full_scale(lab)


def at_full_scale(lab):
    """Shows what a trained network is worth at other resolutions."""
    study = lab.train("CIFAR-10", {"cnn": lab.load("configs/few_images.py:cnn")}, axis=())
    found = lab.probe(study, "cnn", "resolution", sizes=SIZES)
    rows = [
        [f"{size}×{size}", *(100 * by_size[f"test/accuracy_at_{size}"] for by_size in found.values())] for size in SIZES
    ]
    header = ("pixels", *(f"seed {seed}" for seed in found))
    lab.table(f"Accuracy, %, of networks trained at {MADE_FOR}×{MADE_FOR}", header, rows)


def accepted(build):
    """The sizes of images that weights made for one size take."""
    network = build(MADE_FOR)
    return [size for size in SIZES if network.shape_for(build(size).spec)]

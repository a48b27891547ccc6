"""Convolutional networks are translation invariant.

As stated it would mean that the output does not change with a shift of the image. A ResNet with stride 1, on an image
whose edges meet, is equivariant: its maps shift with the image, and what it averages over all places does not change,
both to 10⁻⁵. With a stride, or with LeNet-5's pooling, places are skipped and the output changes by more than 10⁻³; if
it did not, the sentence would be right. Changes are the largest over the outputs, over the largest output; weights are
fresh, images are noise, shifts go around the edges.

At the full scale networks of as many parameters learn CIFAR-10, and what counts is how often their class changes when a
test image moves by a pixel: VGG, which takes the largest of neighbours and ends in fully connected layers, a residual
network, which averages over all places at its end, and one that blurs before it skips places (Zhang, 2019). Each must
change its mind less often than a perceptron does.
"""

import numpy

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "Translation invariance … the same object in different locations (note that a CNN would recognize both as cats "
    "owing to translation invariance)."
)
SHIFTS = ((1, 0), (0, 1), (3, 2))
IMAGE = (28, 28, 3)
VGG = ("model.name=vgg", "model.variant=11", "model.hidden_sizes=(24, 48, 96, 96, 96)", "model.mlp_size=430")


def run(lab):
    networks = {
        "ResNet, stride 1": resnet(lab, stride=1),
        "ResNet, stride 2": resnet(lab, stride=2),
        "LeNet-5": lab.architecture("lenet", {"image": IMAGE}, num_classes=10),
    }
    of_output = {name: change_of_output(network) for name, network in networks.items()}
    of_maps = {name: change_of_maps(network) for name, network in networks.items() if "1" in name}
    for name in ("ResNet, stride 2", "LeNet-5"):
        yield lab.below(f"change of the output of {name} when the image shifts", of_output[name], 1e-3)
    for name, change in of_maps.items():
        yield lab.below(f"difference of shifted maps of {name} and maps of shifted images", change, 1e-5, "amended")
        yield lab.below(f"change of the output of {name} when the image shifts", of_output[name], 1e-5, "amended")
    lab.table("Change under shifts", ("network", "change of the output"), [list(row) for row in of_output.items()])
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks how often trained networks change their mind about an image that moves by a pixel."""
    path = "configs/few_images.py:cnn"
    variants = {
        "ResNet": lab.load(path),
        "ResNet with blurs": lab.load(path, "model.downsampling=blur"),
        "VGG": lab.load(path, *VGG),
        "perceptron": lab.load(path, "model.name=mlp"),
    }
    study = lab.train("CIFAR-10", variants, axis=("model",), match="parameters")
    flips = {
        name: [100 * found["test/flip_rate_shift_1"] for found in lab.probe(study, name, "flip_rate").values()]
        for name in variants
    }
    for name in ("VGG", "ResNet", "ResNet with blurs"):
        gaps = [more - less for more, less in zip(flips["perceptron"], flips[name], strict=True)]
        yield lab.exceeds(f"images that change their class, perceptron less {name}", gaps, 0, " points", "amended")
    accuracies = {name: [100 * value for value in study.values("test/accuracy", name).values()] for name in variants}
    rows = [[name, numpy.mean(flips[name]), numpy.mean(accuracies[name])] for name in variants]
    lab.table("CIFAR-10, %, means over seeds", ("network", "change their class by a pixel", "are right"), rows)


def resnet(lab, stride):
    """All the same but for the stride of the second stage."""
    return lab.architecture(
        "resnet",
        {"image": IMAGE},
        num_classes=10,
        block="basic",
        stage_sizes=(1, 1),
        hidden_sizes=(8, 16),
        stage_strides=(1, stride),
        stem="small",
        padding="circular",
    )


def change_of_output(network):
    """Greatest over the shifts."""
    still, *shifted = network.apply(network.variables(), image=shifted_images(network))
    return max(difference(output, still) for output in shifted)


def change_of_maps(network):
    """Of the last block, greatest over the shifts."""
    still, *shifted = network.inside(network.variables(), "stage_1_block_0", image=shifted_images(network))
    return max(difference(maps, moved(still, by)) for maps, by in zip(shifted, SHIFTS, strict=True))


def shifted_images(network):
    """An image and its shifts, as a batch."""
    image = network.example()["image"][0]
    return numpy.stack([image, *(moved(image, by) for by in SHIFTS)])


def moved(image, by):
    return numpy.roll(image, by, axis=(0, 1))


def difference(value, reference):
    return float(abs(value - reference).max() / abs(reference).max())

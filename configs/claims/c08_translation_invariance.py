"""Convolutional networks are translation invariant.

As stated it would mean that the output does not change with a shift of the image. A ResNet with stride 1, on an image
whose edges meet, is equivariant: its maps shift with the image, and what it averages over all places does not change,
both to 10⁻⁵. With a stride, or with LeNet-5's pooling, places are skipped and the output changes by more than 10⁻³; if
it did not, the sentence would be right. Changes are the largest over the outputs, over the largest output; weights are
fresh, images are noise, shifts go around the edges.
"""

import numpy

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "Translation invariance … the same object in different locations (note that a CNN would recognize both as cats "
    "owing to translation invariance)."
)
SHIFTS = ((1, 0), (0, 1), (3, 2))
IMAGE = (28, 28, 3)


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

"""Pooling reduces the size of the representation and the amount of computation.

VGG-16 has a 2×2 pooling after each of its five stages: the convolution after one must need a quarter of the
multiply-adds that each of its weights needed before. Counted from the program, taps on padding included, as published
figures are; XLA's own analysis leaves those out, so that its ratio is exact only without padding. "Also known as max
pooling" is not tested: averages, strides and trained subsampling save as much, as LeNet-5's three kinds show.
"""

SECTION = "Convolutional Neural Networks"
SENTENCE = (
    "It helps in reducing the size of the representation and reduces the amount of computations the CNN has to make"
)


def run(lab):
    vgg = lab.architecture("vgg", {"image": (224, 224, 3)}, variant="16", num_classes=1000)
    stages = [first_and_last(vgg, stage) for stage in range(5)]
    for stage in range(1, 5):
        before, after = uses(vgg, stages[stage - 1][1]), uses(vgg, stages[stage][0])
        yield lab.equal(f"multiply-adds for each weight, before to after pooling {stage}", before / after, 4)
    wide, narrow = (vgg.flops_by_module[f"conv_{stage}_1"] for stage in (3, 4))
    yield lab.equal("multiply-adds of 512 to 512 channels, before to after pooling 4", wide / narrow, 4)
    rows = [[stage + 1, uses(vgg, first), vgg.flops_by_module[last] // 2] for stage, (first, last) in enumerate(stages)]
    lab.table("VGG-16 on 224×224", ("stage", "places in its maps", "multiply-adds of its last layer"), rows)
    rows = [[kind, lenet(lab, kind).matmul_flops // 2] for kind in ("max", "average", "trained")]
    lab.table("LeNet-5 on 28×28", ("pooling", "multiply-adds"), rows)


def first_and_last(vgg, stage):
    layers = sorted(path for path in vgg.flops_by_module if path.startswith(f"conv_{stage}_"))
    return layers[0], layers[-1]


def uses(vgg, layer):
    """How often each weight of a layer is used: once at each place."""
    rows, columns, channels, features = vgg.tree[f"{layer}/kernel"]
    return vgg.flops_by_module[layer] / (2 * rows * columns * channels * features)


def lenet(lab, pooling):
    return lab.architecture("lenet", {"image": (28, 28, 1)}, num_classes=10, pooling=pooling)

"""Convolutional networks build up from the local to the global.

An output of L convolutions with kernels of k must depend on a square of exactly 1 + L(k-1) places in each direction:
its derivative is zero outside and nowhere zero inside. So 112 layers of 3×3 span 224 pixels, and 111 do not. A temporal
convolutional network, whose dilations double, must reach 1 + 2(k-1)(2ⁿ-1) steps back with n blocks.

At the full scale also the width that matters, two deviations of the squared derivative: it should grow as the square
root of L (Luo et al., 2016), an exponent from 0.35 to 0.65.
"""

import numpy

SECTION = "Vision"
SENTENCE = (
    "CNNs work by repeatedly applying filters on local patches … and incrementally increase their receptive field and "
    "build up to global feature representations."
)
SIZE = 25


def run(lab):
    rows = []
    for kernel_size, depths in ((3, (1, 2, 4)), (5, (2,))):
        for depth in depths:
            side = 1 + depth * (kernel_size - 1)
            seen = image_support(lab, depth, kernel_size)
            expected = numpy.zeros((SIZE, SIZE), bool)
            low = (SIZE - side) // 2
            expected[low : low + side, low : low + side] = True
            wrong = int((seen != expected).sum())
            yield lab.equal(
                f"places unlike {side}×{side} that {depth} layers of {kernel_size}×{kernel_size} see", wrong, 0
            )
            rows.append([f"{kernel_size}×{kernel_size}", depth, f"{side}×{side}", int(seen.sum())])
    lab.table("What one output sees", ("kernel", "layers", "expected", "places with a derivative"), rows)

    layers = next(depth for depth in (111, 112, 113) if line_support(lab, depth).sum() >= 224)
    yield lab.equal("layers of 3×3 that span 224 pixels", layers, 112, "paper")

    network = lab.architecture("tcn", {"sequence": (64, 1)}, num_classes=1, hidden_size=16, num_layers=3, kernel_size=3)
    seen = network.support(network.variables(), (0,), **network.example())
    reach = len(seen) - int(numpy.flatnonzero(seen)[0])
    yield lab.equal("steps that a temporal network of 3 blocks sees", reach, 1 + 2 * 2 * (2**3 - 1))

    if lab.scale == "full":
        depths = (5, 10, 20, 40)
        widths = [effective_width(lab, depth) for depth in depths]
        rows = [[depth, width] for depth, width in zip(depths, widths, strict=True)]
        lab.table("Two deviations of the squared derivative", ("layers", "pixels"), rows)
        yield lab.near("exponent of the width that matters", lab.exponent(depths, widths), 0.5, 0.15, "paper")


def image_support(lab, depth, kernel_size):
    """Where an image bears on the middle of the last map, [SIZE, SIZE]; random weights."""
    network = convolutions(lab, depth, (SIZE, SIZE, 2), (kernel_size, kernel_size))
    middle = (SIZE // 2, SIZE // 2, 0)
    return network.support(drawn(network), middle, **network.example()) > 0


def line_support(lab, depth):
    """Where a line bears on its middle, after layers all of whose weights are 1/√3.

    With these, float32 holds derivatives from 3⁻⁵⁶ at the edge to 3⁵⁶ in the middle; with random ones the edge would
    be zero by rounding. Along one side of the image, layers of 3 see what layers of 3×3 see.
    """
    network = convolutions(lab, depth, (241, 1), (3,))
    variables = with_kernels(network, lambda shape: numpy.full(shape, 3**-0.5))
    return network.support(variables, (120, 0), **network.example()) > 0


def effective_width(lab, depth):
    """Two standard deviations, in pixels, of the squared derivative along a line, the mean over 8 random networks."""
    network = convolutions(lab, depth, (128, 16), (3,))
    squares = sum(network.support(drawn(network, seed), (64, 0), **network.example()) ** 2 for seed in range(8))
    weights, places = squares / squares.sum(), numpy.arange(128)
    return 2 * float(numpy.sqrt((weights * (places - weights @ places) ** 2).sum()))


def drawn(network, seed=0):
    """Normal weights that keep the size of what they read."""
    draw = numpy.random.default_rng(seed)
    return with_kernels(network, lambda shape: draw.normal(0, numpy.prod(shape[:-1]) ** -0.5, shape))


def with_kernels(network, make):
    kernels = {path: make(shape).astype("float32") for path, shape in network.tree.items()}
    return {"params": {path.removesuffix("/kernel"): {"kernel": kernel} for path, kernel in kernels.items()}}


def convolutions(lab, depth, shape, kernel_size):
    """Layers of convolutions and nothing else, as many channels in each as in the input."""
    one = lab.layer("Conv", shape, features=shape[-1], kernel_size=kernel_size, padding="SAME", use_bias=False)
    return lab.layer("Sequential", shape, layers=[one.module.copy() for _ in range(depth)])

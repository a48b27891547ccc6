"""On a 500×500×3 image a fully connected layer of 100 units has 75M parameters, and a convolution 152.

75,000,000 leaves the 100 biases out, and 152 counts the 2 biases in. To the letter both are counted with biases;
amended, without: 75,000,000 against 150. Their outputs differ too, 100 numbers against 496·496·2 = 492,032: a fully
connected layer with the output of the convolution has 3.69·10¹¹ weights. The convolution has 500,000 times fewer
weights, and only 2.03 times fewer multiply-adds.

At the full scale both are timed, forward and backward: "tractable" fails where the convolution is not the faster.
"""

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "Parameter sharing/Computational tractability … FC layer = Wx = 100×(500×500×3) = 75M. CNN layer = (Fw×Fh×D+1)×F = "
    "(5×5×3+1)∗2 = 152."
)
IMAGE = (500, 500, 3)
FLAT = (500 * 500 * 3,)
KERNEL = {"features": 2, "kernel_size": (5, 5), "padding": "VALID"}


def run(lab):
    connected, convolution = lab.layer("Dense", FLAT, features=100), lab.layer("Conv", IMAGE, **KERNEL)
    yield lab.equal("parameters of the fully connected layer, with biases", connected.parameters, 75_000_000)
    yield lab.equal("parameters of the convolution, with biases", convolution.parameters, 152)

    bare = lab.layer("Dense", FLAT, features=100, use_bias=False).parameters
    bare_convolution = lab.layer("Conv", IMAGE, use_bias=False, **KERNEL).parameters
    yield lab.equal("weights of the fully connected layer, without biases", bare, 75_000_000, "amended")
    yield lab.equal("weights of the convolution, without biases", bare_convolution, 150, "amended")

    ratios = {
        "parameters, without biases": (bare, bare_convolution),
        "parameters, with biases": (connected.parameters, convolution.parameters),
        "multiply-adds": (connected.matmul_flops // 2, convolution.matmul_flops // 2),
    }
    wanted = {
        "parameters, without biases": (500_000, 0),
        "parameters, with biases": (493_422, 0.5),
        "multiply-adds": (2.03, 0.005),
    }
    for name, (first, second) in ratios.items():
        yield lab.near(f"{name}: fully connected to convolution", first / second, *wanted[name], "paper")
    places = (IMAGE[0] - 4) * (IMAGE[1] - 4)
    alike = lab.layer("Dense", FLAT, features=places * 2, use_bias=False).parameters
    yield lab.near("weights of a fully connected layer with the same output, ·10⁹", alike / 1e9, 369, 0.5, "paper")
    rows = [[name, *pair, pair[0] / pair[1]] for name, pair in ratios.items()]
    rows.append(["parameters, without biases, equal outputs", alike, bare_convolution, alike / bare_convolution])
    lab.table("A layer on 500×500×3", ("", "fully connected", "convolution", "ratio"), rows)

    if lab.scale == "full":
        seconds = [one.seconds(batch=8) for one in (connected, convolution)]
        yield lab.above("time of the fully connected layer, of the convolution's", seconds[0] / seconds[1], 1)

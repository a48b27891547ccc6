"""A fully connected layer has Hin·Win·Cin·Hout·Wout·Cout weights, a convolution K²·Cin·Cout.

Counted on 60 random shapes, without biases. Exact: a single mismatch refutes it.
"""

import random

SECTION = "Pros of CNNs Compared to FCNs"
SENTENCE = (
    "one gets this huge number of parameters: Hin × Hout × Win × Wout × Cin × Cout … finally one has (K, K, Cin, Cout) "
    "parameters"
)


def run(lab):
    draw = random.Random(0)
    connected, convolved = 0, 0
    for _ in range(60):
        rows, columns, channels, out_rows, out_columns, out_channels = (draw.randint(1, 9) for _ in range(6))
        kernel = draw.randint(1, 5)
        inputs = rows * columns * channels
        dense = lab.layer("Dense", (inputs,), features=out_rows * out_columns * out_channels, use_bias=False)
        wanted = rows * columns * channels * out_rows * out_columns * out_channels
        connected += dense.parameters == wanted
        convolution = lab.layer(
            "Conv", (rows, columns, channels), features=out_channels, kernel_size=(kernel, kernel), use_bias=False
        )
        convolved += convolution.parameters == kernel**2 * channels * out_channels
    yield lab.equal("random fully connected layers with as many weights as the formula says", connected, 60)
    yield lab.equal("random convolutions with as many weights as the formula says", convolved, 60)

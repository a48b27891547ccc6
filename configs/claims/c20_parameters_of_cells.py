"""Recurrent networks, GRU and LSTM have ever more parameters, owing to none, two and three gates.

The order holds. Owing to gates alone, GRU and LSTM would be as 2 to 3; they are as 3 to 4, since the candidate for the
new state costs as much as a gate: 1, 3 and 4 matrices, in all, or 0, 2 and 3 more than the simple cell. From 128 to
128 units: 32,896, 98,688 and 131,584. Flax's GRU has a fourth bias, 98,816; PyTorch's cells have two biases for each
matrix, 33,024, 99,072 and 132,096.
"""

SECTION = "Cons of LSTMs Compared to GRUs and RNNs"
SENTENCE = "More parameters compared to RNNs and GRUs owing to three gates (vs. two in GRUs and none in RNNs)."
CELLS = ("simple", "gru", "lstm")
PRINTED = {"one": (32_896, 98_688, 131_584), "two": (33_024, 99_072, 132_096)}


def run(lab):
    counts = {bias: [recurrent(lab, cell, bias) for cell in CELLS] for bias in PRINTED}
    simple, gru, lstm = counts["one"]
    yield lab.above("parameters of the GRU, of the simple cell's", gru / simple, 1)
    yield lab.above("parameters of the LSTM, of the GRU's", lstm / gru, 1)
    yield lab.equal("parameters of the LSTM, of the GRU's, as 3 gates to 2", lstm / gru, 3 / 2)
    yield lab.equal("parameters of the GRU in simple cells: 2 gates and a candidate", gru / simple, 3, "amended")
    yield lab.equal("parameters of the LSTM in simple cells: 3 gates and a candidate", lstm / simple, 4, "amended")
    for bias, wanted in PRINTED.items():
        for cell, found, printed in zip(CELLS, counts[bias], wanted, strict=True):
            yield lab.equal(f"parameters of the {cell} cell, biases for each matrix: {bias}", found, printed, "paper")
    flax = lab.layer("GRUCell", {"carry": (128,), "inputs": (128,)}, features=128).parameters
    yield lab.equal("parameters of Flax's GRU", flax, 98_816, "paper")
    rows = [
        [f"biases: {bias}", *row, f"1 : {row[1] / row[0]:.4g} : {row[2] / row[0]:.4g}"] for bias, row in counts.items()
    ]
    lab.table("Parameters from 128 to 128 units", ("", *CELLS, "ratio"), rows)


def recurrent(lab, cell, bias):
    inputs = {"sequence": (8, 128)}
    return lab.architecture("rnn", inputs, num_classes=None, cell=cell, hidden_size=128, bias=bias).parameters

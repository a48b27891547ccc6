"""Recurrent networks are slow to train, because they process tokens one after another.

The compiled program of a recurrent network must loop over all T steps of its input, whatever its cell; that of a
Transformer must have no loop, at any T. How long a step takes on the CPU is shown, and not judged.

At the full scale a forward and backward pass is timed at equal parameters, from 256 to 4,096 steps: the recurrent
network's time must grow with an exponent from 0.9 to 1.1, and attention must be the faster up to 512.
"""

SECTION = "Recurrent Neural Networks"
SENTENCE = "RNNs … are slow to train (due to sequential processing of each token)"
VOCABULARY = 64


def run(lab):
    lengths, rows = (16, 64, 256), []
    for length in lengths:
        networks = {cell: recurrent(lab, cell, length, 64) for cell in ("simple", "gru", "lstm")}
        for cell, network in networks.items():
            yield lab.equal(
                f"steps in sequence of the {cell} network for {length} tokens", network.steps_in_sequence, length
            )
        networks["Transformer"] = attention(lab, length)
        steps = networks["Transformer"].steps_in_sequence
        yield lab.equal(f"steps in sequence of the Transformer for {length} tokens", steps, 0)
        rows += [[name, length, one.steps_in_sequence] for name, one in networks.items()]
    lab.table("Loops of the compiled program", ("network", "tokens", "steps in sequence"), rows)
    times = [[name, milliseconds(networks[name], 4)] for name in ("lstm", "Transformer")]
    lab.table("Forward and backward, 4 sequences of 256 tokens", ("network", "milliseconds"), times)
    if lab.scale == "full":
        yield from timed(lab, (256, 512, 1024, 2048, 4096))


def timed(lab, lengths):
    """Checks the time of an LSTM and a Transformer with as many parameters."""
    target = attention(lab, lengths[0]).parameters
    width = lab.nearest(lambda width: recurrent(lab, "lstm", lengths[0], width).parameters, target, 1024)
    size = recurrent(lab, "lstm", lengths[0], width).parameters
    yield lab.near("parameters of the LSTM, of the Transformer's", size / target, 1, 0.02)
    times = {
        "LSTM": [milliseconds(recurrent(lab, "lstm", length, width), 8) for length in lengths],
        "Transformer": [milliseconds(attention(lab, length), 8) for length in lengths],
    }
    yield lab.near("exponent of the LSTM's time", lab.exponent(lengths, times["LSTM"]), 1, 0.1)
    for length, ours, other in zip(lengths, times["LSTM"], times["Transformer"], strict=True):
        if length <= 512:
            yield lab.above(f"time of the LSTM at {length} tokens, of the Transformer's", ours / other, 1)
    rows = [[name, *row] for name, row in times.items()]
    lab.table("Milliseconds, forward and backward", ("network", *(f"{length:,} tokens" for length in lengths)), rows)


def recurrent(lab, cell, length, hidden_size):
    return lab.architecture(
        "rnn", {"tokens": (length,)}, num_classes=10, vocab_size=VOCABULARY, cell=cell, hidden_size=hidden_size
    )


def attention(lab, length):
    return lab.architecture(
        "encoder",
        {"tokens": (length,)},
        vocab_size=VOCABULARY,
        num_classes=10,
        max_length=4096,
        hidden_size=64,
        num_layers=1,
        num_heads=4,
        mlp_size=128,
        dropout_rate=0.0,
    )


def milliseconds(network, batch):
    return 1000 * network.seconds(batch, high=VOCABULARY)

"""A GRU trains faster than an LSTM.

A step costs what its matrices cost: the GRU has three for each of the LSTM's four, so at equal hidden size it should
need 0.75 of the operations, and must not need more than 0.95. But then it is smaller too: at equal parameters the two
should cost the same, within 5 %. Counted are all operations of a forward and a backward pass over 64 steps. How long
that takes on the CPU is shown, and not judged.

At the full scale the times of a forward and backward pass over 512 steps with 1,024 units are judged by the same
numbers, but for 10 % instead of 5. How many steps training takes is another question, which C22 answers.
"""

SECTION = "Pros of GRUs Compared to LSTMs and RNNs"
SENTENCE = "However, unlike LSTMs, GRUs are simpler and can be trained more quickly."
SIZES = (64, 512)
INPUTS = 32


def run(lab):
    rows = []
    for hidden_size in SIZES:
        lstm, gru = network(lab, "lstm", hidden_size), network(lab, "gru", hidden_size)
        wide = as_large(lab, lstm)
        equal_size, equal_parameters = (one.training_flops / lstm.training_flops for one in (gru, wide))
        yield lab.below(f"operations of the GRU, of the LSTM's, both with {hidden_size} units", equal_size, 0.95)
        yield lab.near(
            f"operations of the GRU, of the LSTM's with {hidden_size} units and as many parameters",
            equal_parameters,
            1,
            0.05,
            "amended",
        )
        rows.append([hidden_size, lstm.training_flops, equal_size, wide.module.hidden_size, equal_parameters])
    header = ("LSTM's units", "its operations", "GRU of as many units", "units of the GRU as large", "its operations")
    lab.table("Operations of training on one sequence, the GRU's as a share of the LSTM's", header, rows)
    yield from timed(lab)


def timed(lab):
    """Shows how long a forward and backward pass takes; at the full scale judges it."""
    is_full = lab.scale == "full"
    hidden_size, length, batch = (1024, 512, 64) if is_full else (128, 64, 32)
    lstm, gru = network(lab, "lstm", hidden_size, length), network(lab, "gru", hidden_size, length)
    times = {
        "LSTM": lstm.seconds(batch),
        "GRU of as many units": gru.seconds(batch),
        "GRU of as many parameters": as_large(lab, lstm).seconds(batch),
    }
    rows = [[name, 1000 * time, time / times["LSTM"]] for name, time in times.items()]
    title = f"Forward and backward, {batch} sequences of {length} steps, {hidden_size} units"
    lab.table(title, ("network", "milliseconds", "of the LSTM's"), rows)
    if is_full:
        shares = [time / times["LSTM"] for time in times.values()]
        yield lab.below("time of the GRU, of the LSTM's, both with 1,024 units", shares[1], 0.95)
        yield lab.near("time of the GRU, of the LSTM's with as many parameters", shares[2], 1, 0.1, "amended")


def network(lab, cell, hidden_size, length=64):
    inputs = {"sequence": (length, INPUTS)}
    return lab.architecture("rnn", inputs, num_classes=10, cell=cell, hidden_size=hidden_size)


def as_large(lab, lstm):
    """The GRU whose number of parameters is nearest to the LSTM's."""
    length = lstm.inputs["sequence"][0]
    width = lab.nearest(lambda width: network(lab, "gru", width).parameters, lstm.parameters, 4096)
    return network(lab, "gru", width, length)

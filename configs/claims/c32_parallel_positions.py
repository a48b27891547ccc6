"""Words run in parallel through the encoder; the decoder has nothing of it, since it generates one word at a time.

So it is where it generates: 16 words take 16 calls, one after another. In training the true words are known, and one
call without any loop gives the logits of all 16 ("teacher forcing"); they equal those of the 16 calls within 10⁻⁴. To
the letter, the decoder runs once for each word always; amended, when it generates. Time is no evidence on a laptop:
what is counted is what must wait for what.

At the full scale times are judged: a Transformer of 6 layers of 512 learns from 64 pairs of 128 words, and writes 64
times 128 words, one by one. Learning, forwards and backwards, must take less than a tenth of the time of writing.
"""

import numpy as np

SECTION = "Benefits of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = (
    "the Transformer encoder … can process each input word in parallel … This feature, is however, not of great "
    "importance for the decoder since it generates one word at a time and thus does not utilize parallel word paths."
)
TOKENS, VOCABULARY = 16, 20
SIZES = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "mlp_size": 64}


def run(lab):
    transformer = lab.architecture(
        "transformer",
        {"source": (TOKENS,), "target": (TOKENS,)},
        source_vocab_size=VOCABULARY,
        target_vocab_size=VOCABULARY,
        **SIZES,
    )
    encoder = lab.architecture("bert", {"tokens": (TOKENS,)}, vocab_size=VOCABULARY, head="none", **SIZES)
    recurrent = lab.architecture(
        "rnn", {"tokens": (TOKENS,)}, vocab_size=VOCABULARY, num_classes=VOCABULARY, outputs="all", hidden_size=32
    )
    yield lab.equal("trips of loops in an encoder", encoder.steps_in_sequence, 0)
    yield lab.equal(f"trips of loops in an LSTM on {TOKENS} words", recurrent.steps_in_sequence, TOKENS)
    in_training = 1 + transformer.steps_in_sequence
    variables, inputs = transformer.variables(), transformer.example(high=VOCABULARY)
    in_generation = transformer.calls_to_write(variables, TOKENS, source=inputs["source"])
    yield lab.equal(f"passes of the decoder, one after another, for {TOKENS} words in training", in_training, TOKENS)
    yield lab.equal("the same, without loops", in_training, 1, "amended")
    yield lab.equal("the same, in generation", in_generation, TOKENS, "amended")
    difference = np.abs(transformer.apply(variables, **inputs) - transformer.step_by_step(variables, **inputs)).max()
    yield lab.below("largest difference of logits, all at once from one by one", difference, 1e-4, "amended")
    lab.table(
        f"Passes one after another, for {TOKENS} words",
        ("", "in training", "in generation"),
        [
            ["Transformer", in_training, in_generation],
            ["LSTM", recurrent.steps_in_sequence, recurrent.steps_in_sequence],
        ],
    )
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks how long learning from words takes, and writing as many."""
    words, batch, vocabulary = 128, 64, 8000
    transformer = lab.architecture(
        "transformer",
        {"source": (words,), "target": (words,)},
        source_vocab_size=vocabulary,
        target_vocab_size=vocabulary,
        hidden_size=512,
        num_layers=6,
        num_heads=8,
        mlp_size=2048,
    )
    learning = transformer.seconds(batch, high=vocabulary)
    writing = transformer.seconds_to_write(words, batch, high=vocabulary)
    yield lab.above("time to write words, of that to learn from as many", writing / learning, 10, "amended")
    rows = [
        [name, 1000 * seconds, words * batch / seconds] for name, seconds in (("learn", learning), ("write", writing))
    ]
    lab.table(f"{batch} times {words} words", ("", "milliseconds", "words per second"), rows)

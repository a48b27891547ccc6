"""Computing all pairs of words implies a large parameter count.

It does not: counted from T = 128 to 8,192, attention's parameters are the same at any length. What stands for longer
sequences only by having more parameters is what avoids comparing words: the Random Synthesizer has h · T² scores, 2.1
million per layer at T = 512 with 8 heads, and Linformer 2 k · T projections; learned positions are T · d. To the
letter, parameters must grow with the length.
"""

SECTION = "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = (
    "in an n word sentence, a Transformer would be doing computations over n² pairs of words. This implies a large "
    "parameter count (implying high memory footprint) and thereby high computational complexity."
)
LENGTHS = (128, 512, 2048, 8192)
WIDTH, HEADS, PROJECTION = 512, 8, 64


def run(lab):
    full = [attention(lab, length).parameters for length in LENGTHS]
    yield lab.above("parameters of attention at T = 8,192, over those at T = 128", full[-1] / full[0], 1)

    own, extra = {"attention": full}, {}
    for name, kwargs in {
        "random Synthesizer": {"mixer": "synthesizer", "kind": "random"},
        "Linformer": {"mixer": "linformer", "projection_size": PROJECTION},
    }.items():
        counted = [attention(lab, length, max_length=length, **kwargs) for length in LENGTHS]
        own[name] = [subject.parameters for subject in counted]
        extra[name] = [subject.parameters_below("mixer/") for subject in counted]
    scores = extra["random Synthesizer"]
    yield lab.equal("parameters of the scores of a random Synthesizer, T = 512", scores[1], 2_097_152, "paper")
    yield lab.near(
        "exponent of the parameters of a random Synthesizer", lab.exponent(LENGTHS, scores), 2, 0.02, "paper"
    )
    projections = extra["Linformer"]
    wanted = [2 * PROJECTION * length for length in LENGTHS]
    same = sum(count == formula for count, formula in zip(projections, wanted, strict=True))
    yield lab.equal("lengths at which Linformer has 2 k · T projections", same, len(LENGTHS), "paper")
    positions = [
        lab.part("positions.Positions", {"x": (length, WIDTH)}, kind="learned", max_length=length).parameters
        for length in LENGTHS
    ]
    own["learned positions, by themselves"] = positions
    header = ("", *(f"T = {length:,}" for length in LENGTHS))
    lab.table("Parameters", header, [[name, *counts] for name, counts in own.items()])


def attention(lab, length, mixer="dense", **mixer_kwargs):
    return lab.part(
        "attention.MultiHeadAttention",
        {"x": (length, WIDTH)},
        num_heads=HEADS,
        mixer=mixer,
        mixer_kwargs=mixer_kwargs,
    )

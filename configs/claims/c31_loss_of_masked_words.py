"""BERT takes its loss on masked words only.

It takes it on a selected 15 % of the words, of which 80 % are masked, 10 % replaced by a random word and 10 % left as
they are (Devlin et al., 2018, section 3.1). To the letter, every word with a loss is masked; amended, every one is
selected. The derivative of the loss by the logits of any other word is exactly 0. The shares are counted on 400,000
words and judged by χ² with two degrees of freedom, which by chance is above 9.21 one time in a hundred.

At the full scale BERT and a GPT of the same size learn the same sentences, and their losses for each predicted word are
shown: one sees both sides of it, the other all words before, and gets a loss for every word of a text and not for 15 %.
"""

import numpy as np

SECTION = "Transformers"
SENTENCE = (
    "masked language modeling which replaces some fraction of words in the input with a special [MASK] token … you "
    "only need to take loss on the masked words that were predicted."
)
VOCABULARY, MASK = 1000, 0
CRITICAL = 9.21


def run(lab):
    objective = lab.objective("masked_language_modeling", mask_token=MASK)
    bert = lab.architecture(
        "bert",
        {"tokens": (64,)},
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_layers=1,
        num_heads=2,
        mlp_size=64,
        max_length=64,
        dropout_rate=0.0,
    )
    tokens = words(8, 64)
    read, selected = corrupted(lab, objective, tokens)
    slopes = bert.loss_gradient(objective, bert.variables(), "head", {"tokens": tokens}, mask=lab.key(0))
    slopes = np.abs(slopes).max(axis=-1)
    yield lab.equal("largest derivative of the loss by a logit of a word not selected", slopes[~selected].max(), 0)
    yield lab.above(
        "smallest derivative, of the largest by any logit, of a selected word", slopes[selected].min(), 0, "amended"
    )
    has_loss = slopes > 0
    yield lab.equal("share of [MASK] among the words with a loss", (read[has_loss] == MASK).mean(), 1)

    tokens = words(1000, 400)
    read, selected = corrupted(lab, objective, tokens)
    yield lab.near("share of selected words", selected.mean(), 0.15, 0.003, "paper")
    was, became = tokens[selected], read[selected]
    counts = np.array([(became == MASK).sum(), ((became != MASK) & (became != was)).sum(), (became == was).sum()])
    # A random word is by chance the mask or the word that stood there.
    shares = np.array([0.8, 0.1, 0.1]) + 0.1 / VOCABULARY * np.array([1, -2, 1])
    wanted = shares * counts.sum()
    squares = ((counts - wanted) ** 2 / wanted).sum()
    yield lab.below("χ² of masked, replaced and unchanged words against 80, 10 and 10 %", squares, CRITICAL, "paper")
    yield lab.equal("words changed outside of the selected", (read != tokens)[~selected].sum(), 0, "amended")
    names = ("masked", "replaced by another", "unchanged")
    rows = [[name, int(count), f"{count / counts.sum():.2%}"] for name, count in zip(names, counts, strict=True)]
    lab.table("Selected words", ("what is read instead", "words", "share"), rows)
    if lab.scale == "full":
        at_full_scale(lab)


def at_full_scale(lab):
    """Shows what a hidden word costs that sees both sides, and a next word that sees one."""
    losses = {}
    for name in ("bert", "gpt"):
        variants = {name: lab.load(f"configs/{name}_text.py:{name}", "steps=6000")}
        study = lab.train(f"sentences, {name}", variants, axis=())
        losses[name] = list(study.values("validation/loss", name).values())
    rows = [[name, *values] for name, values in losses.items()]
    lab.table("Loss for each predicted word, nats", ("network", *(f"seed {seed}" for seed in lab.seeds)), rows)


def words(*shape):
    """Random words, of which none is the mask."""
    return np.random.default_rng(0).integers(1, VOCABULARY, shape).astype("int32")


def corrupted(lab, objective, tokens):
    """What the model reads of the tokens, and which were selected."""
    read, selected = objective.corrupt(tokens, np.ones(tokens.shape, bool), VOCABULARY, lab.key(0))
    return np.asarray(read), np.asarray(selected)

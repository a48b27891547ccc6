"""Attention removes the bottleneck of one vector for a whole sentence.

An encoder and a decoder that has but the encoder's last state, as in Cho et al. (2014), against a decoder that attends
to all of its states, as in Bahdanau et al. (2014). Both write strings of 1 to 12 symbols backwards; they have as many
parameters, and equal settings. Judged is the share of strings that are right in every symbol, for each quarter of the
test strings, from the shortest to the longest: attention must be ahead by at least 20 points where strings are longest,
and by more than where they are shortest. There are 1,000 updates, chosen for their cost on a seed that is not judged.
One vector can hold what there is to know of 12 symbols: after 1,500 updates of that seed it was right for 75 % of the
longest, and still gaining. So this is how much harder it is to learn, and no limit of what can be held.

Bahdanau et al. print 13.93 BLEU without and 21.50 with attention where they train on sentences of up to 30 words, 17.82
and 26.75 on up to 50. At the full scale captions are translated, with equal parameters: attention must be ahead by 4
BLEU, and by more on the longest quarter of the sentences than on the shortest.
"""

SECTION = "Transformers"
SENTENCE = (
    "Attention provides a solution to the bottleneck problem. Bottleneck problem: The context vector turned out to be "
    "a bottleneck for these types of models. It made it challenging for the models to deal with long sentences."
)
QUARTERS = (1, 2, 3, 4)


def run(lab):
    if lab.scale == "full":
        yield from translated(lab)
        return
    settings = ("steps=1000", "evaluators.exact_match.by_length=True")
    variants = {
        "one vector": lab.load("configs/transduction.py:fixed", *settings),
        "attention": lab.load("configs/transduction.py:bahdanau", *settings),
    }
    study = lab.train("reversed strings", variants, axis=("model",), match="parameters", reference="one vector")
    gaps = ahead(lab, study, "exact_match", 100)
    yield lab.exceeds("exact matches among the longest strings, attention less one vector", gaps[4], 20, " points")
    yield more_where_long(lab, gaps, " points")


def translated(lab):
    """Checks of captions, from English to German."""
    variants = {
        "one vector": lab.load("configs/multi30k_en_de.py:gru_fixed"),
        "attention": lab.load("configs/multi30k_en_de.py:gru"),
    }
    study = lab.train("captions", variants, axis=("model",), match="parameters", reference="one vector")
    whole = lab.differences(study, "test/bleu", "attention", "one vector")
    yield lab.exceeds("BLEU, attention less one vector", whole, 4)
    yield more_where_long(lab, ahead(lab, study, "bleu", 1), "")


def ahead(lab, study, metric, factor):
    """By how much attention is ahead in each quarter of the lengths, one number for each seed; shows the means."""
    gaps, lines = {}, {"one vector": {}, "attention": {}}
    for quarter in QUARTERS:
        name = f"test/{metric}_length_{quarter}"
        gaps[quarter] = [factor * value for value in lab.differences(study, name, "attention", "one vector")]
        for variant, line in lines.items():
            line[quarter] = [factor * value for value in study.values(name, variant).values()]
    rows = [[f"{quarter} of 4", *(mean(line[quarter]) for line in lines.values())] for quarter in QUARTERS]
    what = f"{metric.replace('_', ' ')} by length"
    lab.table(f"{what}, means over seeds", ("quarter of the lengths", *lines), rows)
    lab.lines(what.capitalize(), "quarter of the strings, from short to long", lines)
    return gaps


def more_where_long(lab, gaps, unit):
    more = [long - short for long, short in zip(gaps[4], gaps[1], strict=True)]
    return lab.exceeds("how much further ahead attention is among the longest than among the shortest", more, 0, unit)


def mean(values):
    return sum(values) / len(values)

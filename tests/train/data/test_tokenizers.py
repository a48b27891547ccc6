"""Tokenizers: nothing is lost where that is promised, numbers are the same every time, and saved ones read the same."""

import pytest
from etils import epath
from hypothesis import example, given, settings
from hypothesis import strategies as st

from train.data import Data, vocabulary
from train.data.layouts import text as text_layout
from train.data.sources import tsv
from train.data.tokenizers import bpe, byte, character, file, word, wordpiece
from train.data.vocabulary import SPECIAL, Vocabulary
from train.errors import UserError

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps, the fox runs: isn't it quick?",
    "a dog and a fox and the same words, the same words",
]
TRAINED = {
    "byte": byte.Tokenizer(),
    "character": character.Tokenizer(),
    "word": word.Tokenizer(),
    "bpe": bpe.Tokenizer(vocab_size=300),
    "wordpiece": wordpiece.Tokenizer(vocab_size=80),
}


def trained(tokenizer, texts=TEXTS) -> Vocabulary:
    return Vocabulary(tokenizer.train(texts), tokenizer.special)


def words(known: Vocabulary, text: str) -> list[str]:
    """What each token of a text is decoded to."""
    (tokens,) = known.encode([text])
    return known.decode([[token] for token in tokens])


BYTE, BPE = trained(TRAINED["byte"]), trained(TRAINED["bpe"])
CHARACTER = trained(character.Tokenizer(), ["abc \n\t[]PADMSK\r\u2028é漢🙂"])
AWKWARD = ["", " a", "  a ", "\n\ta\r\n", "[PAD]", "a[MASK]b [END] ", "##a", "\x00", "e\u0301", "🙂 漢"]


def awkward(test):
    for text in AWKWARD:
        test = example(text)(test)
    return settings(max_examples=50, deadline=None)(test)


@pytest.mark.parametrize("known", [BYTE, BPE], ids=["byte", "bpe"])
@given(text=st.text())
@awkward
def test_any_text_comes_back(known, text):
    assert known.decode(known.encode([text])) == [text]


@given(text=st.text(alphabet="abc \n\t[]PADMSK\r\u2028é漢🙂"))
@settings(max_examples=50, deadline=None)
def test_text_of_known_characters_comes_back(text):
    (tokens,) = CHARACTER.encode([text])
    assert len(tokens) == len(text) and CHARACTER.decode([tokens]) == [text]


@pytest.mark.parametrize("tokenizer", TRAINED.values(), ids=list(TRAINED))
def test_special_tokens_are_0_to_5_and_no_text_has_them(tokenizer):
    known = trained(tokenizer, [*TEXTS, *SPECIAL.words()])
    assert (known.pad, known.unknown, known.start, known.separator, known.end, known.mask) == tuple(range(6))
    assert known.decode([range(6)]) == [""]
    (tokens,) = known.encode([TEXTS[0]])
    assert min(tokens) > 5 and max(tokens) < known.size
    if not isinstance(tokenizer, word.Tokenizer):  # for which the spelling of a word is all there is
        assert min(known.encode(["a[MASK]b [PAD]"])[0]) > 5


def test_a_word_spelled_like_a_special_token_is_that_token():
    known = trained(word.Tokenizer(), ["a [UNK] b", "[UNK] [PAD]"])
    assert known.encode(["[UNK] [PAD] nothing"])[0].tolist() == [1, 0, 1]
    assert known.size == 6 + 2


@pytest.mark.parametrize("tokenizer", TRAINED.values(), ids=list(TRAINED))
def test_training_is_the_same_every_time(tokenizer):
    """The library's tables have another order each time: of a job of many processes, all must number alike."""
    made = [tokenizer.train(texts).to_str() for texts in (TEXTS, TEXTS, TEXTS, TEXTS[::-1])]
    assert len(set(made)) == 1


@pytest.mark.parametrize("tokenizer", TRAINED.values(), ids=list(TRAINED))
def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    known = trained(tokenizer)
    known.save(epath.Path(tmp_path) / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for again in (
        vocabulary.load(epath.Path(tmp_path) / "tokenizer.json", SPECIAL),
        trained(file.Tokenizer(str(tmp_path))),
        trained(file.Tokenizer(str(tmp_path / "tokenizer.json"))),
    ):
        assert again.size == known.size and again.special == known.special
        for text in (*TEXTS, "[MASK] unseen zebra"):
            assert again.encode([text])[0].tolist() == known.encode([text])[0].tolist()
        assert again.decode(again.encode(TEXTS)) == known.decode(known.encode(TEXTS))


def test_words_are_cut_where_asked():
    assert words(trained(word.Tokenizer()), "the dog sleeps, no dog") == ["the", "dog", "sleeps,", "", "dog"]
    known = trained(word.Tokenizer(split="punctuation", lowercase=True))
    assert words(known, "The DOG sleeps, isn't") == ["the", "dog", "sleeps", ",", "isn", "'", "t"]
    assert trained(word.Tokenizer(vocab_size=8)).encode(["the quick a dog"])[0].tolist() == [6, 1, 1, 7]
    assert trained(word.Tokenizer(min_frequency=3)).size == 6 + 3, "the, dog, fox"


def test_pieces_within_words_are_marked():
    known = trained(wordpiece.Tokenizer(vocab_size=40, min_frequency=1), ["hug hugs pug pugs"] * 3)
    assert known.decode(known.encode(["Hugs PUG"])) == ["hugs pug"], "without case"
    assert known.encode(["hug"])[0][0] != known.encode(["ug"])[0][0]
    assert known.encode(["xug"])[0].tolist() == [known.unknown]
    cased = trained(wordpiece.Tokenizer(vocab_size=40, lowercase=False), ["hug Hug"])
    assert cased.decode(cased.encode(["Hug hug"])) == ["Hug hug"]


def test_frequent_pairs_become_tokens():
    known = trained(bpe.Tokenizer(vocab_size=1000))
    assert words(known, "the the") == ["the", "the"], "one token, at the beginning of a text as well"
    assert known.encode(["the"])[0][0] == known.encode(["a the"])[0][-1]
    assert trained(bpe.Tokenizer(vocab_size=262)).encode(["the"])[0].size == len(" the")
    lower = trained(bpe.Tokenizer(vocab_size=300, lowercase=True))
    assert lower.decode(lower.encode([" The FOX"])) == [" the fox"]


def test_rare_characters_are_unknown():
    known = trained(character.Tokenizer(min_frequency=2), ["aab"])
    assert known.encode(["ab"])[0].tolist() == [6, known.unknown]
    assert trained(character.Tokenizer(lowercase=True), ["aB"]).encode(["Ab"])[0].tolist() == [6, 7]


@pytest.mark.parametrize("kind, size", [("bpe", 300), ("wordpiece", 60), ("word", 12)])
def test_a_vocabulary_is_no_larger_than_asked(kind, size):
    assert trained(type(TRAINED[kind])(vocab_size=size)).size <= size


@pytest.mark.parametrize("kind, size", [("bpe", 261), ("wordpiece", 20), ("word", 6)])
def test_a_vocabulary_too_small_is_refused(kind, size):
    with pytest.raises(UserError, match=f"config.data.tokenizer.vocab_size: {size} is too small; it must be at least"):
        trained(type(TRAINED[kind])(vocab_size=size))


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "character"])
def test_a_frequency_below_0_is_refused(kind):
    with pytest.raises(UserError, match="config.data.tokenizer.min_frequency: -1 is out of range"):
        type(TRAINED[kind])(min_frequency=-1)


class TestFromElsewhere:
    """A `tokenizer.json` as BERT has it, which asks for more than cutting text into tokens."""

    NAMES = {"start": "[CLS]", "end": "[SEP]"}

    @pytest.fixture
    def path(self, tmp_path) -> str:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

        numbers = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "dog": 6, "##s": 9}
        theirs = Tokenizer(models.WordPiece(vocab=numbers, unk_token="[UNK]"))
        theirs.normalizer, theirs.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        theirs.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        theirs.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        theirs.enable_truncation(4)
        theirs.enable_padding(length=4)
        theirs.save(str(tmp_path / "tokenizer.json"))
        return str(tmp_path)

    def test_special_tokens_have_its_names(self, path):
        known = trained(file.Tokenizer(path, **self.NAMES))
        assert (known.pad, known.unknown, known.start, known.separator, known.end, known.mask) == (0, 1, 2, 3, 3, 4)

    def test_only_the_tokens_of_the_text_are_taken(self, path):
        known = trained(file.Tokenizer(path, **self.NAMES))
        given = known.encode(["A dogs", "a a a a a a", "[MASK]"])
        assert [tokens.tolist() for tokens in given] == [[5, 6, 9], [5] * 6, [1, 1, 1]]
        assert known.decode([[2, 5, 3]]) == ["a"]

    def test_a_model_needs_room_for_its_greatest_number(self, path):
        assert trained(file.Tokenizer(path, **self.NAMES)).size == 10

    def test_a_name_that_it_lacks_is_refused(self, path):
        with pytest.raises(UserError, match=r"config.data.tokenizer.start: the tokenizer has no token '\[START\]'"):
            trained(file.Tokenizer(path))

    def test_a_file_that_is_none(self, path, tmp_path):
        with pytest.raises(UserError, match="config.data.tokenizer.path: 'nowhere.json' does not exist"):
            trained(file.Tokenizer("nowhere.json"))
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="empty/tokenizer.json does not exist"):
            trained(file.Tokenizer(str(tmp_path / "empty")))
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(UserError, match="is no tokenizer that can be read"):
            trained(file.Tokenizer(path))


def test_only_the_training_split_reaches_the_vocabulary(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.tsv").write_text(f"word {split}\nword too{split}\n")
    source = tsv.Source(str(tmp_path), validation="validation.tsv", test="test.tsv")
    data = Data(source, 1, tokenizer=word.Tokenizer(), layout=text_layout.Layout(4))
    assert data.vocabulary().size == 6 + 3, "word, train, tootrain"
    alone = tsv.Source(str(tmp_path))
    whole = Data(alone, 1, tokenizer=word.Tokenizer(), layout=text_layout.Layout(4), validation_fraction=0.5)
    assert whole.vocabulary().size == 6 + 2, "without what is held out"
    for split in ("validation", "test"):
        assert data.split(split)[[0, 1]]["tokens"].tolist() == [[2, 6, 1, 4], [2, 6, 1, 4]]

"""Layouts: the exact tokens that a model reads, and where a text that does not fit comes from."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.arrays import InMemory
from train.data.layouts import language, text, text_pair, translation, two_texts
from train.data.tokenizers import byte, character
from train.data.vocabulary import SPECIAL, Vocabulary
from train.errors import UserError

LETTERS = Vocabulary(character.Tokenizer().train(["aaaaaaaa", "bbbbbbb", "cccccc", "ddddd", "eeee", "fff"]), SPECIAL)
PAD, UNKNOWN, START, SEPARATOR, END, MASK, A, B, C, D, E, F = range(12)


def examples(**columns: list) -> InMemory:
    return InMemory({name: np.asarray(column, object) for name, column in columns.items()})


def batch(arranged, *indices: int) -> dict[str, list]:
    given = arranged[np.asarray(indices or range(len(arranged)))]
    return {name: array.tolist() for name, array in given.items() if array.dtype != object}


# Language


def test_texts_stand_one_behind_the_other():
    windows = language.Layout(max_length=4).arrange(examples(text=["abc", "de"]), LETTERS, "train")
    assert batch(windows) == {"tokens": [[A, B, C, END], [END, D, E, END]]}


def test_windows_may_begin_anywhere_in_training():
    windows = language.Layout(max_length=3, stride=1).arrange(examples(text=["abcd"]), LETTERS, "train")
    assert batch(windows) == {"tokens": [[A, B, C], [B, C, D], [C, D, END]]}
    assert len(language.Layout(max_length=3, stride=2).arrange(examples(text=["abcd"]), LETTERS, "train")) == 2


def test_the_last_window_of_an_evaluation_is_masked():
    windows = language.Layout(max_length=4, stride=1).arrange(examples(text=["abcd"]), LETTERS, "test")
    assert batch(windows) == {
        "tokens": [[A, B, C, D], [D, END, 0, 0]],
        "mask": [[True] * 4, [True, True, False, False]],
    }
    short = language.Layout(max_length=4).arrange(examples(text=["a"]), LETTERS, "test")
    assert batch(short) == {"tokens": [[A, END, 0, 0]], "mask": [[True, True, False, False]]}


@given(texts=st.lists(st.text("abcdef", min_size=1, max_size=9), min_size=1, max_size=6), length=st.integers(2, 12))
@settings(max_examples=50, deadline=None)
def test_an_evaluation_predicts_every_token_but_the_first_once(texts, length):
    windows = language.Layout(max_length=length).arrange(examples(text=texts), LETTERS, "validation")
    given = windows[np.arange(len(windows))]
    tokens, mask = given["tokens"], given.get("mask", np.ones_like(given["tokens"], bool))
    predicted = [pair for row, real in zip(tokens, mask, strict=True) for pair in pairwise(row[real])]
    flat = [token for text in LETTERS.encode(texts) for token in (*text, END)]
    assert predicted == list(pairwise(flat))


def test_a_prompt_may_be_empty():
    prompts = language.Layout(4).prompts(["ab", ""], LETTERS)
    assert [prompt.tolist() for prompt in prompts] == [[A, B], [END]]


def test_too_little_text_for_a_window():
    with pytest.raises(UserError, match="split 'train' has 4 tokens, less than one window of 8"):
        language.Layout(8).arrange(examples(text=["abc"]), LETTERS, "train")


# One text, two texts, a text and its translation


def test_a_text_stands_between_start_and_end():
    arranged = text.Layout(max_length=5).arrange(examples(text=["abc", "d"]), LETTERS, "train")
    assert batch(arranged) == {
        "tokens": [[START, A, B, C, END], [START, D, END, PAD, PAD]],
        "mask": [[True] * 5, [True] * 3 + [False] * 2],
    }


def test_a_pair_has_types():
    arranged = text_pair.Layout(max_length=9).arrange(examples(text=["ab"], text_pair=["cde"]), LETTERS, "train")
    assert batch(arranged) == {
        "tokens": [[START, A, B, SEPARATOR, C, D, E, END, PAD]],
        "token_types": [[0, 0, 0, 0, 1, 1, 1, 1, 0]],
        "mask": [[True] * 8 + [False]],
    }


def test_tokens_that_both_texts_hold_may_be_marked():
    layout = text_pair.Layout(max_length=10, mark_shared=True)
    arranged = layout.arrange(examples(text=["aba"], text_pair=["cda"]), LETTERS, "train")
    assert batch(arranged)["tokens"] == [[START, A, B, A, SEPARATOR, C, D, A, END, PAD]]
    assert batch(arranged)["token_types"] == [[0, 2, 0, 2, 0, 1, 1, 3, 1, 0]]
    assert layout.sizes(LETTERS)["num_types"] == 4


def test_a_pair_may_share_its_room_unevenly():
    arranged = text_pair.Layout(max_length=9).arrange(examples(text=["abcde"], text_pair=["f"]), LETTERS, "test")
    assert batch(arranged)["tokens"] == [[START, A, B, C, D, E, SEPARATOR, F, END]]


@pytest.mark.parametrize(
    "first, second, kept",
    [("aaaaa", "bbbbb", (3, 3)), ("aaaaaaaa", "bb", (4, 2)), ("a", "bbbbbbbb", (1, 5)), ("aaaa", "bbb", (3, 3))],
)
def test_the_longer_text_of_a_pair_is_cut(first, second, kept):
    layout = text_pair.Layout(max_length=9, truncate=True)
    (tokens,) = batch(layout.arrange(examples(text=[first], text_pair=[second]), LETTERS, "train"))["tokens"]
    assert tokens == [START, *[A] * kept[0], SEPARATOR, *[B] * kept[1], END]


def test_source_and_target_end():
    layout = translation.Layout(max_length=4)
    arranged = layout.arrange(examples(source=["abc"], target=["d"]), LETTERS, "train")
    assert batch(arranged) == {
        "source": [[A, B, C, END]],
        "source_mask": [[True] * 4],
        "target": [[D, END, PAD, PAD]],
        "target_mask": [[True, True, False, False]],
    }
    assert [prompt.tolist() for prompt in layout.prompts(["ab", ""], LETTERS)] == [[A, B, END], [END]]


def test_columns_have_the_names_that_are_asked_for():
    arranged = translation.Layout(3, source="commands", target="actions").arrange(
        examples(commands=["a"], actions=["b"]), LETTERS, "train"
    )
    assert batch(arranged)["source"] == [[A, END, PAD]] and batch(arranged)["target"] == [[B, END, PAD]]


def test_other_entries_stay_and_may_be_read_as_bytes():
    given = InMemory({"text": np.asarray([b"ab", "\u00e9".encode()], object), "label": np.asarray([1, 0], np.int32)})
    assert batch(text.Layout(4).arrange(given, LETTERS, "train"), 1, 0) == {
        "tokens": [[START, UNKNOWN, END, PAD], [START, A, B, END]],
        "mask": [[True] * 3 + [False], [True] * 4],
        "label": [0, 1],
    }


# What does not fit

PLACES = {"origin": ["train.tsv:1", "train.tsv:2", "train.tsv:3"]}
COLUMNS = {
    "text": (text.Layout, {"text": ["abc", "abcdef", "a"]}),
    "text_pair": (text_pair.Layout, {"text": ["a", "abcde", "a"], "text_pair": ["a", "b", "a"]}),
    "translation": (translation.Layout, {"source": ["a", "b", "c"], "target": ["a", "abcdefabc", "c"]}),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_text_too_long_is_refused_with_its_place(name):
    layout, columns = COLUMNS[name]
    with pytest.raises(UserError, match=r"^train.tsv:2: .* has \d tokens, and there is room for \d; raise") as error:
        layout(max_length=7).arrange(examples(**columns, **PLACES), LETTERS, "train")
    assert "config.data.layout.truncate=True" in str(error.value)
    with pytest.raises(UserError, match=r"^split 'test', example 1: "):
        layout(max_length=7).arrange(examples(**columns), LETTERS, "test")


@pytest.mark.parametrize("name", COLUMNS)
def test_cutting_is_counted_and_logged(name, caplog):
    layout, columns = COLUMNS[name]
    with caplog.at_level(logging.WARNING):
        arranged = layout(max_length=7, truncate=True).arrange(examples(**columns), LETTERS, "train")
    assert len(caplog.messages) == 1 and "split train" in caplog.text and "1 of 3" in caplog.text
    assert arranged[np.arange(3)]["target" if name == "translation" else "tokens"].shape == (3, 7)
    caplog.clear()
    layout(max_length=20, truncate=True).arrange(examples(**columns), LETTERS, "train")
    assert not caplog.messages, "nothing was cut"


def test_what_a_translation_is_measured_on_is_never_cut():
    layout, columns = COLUMNS["translation"]
    with pytest.raises(UserError, match=r"split 'test', example 1: target has 9 tokens.* raise \S+max_length\.$"):
        layout(max_length=7, truncate=True).arrange(examples(**columns), LETTERS, "test")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_text_without_tokens_is_refused_with_its_place(name):
    layout, columns = COLUMNS[name]
    *rest, last = columns
    given = {**{key: columns[key] for key in rest}, last: ["a", "b", ""]}
    with pytest.raises(UserError, match=f"^train.tsv:3: {last} is empty"):
        layout(max_length=20).arrange(examples(**given, **PLACES), LETTERS, "train")


@pytest.mark.parametrize("layout, least", [(language, 2), (text, 3), (text_pair, 5), (translation, 2)])
def test_a_length_without_room_for_text_is_refused(layout, least):
    layout.Layout(max_length=least)
    with pytest.raises(UserError, match=f"config.data.layout.max_length: {least - 1} is too short"):
        layout.Layout(max_length=least - 1)


def test_a_stride_of_nothing_is_refused():
    with pytest.raises(UserError, match="config.data.layout.stride: 0"):
        language.Layout(4, stride=0)


@pytest.mark.parametrize(
    "columns, line",
    [
        ({"txet": ["a"]}, "the data have no 'text'; did you mean 'txet'"),
        ({"text": [b"\xff"]}, "text of example 0:1: is not UTF-8"),
    ],
)
def test_columns_without_text_are_refused(columns, line):
    with pytest.raises(UserError, match=line):
        text.Layout(4).arrange(examples(**columns), LETTERS, "train")
    with pytest.raises(UserError, match="'text' of the data holds no text, but int32"):
        text.Layout(4).arrange(InMemory({"text": np.zeros(1, np.int32)}), LETTERS, "train")


def test_windows_leave_nothing_out_between_them_and_say_what_is_left(caplog):
    with pytest.raises(UserError, match="config.data.layout.stride: 5 would leave out tokens between windows of 5"):
        language.Layout(5, stride=5)
    with caplog.at_level("INFO"):
        language.Layout(5).arrange(examples(text=["abcabcabca"]), LETTERS, "train")
    assert caplog.messages == ["2 of 11 tokens at the end of the training split fill no window"]


def test_sizes_are_what_a_model_needs():
    known = Vocabulary(byte.Tokenizer().train([]), SPECIAL)
    assert text.Layout(9).sizes(known) == {"vocab_size": 262, "max_length": 9}
    assert text_pair.Layout(9).sizes(known) == {"vocab_size": 262, "max_length": 9, "num_types": 2}
    assert language.Layout(9).sizes(known) == {"vocab_size": 262, "num_classes": 262, "max_length": 9}
    both = {"source_vocab_size": 262, "target_vocab_size": 262, "max_length": 9}
    assert translation.Layout(9).sizes(known) == both


# Two texts


def test_two_texts_are_read_apart():
    arranged = two_texts.Layout(max_length=4).arrange(examples(text=["ab"], text_pair=["c"]), LETTERS, "train")
    assert batch(arranged) == {
        "tokens": [[START, A, B, END]],
        "mask": [[True] * 4],
        "tokens_2": [[START, C, END, 0]],
        "mask_2": [[True, True, True, False]],
    }


def test_a_second_text_that_is_too_long_is_named():
    with pytest.raises(UserError, match="split 'train', example 0: text_pair has 3 tokens, and there is room for 2"):
        two_texts.Layout(max_length=4).arrange(examples(text=["ab"], text_pair=["abc"]), LETTERS, "train")

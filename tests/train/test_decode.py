"""The command that writes text, from the folder of a run alone."""

import functools
import io
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from tests.train.runs import small
from tests.train.texts import SOURCES, TARGETS, language, translation, write_pairs
from train import decode, decoding, loop
from train.decoding import GREEDY, BeamSearch, Sampling, Writer
from train.errors import USER_ERROR, UserError, run_command
from train.step import evaluated_variables


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A run that has learned what it was shown, whose data are gone."""
    folder = tmp_path_factory.mktemp("translation")
    data = write_pairs(folder / "pairs")
    loop.train(translation(data, "steps=80"), folder / "run")
    shutil.rmtree(data)
    return folder / "run"


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """A GPT after a few steps, whose data are gone."""
    folder = tmp_path_factory.mktemp("language")
    loop.train(language(folder / "text.txt", "steps=30"), folder / "run")
    (folder / "text.txt").unlink()
    return folder / "run"


@pytest.fixture
def write(capfd, monkeypatch):
    """What the command writes for these lines."""

    def write(folder, text, *flags):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        decode.main([f"--workdir={folder}", *flags])
        return capfd.readouterr().out.split("\n")[:-1]

    return write


def test_writes_what_was_learned_in_the_order_of_the_lines(translator, write):
    expected = [target.replace(".", " .") for target in TARGETS]  # words are joined by spaces
    assert write(translator, "\n".join(SOURCES)) == expected
    assert write(translator, "\n".join(SOURCES[::-1]) + "\n", "--beam=3") == expected[::-1]
    assert write(translator, f"{SOURCES[2]}\r\n") == [expected[2]]


def test_reads_a_file(translator, write, tmp_path):
    (tmp_path / "english.txt").write_text("one\ntwo\n")
    assert write(translator, "ignored", f"--input={tmp_path / 'english.txt'}") == ["eins .", "zwei ."]


def test_is_the_beam_search_of_the_library(translator, write):
    """A line that was not learned, padded beside a longer one, against the line alone."""
    decoder = decode.restore(epath.Path(translator), [])
    (source,) = decoder.layout.prompts(["five one"], decoder.vocabulary)
    given = ({"source": jnp.asarray(source)[None]}, jnp.zeros((1, 1), jnp.int32))
    writer = Writer(decoder.experiment.model, decoder.vocabulary.end)
    search = jax.jit(functools.partial(decoding.beam_search, writer, length=6, num_beams=2, alpha=1.0))
    found, _ = search(evaluated_variables(decoder.state), *given)
    written = write(translator, "two two two four\nfive one", "--beam=2", "--alpha=1", "--max_length=6")
    assert written[1] == decoder.vocabulary.decode([found[0, 0]])[0] and len(written) == 2


@functools.cache
def compiled_apply(model):
    return jax.jit(model.apply)


def by_hand(decoder, beginning, count, window):
    """A greedy continuation, the last tokens read anew for each."""
    (tokens,) = decoder.layout.prompts([beginning.replace(r"\n", "\n")], decoder.vocabulary)
    start = len(tokens)
    for _ in range(count):
        last = tokens[-window:]
        padded = np.pad(last, (0, window - len(last)))[None]  # the model is causal
        logits = compiled_apply(decoder.experiment.model)(
            evaluated_variables(decoder.state), tokens=jnp.asarray(padded)
        )
        tokens = np.append(tokens, int(jnp.argmax(logits[0, len(last) - 1])))
        if tokens[-1] == decoder.vocabulary.end:
            break
    whole, begun = decoder.vocabulary.decode([tokens, tokens[:start]])
    return decoding.one_line(whole[len(begun) :])


@pytest.mark.parametrize("count, flags", [(4, []), (20, ["--max_length=20"])])
def test_continues_beginnings(characters, write, count, flags):
    """As many tokens as fit the window beside the longest beginning, or on behind its end."""
    decoder = decode.restore(epath.Path(characters), [])
    beginnings = ["to", "", "question", r"be\nth"]
    written = write(characters, "\n".join(beginnings), "--temperature=0", *flags)
    assert written == [by_hand(decoder, beginning, count, window=11) for beginning in beginnings]


def test_continues_with_a_network_that_has_no_cache(write, tmp_path):
    flags = ["model.name=rnn", "model.outputs=all", "model.hidden_size=8", "model.embedding_size=4"]
    sizes = ["model.vocab_size=20", "model.num_classes=20"]
    loop.train(language(tmp_path / "text.txt", *flags, *sizes), tmp_path / "run")
    decoder = decode.restore(epath.Path(tmp_path / "run"), [])
    written = write(tmp_path / "run", "to be\nor", "--temperature=0", "--max_length=15")
    assert written == [by_hand(decoder, beginning, 15, window=20) for beginning in ("to be", "or")]


def test_what_is_drawn_depends_on_the_seed_and_on_no_cache(characters, write, monkeypatch):
    drawn = write(characters, "to be\nor", "--seed=3")
    assert write(characters, "to be\nor", "--seed=4") != drawn
    monkeypatch.setattr(decode, "has_cache", lambda model: False)
    assert write(characters, "to be\nor", "--seed=3") == drawn


def test_samples_of_a_line_stand_together(characters, write):
    written = write(characters, "to\nto", "--samples=3", "--max_length=5")
    assert len(written) == 6 and len(set(written)) > 1
    assert write(characters, "to\nto", "--samples=3", "--max_length=5", "--seed=0") == written
    one = write(characters, "to\nto", "--top_k=1", "--max_length=5", "--samples=3")
    assert len(set(one)) == 1 and one[0] == write(characters, "to", "--temperature=0", "--max_length=5")[0]


@pytest.mark.parametrize(
    "flags, default, choice",
    [
        ([], GREEDY, GREEDY),
        ([], Sampling(), Sampling()),
        (["--beam=4"], Sampling(), BeamSearch(4, 0.6)),
        (["--beam=2", "--alpha=0"], GREEDY, BeamSearch(2, 0.0)),
        (["--top_k=3"], GREEDY, Sampling(1.0, 3)),
        (["--temperature=0.5", "--top_p=0.9"], GREEDY, Sampling(0.5, None, 0.9)),
    ],
)
def test_how_tokens_are_chosen(flags, default, choice):
    assert decode.choose(decode.parse(["--workdir=w", *flags])[0], default) == choice


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--beam=4", "--temperature=1"], "--beam: a beam search draws nothing; leave out --temperature, or --beam"),
        (["--beam=4", "--samples=2", "--seed=1"], "leave out --samples, --seed"),
        (["--alpha=1"], "--alpha: does nothing without --beam"),
        (["--seed=1"], "--temperature: 0 draws nothing, so --seed would do nothing"),
        (["--temperature=0", "--top_k=2"], "so --top_k would do nothing"),
        (["--temperature=-1"], "--temperature: -1.0 is out of range"),
        (["--temperature=inf"], "--temperature: inf is out of range; it must be 0, or at least 0.0001 and finite"),
        (["--temperature=1e-40"], "--temperature: 1e-40 is out of range"),
        (["--top_p=2"], "--top_p: 2.0 is out of range; it must be above 0 and at most 1"),
        (["--beam=0"], "--beam: 0 is out of range"),
        (["--beam=2", "--alpha=-1"], "--alpha: -1.0 is out of range"),
        (["--max_length=0"], "--max_length: 0 is out of range"),
    ],
)
def test_flags_that_contradict(flags, message):
    with pytest.raises(UserError, match=message):
        decode.choose(decode.parse(["--workdir=w", *flags])[0], GREEDY)


@pytest.mark.parametrize(
    "text, message",
    [
        ("one\n\ntwo", "standard input:2: is empty"),
        ("one\n" + "two " * 8, "standard input:2: has 9 tokens, and the model was trained on 8 at most"),
        ("", "standard input holds no line"),
    ],
)
def test_input_that_cannot_be_read(translator, write, text, message):
    with pytest.raises(UserError, match=message):
        write(translator, text)


def test_bytes_that_are_no_text(translator, tmp_path):
    (tmp_path / "latin").write_bytes(b"one\n\xfc\n")
    with pytest.raises(UserError, match="latin:2: is not UTF-8"):
        decode.main([f"--workdir={translator}", f"--input={tmp_path / 'latin'}"])
    with pytest.raises(UserError, match="--input: nowhere cannot be read"):
        decode.main([f"--workdir={translator}", "--input=nowhere"])


def test_a_closed_standard_input(translator, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="--input: standard input is closed; name a file"):
        decode.main([f"--workdir={translator}"])


def test_more_than_was_trained_is_warned_of(translator, write, caplog):
    write(translator, "one two", "--max_length=20")
    assert "was trained to write 8 tokens at most, and is asked for 20" in caplog.text


@pytest.mark.parametrize("name", ["config.json", "batch.json"])
def test_a_damaged_run_is_named(translator, tmp_path, name):
    shutil.copytree(translator, tmp_path / "run")
    (tmp_path / "run" / name).write_text('{"half": ')
    with pytest.raises(UserError, match=rf"{name} is damaged: it is not JSON"):
        decode.main([f"--workdir={tmp_path / 'run'}"])


def test_a_beginning_that_fills_the_window(characters, write):
    with pytest.raises(UserError, match="has 13 tokens, and the model was trained on 11"):
        write(characters, "to be or not ")


def test_unknown_words_are_counted(translator, write, caplog):
    write(translator, "one six seven")
    assert "2 of 4 tokens are unknown" in caplog.text


def test_runs_that_write_no_text(tmp_path, translator, capfd):
    loop.train(small("steps=1"), tmp_path / "digits")
    with pytest.raises(UserError, match="is no run that writes text: its data are no texts, with classification"):
        decode.main([f"--workdir={tmp_path / 'digits'}"])
    with pytest.raises(UserError, match="holds no run"):
        decode.main([f"--workdir={tmp_path / 'nothing'}"])
    for name, message in (
        ("checkpoints", "holds no whole checkpoint"),
        ("tokenizer.json", "has no tokenizer.json"),
        ("batch.json", "has no batch.json"),
    ):
        copy = tmp_path / name
        shutil.copytree(translator, copy, ignore=shutil.ignore_patterns(name if name != "checkpoints" else "[0-9]*"))
        assert run_command(lambda copy=copy: decode.main([f"--workdir={copy}"])) == USER_ERROR
        assert message in capfd.readouterr().err


def test_the_mesh_changes_nothing_but_is_checked(translator):
    with pytest.raises(UserError, match="config.mesh: data=3"):
        decode.main([f"--workdir={translator}", "--config.mesh.data=3"])
    with pytest.raises(UserError, match="must not be changed: .*model.hidden_size"):
        decode.main([f"--workdir={translator}", "--config.model.hidden_size=3"])
    assert jax.device_count() == 1

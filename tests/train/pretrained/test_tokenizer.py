"""A run on texts is written with the tokenizer that its tokens are of."""

from tests.train.texts import language
from train import loop
from train.pretrained.__main__ import main


def test_a_run_on_texts_brings_its_tokenizer(tmp_path):
    loop.train(language(tmp_path / "text.txt"), tmp_path / "run")
    main([f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'out'}"])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    assert (tmp_path / "out" / "tokenizer.json").read_text() == (tmp_path / "run" / "tokenizer.json").read_text()

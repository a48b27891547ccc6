"""Equal tuning: the same trials for each variant, chosen on validation with a seed of their own, and all shown."""

from pathlib import Path
from typing import Any

import pytest

from train import config as configs
from train import loop
from train.compare import claims, lab, report, tuning
from train.compare.__main__ import main
from train.compare.claims import ClaimLab
from train.errors import Diverged, UserError

GRID = {"optimizer.learning_rate": (1e-3, 3e-3, 1e-2)}
AXIS = ["model.hidden_sizes"]


def measured(config: Any) -> dict[str, float]:
    """The narrow network is best at 1e-2, the wide at 3e-3, on validation; on test it is the other way round."""
    split = config.evaluators.accuracy.split
    best = 1e-2 if config.model.hidden_sizes == (16,) else 3e-3
    gap = abs(config.optimizer.learning_rate - best)
    return {f"{split}/accuracy": 0.9 - gap if split == "validation" else 0.5 + gap, f"{split}/loss": gap}


@pytest.fixture
def trained(fake_train: Any) -> Any:
    """The stand-in, which also keeps the configs that it was given."""
    fake_train.configs = []

    def train(config: Any, workdir: Any, *, writer: Any = None) -> Any:
        fake_train.configs.append(config)
        fake_train.metrics = lambda width, seed: measured(config)
        return fake_train(config, workdir, writer=writer)

    train.fake = fake_train  # type: ignore[attr-defined]
    return train


def variants_of(file: str, *overrides: str) -> dict[str, Any]:
    names, held_out = ("narrow", "wide"), "data.validation_fraction=0.1"
    return {name: configs.load(f"{file}:{name}", [held_out, *overrides]) for name in names}


def test_each_variant_keeps_what_did_best_on_validation(tmp_path: Path, config_file: str, trained: Any) -> None:
    claim_lab = ClaimLab(lab.Lab(str(tmp_path), train_run=trained), seeds=range(2))
    study = claim_lab.train("widths", variants_of(config_file), axis=AXIS, tune=GRID)
    rates = {run.variant: run.config.optimizer.learning_rate for run in study.runs}
    assert rates == {"narrow": 1e-2, "wide": 3e-3}
    trials, final = trained.fake.configs[:6], trained.fake.configs[6:]
    assert {config.seed for config in trials} == {tuning.SEED} and {config.seed for config in final} == {0, 1}
    assert {config.evaluators.accuracy.split for config in trials} == {"validation"}
    assert {config.evaluators.accuracy.split for config in final} == {"test"} and len(final) == 4


def test_all_trials_are_shown(tmp_path: Path, config_file: str, trained: Any) -> None:
    trained.fake.failures = {2: Diverged("loss is nan")}
    claim_lab = ClaimLab(lab.Lab(str(tmp_path), train_run=trained), seeds=[0])
    claim_lab.train("widths", variants_of(config_file), axis=AXIS, tune=GRID)
    (table,) = claim_lab.tables
    assert table.header == ("variant", "optimizer.learning_rate", "validation accuracy", "")
    assert table.rows == [
        ["narrow", "0.001", "89.10 %", ""],
        ["narrow", "0.003", "diverged: loss is nan", ""],
        ["narrow", "0.01", "90.00 %", "chosen"],
        ["wide", "0.001", "89.80 %", ""],
        ["wide", "0.003", "90.00 %", "chosen"],
        ["wide", "0.01", "89.30 %", ""],
    ]
    assert table.title.startswith("widths: ") and "1000" in table.title


def test_another_metric_and_several_fields(tmp_path: Path, config_file: str, trained: Any) -> None:
    grid = GRID | {"model.activation": ("relu", "tanh")}
    found = tuning.tune(lab.Lab(str(tmp_path), train_run=trained), variants_of(config_file), grid, "test/loss")
    assert found.metric == "validation/loss" and len(found.trials) == 12
    assert {label: trial.values for label, trial in found.chosen.items()} == {
        "narrow": (1e-2, "relu"),
        "wide": (3e-3, "relu"),
    }


def test_without_validation_there_is_one_clear_message(tmp_path: Path, config_file: str, trained: Any) -> None:
    untuned = variants_of(config_file, "data.validation_fraction=0")
    with pytest.raises(
        UserError, match="'narrow' cannot be tuned on validation: .*validation_fraction to hold one out"
    ):
        tuning.tune(lab.Lab(str(tmp_path), train_run=trained), untuned, GRID)
    assert not trained.fake.calls


def test_what_leaves_nothing_to_choose_is_refused(tmp_path: Path, config_file: str, trained: Any) -> None:
    with pytest.raises(UserError, match="'validation/sharpness' is not measured; there are validation/accuracy"):
        tuning.tune(lab.Lab(str(tmp_path / "a"), train_run=trained), variants_of(config_file), GRID, "test/sharpness")
    trained.fake.calls.clear()
    trained.fake.failures = {number: Diverged("nan") for number in (1, 2, 3)}
    with pytest.raises(UserError, match="all trials of 'narrow' failed"):
        tuning.tune(lab.Lab(str(tmp_path / "b"), train_run=trained), variants_of(config_file), GRID)


def test_an_unfair_pair_is_stopped_before_any_trial(tmp_path: Path, config_file: str, trained: Any) -> None:
    unfair = variants_of(config_file)
    unfair["wide"] = configs.resolve(unfair["wide"], ["steps=80"])
    with pytest.raises(UserError, match="steps: 40 against 80"):
        ClaimLab(lab.Lab(str(tmp_path), train_run=trained)).train("widths", unfair, axis=AXIS, tune=GRID)
    assert not trained.fake.calls and claims.tuning is tuning


def test_the_command_tunes_and_shows_it(
    tmp_path: Path, config_file: str, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train", trained)
    monkeypatch.setattr(report.Report, "charts", [])
    flags = [f"--config={config_file}", f"--workdir={tmp_path}/w", "--seeds=2", "--config.data.validation_fraction=0.1"]
    main([*flags, "--tune", "optimizer.learning_rate=1e-3,3e-3,1e-2"])
    for file in ("report.md", "report.html"):
        text = (tmp_path / "w" / file).read_text()
        assert "Tuning on validation, seed 1000" in text and text.count("chosen") == 2 and "89.80 %" in text
    with pytest.raises(UserError, match="optimizer.learning_rate: is set twice"):
        main([*flags, "--tune", "optimizer.learning_rate=1e-3,1e-2", "--vary", "optimizer.learning_rate=1,2"])
    with pytest.raises(UserError, match="write it as --tune section.field=value,value"):
        main([*flags, "--tune", "optimizer.learning_rate"])

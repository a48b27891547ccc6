"""Papers' tables: every cell stands for a config that loads, and is filled by the runs that have it."""

import io
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from rich.console import Console

from train import config as configs
from train.compare import lab, reproduce
from train.compare.__main__ import main
from train.compare.papers import Cell, PaperTable
from train.errors import UserError

TABLES = ["bahdanau", "lra", "scan", "tcn", "vaswani-3"]
CELLS = sorted(
    {
        (cell.config, cell.overrides)
        for name in TABLES
        for row in reproduce.load(name).rows.values()
        for cell in row
        if cell and cell.config
    }
)


def test_the_tables_are_those_that_are_named() -> None:
    assert reproduce.names() == TABLES
    with pytest.raises(UserError, match="'lrb' is no table; did you mean 'lra'"):
        reproduce.load("lrb")


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_as_long_as_the_header(name: str) -> None:
    table = reproduce.load(name)
    assert {len(row) for row in table.rows.values()} == {len(table.columns)}


def test_cells_stand_for_configs_that_load_and_differ() -> None:
    assert len(CELLS) > 30
    found = {reproduce.digest(configs.load(config, overrides)) for config, overrides in CELLS}
    assert len(found) == len(CELLS)


@pytest.mark.parametrize(
    ("row", "millions"),  # Blocks, and one vocabulary of 37,000; computed by hand.
    [("base", 63.0), ("(B) d_k = 16", 56.0), ("(C) N = 2", 33.6), ("(C) d = 1024, d_k = 128", 163.8), ("big", 214.2)],
)
def test_the_transformers_are_counted(row: str, millions: float) -> None:
    cell = reproduce.load("vaswani-3").rows[row][2]
    assert cell is not None
    assert reproduce.fill(cell, {}).ours == pytest.approx(millions, abs=0.05)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, config_file: str) -> PaperTable:
    """A table of two networks: one cell that is trained here, one that is not yet, one that nothing stands for."""
    table = PaperTable(
        "Planted",
        ("accuracy", "loss"),
        {
            "narrow": (Cell(90.0, f"{config_file}:narrow", ("steps=30",), scale=100), Cell(0.5)),
            "wide": (Cell(None, f"{config_file}:wide"), None),
        },
        ("A note.",),
    )
    monkeypatch.setattr(reproduce, "load", lambda name: table)
    return table


def shown(folder: Path) -> str:
    said = io.StringIO()
    reproduce.show("planted", str(folder), Console(file=said, width=200))
    return said.getvalue()


def test_cells_are_filled_by_runs_of_their_config(
    planted: PaperTable, tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    variants = {"a": configs.load(f"{config_file}:narrow", ["steps=30"]), "b": configs.load(f"{config_file}:narrow")}
    lab.Lab(str(tmp_path / "w"), train_run=fake_train).train(variants, range(2))
    found = reproduce.finished(epath.Path(tmp_path / "w"))
    cell = planted.rows["narrow"][0]
    assert cell is not None and reproduce.fill(cell, found).values == pytest.approx((91.6, 91.8))
    text = shown(tmp_path / "w")
    assert "90.00 → 91.70 (+1.7, 2 seeds)" in text and "0.5 → –" in text and "A note." in text
    fills = text.partition("What would fill")[2]
    assert "wide, accuracy" in fills and "narrow" not in fills
    assert f"./launch.sh train --config={config_file}:wide --workdir={tmp_path}/w/planted-wide-accuracy" in fills


def test_a_run_of_its_own_folder_counts_and_an_unfinished_one_does_not(
    planted: PaperTable, tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    config = configs.load(f"{config_file}:wide", ["seed=7"])
    folder = tmp_path / "w" / "planted-wide-accuracy"
    fake_train(config, folder)
    cell = planted.rows["wide"][0]
    assert cell is not None
    assert reproduce.fill(cell, reproduce.finished(epath.Path(tmp_path / "w"))).values == pytest.approx((0.978,))
    (folder / "result.json").unlink()
    assert not reproduce.fill(cell, reproduce.finished(epath.Path(tmp_path / "w"))).values


def test_what_is_no_run_is_left_out(
    planted: PaperTable, tmp_path: Path, config_file: str, fake_train: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake_train(configs.load(f"{config_file}:wide"), tmp_path / "w" / "good")
    for name in ("exported", "damaged"):
        (tmp_path / "w" / name).mkdir()
        (tmp_path / "w" / name / "config.json").write_text('{"activation_function": 1}' if name == "exported" else "{")
    (tmp_path / "w" / "damaged" / "result.json").write_text("{}")
    cell = planted.rows["wide"][0]
    assert cell is not None and reproduce.fill(cell, reproduce.finished(epath.Path(tmp_path / "w"))).values
    (line,) = caplog.messages
    assert "damaged" in line and "it is not JSON" in line


def test_the_command_shows_a_table_and_refuses_what_has_no_place(tmp_path: Path, capsys: Any) -> None:
    main(["--table=scan", f"--workdir={tmp_path}/none"])
    said = capsys.readouterr().out
    assert "LSTM with attention" in said and "--config=configs/scan.py:length_transformer" in said
    with pytest.raises(UserError, match="--match: a table says itself what is compared"):
        main(["--table=scan", "--match=flops", f"--workdir={tmp_path}/none"])
    with pytest.raises(UserError, match="or --table=NAME"):
        main(["--table=scan", "--config=configs/scan.py", f"--workdir={tmp_path}/none"])

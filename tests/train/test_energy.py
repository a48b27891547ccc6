"""Joules of a planted meter: differences, a counter that begins again, parts that count once, and no meter."""

from pathlib import Path

import pytest

from train import energy


@pytest.fixture(autouse=True)
def no_cards(monkeypatch):
    monkeypatch.setattr(energy, "_cards", list)


def plant(folder: Path, zone: str, name: str, joules: float, most: float = 1000.0) -> None:
    place = folder / zone
    place.mkdir(exist_ok=True)
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{round(1e6 * joules)}\n")
    (place / "max_energy_range_uj").write_text(f"{round(1e6 * most)}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core")):
        plant(tmp_path, zone, name, 100)
    plant(tmp_path, "intel-rapl:2", "psys", 100)  # The whole board, which holds the packages.
    meter = energy.Energy(tmp_path)
    assert meter.joules() == {"cpu": 0.0}
    plant(tmp_path, "intel-rapl:0", "package-0", 130)
    plant(tmp_path, "intel-rapl:0:0", "core", 120)
    plant(tmp_path, "intel-rapl:1", "package-1", 105)
    assert meter.joules() == {"cpu": pytest.approx(35)}
    assert meter.joules() == {"cpu": pytest.approx(35)}


def test_a_counter_that_begins_again(tmp_path):
    plant(tmp_path, "intel-rapl:0", "package-0", 990)
    meter = energy.Energy(tmp_path)
    for count, joules in ((10, 20), (500, 510), (5, 1015)):
        plant(tmp_path, "intel-rapl:0", "package-0", count)
        assert meter.joules() == {"cpu": pytest.approx(joules)}


def test_cards_are_read_in_joules(tmp_path, monkeypatch):
    counts = {"a": 5.0, "b": 7.0, "old": None}
    monkeypatch.setattr(energy, "_cards", lambda: list(counts))
    monkeypatch.setattr(energy, "_drawn", lambda card: counts[card])
    meter = energy.Energy(tmp_path)
    counts |= {"a": 8.0, "b": 17.0}
    assert meter.joules() == {"gpu": 13.0}


def test_without_a_meter_nothing_is_said(tmp_path):
    assert energy.Energy(tmp_path / "absent").joules() == {}
    plant(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # Cannot be read, as if by another user than root.
    assert energy.Energy(tmp_path).joules() == {}

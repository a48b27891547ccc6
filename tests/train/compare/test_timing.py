"""Equal time: steps of two configs in turn, and the width whose step costs as much, found in few trials."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict

from train import config as configs
from train.compare import budget, timing
from train.compare.timing import Ratio
from train.errors import UserError


class FakeTimer:
    """A step of width w costs a fixed part and (w / wanted)^1.8 of the rest; `noise` is what it says of itself."""

    def __init__(self, wanted: float, noise: float = 0.004, fixed: float = 0.2):
        self.wanted, self.noise, self.fixed = wanted, noise, fixed
        self.widths: list[int] = []

    def __call__(self, config: ConfigDict, reference: ConfigDict) -> Ratio:
        assert reference.model.hidden_sizes == (100,)
        width = config.model.hidden_sizes[0]
        self.widths.append(width)
        value = self.fixed + (1 - self.fixed) * (width / self.wanted) ** 1.8
        return Ratio(value, self.noise, 2e-3 * value, 2e-3)


@pytest.fixture
def variants(config_file: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, ConfigDict]:
    """Two networks, whose operations are counted in no time."""
    monkeypatch.setattr(budget, "cost", lambda config, by: sum(size**2 for size in config.model.hidden_sizes))
    return {
        "narrow": configs.load(f"{config_file}:narrow", ["model.hidden_sizes=(100,)"]),
        "deep": configs.load(f"{config_file}:narrow", ["model.hidden_sizes=(64, 64)"]),
    }


@pytest.mark.parametrize("wanted", [20.0, 57.3, 70.0, 150.0, 400.0])
@pytest.mark.parametrize("fixed", [0.0, 0.6])
def test_the_width_of_equal_time_is_found_in_few_trials(
    variants: dict[str, ConfigDict], wanted: float, fixed: float
) -> None:
    timer = FakeTimer(wanted, fixed=fixed)
    matched = budget.match(variants, "time", timer=timer, tolerance=0.05)
    deep, narrow = matched["deep"], matched["narrow"]
    assert list(matched) == ["narrow", "deep"] and narrow.config == variants["narrow"] and narrow.cost == 2e-3
    assert len(timer.widths) <= budget.TRIALS and deep.config.model.hidden_sizes == deep.width
    assert abs(deep.deviation) <= 0.05 and deep.noise == 0.004 and deep.cost == pytest.approx(2e-3, rel=0.05)


def test_what_was_chosen_is_said_with_its_noise(variants: dict[str, ConfigDict]) -> None:
    matched = budget.match(variants, "time", timer=FakeTimer(70.0))
    said = budget.describe(matched, "time")
    assert said.startswith("Equal time of a training step, that of narrow: deep model.hidden_sizes=(")
    assert said.endswith(" ± 0.4%).")


def test_the_same_command_finds_what_was_chosen(variants: dict[str, ConfigDict], tmp_path: Path) -> None:
    timer, memory = FakeTimer(70.0), epath.Path(tmp_path) / "matched"
    first = budget.match(variants, "time", timer=timer, memory=memory)
    trials = len(timer.widths)
    timer.wanted = 30.0  # The machine has changed its mind.
    assert budget.match(variants, "time", timer=timer, memory=memory) == first
    assert len(timer.widths) == trials and len(list(memory.iterdir())) == 1
    assert json.loads(next(memory.iterdir()).read_text())["width"] == first["deep"].config.model.hidden_sizes[0]


def test_what_is_not_equal_or_not_known_is_refused(
    variants: dict[str, ConfigDict], monkeypatch: Any, tmp_path: Path
) -> None:
    memory = epath.Path(tmp_path) / "matched"
    with pytest.raises(UserError, match="'deep' is known to 12% only, which matches nothing"):
        budget.match(variants, "time", timer=FakeTimer(70.0, noise=0.12), memory=memory)
    assert not memory.exists()  # Next time the machine may be quieter.
    # What a noisy clock cannot tell from equal is accepted, and said.
    assert budget.match(variants, "time", timer=FakeTimer(70.0, noise=0.09), tolerance=1e-9)["deep"].noise == 0.09
    monkeypatch.setattr(budget, "TRIALS", 1)
    with pytest.raises(
        UserError, match=r"'deep' comes no closer to a step of 2 ms than .* ms \(\+\d+.* known to 0.4 %"
    ):
        budget.match(variants, "time", timer=FakeTimer(10.0))


@pytest.mark.parametrize(
    ("tried", "wanted"),
    [
        ({64: 4.0}, 25),  # 64 · 4^(-2/3)
        ({64: 0.25}, 161),
        ({64: 1.001}, 63),
        ({64: 0.999}, 65),
        ({10: 0.25, 20: 0.5}, 40),
        ({10: 0.5, 40: 2.0}, 20),  # Halfway, in logarithms.
        ({10: 0.5, 20: 0.99, 40: 2.0}, 21),
        ({20: 0.9, 21: 1.1}, 20),  # Nothing between them: ends the search.
        ({30: 0.9, 20: 1.1}, 30),  # Turned round by noise.
        ({1: 3.0}, 1),
    ],
)
def test_next_width(tried: dict[int, float], wanted: int) -> None:
    assert budget.next_width(tried) == wanted


def test_the_median_of_ratios_ignores_a_slow_round_and_a_drift() -> None:
    clock = np.linspace(1.0, 3.0, 11)[:, None]  # The machine gets slower all the time.
    times = np.array([[2.0, 1.0]]) * clock
    times[4, 0] *= 50
    found = timing.summary(times)
    assert found.value == pytest.approx(2.0) and found.noise == pytest.approx(0.0, abs=1e-12)
    wobbling = np.array([[1.0 + 0.1 * (-1) ** i, 1.0] for i in range(10)])
    assert timing.summary(wobbling).noise == pytest.approx(1.57 * 0.2 / 10**0.5)


def test_a_step_is_timed_beside_another(variants: dict[str, ConfigDict], monkeypatch: Any) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    found = timing.ratio(variants["deep"], variants["narrow"], rounds=3)
    assert 0 < found.seconds < 1 and 0 < found.reference_seconds < 1 and 0.05 < found.value < 20

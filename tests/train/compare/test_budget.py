"""Equal budgets: found by counting, within 2 %, or refused."""

import pytest

from train import config as configs
from train.compare import budget, lab
from train.errors import UserError

CELLS = ("gru", "lstm")


def test_lstm_is_sized_to_the_gru() -> None:
    variants = {cell: configs.load(f"configs/adding.py:{cell}") for cell in CELLS}
    matched = budget.match(variants, "parameters")
    gru, lstm = matched["gru"], matched["lstm"]
    assert gru.config == variants["gru"] and (gru.field, gru.width, gru.deviation) == (None, None, 0.0)
    width = lstm.config.model.hidden_size
    assert (lstm.field, lstm.width) == ("model.hidden_size", width) and width < 64
    counts = {label: lab.measure(one.config)["parameters"] for label, one in matched.items()}
    assert counts == {label: one.cost for label, one in matched.items()}
    assert lstm.deviation == pytest.approx(counts["lstm"] / counts["gru"] - 1)
    assert abs(lstm.deviation) <= 0.02 < abs(lab.measure(variants["lstm"])["parameters"] / counts["gru"] - 1)
    # No neighbour comes nearer.
    for neighbour in (width - 1, width + 1):
        other = budget.cost(budget.resized(lstm.config, "model.hidden_size", neighbour), "parameters")
        assert abs(other - counts["gru"]) >= abs(counts["lstm"] - counts["gru"])


def test_the_reference_may_be_another_and_flops_may_be_what_is_equal() -> None:
    variants = {cell: configs.load(f"configs/adding.py:{cell}") for cell in CELLS}
    matched = budget.match(variants, "flops", reference="lstm")
    assert list(matched) == ["gru", "lstm"] and matched["lstm"].config == variants["lstm"]
    assert matched["gru"].config.model.hidden_size > 64
    costs = [lab.measure(one.config)["flops_forward"] for one in matched.values()]
    assert abs(costs[0] / costs[1] - 1) <= 0.02


def test_a_transformer_gets_its_size_by_its_feed_forward_width() -> None:
    variants = {
        "small": configs.load("configs/quickstart.py:vit"),
        "large": configs.load("configs/quickstart.py:vit", ["model.mlp_size=777"]),
    }
    matched = budget.match(variants, "parameters")
    found, sought = matched["large"], variants["small"].model
    assert (found.field, found.width) == ("model.mlp_size", sought.mlp_size)
    assert found.config.model.hidden_size == sought.hidden_size and found.deviation == 0


def test_hidden_sizes_keep_their_proportions(config_file: str) -> None:
    narrow = configs.load(f"{config_file}:narrow", ["model.hidden_sizes=(100,)"])
    deep = configs.load(f"{config_file}:narrow", ["model.hidden_sizes=(40, 20, 10)"])
    matched = budget.match({"narrow": narrow, "deep": deep}, "parameters")["deep"]
    assert matched.field == "model.hidden_sizes" and matched.width == matched.config.model.hidden_sizes
    first, second, third = matched.width  # type: ignore[misc]
    assert first > 40 and abs(second - first / 2) <= 0.5 and abs(third - first / 4) <= 0.5
    assert abs(matched.deviation) <= 0.02


def test_nothing_close_enough_is_refused_with_the_closest(config_file: str) -> None:
    # 64 pixels, 10 classes: w units have 75 w + 10 parameters, so that a unit is some 30 % of the whole.
    variants = {
        "deep": configs.load(f"{config_file}:narrow", ["model.hidden_sizes=(3, 3)"]),
        "narrow": configs.load(f"{config_file}:narrow"),
    }
    with pytest.raises(UserError, match=r"'narrow' comes no closer to 247 parameters than 235 \(-4.9 %\)") as refused:
        budget.match(variants, "parameters")
    assert "model.hidden_sizes=(3,)" in str(refused.value) and "within 2 %" in str(refused.value)
    assert budget.match(variants, "parameters", tolerance=0.05)["narrow"].width == (3,)


def test_mistakes_are_named(config_file: str) -> None:
    variants = {"narrow": configs.load(f"{config_file}:narrow")}
    with pytest.raises(UserError, match="reference 'wide' is no variant; there are narrow"):
        budget.match(variants, "parameters", reference="wide")
    twice = {**variants, "again": variants["narrow"]}
    with pytest.raises(UserError, match="config.model.width is None"):
        budget.match(twice, "parameters", widths={"again": "model.width"})
    lenet = configs.load("configs/mnist.py:lenet")
    with pytest.raises(UserError, match="'lenet' has none of the fields mlp_size, hidden_size, hidden_sizes"):
        budget.free_width("lenet", lenet)


@pytest.mark.parametrize(("target", "wanted"), [(1, 1), (90, 9), (94, 9), (96, 10), (10_000, 1000), (10**9, 1024)])
def test_nearest_argument_of_a_growing_function(target: int, wanted: int) -> None:
    assert budget.nearest(lambda argument: 10 * argument, target, 1024) == wanted


@pytest.mark.parametrize("start", [1, 2, 37, 63, 64])
@pytest.mark.parametrize("target", [1, 10, 14, 366, 367, 371, 640, 9999])
def test_where_the_search_starts_changes_only_how_long_it_takes(start: int, target: int) -> None:
    asked: set[int] = set()

    def cost_at(argument: int) -> int:
        asked.add(argument)
        return 10 * argument

    found = budget.nearest(cost_at, target, 64, start)
    assert found == budget.nearest(lambda argument: 10 * argument, target, 64)
    assert found != start or len(asked) <= 3

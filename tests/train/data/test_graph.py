"""A graph is the same in every split, links lead both ways, and a file that contradicts itself is refused."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from train import config as configs
from train.data.sources.graph import Source
from train.errors import UserError
from train.experiment import build

ROOM = {
    "edges": np.array([[0, 1], [3, 1], [2, 3]]),
    "labels": np.array([0, 1, 2, 0, 1]),
    "train_idx": np.array([0, 1]),
    "val_idx": np.array([2]),
    "test_idx": np.array([4, 3]),
    "features": np.array([[1, 3], [0, 0], [2, 2], [5, 0], [0, 1]]),
}
SPARSE = {
    "feat_row": np.array([0, 0, 2, 2, 3, 4]),
    "feat_col": np.array([0, 1, 0, 1, 0, 1]),
    "feat_val": np.array([1.0, 3, 2, 2, 5, 1]),
}


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in ROOM.items() if name not in names}


def source(folder: Path, arrays=ROOM, **fields) -> Source:
    np.savez(folder / "room.npz", **arrays)
    return Source(**{"path": str(folder / "room.npz"), **fields})


def only(source: Source, split: str) -> dict[str, np.ndarray]:
    examples = source.split(split)
    assert len(examples) == 1
    return {name: array[0] for name, array in examples[np.zeros(1, int)].items()}


@pytest.mark.parametrize("split, nodes", [("train", [0, 1]), ("validation", [2]), ("test", [3, 4])])
def test_splits_differ_in_whose_labels_count(tmp_path, split, nodes):
    graph = source(tmp_path)
    assert graph.splits() == ("train", "validation", "test") and graph.num_classes == 3
    example = only(graph, split)
    np.testing.assert_array_equal(np.flatnonzero(example.pop("label_mask")), nodes)
    for name, value in only(graph, "train").items():
        if name != "label_mask":
            np.testing.assert_array_equal(example[name], value)
    np.testing.assert_array_equal(example["label"], ROOM["labels"])
    assert example["node_mask"].shape == (5,) and example["node_mask"].all()


def test_every_link_leads_both_ways(tmp_path):
    example = only(source(tmp_path), "train")
    links = sorted(zip(example["senders"].tolist(), example["receivers"].tolist(), strict=True))
    assert links == [(0, 1), (1, 0), (1, 3), (2, 3), (3, 1), (3, 2)]
    assert example["edge_mask"].shape == (6,) and example["edge_mask"].all()


@pytest.mark.parametrize("arrays", [ROOM, without("features") | SPARSE], ids=["dense", "sparse"])
def test_features(tmp_path, arrays):
    np.testing.assert_array_equal(
        only(source(tmp_path, arrays, normalize_features=False), "test")["nodes"], ROOM["features"]
    )
    parts = only(source(tmp_path, arrays), "test")["nodes"]
    np.testing.assert_allclose(parts, [[0.25, 0.75], [0, 0], [0.5, 0.5], [1, 0], [0, 1]])
    assert parts.dtype == np.float32


def test_features_may_be_said_to_be_wider(tmp_path):
    arrays = without("features") | SPARSE | {"num_features": np.array(4)}
    assert only(source(tmp_path, arrays), "test")["nodes"].shape == (5, 4)


def test_a_split_may_be_missing(tmp_path):
    assert source(tmp_path, without("val_idx")).splits() == ("train", "test")


def test_the_one_file_of_an_archive(tmp_path):
    expected = only(source(tmp_path), "test")["nodes"]
    with zipfile.ZipFile(tmp_path / "room.zip", "w") as archive:
        archive.write(tmp_path / "room.npz", "inside/room.npz")
        archive.writestr("README", "a room")
    np.testing.assert_array_equal(only(Source(str(tmp_path / "room.zip")), "test")["nodes"], expected)
    (tmp_path / "other.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"source.path: .* has 2 files that end in .npz; name the one"):
        Source(str(tmp_path)).splits()


@pytest.mark.parametrize(
    "arrays, message",
    [
        (without("labels"), "room.npz: has no array 'labels', but edges, features, test_idx, train_idx, val_idx"),
        (without("features"), "room.npz: has no array 'feat_row'"),
        (without("val_idx", "test_idx"), "room.npz: has no array 'val_idx' or 'test_idx'"),
        (ROOM | {"train_idx": np.zeros(0, int)}, "room.npz: its array 'train_idx' is empty"),
        (ROOM | {"edges": np.array([0, 1])}, "room.npz: 'edges' is [2]; it must be [E, 2]"),
        (ROOM | {"edges": np.array([[0, 5]])}, "room.npz: 'edges' has 5, which is not from 0 to 4"),
        (ROOM | {"edges": np.array([[0.0, 1.0]])}, "room.npz: 'edges' must be integers, and it is float64"),
        (ROOM | {"edges": np.array([[0, 1], [1, 0]])}, "room.npz: 'edges' has the link 0-1 twice"),
        (ROOM | {"edges": np.array([[0, 1], [2, 2]])}, "room.npz: 'edges' has the link 2-2 of a node with itself"),
        (ROOM | {"labels": np.array([0, 1, 2, 0, -1])}, "room.npz: 'labels' has -1, which is not from 0 on"),
        (ROOM | {"test_idx": np.array([3, 0])}, "room.npz: node 0 is in train_idx and val_idx and test_idx more than"),
        (ROOM | {"test_idx": np.zeros(0, int)}, "room.npz: its array 'test_idx' is empty"),
        (ROOM | {"test_idx": np.array([[3, 4]])}, "room.npz: 'test_idx' is [1, 2]; it must be a list of numbers"),
        (ROOM | {"labels": np.array(1)}, "room.npz: 'labels' is []; it must be a list of numbers"),
        (ROOM | {"labels": np.eye(5, dtype=int)}, "room.npz: 'labels' is [5, 5]; it must be a list of numbers"),
        (ROOM | {"features": np.full((5, 2), np.nan)}, "room.npz: 'features' must be finite numbers"),
        (ROOM | {"features": np.full((5, 2), "x")}, "room.npz: 'features' must be finite numbers"),
        (
            without("features") | SPARSE | {"feat_val": np.ones(5)},
            "room.npz: 'feat_row' has 6, 'feat_col' has 6, 'feat_val' has 5 entries",
        ),
        (
            without("features") | SPARSE | {"num_features": np.array([2, 2])},
            "room.npz: 'num_features' must be one integer",
        ),
        (ROOM | {"features": np.ones((4, 2))}, "room.npz: 'features' is [4, 2]; it must be [5, D], as 'labels'"),
        (ROOM | {"features": -np.ones((5, 2))}, "config.data.source.normalize_features: features below 0"),
        (without("features") | SPARSE | {"num_features": np.array(1)}, "room.npz: 'feat_col' has 1, which is not"),
    ],
)
def test_contradictions_are_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match="^" + re.escape(message)):
        source(tmp_path, arrays).split("test")


def test_what_cannot_be_read(tmp_path):
    graph = source(tmp_path)
    (tmp_path / "room.npz").write_bytes(b"no zip file")
    with pytest.raises(UserError, match="^room.npz: is no .npz file that can be read"):
        graph.splits()
    with pytest.raises(UserError, match="source.path: 'absent.npz' does not exist"):
        Source("absent.npz").splits()


def test_graph_networks_read_it(tmp_path):
    source(tmp_path)
    overrides = ["name=graph_network", "variant=gcn", "num_classes=None"]
    experiment = build(
        configs.load(
            "configs/quickstart.py:mlp",
            [*(f"model.{field}" for field in overrides), "data.source.name=graph", "data.batch_size=1", "steps=60"]
            + [f"data.source.path={tmp_path / 'room.npz'}"],
        )
    )
    inputs = {name: value.shape for name, value in experiment.model_inputs(experiment.spec).items()}
    assert inputs == {
        "nodes": (1, 5, 2),
        "senders": (1, 6),
        "receivers": (1, 6),
        "node_mask": (1, 5),
        "edge_mask": (1, 6),
    }


def test_cora():
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    file = Path(os.environ.get("DATA_DIR", str(beside))) / "planetoid" / "cora.npz"
    if not file.exists():
        pytest.skip("Cora is not in DATA_DIR/planetoid")
    cora = Source(str(file))
    assert cora.num_classes == 7
    assert [int(only(cora, name)["label_mask"].sum()) for name in cora.splits()] == [140, 500, 1000]
    example = only(cora, "train")
    assert example["nodes"].shape == (2708, 1433) and example["senders"].shape == (2 * 5278,)
    np.testing.assert_allclose(example["nodes"].sum(axis=1), 1, rtol=1e-5)
    assert np.bincount(example["label"][example["label_mask"]]).tolist() == [20] * 7

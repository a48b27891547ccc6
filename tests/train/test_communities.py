"""Graphs of communities: links follow the probabilities, both ways, and padding is padding."""

import numpy as np
import pytest

from train.data import Data
from train.data.sources.communities import Source
from train.errors import UserError

SMALL = {"num_communities": 3, "min_nodes": 4, "max_nodes": 12, "train_size": 400, "eval_size": 30}


def everything(name="train", **fields) -> dict[str, np.ndarray]:
    examples = Source(**{**SMALL, **fields}).split(name)
    return examples[np.arange(len(examples))]


def adjacency(examples) -> np.ndarray:
    """How many edges there are from each node to each, [examples, receivers, senders]."""
    rows, places = np.nonzero(examples["edge_mask"])
    matrix = np.zeros((len(examples["label"]), 12, 12), int)
    np.add.at(matrix, (rows, examples["receivers"][rows, places], examples["senders"][rows, places]), 1)
    return matrix


def test_shapes_and_types():
    examples = everything()
    shapes = {key: (value.shape[1:], value.dtype.name) for key, value in examples.items()}
    places, edges = (12,), (12 * 11,)
    assert shapes == {
        "nodes": ((12, 3), "float32"),
        "node_mask": (places, "bool"),
        "senders": (edges, "int32"),
        "receivers": (edges, "int32"),
        "edge_mask": (edges, "bool"),
        "label": (places, "int32"),
        "label_mask": (places, "bool"),
    }
    assert Source(**SMALL).num_classes == 3 and Source(**SMALL).splits() == ("train", "validation", "test")


def test_padding_comes_last_and_is_zero():
    examples = everything()
    counts = examples["node_mask"].sum(axis=1)
    assert set(counts) == set(range(4, 13))
    for mask in (examples["node_mask"], examples["edge_mask"]):
        np.testing.assert_array_equal(mask, np.sort(mask, axis=1)[:, ::-1])
    for key, mask in [
        ("nodes", "node_mask"),
        ("label", "node_mask"),
        ("senders", "edge_mask"),
        ("receivers", "edge_mask"),
    ]:
        assert not examples[key][~examples[mask]].any()
    ends = np.maximum(examples["senders"], examples["receivers"])
    assert (ends < counts[:, None])[examples["edge_mask"]].all(), "edges join real nodes"


def test_links_go_both_ways_and_are_as_likely_as_they_should():
    examples = everything(probability_inside=0.6, probability_between=0.1)
    links = adjacency(examples)
    np.testing.assert_array_equal(links, links.transpose(0, 2, 1))
    assert links.max() == 1 and not np.trace(links, axis1=1, axis2=2).any(), (
        "neither repeated nor from a node to itself"
    )
    label, real = examples["label"], examples["node_mask"]
    pairs = real[:, :, None] & real[:, None] & ~np.eye(12, dtype=bool)
    inside = label[:, :, None] == label[:, None]
    assert abs(links[pairs & inside].mean() - 0.6) < 0.02 and abs(links[pairs & ~inside].mean() - 0.1) < 0.02
    assert abs(np.bincount(label[real]) / real.sum() - 1 / 3).max() < 0.03


def test_no_link_is_left_out_of_a_complete_graph():
    examples = everything(min_nodes=12, probability_inside=1.0, probability_between=1.0)
    assert examples["edge_mask"].all()
    np.testing.assert_array_equal(adjacency(examples), np.broadcast_to(1 - np.eye(12, dtype=int), (400, 12, 12)))


def test_attributes_hint_at_the_community():
    examples = everything(signal=2.0)
    real = examples["node_mask"]
    nodes, label = examples["nodes"][real], examples["label"][real]
    means = np.stack([nodes[label == community].mean(axis=0) for community in range(3)])
    np.testing.assert_allclose(means, 2 * np.eye(3), atol=0.1)
    assert abs((nodes - means[label]).std() - 1) < 0.03


def test_only_training_graphs_lack_labels():
    train, validation = (everything(name, labelled_fraction=0.2) for name in ("train", "validation"))
    assert not (train["label_mask"] & ~train["node_mask"]).any()
    assert abs(train["label_mask"].sum() / train["node_mask"].sum() - 0.2) < 0.03
    np.testing.assert_array_equal(validation["label_mask"], validation["node_mask"])


def test_a_function_of_seed_and_split():
    first, again, other = everything(), everything(), everything(seed=1)
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
        assert not np.array_equal(value, other[key])
    assert not np.array_equal(everything("validation")["nodes"], everything("test")["nodes"])


def test_batches_hold_all_of_it():
    spec = Data(source=Source(**SMALL), batch_size=8).spec(None)
    assert {key: leaf.shape[0] for key, leaf in spec.items()} == dict.fromkeys(everything(), 8)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_communities": 0}, "num_communities: 0 is less than 1"),
        ({"min_nodes": 5, "max_nodes": 4}, "max_nodes: 4 is less than 5"),
        ({"min_nodes": 1, "max_nodes": 1}, "max_nodes: 1 is less than 2"),
        ({"signal": -0.5}, "signal: -0.5 is less than 0"),
        ({"probability_inside": 1.5}, "probability_inside: 1.5 is out of range"),
        ({"labelled_fraction": 0.0}, "labelled_fraction: 0.0 is out of range"),
    ],
)
def test_refuses_what_it_cannot_make(fields, message):
    with pytest.raises(UserError, match=f"config.data.source.{message}"):
        Source(**fields)

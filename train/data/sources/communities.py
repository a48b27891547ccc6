"""Graphs of communities, for classification of nodes: the stochastic block model (Holland, Laskey & Leinhardt, 1983).

Every node belongs to one of a few communities, each as likely. Two nodes are linked with one probability if they share
it and with another if not, so neighbours tell what a node's own noisy attributes leave open.
"""

import dataclasses

import numpy as np

from train.data.arrays import InMemory
from train.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives a graph padded to max_nodes and to max_nodes (max_nodes - 1) edges, as many as there can be.

    `nodes` [max_nodes, num_communities] are `signal` at the community, 0 elsewhere, plus standard normal noise; `label`
    [max_nodes] is the community. `senders` and `receivers` hold every link in both directions. `node_mask`, `edge_mask`
    and `label_mask` say what is real and what is labelled; padding comes last and is 0.

    Attributes:
        num_communities: classes.
        min_nodes: of a graph.
        max_nodes: likewise; numbers are uniform.
        probability_inside: of a link between two nodes of one community.
        probability_between: of a link between two nodes of different communities.
        signal: how far the attributes of a community's nodes are from 0, in standard deviations of the noise.
        labelled_fraction: probability that a node has a label in the split `train`; in the others, all have.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    num_communities: int = 3
    min_nodes: int = 10
    max_nodes: int = 20
    probability_inside: float = 0.4
    probability_between: float = 0.05
    signal: float = 1.0
    labelled_fraction: float = 1.0
    train_size: int = 1_000
    eval_size: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"num_communities": 1, "min_nodes": 1, "max_nodes": max(self.min_nodes, 2), "signal": 0}
        for field, value in {**least, "train_size": 1, "eval_size": 1, "seed": 0}.items():
            if getattr(self, field) < value:
                raise UserError(f"config.data.source.{field}: {getattr(self, field)} is less than {value}.")
        shares = {field: 0 <= getattr(self, field) <= 1 for field in ("probability_inside", "probability_between")}
        for field, holds in {**shares, "labelled_fraction": 0 < self.labelled_fraction <= 1}.items():
            if not holds:
                raise UserError(f"config.data.source.{field}: {getattr(self, field)} is out of range.")

    @property
    def num_classes(self) -> int:
        return self.num_communities

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = np.random.default_rng((self.seed, SPLITS.index(name)))
        counts = rng.integers(self.min_nodes, self.max_nodes + 1, size=(size, 1))
        node_mask = np.arange(self.max_nodes) < counts
        label = rng.integers(self.num_communities, size=node_mask.shape) * node_mask
        noise = rng.standard_normal((*node_mask.shape, self.num_communities))
        nodes = (self.signal * np.eye(self.num_communities)[label] + noise) * node_mask[:, :, None]
        fraction = self.labelled_fraction if name == "train" else 1.0
        return InMemory(
            {
                "nodes": nodes.astype(np.float32),
                "node_mask": node_mask,
                **self._edges(rng, label, node_mask),
                "label": label.astype(np.int32),
                "label_mask": node_mask & (rng.random(node_mask.shape) < fraction),
            }
        )

    def _edges(self, rng: np.random.Generator, label: np.ndarray, node_mask: np.ndarray) -> dict[str, np.ndarray]:
        one, other = np.triu_indices(self.max_nodes, k=1)
        inside = label[:, one] == label[:, other]
        probability = np.where(inside, self.probability_inside, self.probability_between)
        linked = node_mask[:, one] & node_mask[:, other] & (rng.random(inside.shape) < probability)
        mask = np.concatenate([linked, linked], axis=1)
        order = np.argsort(~mask, axis=1, kind="stable")
        edge_mask = np.take_along_axis(mask, order, axis=1)
        ends = {"senders": np.concatenate([one, other]), "receivers": np.concatenate([other, one])}
        edges = {key: np.where(edge_mask, places[order], 0).astype(np.int32) for key, places in ends.items()}
        return {**edges, "edge_mask": edge_mask}

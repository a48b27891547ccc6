"""Which field is a paper of? Papers that cite one another, few of them labelled (Cora; Kipf & Welling, 2017, Table 2).

    DATA_DIR=… ./launch.sh compare --config=configs/cora.py --seeds=10 --workdir=runs/cora

One graph of 2,708 papers, 140 of them labelled for training, in planetoid/cora.npz in DATA_DIR (its format: the source
`graph`). Kipf & Welling print 81.5 % on the 1,000 test papers. Arguments: gcn, with the paper's settings (16 units,
dropout 0.5, a penalty of 5e-4 on weights, here those of both layers, 200 epochs at 0.01); full, the full graph network
of Battaglia et al. (2018). With `:embedded`, random communities take the place of the papers.

Result, test accuracy, mean and 95 % interval: gcn 82.05 ± 0.44 % (seeds 0 to 9, about 16 s each); full 49.63 ± 40.12 %
(seeds 0, 1 and 2: 59.6, 58.3 and 31.0 %, so it does not train reliably), on one of 2 CPU cores that other work shared,
jax 0.10.2. The settings of gcn are the paper's; those of full are the best of four by validation accuracy.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

MODELS: dict[str, dict[str, Any]] = {
    "gcn": {"variant": "gcn", "hidden_size": 16, "num_layers": 2, "dropout_rate": 0.5},
    "full": {"variant": "full", "aggregation": "mean", "hidden_size": 32, "num_layers": 2, "dropout_rate": 0.2},
}
VARIANTS = tuple(MODELS)


def get_config(argument: str = "") -> ConfigDict:
    name, embedded = common.choose_data(argument, VARIANTS, default="gcn")
    return ConfigDict(
        {
            "model": {"name": "graph_network", "outputs": "nodes", **MODELS[name]},
            "objective": {"name": "classification"},
            "data": {
                "source": {"name": "communities", "labelled_fraction": 0.2}
                if embedded
                else {"name": "graph", "path": "planetoid/cora.npz"},
                "batch_size": 32 if embedded else 1,
                "cache": True,
            },
            "optimizer": {"name": "adam", "learning_rate": 0.01 if name == "gcn" else 2e-3, "l2_penalty": 5e-4},
            "evaluators": {"accuracy": {"every": 50}},
            "log_every": 50,
            "steps": 200,
        }
    )

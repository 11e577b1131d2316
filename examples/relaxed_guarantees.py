"""Sets instead of labels: how much certified accuracy a looser guarantee buys, and at what price.

The price is the size of the guaranteed set: its mean, over the sets with the largest radius.
"""

# %% Settings
import os
from pathlib import Path

import torch

from surefoot import (
    Affinity,
    Local,
    Plain,
    RelaxedTopK,
    Threat,
    Training,
    bracket,
    build,
    fit,
    load,
)
from surefoot.evaluation import metrics
from surefoot.training import make_recipe

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
EPOCHS, COUNT = (5, 60) if QUICK else (30, 500)
RADII = (0.25, 0.5, 0.75)

# %% Train a net whose Lipschitz constants are small by construction
torch.manual_seed(0)
net = build("lipschitz-mlp", inputs=64)
training = Training(epochs=EPOCHS, batch_size=64, learning_rate=1e-2)
fit(
    net,
    load("digits", "train"),
    make_recipe("standard"),
    Path("runs/relaxed_guarantees"),
    training=training,
)
test = load("digits").first(COUNT)

# %% One net, four guarantees; every digit is in a group of digits that look alike
groups = ((1, 2, 7), (3, 5, 8, 9), (4, 9), (0, 6))
guarantees = {
    "Local": Local(),
    "RelaxedTopK(2)": RelaxedTopK(2),
    "RelaxedTopK(3)": RelaxedTopK(3),
    "Affinity": Affinity(groups),
}
print("certified accuracy at l2 radius  " + "".join(f"{radius:>8g}" for radius in RADII) + "  size")
for name, guarantee in guarantees.items():
    record = bracket(
        Plain(net, "lipschitz"),
        test,
        guarantee=guarantee,
        threat=Threat("l2", RADII[-1]),
        radii=RADII,
        attack=False,  # certificates alone
        limits=False,
    )
    fractions = [metrics.certified_accuracy(record, radius).value for radius in RADII]
    cells = "".join(f"{fraction:>8.1%}" for fraction in fractions)
    print(f"{name:<33}{cells}{metrics.mean_set_size(record):>6.2f}")

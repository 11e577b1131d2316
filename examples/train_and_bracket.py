"""Train two nets on digits and put each between what is certified and what an attack leaves.

The UDP net is judged as a vote under Gaussian noise (smoothing certificate), the Lipschitz net as
it stands (Lipschitz certificate). Every figure of a row is about the classifier of that row.
"""

# %% Settings
import os
from pathlib import Path

import torch

from surefoot import Local, Plain, Smoothed, Threat, Training, Vote, bracket, build, fit, load
from surefoot.evaluation import metrics
from surefoot.report import write_page
from surefoot.training import make_recipe

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
EPOCHS, COUNT, N_CERTIFY = (3, 20, 500) if QUICK else (20, 100, 2000)
THREAT = Threat("l2", 0.5)
FOLDER = Path("runs/train_and_bracket")

# %% Train: uncertainty-driven perturbations reach further than the radius we care about
train, test = load("digits", "train"), load("digits").first(COUNT)
torch.manual_seed(0)
udp_net = build("mlp", inputs=64)
training = Training(epochs=EPOCHS, batch_size=64, learning_rate=3e-3)
fit(
    udp_net,
    train,
    make_recipe("udp", threat=Threat("l2", 1.0), steps=10),
    FOLDER / "udp",
    training=training,
)

smooth_net = build("lipschitz-mlp", inputs=64)
training = Training(epochs=2 * EPOCHS, batch_size=64, learning_rate=1e-2)
fit(smooth_net, train, make_recipe("standard"), FOLDER / "lipschitz", training=training)

# %% Attack, certify and bound
rows = {
    "udp": Smoothed(Vote(udp_net, sigma=0.25), n_certify=N_CERTIFY),
    "lipschitz": Plain(smooth_net, "lipschitz"),
}
records = [
    bracket(
        row, test, guarantee=Local(), threat=THREAT, radii=(0.25,), folder=FOLDER / name, name=name
    )
    for name, row in rows.items()
]
page = write_page(records, FOLDER / "report.html", title="UDP vote and Lipschitz net on digits")

# %% The same figures in the terminal
print(f"{'l2 radius 0.5':<14}{'certified':>10}{'attacked':>10}{'clean':>8}")
for record in records:
    certified = metrics.certified_accuracy(record, THREAT.eps)
    attacked = metrics.attacked_accuracy(record, THREAT.eps)
    clean = metrics.clean_accuracy(record)
    name = record.header.name
    print(f"{name:<14}{certified.value:>10.1%}{attacked.value:>10.1%}{clean.value:>8.1%}")
print(f"page: {page}")

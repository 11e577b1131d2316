"""Bring your own model and your own arrays.

Anything that maps images in [0, 1] to logits will do; the normalisation goes inside, so that radii
stay in pixel units.
"""

# %% Settings
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from surefoot import Local, Plain, Threat, bracket, load
from surefoot.evaluation import metrics
from surefoot.models import Normalize

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
STEPS, COUNT = (30, 40) if QUICK else (300, 200)
FOLDER = Path("runs/own_model")


# %% A net of your own; a factory without arguments, so that the command line can call it too
def make() -> nn.Module:
    """Build the net; the weights come from a safetensors file."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    return nn.Sequential(Normalize([0.3], [0.37]), body)


# %% Arrays to .npz: float images in [0, 1], or uint8 from 0 to 255; the labels count from 0
x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32).reshape(-1, 8, 8)
FOLDER.mkdir(parents=True, exist_ok=True)
np.savez(FOLDER / "mine.npz", x=x[:COUNT], y=y[:COUNT])

# %% Your own training, as plain PyTorch as you like
torch.manual_seed(0)
model = make()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
images, labels = torch.from_numpy(x[500:, None]), torch.from_numpy(y[500:])
for _ in range(STEPS):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
save_file(model.state_dict(), FOLDER / "mine.safetensors")

# %% Evaluate; no Lipschitz bound is known for GELU, so nothing is certified here
data, threat = load(str(FOLDER / "mine.npz")), Threat("linf", 0.1)
record = bracket(Plain(model), data, guarantee=Local(), threat=threat, folder=FOLDER, name="mine")
clean, attacked = metrics.clean_accuracy(record), metrics.attacked_accuracy(record, threat.eps)
print(f"clean {clean.value:.1%}, attacked at linf {threat.eps:g}: {attacked.value:.1%}")
# The same from the command line, if `make` stands in a file own_nets.py of the working folder:
#   surefoot evaluate --model own_nets:make --weights runs/own_model/mine.safetensors \
#       --data runs/own_model/mine.npz --norm linf --eps 0.1 --folder runs/own_model

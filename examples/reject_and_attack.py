"""A classifier that may refuse: what an attacker can gain depends on what counts as a failure.

`Local` on a selective classifier: same label and still certain; pushing it into "uncertain" counts
as broken. `LabelOrUncertain`: only an accepted other label counts as broken.
"""

# %% Settings
import os
from pathlib import Path

import torch

from surefoot import (
    LabelOrUncertain,
    Local,
    Selective,
    Threat,
    Training,
    break_guarantee,
    build,
    fit,
    load,
)
from surefoot.training import make_recipe
from surefoot.uncertainty import accepted, threshold_at_coverage
from surefoot.uncertainty.scores import entropy

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
EPOCHS, COUNT, STEPS = (3, 40, 10) if QUICK else (20, 200, 50)
THREAT = Threat("l2", 0.5)

# %% Train, and choose the threshold on images that are neither trained on nor reported
train, held_out = load("digits", "train").split(1000, seed=0)
torch.manual_seed(0)
net = build("mlp", inputs=64)
training = Training(epochs=EPOCHS, batch_size=64, learning_rate=3e-3)
fit(
    net,
    train,
    make_recipe("pgd", threat=THREAT, steps=5),
    Path("runs/reject_and_attack"),
    training=training,
)
with torch.inference_mode():
    scores = entropy(net(held_out.batch(slice(None))[0]))
images, labels = load("digits").batch(slice(0, COUNT))

# %% Attack both guarantees at three coverages
print(
    f"l2 radius {THREAT.eps}, {COUNT} images; the last two are fractions of the accepted and right"
)
print(f"{'coverage asked':>14}{'accepted+right':>16}{'changed':>9}{'wrong+accepted':>16}")
for coverage in (1.0, 0.95, 0.9, 0.8):
    model = Selective(net, "entropy", threshold_at_coverage(scores, coverage)).eval()
    with torch.inference_mode():
        outcomes = model(images)
    right = accepted(outcomes) & (outcomes[:, :-1].argmax(1) == labels)
    own, truth = images[right], labels[right]
    fractions = []
    for guarantee in (Local(), LabelOrUncertain()):
        found = break_guarantee(
            model, own, guarantee=guarantee, threat=THREAT, labels=truth, steps=STEPS
        )
        fractions.append(found.success.double().mean().item())
    changed, wrong = fractions
    print(f"{coverage:>14.0%}{right.double().mean():>16.1%}{changed:>9.1%}{wrong:>16.1%}")
print("Refusing turns accepted errors into refusals; it does not make the outcome constant.")
# An attack that finds nothing proves nothing: the last two columns are lower bounds of the damage.

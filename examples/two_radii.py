"""Two radii around one image: (i) same label and still certain, (ii) same label or uncertain.

A noise sample that is refused votes for "uncertain". Radius (i) is `Local` for that vote, radius
(ii) is `LabelOrUncertain`; beside them the plain vote, which may not refuse.
"""

# %% Settings
import os
from pathlib import Path

import torch

from surefoot import LabelOrUncertain, Local, Selective, Training, build, fit, load
from surefoot.certify import smoothing
from surefoot.training import make_recipe

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
EPOCHS, COUNT, N_CERTIFY = (3, 20, 500) if QUICK else (20, 100, 2000)
SIGMA, RADIUS = 0.25, 0.4

# %% Train on noisy images: the vote is taken among them
torch.manual_seed(0)
net = build("mlp", inputs=64)
training = Training(epochs=EPOCHS, batch_size=64, learning_rate=3e-3)
fit(
    net,
    load("digits", "train"),
    make_recipe("noise", sigma=SIGMA),
    Path("runs/two_radii"),
    training=training,
)
images, labels = load("digits").batch(slice(0, COUNT))


# %% A radius counts when the set that it guards contains the true label
def fraction(model, guarantee, only_accepted: bool = False) -> str:
    """Certify the vote and give the fraction of images that are right to the radius."""
    found = smoothing.certify(model, images, guarantee=guarantee, sigma=SIGMA, n_certify=N_CERTIFY)
    right = found.sets[:, 0].gather(1, labels.unsqueeze(1)).squeeze(1)
    right &= found.radius >= RADIUS
    if only_accepted:
        right &= found.details["accepted"]  # certified jointly with the radius
    return f"{right.double().mean().item():.1%}"


print(f"certified at l2 radius {RADIUS}, sigma {SIGMA}, {COUNT} images, alpha 0.001 an image")
print(f"{'threshold':<11}{'(i) certain':>12}{'(ii) accepted':>15}{'(ii) in all':>12}")
print(f"{'plain vote':<11}{fraction(net, Local()):>12}{'-':>15}{'-':>12}")
for threshold in (0.5, 0.2):
    model = Selective(net, "entropy", threshold).eval()
    certain, both = fraction(model, Local()), fraction(model, LabelOrUncertain())
    kept = fraction(model, LabelOrUncertain(), only_accepted=True)
    print(f"{threshold:<11g}{certain:>12}{kept:>15}{both:>12}")
print("(ii) in all counts images that the vote may refuse; (ii) accepted leaves them out.")

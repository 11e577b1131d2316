"""The limit of robustness where it is known: a standard Gaussian cloud in the plane.

Of all error regions of measure `risk`, a half-space expands least: by eps to
Phi(Phi^-1(risk) + eps). The search knows balls only, and one found region bounds the smallest
expansion from above; so the estimate should lie above the exact value, up to sampling error, and
approach it where large balls look flat.
"""

# %% Settings
import os

import torch
from scipy.stats import norm

from surefoot import concentration

QUICK = os.environ.get("SUREFOOT_QUICK") == "1"
POINTS = 1000 if QUICK else 8000
EPS = 0.5

# %% Draw the cloud; nobody disagrees about a label, so label uncertainty is 0
generator = torch.Generator().manual_seed(0)
points = torch.randn(POINTS, 2, generator=generator)
certain = torch.zeros(POINTS)

# %% Search on one half, measure on the other
print(f"adversarial risk at l2 radius {EPS}, {POINTS} points, 95 % intervals")
print(f"{'risk':>6}{'exact':>8}{'1 ball':>35}{'5 balls':>35}")
for risk in (0.05, 0.1, 0.2):
    cells = []
    for components in (1, 5):
        found = concentration(
            points,
            certain,
            risk=risk,
            gamma=0.0,
            eps=EPS,
            norm="l2",
            components=components,
            delta=0.15,
        )
        reached = found.adversarial_risk
        flag = "" if found.valid else " (not valid)"
        cells.append(f"{reached.value:.3f} [{reached.low:.3f}, {reached.high:.3f}]{flag}")
    exact = norm.cdf(norm.ppf(risk) + EPS)
    print(f"{risk:>6g}{exact:>8.3f}{cells[0]:>35}{cells[1]:>35}")
print("not valid: on the held-out half the region may be smaller than the risk; raise delta")

"""Error regions of classifiers: annotator disagreement inside them, and what abstaining buys."""

from functools import partial

from surefoot.papers.disputing import disputing
from surefoot.papers.experiment import Experiment
from surefoot.papers.intrinsic.parts import LINF, NEAR, PAPER, SMALL, SMOKE

RANGES = {
    "standard": "risk .065 to .08: .24 to .27; .12 to .18: .17 to .21; .25 to .30: .135 to .16; .37"
    " to .39: .11 to .12",
    "adversarially trained": "risk .13 to .18: .175 to .205; .20 to .25: .15 to .17; .33 to .36:"
    " .13",
}

EXPERIMENTS = {
    "intrinsic-error-regions": Experiment(
        source="Zhang, Evans 2022: label uncertainty of error regions; abstention; CIFAR-10H",
        remark="Published ranges are read off a figure (random balls .09 to .096). Abstention by"
        " human label uncertainty is an oracle: people judged the very image; the predicted orders"
        " are scores of the classifier, which the paper does not have. The random balls are the"
        " l2-nearest neighbours of random test images, as many as the classifier has errors.",
        scales={
            "smoke": partial(
                disputing,
                data="blended-digits",
                threat=NEAR,
                subjects=SMOKE,
                balls=50,
                published={},
            ),
            "small": partial(
                disputing,
                data="cifar10h",
                threat=LINF,
                subjects=SMALL,
                balls=1000,
                published=RANGES,
            ),
            "paper": partial(
                disputing,
                data="cifar10h",
                threat=LINF,
                subjects=PAPER,
                balls=1000,
                published=RANGES,
            ),
        },
    ),
}

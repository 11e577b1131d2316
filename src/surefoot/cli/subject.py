"""The model that a command is about, and how its threshold is chosen."""

import math
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surefoot.cli.declared import declared, keys, real
from surefoot.cli.options import check_unused, flag
from surefoot.cli.say import say

if TYPE_CHECKING:
    from torch import Tensor, nn

    from surefoot.data import Data

SCORE_TABLES = ("SCORES", "MEMBER_SCORES", "PROCESS_SCORES")
LOGIT_MARGIN_SCORES = ("gloro", "logit-gap")
"""Rejections that a Lipschitz certificate knows."""
if TYPE_CHECKING:
    from surefoot.models import Preprocessing

    Score = str
else:
    Preprocessing = declared("surefoot.models.preprocessing", "Preprocessing")
    known = [keys("surefoot.uncertainty.scores", name) for name in SCORE_TABLES]
    Score = Literal[("none", *chain(*known), *LOGIT_MARGIN_SCORES)]
MOST_OTHERS = 2000
"""So many images that are not evaluated choose thresholds and temperatures."""
COUNTED = 200
"""So many of them are counted under noise."""
WAYS = ("threshold", "coverage", "risk", "max_rejection")
"""Ways to a threshold, of which --reject takes one."""


@dataclass(frozen=True)
class Subject:
    """The model, and whether it may reject.

    A threshold, or a temperature, is chosen on the images of the split that are not evaluated.

    Args:
        model: The model: a run folder, an ONNX file, package.module:factory or file.py:factory (a
            torch module, a scikit-learn estimator or a function), a Hugging Face image classifier
            (a saved folder, or hf:owner/name), or a .pt2 or TorchScript file.
        weights: Safetensors file with the weights of a factory.
        device: Where it runs: auto takes an accelerator where there is one; else cpu, cuda, cuda:1,
            mps, ...
        trust_code: Open a .pt2 or TorchScript file: loading it executes code from the file.
        preprocessing: What happens to images before the net.
        mc_dropout: Keep dropout on, so that each pass is one draw (then evaluate the smoothed
            classifier).
        float64: Run the net in double precision, where the rounding of its execution takes next to
            nothing from a Lipschitz certificate; all numbers are about that net.
        reject: Let the model answer "uncertain" by this score; mutual-information, member-variance
            and vote-disagreement need a model of several members, latent-variance and gp-variance
            one with --inducing; vacuity-... means something for evidential nets. gloro rejects
            where the label is not certified at an l2 radius, logit-gap where its logit margin is
            small: these two have a Lipschitz certificate, and with least-confidence
            and entropy one by relaxation.
        threshold: Largest score that is accepted; for gloro the radius, for logit-gap the least
            logit margin.
        coverage: Choose the threshold that accepts this fraction of the images.
        risk: Choose the largest threshold at which at most this fraction of the accepted images is
            wrong, with probability 1 - risk alpha.
        risk_alpha: Probability that the risk is larger.
        max_rejection: Choose the threshold of the largest mean radius (ii), same label or
            uncertain, of the smoothed classifier among those that reject at most this fraction.
        threshold_sigma: Noise under which the threshold is chosen; by default that of the
            classifier that is evaluated.
        temperature_scaling: Divide the logits by the temperature that fits the images best.
    """

    model: str
    weights: Path | None = None
    device: str = "auto"
    trust_code: bool = False
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    mc_dropout: bool = False
    float64: bool = False
    reject: Score = "none"
    threshold: float | None = None
    coverage: float | None = None
    risk: float | None = None
    risk_alpha: float = 0.05
    max_rejection: float | None = None
    threshold_sigma: float | None = None
    temperature_scaling: bool = False

    def open(self, data: "Data", others: "Data | None", sigma: float = 0.0) -> "nn.Module":
        """Return the model for this data, wrapped if it is to reject.

        Args:
            data: images that are evaluated.
            others: images of the split that are not.
            sigma: noise of the classifier that is evaluated.
        """
        from surefoot.uncertainty import Selective, tempered

        given = [name for name in WAYS if getattr(self, name) is not None]
        self._check(given)
        check_classes(Path(self.model), data)
        model = self._bare()
        others = others and others.first(min(MOST_OTHERS, len(others)))
        sigma = sigma if self.threshold_sigma is None else self.threshold_sigma
        if self.temperature_scaling:
            images, labels = _chosen_on(others, model, "--temperature-scaling")
            model = tempered(model, images, labels, sigma=sigma).eval()
            say(
                f"temperature {model.temperature:.4g}, from {len(images) // 3} images that are not"
                " evaluated"
            )
        if self.reject == "none":
            return model
        if self.reject in LOGIT_MARGIN_SCORES:
            return self._logit_margin(model, data)
        threshold = self.threshold
        if threshold is None:
            threshold = self._threshold(model, others, given[0], sigma)
        return Selective(model, self.reject, threshold).eval()

    def _check(self, given: list[str]) -> None:
        """Raise on options that contradict each other or would be ignored."""
        if Path(self.model).is_dir():
            check_unused(self, ["trust_code"], f"on {self.model}: a run folder holds no code")
        if self.reject == "none":
            check_unused(self, ["threshold_sigma"], "without --reject")
            if given:
                raise ValueError(f"{flag(given[0])} chooses what is rejected: they need --reject")
        elif self.reject in LOGIT_MARGIN_SCORES and given != ["threshold"]:
            raise ValueError(
                f"--reject {self.reject} needs --threshold, and takes no --coverage, no --risk and"
                " no --max-rejection"
            )
        elif len(given) != 1:
            raise ValueError(f"--reject needs one of {', '.join(map(flag, WAYS))}")
        if self.risk is None:
            check_unused(self, ["risk_alpha"], "without --risk")
        if given == ["threshold"]:
            check_unused(self, ["threshold_sigma"], "where the threshold is given")

    def _bare(self) -> "nn.Module":
        """Return the model as it was trained."""
        import torch

        from surefoot.models import Double, open_model
        from surefoot.uncertainty import MCDropout

        model = open_model(
            self.model,
            self.weights,
            trust_code=self.trust_code,
            preprocessing=real(self.preprocessing),
        ).to(self._device())
        if torch.cuda.is_available():
            torch.backends.cudnn.allow_tf32 = False  # tf32 leaves no certificate
        if self.float64:
            model = Double(model)
        if self.mc_dropout and self.temperature_scaling:
            raise ValueError("--temperature-scaling fits one answer; --mc-dropout gives many")
        return MCDropout(model) if self.mc_dropout else model

    def _device(self) -> str:
        """Return the device of torch that is asked for."""
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ValueError(
                f"--device {self.device} is not there ({str(error).splitlines()[0]}); take cpu, or"
                " leave it out"
            ) from error
        return self.device

    def _logit_margin(self, model: "nn.Module", data: "Data") -> "nn.Module":
        from surefoot.certify.lipschitz import gloro
        from surefoot.uncertainty import logit_gap

        assert self.threshold is not None
        if not 0 <= self.threshold < math.inf:
            raise ValueError(
                f"--threshold must be finite and at least 0 for {self.reject}; found"
                f" {self.threshold}"
            )
        images = data.inputs(slice(0, 1))
        if not data.classes:
            raise ValueError(
                f"--reject {self.reject} needs the number of classes, and {data.name} has neither"
                " labels nor names of classes: add an array `classes` to the .npz"
            )
        if self.reject == "gloro":
            return gloro(model, self.threshold, tuple(images.shape[1:])).eval()
        return logit_gap(model, self.threshold, len(data.classes)).eval()

    def _threshold(
        self, model: "nn.Module", others: "Data | None", way: str, sigma: float
    ) -> float:
        """Return the threshold that the option chooses, and print what it accepts."""
        from surefoot.certify.smoothing import by_radius
        from surefoot.uncertainty import by_coverage, by_risk

        images, labels = _chosen_on(others, model, flag(way))
        if self.coverage is not None:
            found, accepted = by_coverage(model, images, self.reject, self.coverage, sigma=sigma)
            say(f"threshold {found:.4g} accepts {accepted:.1%} of {len(images)} other images")
            return found
        if self.max_rejection is not None:
            few, known = images[:COUNTED], labels[:COUNTED]
            found = by_radius(model, few, known, self.reject, self.max_rejection, sigma=sigma)
            say(f"threshold {found:.4g}: largest mean radius (ii) on {len(few)} other images")
            return found
        assert self.risk is not None
        chosen = by_risk(
            model, images, labels, self.reject, self.risk, alpha=self.risk_alpha, sigma=sigma
        )
        count = len(images) - len(images) // 3
        if chosen.threshold is None:
            raise ValueError(
                f"no threshold shows a risk of at most {self.risk:g}: the first one tried on"
                f" {count} images that are not evaluated leaves it at up to {chosen.bound:.3g}."
                " Take a --risk above that, or another score"
            )
        say(
            f"threshold {chosen.threshold:.4g} accepts {chosen.coverage:.1%} of {count} other"
            f" images, of which {chosen.wrong:.2%} are wrong: risk at most {self.risk:g} with"
            f" probability {1 - self.risk_alpha:g}"
        )
        return chosen.threshold


def _chosen_on(others: "Data | None", model: "nn.Module", flag: str) -> "tuple[Tensor, Tensor]":
    """Return images that are not evaluated, and their labels; the model is tried on one."""
    import torch

    from surefoot.evaluation.warnings import try_model

    if others is None or len(others) < 3:
        raise ValueError(
            f"{flag} chooses on images of the split that are not evaluated, and none are left: give"
            " a --count above 0 and below the number of images in the split"
            + (", or --threshold" if flag != "--temperature-scaling" else "")
        )
    if flag == "--coverage":  # asks only which images are accepted
        images, labels = others.inputs(slice(None)), torch.zeros(len(others), dtype=torch.long)
    else:
        images, labels = others.batch(slice(None))
    try_model(model, images[:1])
    return images, labels


def _names_in(config: dict[str, Any]) -> Any:
    """Return the names of the classes in the configuration of a model; None if not known."""
    trained_on, labels = config.get("data"), config.get("id2label")
    if isinstance(labels, dict) and "model" not in config:  # of transformers
        names = [labels.get(str(index)) for index in range(len(labels))]
        unnamed = [f"LABEL_{index}" for index in range(len(labels))]
        return None if None in names or names == unnamed else names
    return trained_on.get("classes") if isinstance(trained_on, dict) else None


def check_classes(folder: Path, data: "Data") -> None:
    """Compare the classes of the data with those that a model was trained on, where known.

    Classes without names (0, 1, 2, ...) fit any names.

    Raises:
        ValueError: a class of the data has another index than in training.
    """
    from surefoot.models.io import read_config

    if not folder.is_dir():
        return
    names = _names_in(read_config(folder))
    listed = isinstance(names, list) and all(isinstance(one, str) for one in names)
    if names is not None and not listed:
        raise ValueError(
            f"{folder}/config.json: the names of the classes must be a list of strings; found"
            f" {names!r}. The file was changed: take it from a copy, or train the model again"
        )
    known, found = names or [], list(data.classes)
    unnamed = [str(index) for index in range(max(len(known), len(found)))]
    if not known or known == unnamed[: len(known)] or found == unnamed[: len(found)]:
        return
    moved = [name for name in found if name in known and known.index(name) != found.index(name)]
    if moved:
        raise ValueError(
            f"class {moved[0]!r} is number {found.index(moved[0])} in {data.name}, and number"
            f" {known.index(moved[0])} in the data the model was trained on ({', '.join(known)})."
            " Give the data the same classes in the same order; in a folder of images an empty"
            " sub-folder keeps the place of a class."
        )
    if other := [name for name in found if name not in known]:
        say(
            f"warning: {data.name} has classes that the model was not trained on:"
            f" {', '.join(other)}; by their numbers the model takes them for its own"
        )

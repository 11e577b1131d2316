"""The bracket: certified <= true robust <= attacked <= clean, for one classifier on one data set.

Examples are worked off in chunks. A chunk is written as soon as it is done, so a killed run goes on
where it stood, and several processes (`accelerate launch`) share the work; so do several machines,
by shards of a run (`shards`).
"""

import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from torch import Tensor

from surefoot.data import Data
from surefoot.evaluation import data_limits, warnings
from surefoot.evaluation.attack_sweep import (
    Sweep,
    Target,
    attack_down,
    attack_grid,
    counterexamples,
    refine,
    self_check,
    start,
)
from surefoot.evaluation.certified_sets import (
    MOST_IMAGES,
    MOST_SETS,
    groupings,
    is_set_valued,
)
from surefoot.evaluation.classifiers import Classifier, CleanOutputs, Plain, Smoothed, label_wins
from surefoot.evaluation.header import CertificatePart, DataPart, Header, ModelPart, Work
from surefoot.evaluation.identity import identity, identity_of, outcomes_of_all, repeats
from surefoot.evaluation.record import (
    Record,
    concatenate,
    join_radii,
    join_set,
    join_sets,
    read,
)
from surefoot.evaluation.shards import WHOLE, Shard, concluded, hash_of_right, sharded
from surefoot.evaluation.store import OUTCOMES, Chunk, Store, keep_outcomes, same_outcomes
from surefoot.evaluation.warnings import try_model
from surefoot.files import locked
from surefoot.guarantees import Guarantee, containing
from surefoot.models.frozen import device_of
from surefoot.progress import note, reach
from surefoot.threat import Threat
from surefoot.typed import from_json
from surefoot.types import Labels, Model, Outcomes, Sets, checked_images
from surefoot.version import __version__

NO_LABELS = (
    "the data have no labels: the label of each row is the classifier's own clean prediction, so"
    " that right means kept; clean accuracy says nothing here"
)

UNFIT = (
    "the limit is searched on half of the rows: the other data have no 100 rows of the same kind"
    " (shape, value range, labels or votes) that are not evaluated"
)
"""Said where `others` cannot search."""
NO_LIMITS = (
    "the rows are larger than what is read at once, so there is no limit and no ceiling: evaluate"
    " fewer rows for them (--count)"
)


def bracket(
    model: Model | Classifier,
    data: Data,
    *,
    guarantee: Guarantee,
    threat: Threat,
    radii: Sequence[float] | None = None,
    attack: bool = True,
    limits: bool = True,
    others: Data | None = None,
    skip_certified: bool = False,
    folder: Path | str | None = None,
    shard: Shard | None = None,
    name: str = "model",
    command: str = "",
) -> Record:
    """Attack, certify and bound one classifier, one row an example.

    Args:
        model: a model as it stands, or a `Plain` or `Smoothed` classifier with its settings.
        data: evaluated whole; take a part of it before the call. Without labels the prediction of
            each row is its label: "right" then means kept, and there are no limits.
        guarantee: what must not change.
        threat: norm and box (`low`, `high`; infinite: none); `eps` is the radius of the headline.
        radii: grid of radii, in the norm of the threat; None: `threat.eps` alone.
        attack: False leaves the upper end to clean accuracy.
        limits: False leaves out the estimated limit and the proven ceiling of the rows.
        others: data that are not evaluated, of the same distribution, such as the training split:
            the limit is searched there. Without them half of the rows searches, and the other half
            seldom confirms what was found.
        skip_certified: do not attack where the certificate reaches the radius: cheaper, but then
            the attack no longer checks the certificate. The header counts what was skipped.
        folder: if given, chunks are kept there until the record is complete, and the record is
            saved there; a second call goes on where the first was killed.
        shard: work off this part of the rows only, in a folder of its own within the folder;
            `shards.merge` makes one record of all.
        name: of the row.
        command: that reproduces it.

    Returns:
        the record.

    Raises:
        Contradiction: a certificate and a confirmed attack disagree; the counterexample is in the
            folder.
    """
    began = time.perf_counter()
    folder = None if folder is None else Path(folder)
    classifier = model if isinstance(model, Plain | Smoothed) else Plain(model)
    grid = grid_of(radii, threat)
    classifier = classifier.within(threat, grid)
    outcomes = _check(classifier, data, guarantee, threat)
    if not data.classes:
        count = outcomes.shape[1] - classifier.rejects
        data = replace(data, classes=tuple(str(number) for number in range(count)))
    limits = limits and data.labels is not None and not data.is_large
    parts = {"attack": attack, "limits": limits, "skip_certified": skip_certified}
    if limits and others is not None:
        others = data_limits.apart(others, data)
        if others is None:
            note(UNFIT)
    header = _header(classifier, data, guarantee, threat, grid, parts, others if limits else None)
    header = replace(header, name=name, command=command)
    sizes = len(data), classifier.chunk, classifier.first_chunk
    chunks = (shard or WHOLE).chunks(*sizes)
    begins = (shard or WHOLE).chunks_of_all(*sizes)[:2]
    checked = max(begins, key=lambda rows: rows.stop - rows.start).start
    if shard is not None:
        header = sharded(header, shard, chunks)
        folder = None if folder is None else shard.folder(folder)
    if folder is not None and (finished := _finished(folder, header, outcomes)):
        return finished
    doubts = _doubts(classifier, data, outcomes, threat, grid, attack=attack)
    tried = grid if attack else ()
    asked = (classifier, data, guarantee, threat, tried)
    job = Job(*asked, folder, skip_certified, chunks, checked, others)
    state = _processes(folder)
    with locked(folder, owner=state.is_main_process, scratch=(OUTCOMES,)):
        store = Store(folder, header.identity, {data.name: outcomes}, owner=state.is_main_process)
        state.wait_for_everyone()
        rows, counterexamples, details, work = _work(job, store, name)
        header = replace(
            header,
            certificate=details,
            attack=replace(classifier.describe(work.costs), work=work) if attack else None,
        )
        if limits:
            header = _limited(job, header, rows, outcomes)
        record = Record(rows, header, counterexamples)
        record = replace(record, examples=_examples(record, data))
        if attack and rows["index"][0] == 0:  # once an evaluation, as the self-check
            doubts += warnings.of_detector(classifier, data, record, threat)
        if header.shard is not None:
            part = replace(header.shard, warnings=tuple(doubts))
            record = replace(record, header=replace(header, shard=part))
        record = concluded(record, doubts, time.perf_counter() - began)
        _leave(record, store, folder, {data.name: outcomes})
    return record


def _examples(record: Record, data: Data) -> dict[str, torch.Tensor]:
    """Return images of the most frequent certified sets, for the page."""
    if not is_set_valued(record):
        return {}
    shown = groupings(record, record.header.eps)[:MOST_SETS]
    places = [place for one in shown for place in one.places[:MOST_IMAGES]]
    if not places:
        return {}
    rows = record.rows["index"].iloc[places].tolist()
    images = torch.cat([data.inputs(slice(row, row + 1)) for row in rows])
    return {"index": torch.tensor(rows), "images": images}


def _doubts(
    classifier: Classifier,
    data: Data,
    outcomes: Outcomes,
    threat: Threat,
    grid: tuple[float, ...],
    *,
    attack: bool,
) -> list[str]:
    """Collect what is odd before any attack."""
    first = data.inputs(slice(0, 32))
    certified = isinstance(classifier, Smoothed) or classifier.certificate != "none"
    found = warnings.of_model(
        classifier.net, first, attack=attack, voted=isinstance(classifier, Smoothed)
    )
    found += warnings.of_outcomes(outcomes, len(data.classes), rejects=classifier.rejects)
    found += threat.doubts(first) if attack or certified else []
    if data.labels is None:
        found.append(NO_LABELS)
    if data.is_large:
        found.append(NO_LIMITS)
    return found + (classifier.doubts(grid) if attack else [])


def _processes(folder: Path | None) -> PartialState:
    state = PartialState(cpu=not torch.cuda.is_available())
    if folder is None and state.num_processes > 1:
        raise ValueError("several processes meet in a folder: give one")
    return state


def _work(
    job: "Job", store: Store, name: str
) -> tuple[pd.DataFrame, dict[str, Tensor], CertificatePart | None, Work]:
    """Work off the chunks of this process, wait for the others, and join all."""
    state = _processes(job.folder)
    ends = {rows.start: rows.stop for rows in job.chunks}
    places, count = list(ends), sum(end - first for first, end in ends.items())
    kept = {first: sum(ends[one] - one for one in places if one <= first) for first in places}
    reach(0, count, "rows")

    def compute(first: int) -> Chunk:
        chunk = _chunk(job, slice(first, ends[first]))
        reach(kept[first], count, "rows")
        return chunk

    own = places[state.process_index :: state.num_processes]
    sizes = {first: ends[first] - first for first in places}
    store.fill(own, compute, f"evaluate {name}", sizes)
    state.wait_for_everyone()
    reach(count, count, "rows")
    parts = [store.read(first) for first in places]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    # What the certificate rests on is alike for all rows: the first chunk's is kept.
    summaries = [from_json(Summary, part.summary, "summary") for part in parts]
    work = sum((one.work for one in summaries), Work())
    return rows, concatenate([part.tensors for part in parts]), summaries[0].certificate, work


def _leave(record: Record, store: Store, folder: Path | None, outcomes: dict[str, Tensor]) -> None:
    """Save the record once every process has read the chunks; then they may go."""
    state = _processes(folder)
    state.wait_for_everyone()
    if folder is not None and state.is_main_process:
        keep_outcomes(folder, outcomes)
        record.save(folder)
        store.clear()
    state.wait_for_everyone()


def grid_of(radii: Sequence[float] | None, threat: Threat) -> tuple[float, ...]:
    """Sort the radii, the headline eps among them; at radius 0 everything is as at the image."""
    grid = sorted({float(radius) for radius in (radii or ())} | {float(threat.eps)})
    if not all(0 <= radius < math.inf for radius in grid):
        raise ValueError(f"radii must be finite and at least 0; found {', '.join(map(str, grid))}")
    return tuple(grid)


def _finished(folder: Path, header: Header, outcomes: Tensor) -> Record | None:
    """Read the record of this very evaluation, if the folder holds it already."""
    try:
        record = read(folder)
    except ValueError as error:
        if (folder / "record.json").exists():
            note(f"{error} It is evaluated again")
        return None
    same = record.header.identity == header.identity
    if not (same and same_outcomes(folder, {header.data.name: outcomes})):
        return None
    # How the row is called, and how the command is spelled, is that of this call.
    named = replace(record.header, name=header.name, command=header.command)
    return replace(record, header=named)


def _check(classifier: Classifier, data: Data, guarantee: Guarantee, threat: Threat) -> Outcomes:
    """Raise if the parts do not fit; else return the outcomes of all rows, `[N, O]`."""
    model = classifier.net
    if not isinstance(data, Data):
        raise ValueError(
            f"`data` must be a surefoot.data.Data; found {type(data).__name__}. Make one:"
            " Data(images, labels), or surefoot.load('digits'), which also takes a path, a torch"
            " Dataset or DataLoader, and a Hugging Face data set"
        )
    classifier.check(guarantee)
    images = data.inputs(slice(0, 32))
    images = checked_images(images, threat.low, threat.high)
    outcomes = try_model(model, images)
    if len(data.classes) > outcomes.shape[1] - classifier.rejects:
        raise ValueError(
            f"the data set has {len(data.classes)} classes, the model"
            f" {outcomes.shape[1] - classifier.rejects}: they do not belong together"
        )
    return outcomes_of_all(model, data)


class Job(NamedTuple):
    """What is the same for all chunks of an evaluation."""

    classifier: Classifier
    data: Data
    guarantee: Guarantee
    threat: Threat
    radii: Sequence[float]
    folder: Path | None
    skip_certified: bool
    chunks: list[slice]
    checked: int
    others: Data | None


@dataclass(frozen=True)
class Summary:
    """What a chunk keeps beside its rows."""

    certificate: CertificatePart | None
    work: Work


def _chunk(job: Job, rows: slice) -> Chunk:
    """Evaluate some examples: what holds, what is certified, what is broken at which radius."""
    guarantee, threat = job.guarantee, job.threat
    classifier = job.classifier.for_radii(len(job.radii))
    images = checked_images(job.data.inputs(rows), threat.low, threat.high)
    images = images.to(device_of(classifier.net))
    outputs = classifier.clean_outputs(images, guarantee)
    if job.data.labels is None:
        labels = _best(outputs.outcomes, classifier.rejects)
    else:
        labels = job.data.labels[rows].to(images.device)
    right = containing(outputs.sets, labels)
    sets = _holding(guarantee, outputs.sets, labels, outputs.outcomes)
    certified = None
    if outputs.radii is not None:
        certified = torch.where(right.any(2) & sets.any(2), outputs.radii, 0.0)
    target = Target(classifier, images, sets, guarantee, threat, job.folder)
    skip, sweep = job.skip_certified, start(target, certified)
    if classifier.from_largest:
        sweep = attack_down(target, sweep, job.radii, skip_certified=skip)
    else:
        sweep = refine(target, attack_grid(target, sweep, job.radii, skip_certified=skip))
    if job.radii and rows.start == job.checked:  # once an evaluation, whoever works off that chunk
        sweep = self_check(target, sweep, job.radii)
    table = _rows(outputs, labels, target, sweep, rows.start)
    tensors = counterexamples(target, sweep, outputs.fractions, rows.start)
    return Chunk(table, tensors, asdict(Summary(outputs.details, sweep.work)))


def _holding(guarantee: Guarantee, sets: Sets, labels: Labels, outcomes: Outcomes) -> Sets:
    """Return the alternatives that count as right, and hold at the image."""
    right = guarantee.right(sets, labels, outcomes)
    return right & (guarantee.margins(outcomes, right) > 0).unsqueeze(2)


def _limited(job: Job, header: Header, rows: pd.DataFrame, outcomes: Outcomes) -> Header:
    """Return the header with limit and ceiling; a shard has those of every n-th radius.

    They are about all rows. Which of them a net has right, a shard knows from the outcomes; it does
    not know what the votes of the other rows would be.
    """
    data, guarantee, threat, part = job.data, job.guarantee, job.threat, header.shard
    if part is None:
        right = torch.from_numpy(rows["clean"].to_numpy().copy())
        limit = data_limits.estimates(
            data, right, guarantee, threat, header.radii, others=job.others
        )
        ceiling = data_limits.ceilings(data, guarantee, threat, header.radii)
        limit = data_limits.unbeaten(data_limits.never_rising(limit), rows)
        return replace(header, limit=limit, ceiling=ceiling)
    radii = header.radii[part.numbers[0] - 1 :: part.of]
    part = replace(part, ceiling=data_limits.ceilings(data, guarantee, threat, radii))
    if isinstance(job.classifier, Plain):
        _, labels = data.batch(slice(None))
        sets = _holding(guarantee, guarantee.sets(outcomes), labels, outcomes)
        right = sets.any(2).any(1)
        limit = data_limits.estimates(data, right, guarantee, threat, radii, others=job.others)
        part = replace(part, limit=limit, right=hash_of_right(right))
    return replace(header, shard=part)


def _rows(
    outputs: CleanOutputs, labels: Labels, target: Target, sweep: Sweep, first: int
) -> pd.DataFrame:
    sets, scale = target.sets, target.covering_radius(1.0)
    selective = target.classifier.rejects
    best = _best(outputs.outcomes, selective)
    wins = label_wins(outputs.outcomes, selective)
    clean = sets.any(2).any(1)
    if sweep.certified is None:
        certified = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        carrier = sets.any(2).float().argmax(1)
    else:
        certified = _in_norm(sweep.certified.amax(1), scale)
        carrier = torch.where(
            certified > 0, sweep.certified.argmax(1), sets.any(2).float().argmax(1)
        )
    proven = _radii_of_all(outputs, labels, sets, sweep)
    if proven is not None:
        proven = _in_norm(proven, scale)
    carried = sets[torch.arange(len(labels), device=sets.device), carrier]
    return pd.DataFrame(
        {
            "index": range(first, first + len(labels)),
            "label": labels.cpu().numpy(),
            "prediction": best.cpu().numpy(),
            "accepted": wins.cpu().numpy(),
            "certified_accepted": (wins & outputs.accepted).cpu().numpy(),
            "score": outputs.score.double().cpu().numpy(),
            "set": [join_set(members) for members in carried],
            "set_size": carried.sum(1).cpu().numpy(),
            "sets": join_sets(outputs.sets.cpu()),
            "radii": join_radii(proven, len(labels)),
            "clean": clean.cpu().numpy(),
            "certified": certified.cpu().numpy(),
            "attacked": sweep.radius.cpu().numpy(),
            "nearest": sweep.nearest.cpu().numpy(),
            "attack": list(sweep.by),
            "samples": outputs.samples.cpu().numpy(),
        }
    )


def _best(outcomes: Outcomes, selective: bool) -> Labels:
    """Return the best label, whether it is accepted or not."""
    names = outcomes[:, :-1] if selective else outcomes
    return names.nan_to_num(-torch.inf).argmax(1)


def _in_norm(radii: Tensor, scale: float) -> Tensor:
    """Turn l2 radii into the norm of the threat, rounded down; an l2 radius stays what it is."""
    return radii if scale == 1 else radii / scale * (1 - 1e-15)


def _radii_of_all(outputs: CleanOutputs, labels: Labels, sets: Sets, sweep: Sweep) -> Tensor | None:
    """Return l2 radii of all alternatives; where a contradiction was settled, the weaker one."""
    if outputs.radii is None or sweep.certified is None:
        return None
    judged = containing(outputs.sets, labels).any(2) & sets.any(2)
    return torch.where(judged, sweep.certified, outputs.radii)


def _header(
    classifier: Classifier,
    data: Data,
    guarantee: Guarantee,
    threat: Threat,
    grid: tuple[float, ...],
    parts: dict[str, bool],
    others: Data | None,
) -> Header:
    """Return the header before anything ran; its identity is that of all that decides the rows."""
    model = classifier.net
    images = data.inputs(slice(0, 1))
    header = Header(
        name="",
        model=ModelPart(
            _net_name(model),
            "base" if isinstance(classifier, Plain) else "vote",
            **identity_of(model, data),
        ),
        data=DataPart(
            data.name, len(data), tuple(data.classes), data.fingerprint(), tuple(repeats(data))
        ),
        guarantee=guarantee.describe(),
        threat=threat,
        radii=grid,
        config=classifier.settings(),
        dimension=images[0].numel(),
        asked=parts,
        searched="" if others is None else others.fingerprint(),
        seeds={"noise and starts": classifier.seed},
    )
    versions = {
        "surefoot": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    return replace(header, identity=identity(asdict(header)), versions=versions)


def _net_name(model: Model) -> str:
    config = getattr(model, "config", None)
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else type(model).__name__

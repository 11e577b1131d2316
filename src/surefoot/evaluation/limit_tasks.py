"""The limit of a data set in tasks that do not need each other: estimate, split, ceiling, each of
one radius.

So a killed run goes on, several processes or shards share the work, and the numbers are those of
one process.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from torch import Tensor

from surefoot.data import Data
from surefoot.evaluation.data_limits import ceilings
from surefoot.evaluation.identity import identity
from surefoot.evaluation.shards import Shard, check_complete, with_shard
from surefoot.evaluation.store import OUTCOMES, Chunk, Store
from surefoot.files import locked, read_json, write_json
from surefoot.guarantees import LabelOrUncertain, Local
from surefoot.limits import Estimate, concentration, spread, uncertainty_of
from surefoot.limits.families import choose
from surefoot.limits.goal import Goal
from surefoot.threat import Threat

NAME = "limit.json"
GUARANTEES = {"local": Local(), "label_or_uncertain": LabelOrUncertain()}
"""What ceilings are proven for."""
SPREADS = ("risk", "adversarial_risk", "label_uncertainty")
Found = dict[str, Any]


@dataclass(frozen=True)
class LimitTasks:
    """What is asked about the limit of a data set.

    Args:
        data: whose limit it is.
        threat: norm and box.
        radii: grid of radii.
        goal: error region and search; its eps is that of each radius.
        ceiling: prove the ceiling of the rows too.
        splits: random splits of each estimate.
    """

    data: Data
    threat: Threat
    radii: tuple[float, ...]
    goal: Goal
    ceiling: bool = True
    splits: int = 1

    def __post_init__(self) -> None:
        if self.splits < 1:
            raise ValueError(f"`splits` must be at least 1; found {self.splits}")
        if self.goal.family != "best":
            choose(self.goal.family, self.goal.norm)  # raises before anything is written

    @cached_property
    def asked(self) -> Found:
        """Return all that decides the numbers, as JSON keeps it."""
        goal = {name: value for name, value in asdict(self.goal).items() if name != "eps"}
        return {
            "data": {"name": self.data.name, "hash": self.data.fingerprint()},
            "threat": {"norm": self.threat.norm},
            "radii": list(self.radii),
            "goal": goal,
            "ceiling": self.ceiling,
            "splits": self.splits,
        }

    def run(self, folder: Path, shard: Shard | None, command: str) -> Found:
        """Work off the tasks, or those of a shard, and leave `limit.json`; a second call resumes.

        Returns:
            what the file holds: estimates and ceilings; of a shard its tasks.
        """
        state = PartialState(cpu=not torch.cuda.is_available())
        run = identity(self.asked)
        about: Found = {"command": command, "identity": run, "asked": self.asked}
        if shard is not None:
            about["shard"] = shard._asdict()
        if (done := _finished(folder, about)) is not None:
            return done
        own = list(enumerate(tasks(self.asked)))
        own = own[shard.number - 1 :: shard.of] if shard else own
        with locked(folder, owner=state.is_main_process, scratch=(OUTCOMES,)):
            store = Store(folder, run, {}, owner=state.is_main_process)
            state.wait_for_everyone()
            names = dict(own)
            places = list(names)[state.process_index :: state.num_processes]
            store.fill(places, lambda place: self._chunk(names[place]), f"limit {self.data.name}")
            state.wait_for_everyone()
            found = {name: store.read(place).summary["found"] for place, name in own}
            whole = about | ({"tasks": found} if shard else assembled(self.asked, found))
            state.wait_for_everyone()
            if state.is_main_process:
                write_json(whole, folder / NAME)
                store.clear()
            state.wait_for_everyone()
        return whole

    def _chunk(self, name: str) -> Chunk:
        return Chunk(pd.DataFrame({"task": [name]}), {}, {"found": self.compute(name)})

    def compute(self, name: str) -> Found:
        """Return the answer to one task, as JSON can hold it."""
        radius, kind = name.split(" ", 1)
        if kind in GUARANTEES:
            (part,) = ceilings(self.data, GUARANTEES[kind], self.threat, [float(radius)])
            return asdict(part)
        goal, number = replace(self.goal, eps=float(radius)), int(kind.split(" ")[1])
        if number and goal.family == "best":  # all splits have the family of the first
            goal = replace(goal, family=self._estimate(goal).family)
            if goal.family == "none":
                return {"feasible": False}
        return self._estimate(replace(goal, seed=goal.seed + number)).describe()

    def _estimate(self, goal: Goal) -> Estimate:
        points, uncertainty = self._points
        return concentration(points, uncertainty, **vars(goal))

    @cached_property
    def _points(self) -> tuple[Tensor, Tensor]:
        return self.data.inputs(slice(None)).flatten(1), uncertainty_of(self.data)


def tasks(asked: Found) -> list[str]:
    """List the tasks of what is asked; a name holds the radius and what is computed there."""
    kinds = [*GUARANTEES] if asked["ceiling"] else []
    kinds += [f"split {number}" for number in range(asked["splits"])]
    return [f"{radius!r} {kind}" for radius in asked["radii"] for kind in kinds]


def assembled(asked: Found, found: Found) -> Found:
    """Put the answers to all tasks together: `estimates` and `ceilings`, one entry a radius."""
    estimates = [_entry(radius, asked["splits"], found) for radius in asked["radii"]]
    proven = {
        name: [found[f"{radius!r} {name}"] for radius in asked["radii"]]
        for name in GUARANTEES
        if asked["ceiling"]
    }
    return {"estimates": estimates, "ceilings": proven}


def merge_limits(folders: Sequence[Path]) -> Found:
    """Merge the shards of one limit.

    Raises:
        ValueError: shards that are missing, not finished, there twice, or of several runs.
    """
    unfinished = [path for path in folders if not (path / NAME).exists()]
    there = [path for path in folders if path not in unfinished]
    if not there:
        raise ValueError(f"no shard is finished: {', '.join(map(str, unfinished))} hold no {NAME}")
    contents = [_shard_in(path) for path in there]
    first = contents[0]
    for path, one in zip(there, contents, strict=True):
        if (one["identity"], one["shard"]["of"]) != (first["identity"], first["shard"]["of"]):
            differ = [name for name in first["asked"] if one["asked"][name] != first["asked"][name]]
            raise ValueError(
                f"{there[0]} and {path} are not shards of one run; they differ in:"
                f" {', '.join(differ) or 'the number of shards'}"
            )
    numbers = [(path, (one["shard"]["number"],)) for path, one in zip(there, contents, strict=True)]
    check_complete(numbers, first["shard"]["of"], unfinished, first["command"])
    found = {name: answer for one in contents for name, answer in one["tasks"].items()}
    about = {"command": with_shard(first["command"])}
    about |= {name: first[name] for name in ("identity", "asked")}
    return about | assembled(first["asked"], found)


def _entry(radius: float, splits: int, found: Found) -> Found:
    """Return the estimate of a radius; of several splits also mean and standard deviation."""
    every = [found[f"{radius!r} split {number}"] for number in range(splits)]
    entry = {"radius": radius, **every[0]}
    if splits == 1 or entry["family"] == "none":
        return entry
    usable = [one for one in every if one["feasible"]]
    spreads = {f"{name}_over_splits": _over(usable, name) for name in SPREADS}
    valid = sum(one["valid"] for one in every) / splits
    return entry | {"splits": splits, "valid_splits": valid} | spreads


def _over(estimates: Sequence[Found], name: str) -> Found:
    values = [one[name]["value"] for one in estimates]
    return spread([value for value in values if value is not None])._asdict()


def _finished(folder: Path, about: Found) -> Found | None:
    """Read the file that answers this very question, if there is one."""
    if not (folder / NAME).exists():
        return None
    stored = read_json(folder / NAME)
    wanted = json.loads(json.dumps({key: about.get(key) for key in ("identity", "shard")}))
    same = isinstance(stored, dict) and {key: stored.get(key) for key in wanted} == wanted
    return stored if same else None


def _shard_in(folder: Path) -> Found:
    stored = read_json(folder / NAME)
    keys = {"identity", "asked", "shard", "tasks", "command"}
    if not isinstance(stored, dict) or not keys <= stored.keys():
        raise ValueError(f"{folder / NAME} is the limit of a whole run, where a shard is expected")
    return stored

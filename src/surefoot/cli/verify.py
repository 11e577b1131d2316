"""`surefoot verify`: networks against VNN-LIB specifications, with proof or counterexample."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from surefoot.cli.options import check_seeds, check_unused

if TYPE_CHECKING:
    from surefoot.verification import Verdict

STATUS = {"holds": 0, "violated": 10, "unknown": 11, "error": 2}


@dataclass(frozen=True)
class Command:
    """Decide whether a network can violate a specification (VNN-LIB 1.0).

    An attack comes first, then bounds of the outputs over the whole box (CROWN), then branch and
    bound with optimised slopes. Status 0: it holds, proven of the network as it runs; 10: violated,
    with a counterexample that was run (also by onnxruntime, if that is installed); 11: unknown,
    time was up.

    Args:
        files: An ONNX file, and a specification (.vnnlib, .vnnlib.gz). Or one list of instances
            (.csv, NET,SPEC,SECONDS in each line, paths relative to it): a row of verdicts.csv for
            each as it is decided; a second call goes on. Status 10 if one is violated, else 11 if
            one is unknown.
        seconds: For each instance; 0 takes those of the list, or 60.
        float64: Run and verify the network in double precision.
        counterexample: File that receives the counterexample, inputs and outputs.
        seed: Of the attack.
        folder: With a list, receives verdicts.csv and the counterexamples; a second call resumes.
    """

    daily = ("files", "seconds", "counterexample", "folder")
    files: tyro.conf.Positional[tuple[Path, ...]]
    seconds: float = 0.0
    float64: bool = False
    counterexample: Path = Path("counterexample.txt")
    seed: int = 0
    folder: Path = Path("runs/verify")

    def run(self) -> None:
        """Decide one instance, or all of a list."""
        check_seeds(self.seed)
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"--seconds must be above 0, or 0 for the usual; found {self.seconds}")
        if len(self.files) == 2:
            check_unused(self, ["folder"], "for one instance: it is for a list")
            status = self._one(*self.files)
        elif len(self.files) == 1 and self.files[0].suffix == ".csv":
            check_unused(self, ["counterexample"], "for a list: they go to --folder")
            status = self._all(self.files[0])
        else:
            raise ValueError(
                "give NET.onnx and SPEC.vnnlib, or one list INSTANCES.csv; found"
                f" {len(self.files)} files"
            )
        if status:
            raise SystemExit(status)

    def _one(self, net: Path, spec: Path) -> int:
        found = self._decided(net, spec, self.seconds or 60.0, self.counterexample)
        by = f" ({found.by}" if found.by else " (time was up"
        print(f"{found.answer}{by}; {found.parts} parts of the box, {found.seconds:.1f} s)")
        if found.answer == "violated":
            print(f"counterexample: {self.counterexample}")
        return STATUS[found.answer]

    def _decided(self, net: Path, spec: Path, seconds: float, target: Path) -> "Verdict":
        from surefoot.models import Double
        from surefoot.models.onnx_import import read_onnx
        from surefoot.verification import read_vnnlib, runtime_of, verify, write_counterexample

        specification, model = read_vnnlib(_packed(spec)), read_onnx(net)
        shape = model.input_shape
        found = verify(
            Double(model) if self.float64 else model,
            specification,
            shape,  # pyright: ignore
            seconds=seconds,
            seed=self.seed,
            confirm=None if self.float64 else runtime_of(net),
        )
        if found.counterexample is not None and found.outputs is not None:
            write_counterexample(target, found.counterexample, found.outputs)
        return found

    def _all(self, path: Path) -> int:
        from surefoot.verification.instances import RESULTS, Instance, decide_all, read_instances

        instances = read_instances(path)

        def decide(one: Instance) -> "Verdict":
            target = self.folder / f"{Path(one.net).stem}-{Path(one.spec).name}.counterexample"
            seconds = self.seconds or one.seconds or 60.0
            return self._decided(path.parent / one.net, path.parent / one.spec, seconds, target)

        rows = decide_all(instances, self.folder, decide)
        answers = [row["answer"] for row in rows]
        counts = ", ".join(f"{answers.count(one)} {one}" for one in STATUS if one in answers)
        print(f"{counts}: {self.folder / RESULTS}")
        for row in rows:
            if row["answer"] == "error":
                print(f"error: {row['net']} {row['spec']}: {row['error']}")
        worst = [one for one in ("error", "violated", "unknown") if one in answers]
        return STATUS[worst[0]] if worst else 0


def _packed(path: Path) -> Path:
    """Return a file, or the packed one that stands for it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.exists() else path

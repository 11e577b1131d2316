"""Relaxations in the bracket and on the command line: at linf, with every guarantee's rejection."""

import pytest
import torch
from torch import nn

from surefoot.cli import main
from surefoot.cli.automatic import Choice, choose, kept
from surefoot.data import load
from surefoot.evaluation import Contradiction, Plain, bracket, metrics, read
from surefoot.evaluation.header import RelaxationPart
from surefoot.guarantees import LabelOrUncertain, Local, RelaxedTopK, TopK
from surefoot.models import build
from surefoot.report.words import grounds
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe
from surefoot.uncertainty import Selective

RADII = (0.01, 0.03, 0.1)
THREAT = Threat("linf", 0.03)


@pytest.fixture(scope="module")
def digits():
    return load("digits").first(25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plain")
    net = build("mlp", inputs=64, hidden=(32, 16))
    training = Training(epochs=8, learning_rate=1e-2)
    fit(net, load("digits", "train"), make_recipe("standard"), folder, training=training)
    return folder


@pytest.fixture(scope="module")
def net(folder):
    from surefoot.models import open_model

    return open_model(str(folder)).eval()


def run(classifier, data, guarantee=None, **more):
    given = {"guarantee": guarantee or Local(), "threat": THREAT, "radii": RADII, "limits": False}
    return bracket(classifier, data, **(given | more))


@pytest.mark.parametrize("guarantee", [Local(), RelaxedTopK(2)], ids=repr)
def test_a_plain_net_has_a_lower_end_at_linf(net, digits, guarantee, tmp_path):
    record = run(Plain(net, "relaxation", steps=8), digits, guarantee, folder=tmp_path)
    rows = record.rows
    assert set(rows["certified"]) <= {0.0, *RADII}
    assert not metrics.contradictions(record)
    certified = metrics.certified_accuracy(record, THREAT.eps).value
    attacked = metrics.attacked_accuracy(record, THREAT.eps).value
    assert 0.3 < certified <= attacked
    by = read(tmp_path).header.certificate
    assert isinstance(by, RelaxationPart)
    assert (by.effort, by.decided) == ("crown", RADII)
    told = " ".join(grounds(record).values())
    assert "Linear relaxation" in told
    assert "√d" not in told


def test_crown_certifies_more_than_intervals(net, digits):
    found = {
        effort: run(Plain(net, "relaxation", effort=effort), digits, attack=False)
        for effort in ("ibp", "crown")
    }
    at = {name: metrics.certified_accuracy(one, 0.03).value for name, one in found.items()}
    assert at["crown"] > at["ibp"]
    assert found["ibp"].header.identity != found["crown"].header.identity


@pytest.mark.parametrize("guarantee", [Local(), LabelOrUncertain()], ids=repr)
def test_rejection_by_a_score_has_a_lower_end(net, digits, guarantee):
    model = Selective(net, "least-confidence", 0.3).eval()
    record = run(Plain(model, "relaxation", steps=8), digits, guarantee)
    assert not metrics.contradictions(record)
    assert metrics.certified_accuracy(record, THREAT.eps).value > 0.2


def test_what_is_certified_is_not_attacked_and_nothing_else_changes(net, digits):
    classifier = Plain(net, "relaxation", steps=8)
    whole, part = run(classifier, digits), run(classifier, digits, skip_certified=True)
    assert part.header.attack.work.skipped_certified > 12
    assert part.header.attack.work.forwards < whole.header.attack.work.forwards
    assert part.rows["attacked"].tolist() == whole.rows["attacked"].tolist()


def test_a_false_certificate_stops_the_run(net, digits, monkeypatch, tmp_path):
    def everything(self, margins, sets, slack=None):
        return sets.any(2)

    monkeypatch.setattr(Local, "holds", everything)
    with pytest.raises(Contradiction, match="certified to linf radius"):
        run(Plain(net, "relaxation", steps=8), digits, folder=tmp_path)
    assert (tmp_path / "contradiction.safetensors").exists()


def taking(*spent):
    """Return clocks that say so many seconds for the first image."""
    return [iter((100.0, 100.0 + one)).__next__ for one in spent]


def bounded(model):
    return Plain(model, "relaxation").within(THREAT, RADII)


def test_auto_takes_relaxations_that_are_fast_for_the_first_image(net, digits):
    """The least of the clocks counts: neither a busy machine nor many threads decide."""
    for clocks in (taking(1.9), taking(60.0, 0.25), taking(0.25, 60.0)):
        found = choose(bounded(net), digits, Local(), clocks=clocks)
        assert found.certificate == "relaxation"
        assert "a plain net" in found.why
    assert "the first of 25 images took 0.25 s, all take at most about 0:00:06" in found.why
    found = choose(bounded(net), digits, Local(), clocks=taking(7.3))
    assert found.certificate == "lipschitz"
    assert "took 7.3 s, all take at most about 0:03:02; more than the 2 s an image" in found.why


def test_auto_looks_at_the_kind_of_net_first(net, digits):
    lipschitz = build("lipschitz-mlp", inputs=64)
    assert choose(bounded(lipschitz), digits, Local()).certificate == "lipschitz"
    rejecting = Selective(net, "entropy", 0.3)
    assert choose(bounded(rejecting), digits, Local()).certificate == "relaxation"
    assert choose(bounded(rejecting), digits, TopK(2)).certificate == "none"
    softplus = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softplus(), nn.Linear(8, 10)).eval()
    found = choose(bounded(softplus), digits, Local())
    assert found.certificate == "none"
    assert "the layer Softplus (0.2)" in found.why


def test_auto_times_no_wide_net_and_no_shard(digits, net):
    wide = nn.Sequential(nn.Conv2d(1, 800, 3), nn.ReLU(), nn.Conv2d(800, 800, 1), nn.ReLU())
    wide += nn.Sequential(nn.Flatten(), nn.Linear(800 * 36, 10))
    found = choose(bounded(wide.eval()), digits, Local(), clocks=[pytest.fail])
    assert found.certificate != "relaxation"
    assert "57,600 hidden numbers, more than 50,000" in found.why
    found = choose(bounded(net), digits, Local(), timed=False, clocks=[pytest.fail])
    assert found.certificate == "relaxation"
    assert "48 hidden numbers" in found.why
    asked = choose(bounded(wide), digits, Local(), asked=True, clocks=[pytest.fail])
    assert asked.certificate == "relaxation"


def test_a_choice_is_kept_for_the_next_call(tmp_path):
    slow, fast = Choice("lipschitz", "slow"), Choice("relaxation", "fast")
    assert kept(tmp_path, {"model": 1}, lambda: slow) == slow
    assert kept(tmp_path, {"model": 1}, lambda: fast) == slow
    assert kept(tmp_path, {"model": 2}, lambda: fast) == fast
    (tmp_path / "auto.json").write_text("{")
    assert kept(tmp_path, {"model": 2}, lambda: slow) == slow


def test_the_choice_of_auto_stands_in_the_record(folder, tmp_path, capsys, monkeypatch):
    line = f"certify --model {folder} --certificate auto --norm linf --eps 0.03 --count 5"
    line += f" --folder {tmp_path / 'run'}"
    monkeypatch.setattr("surefoot.cli.automatic.CLOCKS", taking(0.25))
    main(line.split())
    first = read(tmp_path / "run")
    assert first.header.config["certificate"] == "relaxation"
    told = [text for text in first.header.notes if "auto took relaxation" in text]
    assert len(told) == 1
    assert "took 0.25 s" in told[0]
    assert "took 0.25 s" in capsys.readouterr().out
    monkeypatch.setattr("surefoot.cli.automatic.CLOCKS", taking(99.0))
    main(line.split())
    assert read(tmp_path / "run").header == first.header
    main(line.replace("run", "other").split())  # another folder, on a slower machine
    assert read(tmp_path / "other").header.config["certificate"] == "lipschitz"


@pytest.mark.parametrize(
    "flags", [["--effort", "ibp"], ["--effort", "branch-and-bound", "--seconds", "2"]]
)
def test_an_effort_that_auto_does_not_take_is_an_error(flags, tmp_path, capsys):
    folder = tmp_path / "lipschitz"
    torch.manual_seed(0)
    training = Training(epochs=1, learning_rate=1e-2)
    net = build("lipschitz-mlp", inputs=64)
    fit(net, load("digits", "train").first(64), make_recipe("standard"), folder, training=training)
    line = ["evaluate", "--model", str(folder), "--count", "3", "--folder", str(tmp_path / "none")]
    with pytest.raises(SystemExit):
        main([*line, *flags])
    told = capsys.readouterr().err
    assert "--effort has no effect where --certificate auto takes lipschitz" in told
    assert not (tmp_path / "none").exists()


def test_the_command_certifies_at_linf(folder, tmp_path, capsys):
    main(
        f"certify --model {folder} --certificate relaxation --norm linf --eps 0.03 --count 20"
        f" --effort ibp --folder {tmp_path / 'one'}".split()
    )
    assert "linear relaxation, ibp" in capsys.readouterr().out
    assert read(tmp_path / "one").header.certificate.effort == "ibp"
    main(
        f"certify --model {folder} --certificate auto --guarantee topk --k 2 --norm l2 --eps 0.2"
        f" --count 20 --folder {tmp_path / 'two'}".split()
    )
    assert "(auto: a plain net" in capsys.readouterr().out
    assert TopK(2).describe() == read(tmp_path / "two").header.guarantee


def test_effort_belongs_to_relaxations(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            f"certify --model {folder} --certificate lipschitz --effort ibp"
            f" --folder {tmp_path}".split()
        )
    assert "--certificate relaxation" in capsys.readouterr().err


def test_branch_and_bound_certifies_more_within_its_seconds(net, digits, tmp_path):
    fine = {"radii": tuple(0.03 + 0.01 * step for step in range(13))}
    crown = run(Plain(net, "relaxation", steps=8), digits.first(8), **fine)
    split = Plain(net, "relaxation", steps=8, effort="branch-and-bound", seconds=3.0)
    record = run(split, digits.first(8), folder=tmp_path, **fine)
    assert (record.rows["certified"] >= crown.rows["certified"]).all()
    assert record.rows["certified"].sum() > crown.rows["certified"].sum()
    assert not metrics.contradictions(record)
    by = read(tmp_path).header.certificate
    assert isinstance(by, RelaxationPart)
    assert (by.effort, by.seconds) == ("branch-and-bound", 3.0)
    assert "at most 3.0 s an image" in by.describe()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--effort", "branch-and-bound"], "needs --seconds"),
        (["--seconds", "3"], "--seconds"),
        (["--effort", "branch-and-bound", "--seconds", "0"], "above 0"),
    ],
)
def test_seconds_belong_to_branch_and_bound(folder, flags, said, capsys, tmp_path):
    asked = ["evaluate", "--model", str(folder), "--certificate", "relaxation", "--count", "3"]
    with pytest.raises(SystemExit):
        main([*asked, *flags, "--folder", str(tmp_path / "none")])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_branch_and_bound_on_the_command_line(folder, tmp_path):
    asked = ["certify", "--model", str(folder), "--certificate", "relaxation", "--count", "4"]
    asked += ["--norm", "linf", "--eps", "0.03", "--effort", "branch-and-bound", "--seconds", "1"]
    main([*asked, "--folder", str(tmp_path)])
    assert read(tmp_path).header.certificate.seconds == 1.0

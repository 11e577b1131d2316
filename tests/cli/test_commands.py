"""Every command in its smallest configuration, and a table of bad input with its messages."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from surefoot.cli import COMMANDS, main
from surefoot.evaluation import read
from surefoot.models import build, save


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny trained net and an evaluation of it, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("cli")
    main(
        [
            *("train", "standard", "--data", "digits", "--net", "lipschitz-mlp"),
            *("--hidden", "16", "--epochs", "8", "--learning-rate", "1e-2", "--batch-size", "64"),
            *("--folder", str(folder / "net")),
        ]
    )
    main(
        [
            *("evaluate", "--model", str(folder / "net"), "--norm", "l2", "--eps", "0.2"),
            *("--radii", "0.1", "--count", "30", "--steps", "5"),
            *("--folder", str(folder / "net")),
        ]
    )
    return folder / "net"


def test_help_names_every_command_with_one_line(capsys):
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name, text in COMMANDS.items():
        assert any(line.split()[:1] == [name] and text in line for line in lines)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"surefoot {name}" in capsys.readouterr().out


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith("surefoot 0.")


def test_train_and_evaluate_leave_model_record_and_page(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {"model.safetensors", "config.json", "log.jsonl", "state.safetensors"}
    assert names >= {"record.csv", "record.json", "report.html", "report.md"}
    record = read(run)
    assert len(record) == 30
    assert record.header.radii == (0.1, 0.2)
    assert record.header.certificate.method == "lipschitz"
    assert record.header.certificate.layers
    assert record.header.command.startswith("surefoot ")


@pytest.mark.parametrize("recipe", ["standard", "pgd", "udp", "noise"])
def test_every_recipe_trains_from_the_command_line(recipe, tmp_path, capsys):
    main(
        [
            *("train", recipe, "--data", "digits", "--count", "64", "--net", "mlp"),
            *("--epochs", "1", "--folder", str(tmp_path / "net")),
        ]
    )
    assert "model:" in capsys.readouterr().out
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["recipe"]["name"] == recipe


@pytest.mark.parametrize(
    "claim",
    [
        ("local",),
        ("topk", "--k", "2"),
        ("relaxed-topk", "--k", "3"),
        ("affinity",),
        ("label-or-uncertain", "--reject", "entropy", "--coverage", "0.8"),
        ("local", "--reject", "margin-uncertainty", "--threshold", "0.5"),
    ],
    ids=" ".join,
)
def test_attack_and_certify_for_every_guarantee(claim, run, tmp_path, capsys):
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps([[0, 6], ["8", "9", 3]]))
    extra = ("--groups", str(groups)) if claim[0] == "affinity" else ()
    shared = ["--model", str(run), "--guarantee", *claim, *extra, "--norm", "l2", "--eps", "0.2"]
    main(
        [
            *("attack", *shared, "--count", "12", "--steps", "3"),
            *("--folder", str(tmp_path / "attack")),
        ]
    )
    main(
        [
            *("certify", *shared, "--count", "6", "--certificate", "smoothing"),
            *("--n-certify", "200", "--folder", str(tmp_path / "certificates")),
        ]
    )
    printed = capsys.readouterr().out
    assert printed.count("certified") >= 2
    assert re.search(r"0\.2 .*% \[.*│ +- │ +- │", printed)  # nothing attacked, no limit
    attack, certificates = read(tmp_path / "attack"), read(tmp_path / "certificates")
    assert attack.rows["certified"].isna().all()
    assert certificates.header.attack is None
    assert certificates.rows["certified"].notna().all()


def test_attack_is_the_same_after_a_second_call(run, tmp_path):
    command = ["attack", "--model", str(run), "--count", "10", "--steps", "3", "--norm", "l2"]
    for folder in ("a", "b"):
        main([*command, "--eps", "0.3", "--folder", str(tmp_path / folder)])
    one, two = ((tmp_path / folder / "record.csv").read_bytes() for folder in ("a", "b"))
    assert one == two


def test_a_factory_with_weights_can_be_evaluated(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "from surefoot.models import build\n"
        "def net():\n    return build('mlp', inputs=64, hidden=(8,))\n"
    )
    torch.manual_seed(0)
    save(build("mlp", inputs=64, hidden=(8,)), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    main(
        [
            *("attack", "--model", "mine:net", "--weights", "run/model.safetensors"),
            *("--count", "5", "--steps", "2", "--folder", "out"),
        ]
    )
    assert "mine:net" in capsys.readouterr().out


def test_limit_writes_estimates(tmp_path, capsys):
    main(
        [
            *("limit", "--data", "digits", "--radii", "0.25", "--components", "2"),
            *("--folder", str(tmp_path)),
        ]
    )
    found = json.loads((tmp_path / "limit.json").read_text())
    assert [entry["radius"] for entry in found["estimates"]] == [0.25, 0.5]
    assert "not a proof" in capsys.readouterr().out


def test_label_uncertainty_of_an_archive(tmp_path, capsys):
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.4, 0.6], [1.0, 0.0]])
    np.savez(
        tmp_path / "soft.npz",
        x=np.linspace(0, 1, 8).reshape(4, 2),
        y=np.array([0, 0, 0, 0]),
        classes=np.array(["a", "b"]),
        probabilities=probabilities,
    )
    main(
        [
            *("label-uncertainty", "--data", str(tmp_path / "soft.npz")),
            *("--output", str(tmp_path / "rows.csv")),
        ]
    )
    assert "0.5500" in capsys.readouterr().out  # mean of 0, 1, 1.2, 0
    assert (tmp_path / "rows.csv").read_text().count("\n") == 5


def test_label_uncertainty_of_the_errors_of_records(run, tmp_path, capsys):
    rows = ["label-uncertainty", "--data", "digits", "--count", "30"]
    rows += ["--source", "votes", "--votes", str(tmp_path / "votes.npz")]
    np.savez(tmp_path / "votes.npz", counts=np.random.default_rng(0).integers(0, 5, (30, 10)))
    figure = tmp_path / "regions.svg"
    main([*rows, "--records", str(run), str(run), "--figure", str(figure)])
    printed = capsys.readouterr().out
    assert "Label uncertainty of errors" in printed
    assert "Rank correlation" in printed
    assert figure.read_bytes().startswith(b"<?xml")
    for wrong, said in (
        (["--figure", "regions.pdf"], "must end in .svg or .png"),
        (["--split", "train"], "is about other images"),
    ):
        with pytest.raises(SystemExit):
            main([*rows, "--records", str(run), *wrong])
        assert said in capsys.readouterr().err


def test_report_joins_records(run, tmp_path, capsys):
    main(["report", str(run), str(run), "--output", str(tmp_path / "page.html"), "--title", "Two"])
    assert "<title>Two" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "page.md").exists()
    assert (run / "model-card.md").exists()
    assert "page:" in capsys.readouterr().out


def test_reproduce_smoke(tmp_path, capsys):
    main(
        [
            *("reproduce", "udp-fashion-mnist", "--scale", "smoke"),
            *("--folder", str(tmp_path)),
        ]
    )
    printed = capsys.readouterr().out
    assert "82.3 %" not in printed  # published for Fashion-MNIST, not for digits
    assert "Smoke run: digits" in printed
    rows, figures = 6, 9  # clean, four radii, and a trade-off of each
    assert (tmp_path / "comparison.csv").read_text().count("\n") == 1 + rows * figures
    assert (tmp_path / "experiment.html").exists()
    assert (tmp_path / "report.html").exists()
    main(["reproduce"])
    assert "udp-fashion-mnist" in capsys.readouterr().out


def test_data_is_listed_and_shown(capsys):
    main(["data"])
    assert "fashion-mnist" in capsys.readouterr().out
    main(["data", "show", "digits"])
    assert "500 images 1x8x8" in capsys.readouterr().out


def test_a_small_demo_writes_page_and_summary(tmp_path, capsys, monkeypatch):
    # Two radii instead of five, and short attacks: the figures need no more to be in order.
    monkeypatch.setattr("surefoot.cli.demo.RADII", (0.25, 0.5))
    monkeypatch.setattr("surefoot.cli.demo.STEPS", 5)
    main(
        [
            *("demo", "--folder", str(tmp_path), "--count", "20", "--epochs", "2"),
            *("--n-certify", "300"),
        ]
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    names = ["standard", "pgd", "udp", "lipschitz", "udp, may reject", "lipschitz, sets of 1 or 2"]
    assert list(summary["models"]) == names
    for figures in summary["models"].values():
        assert list(figures)[:4] == ["clean", "attacked", "certified", "limit"]
        assert 0 <= figures["certified"] <= figures["attacked"] <= figures["clean"] <= 1
    assert summary["models"]["lipschitz, sets of 1 or 2"]["set size"] >= 1
    printed = capsys.readouterr().out
    assert printed.startswith("six classifiers of handwritten digits")
    assert str(tmp_path / "report.html") in printed
    page = (tmp_path / "report.html").read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert all(name in page for name in summary["models"])


def damaged(folder):
    """Files that are not what they seem."""
    folder.mkdir(exist_ok=True)
    (folder / "text.npz").write_text("not an archive")
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "groups.json").write_text('[["zero"]]')
    (folder / "broken.json").write_text("[[1,")
    (folder / "float.json").write_text("[[0.5]]")
    (folder / "list").mkdir(exist_ok=True)
    (folder / "list" / "config.json").write_text("[]")
    (folder / "all.json").write_text(json.dumps([list(range(10))]))
    (folder / "bad.pt2").write_text("nothing")
    (folder / "weights.safetensors").write_text("nothing")
    x = np.linspace(0, 1, 640).reshape(10, 64)
    np.savez(folder / "labels.npz", x=x, y=np.arange(10) - 1)
    np.savez(folder / "nan.npz", x=np.full((10, 64), np.nan), y=np.arange(10))
    np.savez(folder / "short.npz", x=x, y=np.arange(9))
    np.savez(folder / "range.npz", x=255 * x, y=np.arange(10))
    np.savez(folder / "one.npz", x=x)
    np.savez(folder / "huge.npz", x=x, y=np.append(np.arange(9), 999_999_999))
    np.savez(folder / "wide.npz", x=np.zeros((10, 5)) + 0.1, y=np.arange(10))


BAD = [
    # command line, message
    ("fly", "there is no command 'fly'"),
    ("train standard --data nowhere", "digits"),
    ("train standard --data {bad}/missing.npz", "missing.npz"),
    ("train standard --data {bad}/text.npz", "text.npz"),
    ("train standard --data {bad}/labels.npz", "label"),
    ("train standard --data {bad}/nan.npz", "NaN|finite"),
    ("train standard --data {bad}/short.npz", "9"),
    ("train standard --data {bad}/range.npz", "255"),
    ("train standard --data {bad}/one.npz", "y"),
    ("train standard --data {bad}/empty", "empty|no "),
    ("train standard --data cifar10", "surefoot data fetch cifar10"),
    ("train standard --data moons --net lenet", "needs images"),
    ("train standard --epochs 0", "epochs >= 1"),
    ("train pgd --eps -1", "at least 0"),
    ("train standard --net lipschitz-mlp --hidden 7", "even"),
    ("evaluate --model {bad}/empty", "not a run folder"),
    ("evaluate --model nomodule:net", "cannot import"),
    ("evaluate --model {bad}/bad.pt2", "--trust-code"),
    ("evaluate --model {bad}/bad.pt2 --trust-code", "cannot be opened"),
    ("evaluate --model {run} --data moons", "does not fit|cannot|64"),
    ("evaluate --model {run} --data {bad}/wide.npz", "does not fit|cannot|64"),
    ("evaluate --model {run} --guarantee label-or-uncertain", "rejects = True"),
    ("evaluate --model {run} --guarantee topk --k 10", "10 of 10 outcomes"),
    ("evaluate --model {run} --guarantee affinity", "needs --groups"),
    ("evaluate --model {run} --guarantee affinity --groups 1,ten", "'ten'"),
    ("evaluate --model {run} --guarantee affinity --groups learned:digits", "no human votes"),
    ("evaluate --model {run} --guarantee affinity --groups learned:digits:x", "'x'"),
    ("evaluate --model {run} --guarantee affinity --groups superclasses:no.npz", "no.npz"),
    ("evaluate --model {run} --guarantee affinity --groups {bad}/groups.json", "'zero'"),
    ("evaluate --model {run} --guarantee affinity --groups {bad}/broken.json", "cannot read"),
    ("evaluate --model {run} --guarantee affinity --groups {bad}/all.json", "10 of 10 outcomes"),
    ("evaluate --model {run} --certificate smoothing --sigma 0", "sigma"),
    ("evaluate --model {run} --certificate smoothing --alpha 2", "alpha"),
    ("evaluate --model {run} --coverage 0.9", "need --reject"),
    ("evaluate --model {run} --reject entropy", "needs one of --threshold"),
    ("evaluate --model {run} --reject entropy --coverage 0.9 --count 0", "give a --count above 0"),
    (
        "certify --model {run} --reject entropy --threshold 1 --certificate lipschitz",
        "how it rejects",
    ),
    ("certify --model {run} --certificate none", "invalid choice .none."),
    ("attack --model {run} --count -1", "at least 0"),
    ("attack --model {run} --protocol standard --guarantee topk", "protocol margins"),
    ("attack --model {run} --step-size 0.1", "belongs to the protocol pgd"),
    ("attack --model {run} --mc-dropout", "no dropout layer"),
    ("attack --model {run} --vote --protocol rand", "attack of its own"),
    ("attack --model {run} --vote --skip-certified", "needs a certificate"),
    ("attack --model {run} --steps 0", "steps"),
    ("attack --model {run} --radii -1", "at least 0"),
    ("evaluate --model {run} --reject entropy --threshold nan", "NaN"),
    ("attack --model {run} --seed -1", "seeds must be at least 0"),
    ("train pgd --steps 0", "steps >= 1"),
    ("train udp --step-size 0", "step_size > 0"),
    ("train noise --sigma -1", "above 0"),
    ("train standard --data {bad}/huge.npz", "names class 999999999"),
    ("evaluate --model {run} --reject entropy --coverage 0", "coverage"),
    ("evaluate --model {run} --guarantee affinity --groups {bad}/float.json", "0.5"),
    ("evaluate --model {bad}/list", "JSON object"),
    ("limit --data digits --risk 0", "risk"),
    ("limit --data digits --radii -1", "at least 0"),
    ("limit --data digits --gamma 3", "gamma"),
    ("label-uncertainty --data digits", "no soft labels"),
    ("report {bad}/empty", "holds no record"),
    ("report", "at least one|required"),
    ("reproduce udp-moon", "no experiment"),
    ("data show", "needs the name"),
    ("data show atlantis", "atlantis"),
    ("data fetch atlantis", "atlantis"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_ends_in_one_clear_line_and_writes_nothing(
    line, message, run, tmp_path, monkeypatch, capsys
):
    damaged(tmp_path / "bad")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path / "no-data"))
    with pytest.raises(SystemExit) as stop:
        main(line.format(bad=tmp_path / "bad", run=run).split())
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    if error.startswith("surefoot: error:"):
        assert error.count("\n") == 1
    left = [path for path in work.rglob("*") if path.is_file()]
    assert left == []


def test_an_unknown_flag_is_answered_with_the_nearest():
    command = [sys.executable, "-m", "surefoot", "train", "standard", "--epoch", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--epochs" in done.stderr

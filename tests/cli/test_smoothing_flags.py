"""Decisions at the radii of the grid, on the command line."""

import pytest

from surefoot.cli import main
from surefoot.evaluation import metrics
from surefoot.evaluation.record import read


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    main(f"train noise --sigma 0.25 --net mlp --epochs 15 --folder {folder}".split())
    return folder


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_decisions_take_fewer_copies_and_certify_as_much(net, norm, tmp_path):
    eps, radii = ("0.1", "0.1 0.3") if norm == "l2" else ("0.02", "0.02 0.04")
    shared = (
        f"certify --model {net} --certificate smoothing --sigma 0.25 --norm {norm} --eps {eps}"
        f" --radii {radii} --count 20 --n-certify 3000 --folder"
    )
    main([*shared.split(), str(tmp_path / "full"), "--no-at-radii"])
    main([*shared.split(), str(tmp_path / "decided")])
    full, decided = read(tmp_path / "full"), read(tmp_path / "decided")
    assert decided.rows["samples"].mean() < 0.5 * full.rows["samples"].mean()
    for radius in (float(eps), float(radii.split()[1])):
        before = metrics.certified_accuracy(full, radius).value
        assert abs(metrics.certified_accuracy(decided, radius).value - before) <= 0.15
    assert metrics.certified_accuracy(decided, float(eps)).value > 0.5
    assert decided.header.certificate.decided


def test_only_smoothing_decides(net, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            [
                *f"certify --model {net} --certificate lipschitz".split(),
                "--no-at-radii",
                "--folder",
                str(tmp_path),
            ]
        )
    assert "--certificate smoothing" in capsys.readouterr().err


def test_other_ways_to_a_certificate(net, tmp_path):
    shared = (
        f"certify --model {net} --certificate smoothing --sigma 0.25 --norm l2 --eps 0.1"
        " --count 8 --n-certify 1000"
    ).split()
    ways = {
        "near": "--tolerance 0.1 --no-at-radii",
        "decided": "--at-radii",
        "half": "--reject entropy --threshold 0.6 --rule majority",
    }
    for name, flags in ways.items():
        main([*shared, *flags.split(), "--folder", str(tmp_path / name)])
        record = read(tmp_path / name)
        assert metrics.certified_accuracy(record, 0.1).value > 0.3
    assert read(tmp_path / "near").rows["samples"].min() < 1100
    assert read(tmp_path / "half").header.certificate.rule == "majority"


@pytest.mark.parametrize("flags", ["--tolerance 0.1", "--rule majority", "--levels 255"])
def test_flags_of_smoothing_say_so(net, tmp_path, capsys, flags):
    with pytest.raises(SystemExit):
        main(f"certify --model {net} --certificate lipschitz {flags} --folder {tmp_path}".split())
    assert "--certificate smoothing" in capsys.readouterr().err


def test_a_seed_from_the_system_is_told_stored_and_repeatable(net, tmp_path, capsys):
    shared = (
        f"certify --model {net} --certificate smoothing --sigma 0.25 --norm l2 --eps 0.1"
        " --count 8 --n-certify 300"
    ).split()
    main([*shared, "--seed", "random", "--folder", str(tmp_path / "one")])
    seed = read(tmp_path / "one").header.config["seed"]
    assert seed > 2**20
    assert f"--seed {seed} to go on" in capsys.readouterr().out
    main([*shared, "--seed", str(seed), "--folder", str(tmp_path / "two")])
    assert read(tmp_path / "two").rows.equals(read(tmp_path / "one").rows)
    with pytest.raises(SystemExit):
        main([*shared, "--seed", "lucky", "--folder", str(tmp_path / "three")])

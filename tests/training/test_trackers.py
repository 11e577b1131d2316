"""TensorBoard receives what the log holds, also of a run that was killed."""

import json

import pytest
import torch

from surefoot import fit, load
from surefoot.cli import main
from surefoot.models import build
from surefoot.training import RECIPES, Training, state

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="the extra track is not installed",
)
FLAGS = ("train", "standard", "--net", "mlp", "--count", "60", "--track", "tensorboard")


def drawn(folder) -> dict[str, dict[int, float]]:
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: {one.step: one.value for one in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def test_a_killed_run_goes_on_in_the_same_curves(tmp_path, monkeypatch):
    stored, original = [], state.store

    def dying(*arguments):
        if len(stored) == 2:
            raise KeyboardInterrupt
        stored.append(original(*arguments))

    monkeypatch.setattr(state, "store", dying)
    flags = [*FLAGS, "--epochs", "4", "--folder", str(tmp_path / "net")]
    with pytest.raises(SystemExit):
        main(flags)
    monkeypatch.setattr(state, "store", original)
    main(flags)
    lines = [json.loads(line) for line in (tmp_path / "net/log.jsonl").read_text().splitlines()]
    found = drawn(tmp_path / "net")
    assert set(found) == {"loss", "accuracy_on_perturbed", "seconds"}
    assert found["loss"].keys() == {1, 2, 3, 4}
    assert list(found["loss"].values()) == pytest.approx([line["loss"] for line in lines])


def test_tracking_does_not_change_the_weights_or_bind_a_resume(tmp_path):
    data, training = load("digits", "train").first(60), Training(epochs=2)
    weights = []
    for name, trackers in (("plain", ()), ("tracked", ("tensorboard",))):
        torch.manual_seed(0)
        net = build("mlp", inputs=64, hidden=(4,))
        fit(net, data, RECIPES["standard"], tmp_path / name, training=training, trackers=trackers)
        weights.append(net.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    torch.manual_seed(0)
    again = build("mlp", inputs=64, hidden=(4,))
    fit(again, data, RECIPES["standard"], tmp_path / "tracked", training=training)  # without


def test_a_missing_package_and_an_unknown_tracker_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("surefoot.training.trackers.is_tensorboard_available", lambda: False)
    with pytest.raises(SystemExit):
        main([*FLAGS, "--folder", str(tmp_path / "net")])
    assert "pip install 'surefoot[track]'" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()
    with pytest.raises(ValueError, match="`trackers` knows tensorboard; found wandb"):
        fit(build("mlp", inputs=64), load("digits"), RECIPES["standard"], tmp_path / "net",
            trackers=["wandb"])  # pyright: ignore  # fmt: skip

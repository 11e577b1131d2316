"""Classes of the data are those that the model was trained on, by name and by number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surefoot.cli import main


def write(folder: Path, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            image = Image.fromarray(np.full((8, 8), 40 * place + number, np.uint8))
            image.save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    write(folder / "abc", ("a", "b", "c"))
    main(
        [
            *("train", "standard", "--data", str(folder / "abc"), "--net", "mlp", "--hidden", "4"),
            *("--epochs", "1", "--folder", str(folder / "net")),
        ]
    )
    return folder / "net"


def attack(trained: Path, data: Path, out: Path) -> list[str]:
    return [
        *("attack", "--model", str(trained), "--data", str(data), "--count", "0"),
        *("--steps", "2", "--folder", str(out)),
    ]


def test_a_missing_class_that_moves_the_others_is_an_error_and_the_advice_works(
    trained, tmp_path, capsys
):
    write(tmp_path / "ac", ("a", "c"))
    with pytest.raises(SystemExit) as stop:
        main(attack(trained, tmp_path / "ac", tmp_path / "out"))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "class 'c' is number 1 in ac, and number 2 in the data the model was trained on" in error
    assert "an empty sub-folder keeps the place" in error
    assert not (tmp_path / "out").exists()
    (tmp_path / "ac" / "b").mkdir()
    main(attack(trained, tmp_path / "ac", tmp_path / "out"))
    assert "on 4 images of ac" in capsys.readouterr().out


def test_classes_that_the_model_does_not_know_are_a_warning(trained, tmp_path, capsys):
    write(tmp_path / "abd", ("a", "b", "d"))
    main(attack(trained, tmp_path / "abd", tmp_path / "out"))
    assert "warning: abd has classes that the model was not trained on: d;" in (
        capsys.readouterr().out
    )


def test_classes_without_names_fit_any(trained, tmp_path, capsys):
    np.savez(tmp_path / "set.npz", x=np.zeros((3, 8, 8)) + 0.5, y=[0, 1, 2])
    main(attack(trained, tmp_path / "set.npz", tmp_path / "out"))
    assert "warning: set" not in capsys.readouterr().out

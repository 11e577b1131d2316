"""The forms of data on the command line: one evaluation each."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from surefoot.cli import main
from surefoot.evaluation.record import read

RANDOM = np.random.default_rng(0)


def table(folder) -> str:
    x, y = RANDOM.normal(size=(60, 4)) * 9, RANDOM.integers(0, 2, 60)
    x[:, 0] += 30 * y
    pd.DataFrame(x).assign(kind=np.array(["cat", "dog"])[y]).to_csv(folder / "t.csv", index=False)
    return f"{folder}/t.csv#kind"


def signals(folder) -> str:
    x, y = RANDOM.normal(size=(60, 1, 16)), RANDOM.integers(0, 2, 60)
    np.savez(folder / "s.npz", x=x + 2 * y[:, None, None], y=y)
    return f"{folder}/s.npz --value-range none"


def mapped(folder) -> str:
    (folder / "m").mkdir()
    np.save(folder / "m/images.npy", RANDOM.integers(0, 256, (60, 5, 5), dtype=np.uint8))
    np.save(folder / "m/labels.npy", RANDOM.integers(0, 2, 60))
    return f"{folder}/m"


def mixed(folder) -> str:
    for split in ("train", "val"):
        for name, shade in (("dark", 30), ("light", 200)):
            (folder / "p" / split / name).mkdir(parents=True)
            for number, size in enumerate(RANDOM.integers(5, 12, (15, 2))):
                image = Image.new("L", tuple(size.tolist()), shade + number)
                image.save(folder / "p" / split / name / f"{number}.png")
    return f"{folder}/p --split val --input-size 6 6"


FORMS = {"t": (table, (-np.inf, np.inf)), "s": (signals, (-np.inf, np.inf))}
FORMS |= {"m": (mapped, (0, 1)), "p (resized to 6x6)": (mixed, (0, 1))}


@pytest.mark.parametrize("name", FORMS)
def test_train_evaluate_and_certify(name, tmp_path, capsys):
    write, box = FORMS[name]
    data = write(tmp_path)
    train = data.replace("val ", "train ")
    main(
        f"train pgd --data {train} --net mlp --hidden 8 --epochs 3 --norm l2 --eps 0.1 --steps 2"
        f" --folder {tmp_path}/net".split()
    )
    main(f"data show {data}".split())
    assert f"{name}: " in capsys.readouterr().out
    shared = f"--model {tmp_path}/net --data {data} --count 20 --norm l2 --eps 0.05 --folder"
    main(f"evaluate {shared} {tmp_path}/evaluated --steps 5".split())
    record = read(tmp_path / "evaluated")
    assert (record.header.data.name, record.header.data.count) == (name, 20)
    assert (record.header.threat.low, record.header.threat.high) == box
    assert (tmp_path / "evaluated/report.html").is_file()
    main(f"certify {shared} {tmp_path}/certified --sigma 0.5 --n-certify 200".split())
    assert len(read(tmp_path / "certified").rows) == 20


def test_data_without_labels(tmp_path):
    np.savez(tmp_path / "bare.npz", x=RANDOM.random((30, 64)))
    main(f"train standard --net mlp --hidden 8 --epochs 1 --folder {tmp_path}/net".split())
    main(
        f"certify --model {tmp_path}/net --data {tmp_path}/bare.npz --count 20 --sigma 0.5"
        f" --n-certify 200 --folder {tmp_path}/out".split()
    )
    record = read(tmp_path / "out")
    assert (record.rows["label"] == record.rows["prediction"]).all()
    with pytest.raises(SystemExit):
        main(f"train standard --data {tmp_path}/bare.npz --folder {tmp_path}/no".split())

"""Every public function that takes a path takes a string as well, and one record for several."""

import torch

import surefoot as sf
from surefoot.data import groups
from surefoot.evaluation import Record, bracket, read
from surefoot.evaluation.smoothing_log import read_log, write_log
from surefoot.guarantees import Local
from surefoot.models import load, open_model, save
from surefoot.models.io import load_weights
from surefoot.report import model_card, write_markdown, write_page


def test_data_and_models_come_from_strings_and_paths(tmp_path):
    import numpy as np

    np.savez(tmp_path / "b.npz", x=np.zeros((2, 4)) + 0.5, y=[0, 1])
    assert (
        sf.load(tmp_path / "b.npz").fingerprint() == sf.load(str(tmp_path / "b.npz")).fingerprint()
    )
    net = sf.build("mlp", inputs=4, hidden=(3,))
    save(net, str(tmp_path / "net"))
    images = torch.rand(2, 4)
    for opened in (
        load(str(tmp_path / "net")),
        load(tmp_path / "net"),
        open_model(tmp_path / "net"),
        open_model(str(tmp_path / "net")),
    ):
        assert torch.equal(opened(images), net.eval()(images))
    load_weights(net, str(tmp_path / "net" / "model.safetensors"))
    (tmp_path / "groups.json").write_text("[[0, 1]]")
    assert groups.from_file(str(tmp_path / "groups.json"), ("a", "b")) == ((0, 1),)


def test_records_are_read_and_shown_by_strings_and_paths(tmp_path):
    net = sf.build("mlp", inputs=64, hidden=(8,)).eval()
    data = sf.load("digits").first(20)
    record = bracket(
        net,
        data,
        guarantee=Local(),
        threat=sf.Threat("linf", 0.1),
        attack=False,
        limits=False,
        folder=str(tmp_path / "run"),
    )
    assert isinstance(record, Record)
    one = write_page(record, str(tmp_path / "a" / "page.html"))
    several = write_page([record], tmp_path / "b" / "page.html")
    assert one.read_text() == several.read_text()
    assert write_markdown(record, str(tmp_path / "a.md")).read_text() == (
        write_markdown([record], tmp_path / "b.md").read_text()
    )
    assert model_card(read(str(tmp_path / "run"))) == model_card(read(tmp_path / "run"))
    record.save(str(tmp_path / "again"))
    assert len(read(tmp_path / "again")) == 20


def test_logs_are_read_and_written_by_strings(tmp_path):
    (tmp_path / "log.tsv").write_text(
        "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\t0.5\t1\t0:00:01\n"
    )
    record = read_log(str(tmp_path / "log.tsv"))
    write_log(record, str(tmp_path / "again.tsv"))
    assert read_log(str(tmp_path / "again.tsv")).rows["certified"].tolist() == [0.5]

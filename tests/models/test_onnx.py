"""ONNX files: outputs beside onnxruntime, both exporters; training, attack, certificate."""

import contextlib
import io
import logging
import math
import warnings
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx_nets import NETS, Probabilities
from torch import Tensor, nn

from surefoot.attacks import pgd
from surefoot.certify import lipschitz
from surefoot.certify.relaxation.checked_net import relaxed_net_of
from surefoot.certify.relaxation.input_set import input_set_of
from surefoot.certify.relaxation.substitution import Bounds
from surefoot.data import load
from surefoot.guarantees import Local
from surefoot.models import build, open_model
from surefoot.models.onnx_import import read_onnx
from surefoot.models.onnx_operators import OPERATORS
from surefoot.threat import Threat
from surefoot.training import Training, fit, make_recipe


def export(
    net: nn.Module, shape: tuple[int, ...], path: Path, *, new: bool = False, fixed: bool = False
) -> Path:
    """Write a net by the older or the newer exporter of torch; `fixed`: for a batch of 1."""
    images = torch.rand(1 if fixed else 2, *shape)
    batch: dict = {} if fixed else {"dynamic_axes": {"images": {0: "batch"}}}
    if new and not fixed:
        batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                net.eval(), (images,), str(path), input_names=["images"], dynamo=new, **batch
            )
        finally:
            logging.disable(logging.NOTSET)
    return path


def random_net(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = make()
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
    return net, shape


def by_onnxruntime(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(found)


@pytest.mark.parametrize("new", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_onnxruntime(name: str, new: bool, tmp_path: Path) -> None:
    net, shape = random_net(name)
    path = export(net, shape, tmp_path / "net.onnx", new=new)
    images = torch.rand(7, *shape)
    found = read_onnx(path)(images)
    torch.testing.assert_close(found, by_onnxruntime(path, images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, net.eval()(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "view", "resnet20", "signal", "transformer-block"])
def test_a_file_for_a_batch_of_one_takes_any_batch(name: str, tmp_path: Path) -> None:
    net, shape = random_net(name)
    path = export(net, shape, tmp_path / "net.onnx", fixed=True)
    images = torch.rand(5, *shape)
    torch.testing.assert_close(read_onnx(path)(images), net(images), rtol=1e-5, atol=1e-5)


def test_a_final_softmax_is_left_out(tmp_path: Path) -> None:
    net = Probabilities()
    path = export(net, (1, 8, 8), tmp_path / "net.onnx")
    images = torch.rand(3, 1, 8, 8)
    found = read_onnx(path)(images)
    torch.testing.assert_close(found.softmax(1), net(images), rtol=1e-5, atol=1e-6)
    assert found.sum(1).sub(1).abs().min() > 1e-3  # logits, not probabilities


def test_it_trains_is_attacked_and_certified(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = export(build("mlp", inputs=64, hidden=(32,)), (1, 8, 8), tmp_path / "net.onnx")
    model, data = open_model(path), load("digits", "train").first(300)
    fit(
        model,
        data,
        make_recipe("standard"),
        tmp_path / "run",
        training=Training(epochs=20, learning_rate=1e-2),
    )
    images, labels = data.batch(slice(0, 40))
    right = model(images).argmax(1) == labels
    assert right.double().mean() > 0.6
    moved = pgd(model, images, labels, threat=Threat("linf", 0.3), steps=10, step_size=0.05)
    assert (model(moved).argmax(1) == labels).sum() < right.sum()
    found = lipschitz.certify(model, images, guarantee=Local())
    assert (found.radius > 0).any()


def graph(nodes: list, output: tuple = ("n", 3), **initializers) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output)],
        [
            onnx.numpy_helper.from_array(torch.as_tensor(value).numpy(), name)
            for name, value in initializers.items()
        ],
    )
    return helper.make_model(made)


def test_recurrent_nets_are_named(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.cells(images)[0][:, -1])

    path = export(Recurrent(), (6, 4), tmp_path / "net.onnx", fixed=True)
    with pytest.raises(ValueError, match=r"not read: LSTM \(recurrent nets"):
        read_onnx(path)


def test_unknown_operators_are_named_and_nothing_of_the_file_runs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["images"], ["det"]),
        helper.make_node("EvilOp", ["det"], ["logits"], domain="evil.code"),
    ]
    onnx.save(graph(nodes), str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match="not read: Det, EvilOp"):
        open_model(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Reshape", ["images", "all"])], r"logits \[batch, classes\]; its output is \[3027\]"),
        ([("Slice", ["images", "one", "two", "zero"])], "a part of the batch"),
        ([("ReduceMean", ["images"])], "a mean over the batch"),
        ([("Relu", ["nothing"])], "which nothing makes"),
        ([("Identity", ["matrix"])], "does not depend on its input"),
        ([("MatMul", ["images", "matrix4"])], "this form of MatMul"),
    ],
)
def test_forms_that_are_not_read_are_named(nodes: list, message: str, tmp_path: Path) -> None:
    made = [helper.make_node(kind, inputs, ["logits"]) for kind, inputs in nodes]
    constants = {
        "all": torch.tensor([-1]),
        "zero": torch.tensor([0]),
        "one": torch.tensor([0]),
        "two": torch.tensor([1]),
        "matrix": torch.eye(3),
        "matrix4": torch.eye(4),
    }
    onnx.save(graph(made, **constants), str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match=message):
        read_onnx(tmp_path / "net.onnx")


def whole(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def real(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


Form = tuple[str, dict, tuple[torch.Tensor, ...], int]
POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
READ: dict[str, Form] = {
    "hard sigmoid": ("HardSigmoid", {}, (), 17),
    "hard sigmoid, other line": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, (), 17),
    "largest of three": ("Max", {}, (real(-1), real(1)), 17),
    "smallest of one": ("Min", {}, (), 17),
    "softmax over the last": ("Softmax", {"axis": -1}, (), 11),
    "softmax of today": ("Softmax", {"axis": 1}, (), 13),
    "slope of columns": ("PRelu", {}, (torch.rand(1, 1, 6),), 17),
    "slope of planes": ("PRelu", {}, (torch.rand(3, 1, 1),), 17),
    "twice as large": ("Resize", NEAREST, (real(), real(1, 1, 2, 2)), 11),
    "resize of old": ("Resize", {"mode": "nearest"}, (real(1, 1, 2, 2),), 10),
    "mean pool, ceil": ("AveragePool", POOL | {"ceil_mode": 1, "pads": [1] * 4}, (), 19),
    "mean pool, counted": ("AveragePool", POOL | {"count_include_pad": 1, "pads": [1] * 4}, (), 19),
    "largest pool, same": ("MaxPool", POOL | {"auto_pad": "SAME_UPPER"}, (), 12),
    "slice backwards": ("Slice", {}, (whole(-1), whole(-7), whole(2), whole(-2)), 17),
    "clip": ("Clip", {}, (torch.tensor(-1.0), torch.tensor(0.5)), 17),
    "mean of nothing": ("ReduceMean", {"noop_with_empty_axes": 1}, (whole(),), 18),
}
NOT_READ: dict[str, Form] = {
    "softmax of old": ("Softmax", {"axis": 1}, (), 11),
    "selu of another slope": ("Selu", {"alpha": 1.0, "gamma": 2.0}, (), 17),
    "rounded pixels": (
        "Resize",
        {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor"},
        (real(), real(1, 1, 2, 2)),
        11,
    ),
    "broken factor": ("Resize", NEAREST, (real(), real(1, 1, 1.3, 1.3)), 11),
    "planes repeated": ("Pad", {"mode": "edge"}, (whole(0, 2, 0, 0, 0, 1, 0, 0),), 17),
    "pool, ceil, uneven": ("MaxPool", POOL | {"ceil_mode": 1, "pads": [2] * 4}, (), 12),
    "images in another order": ("Slice", {}, (whole(-1), whole(-99), whole(0), whole(-1)), 17),
}


def of_form(form: Form, path: Path) -> Path:
    kind, attributes, constants, opset = form
    names = [f"c{place}" for place in range(len(constants))]
    nodes = [
        helper.make_node(kind, ["images", *names], ["t"], **attributes),
        helper.make_node("Flatten", ["t"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3, 6, 6))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(value.numpy(), name)
            for name, value in zip(names, constants, strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=9), str(path))
    return path


@pytest.mark.parametrize("name", READ)
def test_forms_of_operators_are_read_as_onnxruntime_does(name: str, tmp_path: Path) -> None:
    path = of_form(READ[name], tmp_path / "net.onnx")
    images = torch.randn(4, 3, 6, 6)
    expected = by_onnxruntime(path, images)
    torch.testing.assert_close(read_onnx(path)(images), expected, rtol=1e-5, atol=1e-5)


BOUNDED: dict[str, Form] = {
    "leaky relu": ("LeakyRelu", {"alpha": 0.3}, (), 16),
    "gelu": ("Gelu", {}, (), 20),
    "gelu by tanh": ("Gelu", {"approximate": "tanh"}, (), 20),
    "elu": ("Elu", {"alpha": 0.6}, (), 17),
    "selu": ("Selu", {}, (), 17),
    "hard swish": ("HardSwish", {}, (), 17),
    "hard sigmoid": ("HardSigmoid", {}, (), 17),
    "one slope": ("PRelu", {}, (torch.full((1, 1, 1), 0.2),), 17),
    "clip": ("Clip", {}, (torch.tensor(-0.3), torch.tensor(0.5)), 17),
    "relu6": ("Clip", {}, (torch.tensor(0.0), torch.tensor(6.0)), 17),
    "pool, ceil": ("MaxPool", POOL | {"ceil_mode": 1}, (), 12),
    "pool, same": ("MaxPool", POOL | {"auto_pad": "SAME_UPPER"}, (), 12),
    "pool, same lower": ("MaxPool", POOL | {"auto_pad": "SAME_LOWER", "strides": [1, 1]}, (), 12),
    "mean pool, ceil": ("AveragePool", POOL | {"ceil_mode": 1}, (), 19),
    "a part": ("Slice", {}, (whole(1), whole(5), whole(2), whole(1)), 17),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_relaxations_hold_what_onnxruntime_computes(name: str, tmp_path: Path) -> None:
    path = of_form(BOUNDED[name], tmp_path / "net.onnx")
    net, images, eps = read_onnx(path), 2 * torch.randn(4, 3, 6, 6), 0.3
    threat = Threat("linf", eps, -math.inf, math.inf)
    relaxed = relaxed_net_of(net, images)
    region = input_set_of(images, torch.full((4,), eps), threat)
    with torch.no_grad():
        known = Bounds(relaxed, region, 2.0**-24, "crown").known[relaxed.graph.result]
    for sign in torch.randint(-1, 2, (50, *images.shape)):
        found = by_onnxruntime(path, images + eps * sign).double()
        assert bool((found >= known.lower - 1e-5).all() & (found <= known.upper + 1e-5).all())
    width = known.upper - known.lower
    assert bool((width < 4 * eps).all())


@pytest.mark.parametrize("name", NOT_READ)
def test_forms_that_would_be_another_function_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not read"):
        read_onnx(of_form(NOT_READ[name], tmp_path / "net.onnx"))


def test_a_bias_stays_out_of_a_product_that_is_read_twice(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["images", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Add", ["r", "m"], ["logits"]),
    ]
    made = graph(nodes, ("n", 4), w=torch.randn(3, 4), b=real(3, -2, 1, 0))
    onnx.save(made, str(tmp_path / "net.onnx"))
    images = torch.randn(5, 3)
    expected = by_onnxruntime(tmp_path / "net.onnx", images)
    torch.testing.assert_close(read_onnx(tmp_path / "net.onnx")(images), expected)


def test_whole_numbers_as_images_are_named(tmp_path: Path) -> None:
    made = graph([helper.make_node("Identity", ["images"], ["logits"])])
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(made, str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match="numbers of another type"):
        read_onnx(tmp_path / "net.onnx")


def test_files_that_are_no_onnx_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model"):
        open_model(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="not a readable ONNX file"):
        open_model(tmp_path / "bad.onnx")


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_operators_are_those_of_the_standard(kind: str) -> None:
    assert onnx.defs.has(kind)

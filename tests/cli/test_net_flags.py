"""Every net that the flags name can be built for images, and answers with one logit a class."""

from typing import get_args, get_type_hints

import pytest
import torch

from surefoot.cli.net import Net
from surefoot.data import load

NAMES = get_args(get_type_hints(Net)["net"])


@pytest.mark.parametrize("name", NAMES)
def test_every_net_is_built_and_answers(name):
    data = load("digits").first(4)
    small = {"width": 8} if name in ("liresnet", "lipnext", "preactresnet18") else {}
    small |= {"hidden": (8,)} if name.endswith("mlp") else {}
    model = Net(name, **small).build(data).eval()
    with torch.no_grad():
        assert model(data.batch(slice(None))[0]).shape == (4, 10)


@pytest.mark.parametrize("name", ["lenet", "gloro-2c2f", "liresnet"])
def test_nets_of_images_refuse_points(name):
    with pytest.raises(ValueError, match="needs images"):
        Net(name).build(load("crescents"))
    assert Net("gloro-mlp").build(load("crescents"))

"""Networks, their first layer, and how they are saved, loaded and kept still."""

from surefoot.models.double import Double
from surefoot.models.estimator import from_estimator
from surefoot.models.frozen import device_of, frozen
from surefoot.models.hugging_face import from_hugging_face
from surefoot.models.io import build, fingerprint, load, save
from surefoot.models.lenet import LeNet
from surefoot.models.lipschitz import (
    GloRoMLP,
    GloRoNet,
    LipNeXt,
    LipschitzMLP,
    LiResNet,
    MinMax,
    Scale,
)
from surefoot.models.mlp import MLP
from surefoot.models.normalize import Normalize
from surefoot.models.outside import open_model
from surefoot.models.preactresnet import PreActResNet18
from surefoot.models.preprocessing import Preprocessing
from surefoot.models.residual import ResidualMLP
from surefoot.models.resize import CenterCrop, Resize
from surefoot.models.resnet20 import ResNet20
from surefoot.models.strided import StridedNet

__all__ = [
    "MLP",
    "CenterCrop",
    "Double",
    "GloRoMLP",
    "GloRoNet",
    "LeNet",
    "LiResNet",
    "LipNeXt",
    "LipschitzMLP",
    "MinMax",
    "Normalize",
    "PreActResNet18",
    "Preprocessing",
    "ResNet20",
    "ResidualMLP",
    "Resize",
    "Scale",
    "StridedNet",
    "build",
    "device_of",
    "fingerprint",
    "from_estimator",
    "from_hugging_face",
    "frozen",
    "load",
    "open_model",
    "save",
]

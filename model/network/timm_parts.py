"""timm, and its layers that the network uses."""

from model.imports.timm_import import import_timm

import_timm()

import timm
from timm.layers.drop import DropPath
from timm.models.resnet import Bottleneck

__all__ = ["Bottleneck", "DropPath", "timm"]

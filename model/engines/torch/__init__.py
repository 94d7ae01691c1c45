"""The network computed by torch, with folded, packed and recorded operators on a CPU.

Two modules here import timm's layers, and timm imports torchvision: see `model.torchvision_ops`.
"""

from model.torchvision_ops import ensure_importable

ensure_importable()

"""Computes the network with torch; on a CPU with folded, packed and recorded operators.

Two modules here import timm's layers, and timm imports torchvision: see `model.torchvision_ops`.
"""

from model.torchvision_ops import ensure_importable

ensure_importable()

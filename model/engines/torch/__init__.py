"""Computes the network with torch; on a CPU with folded, packed and recorded operators.

Two modules here import timm's layers: see `model.torchvision_ops`.
"""

from model.torchvision_ops import import_timm

import_timm()

"""Computes the network with torch; on a CPU with folded, packed and recorded operators.

Two modules here import timm's layers: see `model.timm_import`.
"""

from model.timm_import import import_timm

import_timm()

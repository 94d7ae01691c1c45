"""Computes the network with torch; on a CPU with folded, packed and recorded operators.

Two modules here import timm's layers: see `model.imports.timm_import`.
"""

from model.imports.timm_import import import_timm

import_timm()

"""Stand-ins are there during the context only, and never in the place of a real module."""

import json
import sys
from importlib import import_module
from types import ModuleType

import pytest

from model.imports.stand_ins import stand_ins


def test_a_stand_in_is_imported_and_then_forgotten():
    with stand_ins({"no_such_package": ModuleType("no_such_package"), "no_such_other": None}):
        assert import_module("no_such_package").__name__ == "no_such_package"
        with pytest.raises(ImportError):
            import_module("no_such_other")
    assert not {"no_such_package", "no_such_other"} & set(sys.modules)


def test_nothing_stands_in_for_what_is_imported_already():
    parts = {"json": ModuleType("json"), "json.no_such_part": ModuleType("json.no_such_part")}
    with stand_ins(parts):
        assert sys.modules["json"] is json
        assert "json.no_such_part" not in sys.modules
    assert sys.modules["json"] is json


def test_a_real_module_that_takes_its_place_stays():
    real = ModuleType("no_such_package")
    try:
        with stand_ins({"no_such_package": ModuleType("no_such_package")}):
            sys.modules["no_such_package"] = real
        assert sys.modules["no_such_package"] is real
    finally:
        sys.modules.pop("no_such_package", None)

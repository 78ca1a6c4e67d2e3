"""Names of a package that are found when they are first used: importing it loads no more than is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def found_later(package: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """The package's `__getattr__` (PEP 562) for these names, each with the module below it that has it."""

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{package}.{names[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find


__all__ = ["found_later"]

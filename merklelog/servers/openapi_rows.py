"""What the OpenAPI description has a row of: an operation, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .openapi_schemas import DECIMAL, Schema


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; `place` is path, query or header. Those of a path are always required."""

    name: str
    place: str
    meaning: str
    schema: Mapping[str, Any] = field(default_factory=lambda: DECIMAL)
    required: bool = False

    def described(self) -> Schema:
        """As an OpenAPI Parameter Object."""
        required = {"required": True} if self.required or self.place == "path" else {}
        return {
            "name": self.name,
            "in": self.place,
            "description": self.meaning,
            **required,
            "schema": self.schema,
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: its path below the log's prefix (`server` ones have none), its answer and its refusals."""

    path: str
    name: str
    summary: str
    media: str
    answer: str
    parameters: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    method: str = "get"
    revalidated: bool = True
    server: bool = False
    body: Mapping[str, Any] | None = None
    refused: str = "Problem"  # the schema of its refusals
    audits: bool = False  # only where audit records are taken
    also: tuple[str, Mapping[str, Any]] | None = None  # what Accept may ask for instead, and its schema

    @property
    def content(self) -> Schema:
        """What an answer may hold."""
        found = {self.media: {"schema": self.schema} if self.schema else {}}
        return found if self.also is None else {**found, self.also[0]: {"schema": self.also[1]}}


__all__ = ["Operation", "Parameter"]

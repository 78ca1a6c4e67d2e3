"""Whether a document meets a condition, by looking at it: no index, so a verifier can judge what an index said."""

from __future__ import annotations

from .document import Document
from .query import And, Condition, Everything, Not, Or, Prefix, Times, Value, Words
from .words import SEPARATOR


def matches(condition: Condition, document: Document) -> bool:
    """Whether the document meets the condition."""
    if isinstance(condition, And):
        return all(matches(part, document) for part in condition.parts)
    if isinstance(condition, Or):
        return any(matches(part, document) for part in condition.parts)
    if isinstance(condition, Not):
        return not matches(condition.part, document)
    if isinstance(condition, Times):
        return condition.start <= document.time < condition.end
    if isinstance(condition, Value):
        return f"{condition.name}{SEPARATOR}{condition.value}" in document.terms
    if isinstance(condition, Prefix):
        begin = f"{condition.name}{SEPARATOR}{condition.prefix}"
        return any(term.startswith(begin) for term in document.terms)
    if isinstance(condition, Words):
        phrase = f" {' '.join(condition.words)}" + ("" if condition.open_ended else " ")
        return phrase in f" {' '.join(document.text.split())} "
    return isinstance(condition, Everything)


__all__ = ["matches"]

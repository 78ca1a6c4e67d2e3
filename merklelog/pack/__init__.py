"""The auditor's pack: a range of a log's entries and all that proves them, in one file.

A pack is a ZIP of plain files. Nothing in it is trusted: keys and policy are the verifier's own. What binds the
files together is the signed root alone: the entries, with the hashes of `proof.txt`, lead to it or they do not.

    fold       the math: a range of leaves, the hashes beside it, a root
    layout     the files of a pack, their names and order, how entries are written
    statement  `proof.txt`
    page       `README.txt`, which says what a pack proves; a verifier makes it again and compares
    archive    ZIP, read so that every other tool must see the same files
    zipped     ZIP, written
    maker      a pack made from verified entries
    verdict    a pack judged, holding one file of it at a time

`tools/verify_pack.py` judges the same with Python's standard library alone and shares no line with this room.
"""

from __future__ import annotations

from merklelog.pack.maker import Made, PackSource, make_pack
from merklelog.pack.verdict import PackVerdict, is_pack, verify_pack

__all__ = ["Made", "PackSource", "PackVerdict", "is_pack", "make_pack", "verify_pack"]

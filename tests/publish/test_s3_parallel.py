"""Writes in parallel: how they end when the store is closed, or the program is about to."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from merklelog.errors import ClosedError
from merklelog.publish.objects import NewObject
from merklelog.publish.s3_parallel import Parallel

PATIENCE = 60.0
OBJECTS = [NewObject(f"tile/0/{number:03}", b"data") for number in range(50)]

AFTER_THE_MAIN_THREAD = """
import threading
from merklelog.errors import ClosedError
from merklelog.publish.objects import NewObject
from merklelog.publish.s3_parallel import Parallel

def work():
    threading.main_thread().join()
    try:
        Parallel(2).count([NewObject("tile/0/000", b"")], lambda new: True)
    except ClosedError as error:
        print("closed:", error)

threading.Thread(target=work).start()
"""


def test_a_closed_store_writes_nothing_more() -> None:
    parallel = Parallel(2)
    assert parallel.count(OBJECTS, lambda _new: True) == len(OBJECTS)
    parallel.close()
    with pytest.raises(ClosedError):
        parallel.count(OBJECTS, lambda _new: pytest.fail("written after the end"))
    parallel.close()


def test_closing_waits_for_what_is_under_way_alone() -> None:
    parallel = Parallel(1)
    there, go_on = threading.Event(), threading.Event()
    written: list[str] = []
    raised: list[BaseException] = []

    def write(new: NewObject) -> bool:
        written.append(new.key)
        there.set()
        assert go_on.wait(PATIENCE)
        return True

    def count() -> None:
        try:
            parallel.count(OBJECTS, write)
        except BaseException as error:
            raised.append(error)

    caller, closer = threading.Thread(target=count), threading.Thread(target=parallel.close)
    caller.start()
    assert there.wait(PATIENCE)
    closer.start()
    while not parallel._is_closed:
        there.wait(0.01)
    go_on.set()
    closer.join(PATIENCE)
    caller.join(PATIENCE)
    assert len(written) == 1
    assert [type(error) for error in raised] == [ClosedError]


def test_a_program_whose_main_thread_has_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AFTER_THE_MAIN_THREAD],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.startswith("closed: nothing more is written"), done.stderr

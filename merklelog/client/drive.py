"""Carrying out steps: once by blocking calls, once by awaiting. There is no decision in either."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from merklelog.client.steps import Ask, Sleep, Step, Steps
from merklelog.client.transport import AsyncTransport, Transport

Result = TypeVar("Result")


def drive(steps: Steps[Result], transport: Transport) -> Result:
    """Carry out the steps in this thread; their result, or what they raise."""
    act: Callable[[], Step] = steps.__next__
    try:
        while True:
            step = act()
            try:
                answer = _do(step, transport)
            except Exception as error:  # noqa: BLE001 - every error is the steps' to judge
                act = _throw(steps, error)
            else:
                act = _send(steps, answer)
    except StopIteration as done:
        result: Result = done.value
        return result
    finally:
        steps.close()


async def drive_async(steps: Steps[Result], transport: AsyncTransport, *, disk: bool) -> Result:
    """Carry out the steps in this task; `disk`: local steps wait for one, so a thread takes them."""
    act: Callable[[], Step] = steps.__next__
    try:
        while True:
            try:
                step = act()
            except StopIteration as done:  # a coroutine may not let it through
                result: Result = done.value
                return result
            try:
                answer = await _do_async(step, transport, disk=disk)
            except Exception as error:  # noqa: BLE001 - every error is the steps' to judge
                act = _throw(steps, error)
            else:
                act = _send(steps, answer)
    finally:
        steps.close()


def _do(step: Step, transport: Transport) -> Any:
    if isinstance(step, Ask):
        return getattr(transport, step.method)(*step.arguments, step.seconds)
    if isinstance(step, Sleep):
        return time.sleep(step.seconds)
    return step.call()


async def _do_async(step: Step, transport: AsyncTransport, *, disk: bool) -> Any:
    import asyncio  # not for who only has threads

    if isinstance(step, Ask):
        return await getattr(transport, step.method)(*step.arguments, step.seconds)
    if isinstance(step, Sleep):
        return await asyncio.sleep(step.seconds)
    return await asyncio.to_thread(step.call) if disk else step.call()


def _send(steps: Steps[Any], answer: Any) -> Callable[[], Step]:
    return lambda: steps.send(answer)


def _throw(steps: Steps[Any], error: Exception) -> Callable[[], Step]:
    return lambda: steps.throw(error)

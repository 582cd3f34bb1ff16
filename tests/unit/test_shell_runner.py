"""A worker that is told to stop takes the time that saving needs, and no more."""

import asyncio

import pytest

from pulssi.shell import runner
from pulssi.shell.runner import Shell


class Outbox:
    stored_number = 0


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setattr(runner, "_LOOK_S", 0.02)
    monkeypatch.setattr(runner, "_STOP_S_MAX", 0.1)
    made = object.__new__(Shell)
    made._outbox = Outbox()
    return made


def test_saving_goes_on_as_long_as_kafka_stores_what_it_sends(shell):
    async def save():
        for _ in range(20):
            await asyncio.sleep(0.02)
            shell._outbox.stored_number += 1
        return "saved"

    async def run():
        task = asyncio.create_task(save())
        await shell._while_it_moves(task)
        return task.result()

    assert asyncio.run(run()) == "saved"


def test_saving_ends_when_kafka_stores_nothing(shell):
    async def save():
        await asyncio.Event().wait()

    async def run():
        task = asyncio.create_task(save())
        with pytest.raises(TimeoutError):
            await shell._while_it_moves(task)
        await asyncio.sleep(0)
        return task.cancelled()

    assert asyncio.run(run())

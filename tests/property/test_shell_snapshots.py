"""Whatever happens between two records of a split state, the newest whole one is loaded; the topic stays bounded."""

import asyncio
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulssi.shell import saver as saver_module
from pulssi.shell import snapshots
from pulssi.shell import store as store_module
from pulssi.shell.saver import Saver
from tests.property.state_log import SLOT, TOPICS, Log, Outbox, Stop, load, saver_after, state_at

SIZE_MAX = 60
PART = 8
PARTS_MAX = -(-SIZE_MAX // PART)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(saver_module, "PART_BYTES", PART)
    monkeypatch.setattr(snapshots, "PART_BYTES", PART)

    async def at_once(function, *arguments):
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


class Owner:
    """A worker that owns the slot: it goes on from what it loads, and saves now and then."""

    def __init__(self, log, generation, loaded):
        self.log = log
        self.generation = generation
        self.next_offset = 0 if loaded is None else loaded.snapshot.next_offset
        self.saver = saver_after(loaded)

    async def save(self, outbox):
        await self.saver.write(state_at(self.next_offset, SIZE_MAX), self.next_offset, self.generation, 0, outbox)


def whole_of(loaded):
    return loaded is None or loaded.state == state_at(loaded.snapshot.next_offset, SIZE_MAX)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "die", "sleep", "moved", "compact", "wake"]),
        st.integers(0, PARTS_MAX + 4),
        st.integers(0, 100),
    ),
    max_size=25,
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(STEPS)
def test_a_state_is_loaded_that_is_whole_and_not_behind_the_newest_one_that_was_saved(steps):
    asyncio.run(_story(steps))


async def _story(steps):
    log, generation, saved = Log(), 1, -1
    owner = Owner(log, generation, None)
    asleep = []
    for what, records, share in steps:
        owner.next_offset += 1 + share % 3
        if what == "save":
            await owner.save(Outbox(log))
            saved = owner.next_offset
        elif what == "die":  # and is back under the same name, in the same generation
            with suppress(Stop):
                await owner.save(Outbox(log, records))
                saved = owner.next_offset
            owner = Owner(log, generation, await load(log))
        elif what in {"sleep", "moved"}:
            if what == "sleep":
                outbox = Outbox(log, records, sleeps=True)
                asleep.append((outbox, asyncio.create_task(owner.save(outbox))))
                await asyncio.sleep(0)
            generation += 1
            owner = Owner(log, generation, await load(log))
        elif what == "compact":
            log.compact(log.end * share // 100, tombstones_too=records % 2 == 0)
        elif asleep:
            outbox, task = asleep.pop(records % len(asleep))
            outbox.awake.set()
            await task
        loaded = await load(log)
        assert whole_of(loaded)
        assert (loaded.snapshot.next_offset if loaded else -1) >= saved
    for outbox, task in asleep:
        outbox.awake.set()
        await task
    log.compact(log.end, tombstones_too=True)
    assert whole_of(await load(log))
    assert len({SLOT.set_of(one.key) for one in log.records}) <= 1 + 16
    assert log.size <= 1 + 16 * (1 + PARTS_MAX)


@pytest.mark.parametrize("seed", range(20))
def test_the_topic_holds_one_state_however_often_a_worker_is_killed_while_it_saves(seed, monkeypatch):
    monkeypatch.setattr(store_module, "_SCAN_FIRST", 1 << 20)  # what is further back is only overwritten some day
    chance, log = random.Random(seed), Log()

    async def run():
        for _ in range(30):
            owner = Owner(log, 1, await load(log))
            owner.next_offset += chance.randint(1, 5)
            with suppress(Stop):
                await owner.save(Outbox(log, chance.randint(0, 2 * PARTS_MAX)))
        owner = Owner(log, 1, await load(log))
        owner.next_offset += 1
        await owner.save(Outbox(log))

    asyncio.run(run())
    parts = len(asyncio.run(load(log)).snapshot.parts)
    assert log.size <= 1 + parts


@pytest.mark.parametrize("records", range(PARTS_MAX + 3))
def test_a_crash_before_any_record_of_a_split_state_leaves_the_one_before_or_the_new_one(records):
    log = Log()

    async def run():
        saver = Saver(SLOT, TOPICS)
        await saver.write(b"a" * SIZE_MAX, 10, 1, 0, Outbox(log))
        with suppress(Stop):
            await saver.write(b"b" * SIZE_MAX, 20, 1, 0, Outbox(log, records))
        log.compact(log.end, tombstones_too=True)
        return await load(log)

    loaded = asyncio.run(run())
    done = records > PARTS_MAX  # the parts and the head
    assert (loaded.snapshot.next_offset, loaded.state[:1]) == ((20, b"b") if done else (10, b"a"))
    assert len(loaded.state) == SIZE_MAX


@pytest.mark.parametrize("sizes", [(1, 1), (1, SIZE_MAX), (SIZE_MAX, 1), (SIZE_MAX, SIZE_MAX)])
def test_states_of_a_topic_that_is_gone_are_left_out_however_far_they_had_come(sizes):
    log, old, new = Log(), b"o" * 16, b"n" * 16

    async def run():
        await Saver(SLOT, TOPICS, source=old).write(bytes(sizes[0]), 900, 1, 0, Outbox(log))
        assert await load(log, new) is None
        assert (await load(log, old)).snapshot.next_offset == 900
        await Saver(SLOT, TOPICS, source=new).write(bytes(sizes[1]), 5, 2, 0, Outbox(log))
        found = await load(log, new)
        log.compact(log.end, tombstones_too=True)
        return found, await load(log, new)

    for found in asyncio.run(run()):
        assert (found.snapshot.next_offset, len(found.state)) == (5, sizes[1])

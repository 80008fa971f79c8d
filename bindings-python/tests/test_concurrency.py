"""Many devices in one process, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import Cloud, Device, Hierarchy
from dps_core import aio, exceptions


def test_500_devices_in_one_event_loop(cloud: Cloud, hierarchy: Hierarchy) -> None:
    devices = [hierarchy.device() for _ in range(500)]
    connected, peak = 0, 0

    async def one(device: Device, everyone: asyncio.Event) -> str:
        nonlocal connected, peak
        result = await cloud.registering_async(device).register()
        async with cloud.hub_async(device) as hub:
            await hub.send_message(device.name)
            connected += 1
            if connected == len(devices):
                peak = thread_count()
                everyone.set()
            await everyone.wait()
            assert hub.connected
        return result.registration_state.device_id

    async def all_of_them() -> list[str]:
        everyone = asyncio.Event()
        return await asyncio.gather(*(one(device, everyone) for device in devices))

    threads = thread_count()
    assert asyncio.run(all_of_them()) == [device.name for device in devices]
    assert peak <= threads + 20, "threads do not grow with devices"
    for device in devices[::100]:
        assert [message["body"] for message in cloud.feed(device)] == [device.name]


def test_devices_in_threads(cloud: Cloud, hierarchy: Hierarchy) -> None:
    devices = [hierarchy.device() for _ in range(40)]
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda device: cloud.registering(device).register(), devices))
    assert [r.registration_state.device_id for r in results] == [d.name for d in devices]


def test_other_threads_run_while_a_call_waits(cloud: Cloud, device: Device) -> None:
    cloud.fault(device, "register", {"drop": True}, times=0)
    counted, stop = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    with pytest.raises(TimeoutError):
        cloud.registering(device).register(deadline=0.5)
    stop.set()
    thread.join()
    assert counted > 10_000


def test_messages_of_one_event_loop_arrive_in_the_order_of_their_sends(
    cloud: Cloud, device: Device
) -> None:
    cloud.registering(device).register()

    async def send() -> None:
        async with cloud.hub_async(device) as hub:
            await asyncio.gather(*(hub.send_message(str(number)) for number in range(300)))
            await hub.send_messages(str(number) for number in range(300, 500))

    asyncio.run(send())
    bodies = [message["body"] for message in cloud.feed(device)]
    assert bodies == [str(number) for number in range(500)]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often something outside of it gives it something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.wakeups = 0

    # How the arguments fit the callback is not said in the types of these two.
    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        self.wakeups += 1
        return super().call_soon_threadsafe(callback, *arguments, context=context)

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., object], *arguments: Any
    ) -> None:
        def counted(*arguments: Any) -> None:
            self.wakeups += 1
            callback(*arguments)

        super().add_reader(fd, counted, *arguments)


def test_many_acknowledgements_wake_the_event_loop_once(cloud: Cloud, device: Device) -> None:
    cloud.registering(device).register()
    messages = 2000

    async def send(hub: aio.IoTHubDeviceClient) -> None:
        await asyncio.gather(*(hub.send_message(str(number)) for number in range(messages)))

    async def scenario(loop: CountingLoop) -> None:
        async with cloud.hub_async(device) as hub:
            loop.wakeups = 0
            await send(hub)
            assert loop.wakeups < messages / 10

            sending = [asyncio.ensure_future(hub.send_message("late")) for _ in range(messages)]
            await asyncio.sleep(0)
            loop.wakeups = 0
            # The event loop does something else meanwhile.
            deadline = time.monotonic() + 60
            while len(cloud.feed(device)) < 2 * messages:
                assert time.monotonic() < deadline
            await asyncio.gather(*sending)
            assert loop.wakeups <= 3

    loop = CountingLoop()
    try:
        loop.run_until_complete(scenario(loop))
    finally:
        loop.close()


def test_a_thousand_registrations_leave_nothing_behind(cloud: Cloud, hierarchy: Hierarchy) -> None:
    devices = [hierarchy.device() for _ in range(9)]
    others = [hierarchy.device() for _ in range(4)]
    unknown = Hierarchy().device()

    async def asynchronously() -> None:
        await asyncio.gather(*(cloud.registering_async(device).register() for device in devices))
        with pytest.raises(exceptions.ServiceError):
            await cloud.registering_async(unknown).register()

    def waiting(device: Device) -> None:
        cloud.registering(device).register()

    # A registration is waiting, for the most part: both kinds wait at the same time.
    def register() -> None:
        with ThreadPoolExecutor(len(others)) as pool:
            for _ in range(20):
                registered = pool.map(waiting, others)
                asyncio.run(asynchronously())
                assert len(list(registered)) == len(others)
                with pytest.raises(exceptions.ServiceError):
                    cloud.registering(unknown).register()

    leaves_nothing_behind(register)


def leaves_nothing_behind(work: Callable[[], None]) -> None:
    """Between two later rounds nothing grows that also grew in the round before."""
    for _ in range(2):
        work()
    feet = [footprint()]
    for _ in range(3):
        work()
        feet.append(footprint())
    limits = {"blocks": 200, "objects": 20, "file descriptors": 2, "threads": 1, "bytes": 1_000_000}
    for what, limit in limits.items():
        growth = [later[what] - earlier[what] for earlier, later in zip(feet, feet[1:])]
        assert min(growth) <= limit, (what, growth)


def footprint() -> dict[str, int]:
    gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "blocks": sys.getallocatedblocks(),
        "objects": len(gc.get_objects()),
        "file descriptors": len(os.listdir("/proc/self/fd")),
        "threads": thread_count(),
        "bytes": resident,
    }


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def test_a_client_that_is_forgotten_closes_its_connection(cloud: Cloud, device: Device) -> None:
    cloud.registering(device).register()
    before = sockets()
    hub = cloud.hub(device)
    hub.connect()
    opened = sockets() - before
    assert opened
    del hub
    gc.collect()
    deadline = time.monotonic() + 30
    while opened & sockets():
        assert time.monotonic() < deadline, "the connection stays open"
        time.sleep(0.01)


def sockets() -> set[str]:
    """What tells this process's sockets from each other, and from any that were there before."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # It may be closed meanwhile, as that of the listing is.
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("socket:")}

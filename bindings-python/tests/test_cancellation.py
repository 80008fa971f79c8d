"""Whatever a client waits for can be given up, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Cloud, Device, Hierarchy
from dps_core import X509, IoTHubDeviceClient, exceptions
from test_concurrency import sockets
from test_signers import Hsm, x509

PATIENCE = 30


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)


async def until(reached: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not reached():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), PATIENCE)


@pytest.mark.parametrize(
    ("state", "step", "action"),
    [
        (["CONNECT"], "connect", {"drop": True}),
        (["CONNECT", "SUBSCRIBE"], "subscribe", {"drop": True}),
        (["CONNECT", "SUBSCRIBE", "PUBLISH"], "register", {"drop": True}),
        (["CONNECT", "SUBSCRIBE", "PUBLISH", "PUBLISH"], "poll", {"drop": True}),
        (
            ["CONNECT", "SUBSCRIBE", "PUBLISH"],
            "register",
            {"status": {"code": 429, "retryAfter": 1}},
        ),
    ],
)
def test_a_registration_is_cancelled_in_every_state(
    cloud: Cloud, device: Device, state: list[str], step: str, action: dict[str, Any]
) -> None:
    cloud.fault(device, step, action)

    async def scenario() -> None:
        client = cloud.registering_async(device)
        task = asyncio.create_task(client.register())
        await until(lambda: [kind for kind in cloud.heard(device, "dps") if kind in state] == state)
        await cancel(task)
        assert nobody_waits()
        # The client is as good as new.
        assert (await client.register()).status == "assigned"

    asyncio.run(scenario())


def test_a_registration_is_cancelled_before_it_has_begun(cloud: Cloud, device: Device) -> None:
    async def scenario() -> None:
        client = cloud.registering_async(device)
        for turns in range(3):
            task = asyncio.create_task(client.register())
            for _ in range(turns):
                await asyncio.sleep(0)
            await cancel(task)
        await client.register()

    asyncio.run(scenario())


def test_a_registration_is_cancelled_while_its_signer_signs(
    cloud: Cloud, device: Device, tmp_path: Path
) -> None:
    for signature in (0, 1):
        asked, release = threading.Event(), threading.Event()

        def before(
            number: int,
            signature: int = signature,
            asked: threading.Event = asked,
            release: threading.Event = release,
        ) -> None:
            if number == signature:
                asked.set()
                release.wait(PATIENCE)

        async def scenario(identity: X509, asked: threading.Event = asked) -> None:
            task = asyncio.create_task(cloud.registering_async(device, x509=identity).register())
            assert await asyncio.to_thread(asked.wait, PATIENCE)
            await cancel(task)
            assert nobody_waits()

        asyncio.run(scenario(x509(device, Hsm(device, tmp_path, before))))
        release.set()


def test_connecting_sending_and_closing_are_cancelled(cloud: Cloud, device: Device) -> None:
    cloud.registering(device).register()

    async def scenario() -> None:
        client = cloud.hub_async(device)
        cloud.fault(device, "hub-connect", {"drop": True})
        connecting = asyncio.create_task(client.connect())
        await until(lambda: cloud.heard(device, "hub") == ["CONNECT"])
        await cancel(connecting)
        assert not client.connected
        await client.connect()
        assert client.connected

        cloud.fault(device, "telemetry", {"drop": True})
        sending = asyncio.create_task(client.send_message("swallowed"))
        await until(lambda: cloud.heard(device, "hub")[-1] == "PUBLISH")
        closing = asyncio.create_task(client.disconnect(deadline=PATIENCE))
        await asyncio.sleep(0)
        assert not sending.done()
        await cancel(closing)
        await cancel(sending)
        assert nobody_waits()
        # Whether the cancelled close had begun decides whether this one has anything to miss.
        with contextlib.suppress(exceptions.HubError):
            await client.shutdown(deadline=0.2)

    asyncio.run(scenario())


def test_a_time_limit_of_asyncio_ends_a_registration(cloud: Cloud, device: Device) -> None:
    cloud.fault(device, "register", {"drop": True}, times=0)

    async def scenario() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(cloud.registering_async(device).register(), 0.2)
        assert nobody_waits()

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["connected", "registering", "assigning", "assigned"])
def test_the_exception_of_a_progress_callback_ends_the_registration(
    cloud: Cloud, device: Device, stage: str
) -> None:
    def on_progress(reached: str) -> None:
        if reached == stage:
            raise LookupError(stage)

    with pytest.raises(LookupError, match=stage):
        cloud.registering(device).register(on_progress=on_progress)
    with pytest.raises(LookupError, match=stage):
        asyncio.run(cloud.registering_async(device).register(on_progress=on_progress))


def test_an_exception_that_no_future_takes_keeps_nobody_else_waiting(
    cloud: Cloud, hierarchy: Hierarchy
) -> None:
    def on_progress(stage: str) -> None:
        raise StopIteration

    async def scenario() -> None:
        odd = cloud.registering_async(hierarchy.device()).register(on_progress=on_progress)
        others = [cloud.registering_async(hierarchy.device()).register() for _ in range(5)]
        end, *ends = await asyncio.wait_for(
            asyncio.gather(odd, *others, return_exceptions=True), PATIENCE
        )
        assert isinstance(end, TypeError) and "StopIteration" in str(end)
        assert {getattr(result, "status", result) for result in ends} == {"assigned"}
        assert nobody_waits()

    asyncio.run(scenario())


def test_progress_is_told_in_order(cloud: Cloud, device: Device) -> None:
    stages = ["connected", "registering", "assigning", "assigned"]
    told: list[str] = []
    cloud.registering(device).register(on_progress=told.append)
    assert told == stages
    told.clear()
    asyncio.run(cloud.registering_async(device).register(on_progress=told.append))
    assert told == stages


def test_an_event_loop_that_ends_with_work_under_way_takes_its_work_along(
    cloud: Cloud, device: Device
) -> None:
    cloud.fault(device, "register", {"drop": True}, times=0)
    left: list[asyncio.Task[Any]] = []

    async def leave() -> None:
        left.append(asyncio.create_task(cloud.registering_async(device).register()))
        await until(lambda: "PUBLISH" in cloud.heard(device, "dps"))

    before = sockets()
    # asyncio.run cancels what is left.
    asyncio.run(leave())
    assert left.pop().cancelled()
    # The event loop had sockets of its own.
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while sockets() - before:
        assert time.monotonic() < deadline, "the registration goes on"
        time.sleep(0.01)


async def swallowed(cloud: Cloud, device: Device) -> None:
    """Waits for ever, within a client that has a message under way."""
    async with cloud.hub_async(device) as hub:
        await hub.send_message("swallowed")


async def under_way(cloud: Cloud, device: Device) -> None:
    await until(lambda: "PUBLISH" in cloud.heard(device, "hub"))


@pytest.fixture
def deaf(cloud: Cloud, device: Device) -> Device:
    """A device whose messages nobody acknowledges."""
    cloud.registering(device).register()
    cloud.fault(device, "telemetry", {"drop": True}, times=0)
    return device


def test_a_time_limit_and_a_cancellation_get_out_of_a_client(cloud: Cloud, deaf: Device) -> None:
    async def scenario() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(swallowed(cloud, deaf), 0.5)
        task = asyncio.create_task(swallowed(cloud, deaf))
        await under_way(cloud, deaf)
        await cancel(task)
        limit: Any = getattr(asyncio, "timeout", None)
        if limit is not None:
            with pytest.raises(TimeoutError):
                async with limit(0.5):
                    await swallowed(cloud, deaf)

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="this Python has no task groups")
def test_a_task_group_that_fails_hears_of_nothing_else(cloud: Cloud, deaf: Device) -> None:
    async def scenario() -> None:
        async with getattr(asyncio, "TaskGroup")() as group:  # noqa: B009
            group.create_task(swallowed(cloud, deaf))
            await under_way(cloud, deaf)
            raise LookupError("the group's own")

    with pytest.raises(Exception) as raised:
        asyncio.run(scenario())
    (only,) = getattr(raised.value, "exceptions")  # noqa: B009
    assert isinstance(only, LookupError)


def test_what_is_raised_within_a_client_gets_out_of_it(cloud: Cloud, deaf: Device) -> None:
    async def scenario() -> None:
        async with cloud.hub_async(deaf) as hub:
            sending = asyncio.create_task(hub.send_message("swallowed"))
            await under_way(cloud, deaf)
            try:
                raise LookupError("the program's own")
            finally:
                sending.cancel()

    with pytest.raises(LookupError, match="the program's own"):
        asyncio.run(scenario())
    with pytest.raises(LookupError, match="the program's own"), cloud.hub(deaf) as hub:
        threading.Thread(target=send_in_vain, args=(hub,), daemon=True).start()
        asyncio.run(under_way(cloud, deaf))
        raise LookupError("the program's own")


def send_in_vain(hub: IoTHubDeviceClient) -> None:
    with contextlib.suppress(exceptions.DpsError):
        hub.send_message("swallowed")


def test_what_a_signer_does_for_nobody_is_cancelled(
    cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    """More than core signs at once, so that the last device would wait for the others."""
    asked, ended = [], []

    class Silent:
        async def sign(self, request: object) -> bytes:
            asked.append(request)
            try:
                await asyncio.get_running_loop().create_future()
                return b"never"
            finally:
                ended.append(request)

    async def scenario() -> None:
        silent = [hierarchy.device() for _ in range(8)]
        clients = [cloud.registering_async(it, x509=x509(it, Silent())) for it in silent]
        tasks = [asyncio.create_task(client.register()) for client in clients]
        await until(lambda: len(asked) == 8)
        for task in tasks:
            await cancel(task)
        await until(lambda: len(ended) == 8)
        good = hierarchy.device()
        identity = x509(good, Hsm(good, tmp_path))
        assert (await cloud.registering_async(good, x509=identity).register()).status == "assigned"
        # One that runs in no event loop but its own.
        late = cloud.registering(silent[0], x509=x509(silent[0], Silent()))
        with pytest.raises(exceptions.DeadlineExceededError):
            await asyncio.to_thread(late.register, deadline=3)
        await until(lambda: len(ended) == 9)
        # What somebody else still waits for goes on.
        shared = x509(good, Silent())
        one, other = (
            asyncio.create_task(cloud.registering_async(good, x509=shared).register())
            for _ in range(2)
        )
        await until(lambda: len(asked) == 11)
        await cancel(one)
        await cloud.registering_async(hierarchy.device()).register()
        assert len(ended) == 9
        await cancel(other)
        await until(lambda: len(ended) == 11)

    asyncio.run(scenario())


def nobody_waits() -> bool:
    bridge = getattr(asyncio.get_running_loop(), "_dps_core_bridge")  # noqa: B009
    return bool(bridge.pending == 0)

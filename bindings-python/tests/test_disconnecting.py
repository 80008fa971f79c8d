"""Disconnecting while the client connects, sends, or disconnects already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from conftest import Cloud, Device
from dps_core import exceptions
from test_cancellation import PATIENCE, cancel, until


@pytest.fixture
def registered(cloud: Cloud, device: Device) -> Device:
    cloud.registering(device).register()
    return device


def bodies(cloud: Cloud, device: Device) -> list[str]:
    return [message["body"] for message in cloud.feed(device)]


def test_a_message_that_waits_for_the_first_connection_is_sent_before_the_client_disconnects(
    cloud: Cloud, registered: Device
) -> None:
    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_message("first"))
        await asyncio.sleep(0)
        await hub.disconnect()
        await sending
        assert not hub.connected
        await until(lambda: cloud.heard(registered, "hub")[-1] == "DISCONNECT")
        # Who sends after the disconnection connects anew.
        first = asyncio.create_task(hub.send_message("second"))
        disconnecting = asyncio.create_task(hub.disconnect())
        last = asyncio.create_task(hub.send_message("third"))
        await asyncio.gather(first, disconnecting, last)
        assert hub.connected
        shutting_down = asyncio.create_task(hub.shutdown())
        await asyncio.sleep(0)
        with pytest.raises(exceptions.ClosedError):
            await hub.send_message("too late")
        await shutting_down

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["first", "second", "third"]
    assert cloud.heard(registered, "hub").count("CONNECT") == 3


def test_a_disconnection_ends_an_attempt_to_connect(cloud: Cloud, registered: Device) -> None:
    cloud.fault(registered, "hub-connect", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        connecting = asyncio.create_task(hub.connect(deadline=600))
        await until(lambda: cloud.heard(registered, "hub") == ["CONNECT"])
        await hub.disconnect()
        with pytest.raises(exceptions.ClosedError, match="disconnected"):
            await connecting
        assert not hub.connected
        await hub.send_message("after")
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["after"]


def test_the_deadline_of_a_disconnection_ends_an_attempt_to_connect(
    cloud: Cloud, registered: Device
) -> None:
    cloud.fault(registered, "hub-connect", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_messages(["never", "sent"]))
        await until(lambda: cloud.heard(registered, "hub") == ["CONNECT"])
        disconnecting = asyncio.create_task(hub.disconnect(deadline=0.2))
        later = asyncio.create_task(hub.send_message("later"))
        with pytest.raises(exceptions.NotDeliveredError, match="2 messages"):
            await disconnecting
        with pytest.raises(exceptions.NotDeliveredError):
            await sending
        await later
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["later"]


def test_one_connection_ends_before_the_next_begins(cloud: Cloud, registered: Device) -> None:
    cloud.fault(registered, "telemetry", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_message("swallowed"))
        await until(lambda: "PUBLISH" in cloud.heard(registered, "hub"))
        disconnecting = asyncio.create_task(hub.disconnect(deadline=1))
        await asyncio.sleep(0)
        later = asyncio.create_task(hub.send_message("later"))
        ended: list[asyncio.Task[None]] = []
        for task in (disconnecting, later):
            task.add_done_callback(ended.append)
        await later
        assert ended == [disconnecting, later]
        for task in (disconnecting, sending):
            with pytest.raises(exceptions.NotDeliveredError):
                await task
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["later"]
    assert cloud.heard(registered, "hub").count("CONNECT") == 2


def test_of_two_disconnections_the_one_with_the_least_patience_decides(
    cloud: Cloud, registered: Device
) -> None:
    cloud.fault(registered, "telemetry", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_message("swallowed"))
        await until(lambda: "PUBLISH" in cloud.heard(registered, "hub"))
        patient = asyncio.create_task(hub.disconnect(deadline=600))
        await asyncio.sleep(0)
        with pytest.raises(exceptions.NotDeliveredError):
            await hub.disconnect(deadline=0.2)
        for task in (patient, sending):
            with pytest.raises(exceptions.NotDeliveredError):
                await task

    asyncio.run(scenario())


def test_a_client_stays_disconnected_when_the_message_went_with_another_calls_connection(
    cloud: Cloud, registered: Device
) -> None:
    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        connecting = asyncio.create_task(hub.connect())
        await asyncio.sleep(0)
        sending = asyncio.create_task(hub.send_message("one"))
        await asyncio.sleep(0)
        await hub.disconnect()
        await asyncio.gather(connecting, sending)
        # Time enough for another connection.
        await cloud.registering_async(registered).register()
        assert not hub.connected
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["one"]
    assert cloud.heard(registered, "hub").count("CONNECT") == 1


def test_who_connects_after_a_disconnection_is_connected(cloud: Cloud, registered: Device) -> None:
    cloud.fault(registered, "hub-connect", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        first = asyncio.create_task(hub.connect())
        await until(lambda: cloud.heard(registered, "hub") == ["CONNECT"])
        calls = (
            hub.send_message("never sent"),
            hub.disconnect(deadline=0.3),
            hub.send_message("sent"),
            hub.disconnect(deadline=600),
            hub.connect(),
        )
        given_up, impatient, *rest = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(given_up, exceptions.NotDeliveredError)
        assert isinstance(impatient, exceptions.NotDeliveredError)
        assert rest == [None] * 3
        with pytest.raises(exceptions.ClosedError, match="disconnected"):
            await first
        assert hub.connected
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == ["sent"]


def test_a_disconnection_does_not_end_an_attempt_that_began_after_it(
    cloud: Cloud, registered: Device
) -> None:
    cloud.fault(registered, "hub-connect", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_message("never sent"))
        await until(lambda: cloud.heard(registered, "hub") == ["CONNECT"])
        disconnecting = asyncio.create_task(hub.disconnect(deadline=0.3))
        await asyncio.sleep(0)
        connecting = asyncio.create_task(hub.connect())
        for task in (disconnecting, sending):
            with pytest.raises(exceptions.NotDeliveredError):
                await task
        await connecting
        assert hub.connected
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == []


def test_an_impatient_disconnection_decides_though_a_message_came_between(
    cloud: Cloud, registered: Device
) -> None:
    cloud.fault(registered, "telemetry", {"drop": True})

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sending = asyncio.create_task(hub.send_message("swallowed"))
        await until(lambda: "PUBLISH" in cloud.heard(registered, "hub"))
        patient = asyncio.create_task(hub.disconnect(deadline=600))
        await asyncio.sleep(0)
        later = asyncio.create_task(hub.send_message("later"))
        await asyncio.sleep(0)
        with pytest.raises(exceptions.NotDeliveredError):
            await hub.disconnect(deadline=0.2)
        for task in (patient, sending, later):
            with pytest.raises(exceptions.NotDeliveredError):
                await asyncio.wait_for(task, PATIENCE)
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == []


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_disconnection_does_not_wait_for_a_message_that_was_given_up(
    cloud: Cloud, registered: Device, cancelled: bool
) -> None:
    cloud.fault(registered, "hub-connect", {"drop": True}, times=0)

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        deadline = None if cancelled else 0.3
        sending = asyncio.create_task(hub.send_message("given up", deadline=deadline))
        await asyncio.sleep(0)
        disconnecting = asyncio.create_task(hub.disconnect(deadline=600))
        await asyncio.sleep(0)
        assert not disconnecting.done()
        if cancelled:
            await cancel(sending)
        else:
            with pytest.raises(exceptions.DeadlineExceededError):
                await sending
        await asyncio.wait_for(disconnecting, PATIENCE)
        assert not hub.connected
        await hub.shutdown()

    asyncio.run(scenario())
    assert bodies(cloud, registered) == []


@pytest.mark.parametrize("step", ["hub-connect", "telemetry"])
def test_a_send_ends_at_its_deadline(cloud: Cloud, registered: Device, step: str) -> None:
    cloud.fault(registered, step, {"drop": True}, times=0)
    hub = cloud.hub(registered)
    calls: list[Callable[[], None]] = [
        lambda: hub.send_message("1", deadline=0.2),
        lambda: hub.send_messages(["2"], deadline=0.2),
    ]
    for call in calls:
        with pytest.raises(TimeoutError) as raised:
            call()
        assert isinstance(raised.value, exceptions.DeadlineExceededError)
        assert raised.value.operation == "send"

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        with pytest.raises(exceptions.DeadlineExceededError):
            await hub.send_message("3", deadline=0.2)
        with pytest.raises(exceptions.DeadlineExceededError):
            await hub.send_messages(["4"], deadline=0.2)

    asyncio.run(scenario())

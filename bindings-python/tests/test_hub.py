"""Telemetry: what Python writes is what the hub gets."""

from __future__ import annotations

import asyncio
import base64
import copy
import datetime
import json
import logging
import pickle
import threading
import uuid
from typing import Any
from urllib.parse import parse_qsl

import pytest

from conftest import HUB, Cloud, Device, run
from dps_core import Message, exceptions


@pytest.fixture
def registered(cloud: Cloud, device: Device) -> Device:
    cloud.registering(device).register()
    return device


def test_a_message_arrives_with_all_its_properties(cloud: Cloud, registered: Device) -> None:
    message_id = uuid.uuid4()
    message = Message('{"number": 1}', message_id, "utf-8", "application/json")
    message.correlation_id = "correlated"
    message.user_id = 7
    message.custom_properties["grad °C & %"] = "1 = ä/b"
    message.custom_properties["number"] = 2
    assert str(message) == '{"number": 1}'
    assert message.get_size() > len('{"number": 1}')
    with cloud.hub(registered) as hub:
        hub.send_message(message)
    (arrived,) = cloud.feed(registered)
    assert json.loads(arrived["body"]) == {"number": 1}
    assert arrived["properties"] == {"grad °C & %": "1 = ä/b", "number": "2"}
    system = arrived["systemProperties"]
    assert system["message-id"] == str(message_id)
    assert system["correlation-id"] == "correlated"
    assert system["content-type"] == "application/json"
    assert system["content-encoding"] == "utf-8"


def test_what_else_the_incumbents_messages_have(cloud: Cloud, registered: Device) -> None:
    berlin = datetime.timezone(datetime.timedelta(hours=1))
    message = Message("x", output_name="out")
    message.expiry_time_utc = datetime.datetime(2030, 1, 2, 3, 4, 5)
    message.ack = "full"
    message.set_as_security_message()
    other = Message("y")
    other.expiry_time_utc = datetime.datetime(2030, 1, 2, 4, 4, 5, tzinfo=berlin)
    # Of system properties a hub counts the values alone.
    values = ("x", "out", "2030-01-02T03:04:05Z", "urn:azureiot:Security:SecurityAgent:1")
    assert message.get_size() == sum(map(len, values))
    with cloud.hub(registered) as hub:
        hub.send_messages([message, other])
        other.expiry_time_utc = "tomorrow"
        with pytest.raises(TypeError, match="must be a datetime"):
            hub.send_message(other)
    topics = [
        packet["topic"]
        for packet in cloud.packets(registered.name, "hub")
        if packet["packet"] == "PUBLISH"
    ]
    bags = [dict(parse_qsl(topic.rpartition("/")[2])) for topic in topics]
    assert bags == [
        {
            "$.on": "out",
            "$.exp": "2030-01-02T03:04:05Z",
            "$.ifid": "urn:azureiot:Security:SecurityAgent:1",
        },
        {"$.exp": "2030-01-02T03:04:05Z"},
    ]


def test_data_is_text_bytes_or_a_number(cloud: Cloud, registered: Device) -> None:
    data: list[Any] = ["ä", b"b", bytearray(b"c"), memoryview(b"d"), 5, 1.5, Message("e")]
    with cloud.hub(registered) as hub:
        for one in data:
            hub.send_message(one)
        hub.send_messages(data)
        hub.send_messages([])
        with pytest.raises(TypeError, match="not dict"):
            hub.send_message({})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not list"):
            hub.send_messages(["fine", []])  # type: ignore[list-item]
    bodies = [message["body"] for message in cloud.feed(registered)]
    assert bodies == ["ä", "b", "c", "d", "5", "1.5", "e"] * 2


def test_a_message_that_is_too_large_is_refused(cloud: Cloud, registered: Device) -> None:
    with cloud.hub(registered) as hub, pytest.raises(ValueError, match="262144") as raised:
        hub.send_message("x" * 300_000)
    assert isinstance(raised.value, exceptions.HubError)


def test_a_client_connects_by_itself_and_can_be_used_again(
    cloud: Cloud, registered: Device
) -> None:
    hub = cloud.hub(registered)
    assert not hub.connected
    hub.send_message("connects")
    assert hub.connected
    hub.connect()
    hub.disconnect()
    assert not hub.connected
    hub.send_message("again")
    hub.shutdown()
    hub.shutdown()
    for call in (hub.connect, lambda: hub.send_message("too late")):
        with pytest.raises(exceptions.HubError) as raised:
            call()
        assert raised.value.name == "DPS_CLOSED"
    assert [message["body"] for message in cloud.feed(registered)] == ["connects", "again"]


def test_asyncio_has_the_same_client(cloud: Cloud, registered: Device) -> None:
    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        await asyncio.gather(hub.send_message("one"), hub.send_message("two"))
        assert hub.connected
        await hub.disconnect()
        async with hub:
            await hub.send_messages(["three", Message("four")])
        with pytest.raises(exceptions.HubError):
            await hub.connect()
        async with cloud.registering_async(registered) as registering:
            assert (await registering.register()).status == "assigned"

    asyncio.run(scenario())
    bodies = sorted(message["body"] for message in cloud.feed(registered))
    assert bodies == ["four", "one", "three", "two"]


def test_messages_sent_before_there_is_a_connection_keep_their_order(
    cloud: Cloud, registered: Device
) -> None:
    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        sends = [hub.send_message(str(number)) for number in range(100)]
        await asyncio.gather(*sends, hub.connect())
        await hub.send_message("100")
        await hub.shutdown()

    asyncio.run(scenario())
    bodies = [message["body"] for message in cloud.feed(registered)]
    assert bodies == [str(number) for number in range(101)]


def test_whatever_waits_for_a_connection_is_told_why_there_is_none(
    cloud: Cloud, device: Device
) -> None:
    async def scenario() -> None:
        hub = cloud.hub_async(device)
        sends = [hub.send_message(str(number)) for number in range(10)]
        ends = await asyncio.gather(*sends, return_exceptions=True)
        assert all(isinstance(end, PermissionError) for end in ends), ends
        await hub.shutdown()
        with pytest.raises(exceptions.HubError, match="shut down"):
            await hub.send_message("too late")

    asyncio.run(scenario())


def test_a_property_that_changes_the_properties_while_it_is_written(
    cloud: Cloud, registered: Device
) -> None:
    message = Message("x")

    class Sneaky:
        def __str__(self) -> str:
            message.custom_properties[f"more-{len(message.custom_properties)}"] = "y"
            return "sneaky"

    message.custom_properties = {"one": Sneaky(), "two": 2}
    with cloud.hub(registered) as hub:
        hub.send_message(message)
    (arrived,) = cloud.feed(registered)
    assert arrived["properties"] == {"one": "sneaky", "two": "2"}


def test_a_cut_connection_comes_back_by_itself(cloud: Cloud, registered: Device) -> None:
    with cloud.hub(registered) as hub:
        hub.send_message("before")
        cloud.fault(registered, "telemetry", {"cut": "before"})
        hub.send_message("through the cut")
        hub.send_message("after")
    bodies = [message["body"] for message in cloud.feed(registered)]
    assert bodies == ["before", "through the cut", "after"]


def test_what_was_not_acknowledged_is_said_when_the_client_closes(
    cloud: Cloud, registered: Device
) -> None:
    cloud.fault(registered, "telemetry", {"drop": True}, times=0)

    async def scenario() -> None:
        hub = cloud.hub_async(registered)
        await hub.connect()
        sending = asyncio.create_task(hub.send_message("swallowed"))
        await asyncio.sleep(0)
        with pytest.raises(exceptions.HubError, match="1 messages") as raised:
            await hub.shutdown(deadline=0.2)
        assert raised.value.name == "DPS_NOT_DELIVERED"
        with pytest.raises(exceptions.HubError):
            await sending

    asyncio.run(scenario())


def test_a_device_that_the_hub_does_not_know_is_refused(cloud: Cloud, device: Device) -> None:
    with pytest.raises(PermissionError) as raised, cloud.hub(device):
        pass
    assert isinstance(raised.value, exceptions.ServiceError)
    assert raised.value.hint is not None and "register" in raised.value.hint


def test_the_payload_of_a_registration_is_anything_that_json_can_write(
    cloud: Cloud, device: Device
) -> None:
    class Person:
        def __init__(self) -> None:
            self.first_name = "Ada"

    client = cloud.registering(device)
    client.provisioning_payload = {"person": Person()}
    assert client.register().registration_state.response_payload == "null"
    (request, *_) = [p for p in cloud.packets(device.name, "dps") if p["packet"] == "PUBLISH"]
    body = json.loads(base64.b64decode(request["payload"]))
    assert body["payload"] == {"person": {"first_name": "Ada"}}
    client.provisioning_payload = {"number": object()}
    with pytest.raises(AttributeError):
        client.register()


def test_what_a_registration_returns_is_written_as_the_incumbent_writes_it(
    cloud: Cloud, device: Device
) -> None:
    payload = {"b": "gr\u00fc\u00df", "a": [1, 2.5, None]}
    state = {"deviceId": device.name, "assignedHub": HUB, "payload": payload, "status": "assigned"}
    state |= {"substatus": "initialAssignment"}
    body = {"operationId": "4.op", "status": "assigned", "registrationState": state}
    cloud.fault(device, "register", {"body": json.dumps(body)}, times=0)
    result = cloud.registering(device).register()
    text = '{"a": [1, 2.5, null], "b": "gr\\u00fc\\u00df"}'
    assert result.registration_state.response_payload == text
    lines = [device.name, HUB, "initialAssignment", text]
    assert str(result.registration_state).splitlines() == lines
    assert str(result).splitlines() == [*lines, "assigned"]


def copies(thing: Any) -> list[Any]:
    protocols = range(2, pickle.HIGHEST_PROTOCOL + 1)
    pickled = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in protocols]
    return [*pickled, copy.copy(thing), copy.deepcopy(thing)]


def members(thing: object) -> dict[str, object]:
    names = [name for name in dir(thing) if not name.startswith("_")]
    return {name: getattr(thing, name) for name in names if not callable(getattr(thing, name))}


class Reading(Message):
    """A message of the user's own."""

    unit: str


def test_results_and_messages_can_be_copied_and_show_what_they_are(
    cloud: Cloud, device: Device
) -> None:
    result = cloud.registering(device).register()
    state = result.registration_state
    for made in copies(state):
        assert members(made) == members(state)
    for made in copies(result):
        assert members(made.registration_state) == members(state)
        assert (made.operation_id, made.status) == (result.operation_id, "assigned")
    assert repr(state) == f"<RegistrationState {device.name} at {HUB}>"
    assert repr(result) == f"<RegistrationResult assigned: {device.name} at {HUB}>"

    message = Reading("content", message_id="m-1", content_type="text/plain")
    message.correlation_id, message.user_id, message.ack = "c", "u", "full"
    message.expiry_time_utc = datetime.datetime(2030, 1, 1)
    message.custom_properties["unit"] = "K"
    message.unit = "K"
    message.set_as_security_message()
    for made in copies(message):
        assert type(made) is Reading and members(made) == members(message)
        assert made.get_size() == message.get_size()
    deep = copy.deepcopy(message)
    deep.custom_properties["unit"] = "C"
    assert message.custom_properties == {"unit": "K"}
    assert repr(message) == "<Message 'm-1': str of 7>"
    assert repr(Message(5)) == "<Message: int>"
    for secret in (device.x509, cloud.registering(device), cloud.hub(device)):
        with pytest.raises(TypeError):
            pickle.dumps(secret)


def test_what_the_incumbent_has_and_this_package_has_not_is_refused(
    cloud: Cloud, device: Device
) -> None:
    clients: list[Any] = [cloud.hub(device), cloud.hub_async(device)]
    for hub in clients:
        for handler in (
            "on_message_received",
            "on_method_request_received",
            "on_twin_desired_properties_patch_received",
            "on_connection_state_change",
            "on_new_sastoken_required",
            "on_background_exception",
        ):
            setattr(hub, handler, None)
            with pytest.raises(exceptions.UnsupportedError, match=handler):
                setattr(hub, handler, print)
        for method in ("receive_message", "get_twin", "patch_twin_reported_properties"):
            assert not hasattr(hub, method)
    for client in [*clients, cloud.registering(device), cloud.registering_async(device)]:
        with pytest.raises(AttributeError):
            client.keep_alive = 5


def test_an_async_progress_callback_is_refused(cloud: Cloud, device: Device) -> None:
    async def on_progress(stage: str) -> None: ...

    with pytest.raises(TypeError, match="on_progress"):
        cloud.registering(device).register(on_progress=on_progress)
    with pytest.raises(TypeError, match="on_progress"):
        asyncio.run(cloud.registering_async(device).register(on_progress=on_progress))


def test_a_logger_below_ours_has_a_level_of_its_own(
    cloud: Cloud, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    heard = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.levelname == "DEBUG"
            heard.set()

    below, watch = logging.getLogger("dps_core.provisioning"), Watch()
    below.addHandler(watch)
    below.setLevel(logging.DEBUG)
    try:
        cloud.registering(device).register()
        assert heard.wait(30)
    finally:
        below.removeHandler(watch)
        below.setLevel(logging.NOTSET)


def test_a_registration_has_the_id_of_its_operation(cloud: Cloud, device: Device) -> None:
    result = cloud.registering(device).register()
    (_, *polls) = [p for p in cloud.packets(device.name, "dps") if p["packet"] == "PUBLISH"]
    asked = {dict(parse_qsl(poll["topic"].partition("?")[2]))["operationId"] for poll in polls}
    assert asked == {result.operation_id}


def test_logs_go_to_logging_without_secrets(
    cloud: Cloud, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    class Watch(logging.Handler):
        seen = threading.Event()

        def emit(self, record: logging.LogRecord) -> None:
            if "reconnecting" in record.getMessage():
                self.seen.set()

    caplog.set_level(logging.DEBUG, "dps_core")
    watch, root = Watch(), logging.getLogger()
    # The last of the root's handlers, so that caplog has had the record before it.
    root.addHandler(watch)
    try:
        cloud.registering(device).register()
        with cloud.hub(device) as hub:
            cloud.fault(device, "telemetry", {"cut": "before"})
            hub.send_message("a message's content")
        assert watch.seen.wait(30)
    finally:
        root.removeHandler(watch)
    levels = {(record.name.split(".")[0], record.levelname) for record in caplog.records}
    assert {("dps_core", "DEBUG"), ("dps_core", "WARNING")} <= levels
    key = "".join(device.key.to_pem().splitlines()[1:-1])
    for record in caplog.records:
        assert key[:20] not in record.message and "content" not in record.message


def test_a_warning_is_printed_even_if_nobody_uses_logging(
    cloud: Cloud, registered: Device, bare_python: Any, tmp_path: Any
) -> None:
    chain, key = registered.write(tmp_path)
    cloud.fault(registered, "telemetry", {"cut": "before"})
    script = f"""
import dps_core
x509 = dps_core.X509({str(chain)!r}, {str(key)!r})
create = dps_core.IoTHubDeviceClient.create_from_x509_certificate
with create(x509, {HUB!r}, {registered.name!r}) as hub:
    hub.send_message("through the cut")
"""
    done = run(bare_python, script, cloud)
    assert done.returncode == 0, done.stderr
    assert "reconnecting" in done.stderr

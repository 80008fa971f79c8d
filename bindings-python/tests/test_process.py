"""Forks, exits, signals and other interpreters: each in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import HOST, HUB, Cloud, Device, Hierarchy, run

PRELUDE = f"""
import asyncio, os, signal, sys, threading, time
import dps_core
from dps_core import X509, IoTHubDeviceClient, Message, ProvisioningDeviceClient, aio
from pathlib import Path

def registering(name, module=dps_core, x509=None):
    folder = Path(os.environ["DEVICES"])
    x509 = x509 or X509(folder / f"{{name}}.cert.pem", folder / f"{{name}}.key.pem")
    return module.ProvisioningDeviceClient.create_from_x509_certificate(
        {HOST!r}, name, os.environ["SCOPE"], x509)

def hub(name, module=dps_core):
    folder = Path(os.environ["DEVICES"])
    x509 = X509(folder / f"{{name}}.cert.pem", folder / f"{{name}}.key.pem")
    return module.IoTHubDeviceClient.create_from_x509_certificate(x509, {HUB!r}, name)

class Stuck:
    def __init__(self): self.asked = threading.Event()
    def sign(self, request):
        self.asked.set()
        time.sleep(1000)

class AsyncStuck(Stuck):
    async def sign(self, request):
        self.asked.set()
        await asyncio.sleep(1000)
"""

FORK = """
registering("parent").register()
client = hub("parent")
client.connect()
client.send_message("before the fork")
registration = registering("parent")
child = os.fork()
if child == 0:
    for call in (lambda: client.send_message("from the child"), client.connect,
                 client.shutdown, registration.register):
        try:
            call()
        except dps_core.exceptions.ForkedError as error:
            assert error.hint, error
        else:
            raise SystemExit("not forked")
    assert not client.connected
    del client, registration
    import gc; gc.collect()
    registering("child").register()
    with hub("child") as own:
        own.send_message("from the child")
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert client.connected
client.send_message("after the fork")
client.shutdown()
print("ended well")
"""

FORK_WITH_SIGNER = """
import subprocess
class Hsm:
    def sign(self, request):
        key = Path(os.environ["DEVICES"]) / f"{name}.key.pem"
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key,
            "-pkeyopt", "digest:sha256"], input=request.digest, capture_output=True).stdout
def x509(): return X509.from_signer(Path(os.environ["DEVICES"]) / f"{name}.cert.pem", Hsm())
name = "parent"
registering(name, x509=x509()).register()
child = os.fork()
if child == 0:
    name = "child"
    registering(name, x509=x509()).register(deadline=20)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
registering(name, x509=x509()).register()
print("ended well")
"""

FORK_WITH_ASYNCIO = """
def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status

async def refused(call):
    try:
        await call()
    except dps_core.exceptions.ForkedError as error:
        assert error.hint, error
    else:
        raise SystemExit("not forked")

async def life_of_a_child(client, registration, waiting):
    for call in (lambda: client.send_message("from the child"), client.connect,
                 lambda: client.send_messages(["from the child"]), client.disconnect,
                 client.shutdown, registration.register):
        await refused(call)
    assert not client.connected
    # What the collector does sooner or later to a coroutine of the parent.
    waiting.get_coro().close()
    await registering("child", aio).register()
    async with hub("child", aio) as own:
        await asyncio.gather(*(own.send_message(str(number)) for number in range(50)))

async def main():
    await registering("parent", aio).register()
    client = hub("parent", aio)
    await client.connect()
    await client.send_message("before the fork")
    begun = asyncio.Event()
    silent = registering("silent", aio).register(deadline=600, on_progress=lambda _: begun.set())
    waiting = asyncio.create_task(silent)
    await begun.wait()
    registration = registering("parent", aio)
    in_child(lambda: asyncio.run(life_of_a_child(client, registration, waiting)))
    assert client.connected
    await client.send_message("after the fork")
    await client.shutdown()
    await registration.register()
    assert not waiting.done(), waiting
    waiting.cancel()

asyncio.run(main())

loop = asyncio.new_event_loop()
register = registering("parent", aio).register
loop.run_until_complete(register())
def with_the_parents_loop():
    loop.run_until_complete(refused(registering("child", aio).register))
in_child(with_the_parents_loop)
loop.run_until_complete(register())
loop.close()
print("ended well")
"""

# What every version of the interpreter must be able to do, in a few seconds.
EVERYTHING_WITH_A_HUB = """
import datetime, gc

registration = registering("parent").register()
assert registration.status == "assigned" and registration.operation_id
client = hub("parent")
client.send_message("connects by itself")
message = Message(b"bytes", 7, "utf-8", "text/plain")
message.custom_properties["grad"] = "1 = ä/b"
message.expiry_time_utc = datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc)
client.send_messages([message, bytearray(b"bytearray"), memoryview(b"view"), 1.5])
for refused in ({}, "x" * 300_000):
    try:
        client.send_message(refused)
    except (TypeError, ValueError):
        pass
    else:
        raise SystemExit("taken")
client.disconnect()
client.send_message("again")
client.shutdown()
try:
    client.connect()
except dps_core.exceptions.HubError as error:
    assert error.name == "DPS_CLOSED"

async def main():
    async with hub("parent", aio) as client:
        await asyncio.gather(*(client.send_message(f"gathered {n}") for n in range(100)))
        sending = asyncio.ensure_future(client.send_message("given up"))
        sending.cancel()
        try:
            await sending
        except asyncio.CancelledError:
            pass
        await client.send_messages(f"batch {n}" for n in range(3))
    try:
        await asyncio.wait_for(registering("silent", aio).register(), 0.2)
    except asyncio.TimeoutError:
        pass
    bridge = asyncio.get_running_loop()._dps_core_bridge
    assert bridge.pending == 0

for _ in range(2):
    asyncio.run(main())
del client
gc.collect()
print("ended well")
"""

# A call that waits for the hub, and a thread that counts, and then presses Ctrl-C.
CTRL_C = """
signal.signal(signal.SIGINT, signal.default_int_handler)
ENOUGH = 2_000_000
entered = threading.Event()
def count():
    entered.wait()
    # Far longer than the interpreter leaves a thread that does not give up the GIL alone.
    for number in range(ENOUGH):
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=count, daemon=True).start()
name = os.environ["DEVICE"]

def blocking(call):
    client = hub(name)
    if call == "connect":
        waiting = client.connect
    else:
        client.connect()
        waiting = lambda: client.send_message("swallowed")
    if call == "shutdown":
        begun = threading.Thread(target=quietly, args=(waiting,), daemon=True)
        begun.start()
        arrived()
        waiting = lambda: client.shutdown(deadline=600)
    entered.set()
    try:
        waiting()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    if call != "shutdown":
        client.send_message("after")
    print("ended well", flush=True)

def quietly(call):
    try:
        call()
    except dps_core.DpsError:
        pass

async def asynchronous(call):
    client = hub(name, aio)
    if call == "connect":
        waiting = client.connect()
    else:
        await client.connect()
        waiting = client.send_message("swallowed")
    if call == "shutdown":
        sending = asyncio.ensure_future(waiting)
        await asyncio.sleep(0)
        waiting = client.shutdown(deadline=600)
    entered.set()
    await waiting

def arrived():
    sys.stdout.write("sending\\n")
    sys.stdout.flush()
    sys.stdin.readline()

form, call = sys.argv[1:]
if form == "blocking":
    blocking(call)
else:
    try:
        asyncio.run(asynchronous(call))
    except KeyboardInterrupt:
        print("interrupted")
        print("ended well")
"""

EXITS = {
    "a daemon thread registers": """
started = threading.Event()
def work():
    registering("silent").register(on_progress=lambda stage: started.set())
threading.Thread(target=work, daemon=True).start()
assert started.wait(30)
print("ended well")
""",
    "thirty daemon threads register": """
started = threading.Barrier(31)
def work():
    client = registering("silent")
    started.wait()
    client.register()
for _ in range(30):
    threading.Thread(target=work, daemon=True).start()
started.wait()
print("ended well")
""",
    "sys.exit in a coroutine": """
async def main():
    reached = asyncio.Event()
    registration = registering("silent", aio).register(on_progress=lambda s: reached.set())
    task = asyncio.create_task(registration)
    await reached.wait()
    print("ended well")
    sys.exit(0)
asyncio.run(main())
""",
    "an event loop is left alone": """
loop = asyncio.new_event_loop()
async def begin():
    global task
    reached = asyncio.Event()
    registration = registering("silent", aio).register(on_progress=lambda s: reached.set())
    task = loop.create_task(registration)
    await reached.wait()
loop.run_until_complete(begin())
print("ended well")
""",
    "a signer sleeps": """
for signer in (Stuck(), Stuck(), AsyncStuck()):
    x509 = X509.from_signer(Path(os.environ["DEVICES"]) / "silent.cert.pem", signer)
    threading.Thread(target=registering("silent", x509=x509).register, daemon=True).start()
    assert signer.asked.wait(30)
create = ProvisioningDeviceClient.create_from_symmetric_key
for signer in (Stuck(), AsyncStuck()):
    client = create("127.0.0.1", "meter", os.environ["SCOPE"], signer)
    threading.Thread(target=client.register, daemon=True).start()
    assert signer.asked.wait(30)
signer = Stuck()
x509 = X509.from_signer(Path(os.environ["DEVICES"]) / "silent.cert.pem", signer)
threading.Thread(target=dps_core.doctor, args=(x509,), daemon=True).start()
assert signer.asked.wait(30)
print("ended well")
""",
    "daemon threads hand over messages": """
import atexit
ending, handing_over = threading.Event(), threading.Barrier(3)
def slowly():
    handing_over.wait()
    ending.wait()
    # It asks for the GIL again and again while the interpreter ends.
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    return "never sent"
class Slow:
    def __str__(self): return slowly()
def send():
    message = Message("")
    message.custom_properties["slow"] = Slow()
    hub("parent").send_message(message)
def send_many():
    asyncio.run(hub("parent", aio).send_messages(slowly() for _ in range(1)))
for work in (send, send_many):
    threading.Thread(target=work, daemon=True).start()
handing_over.wait()
# Called before ours.
atexit.register(ending.set)
print("ended well")
""",
    "a hub client is open": """
registering("parent").register()
client = hub("parent")
client.connect()
client.send_message("the last words")
print("ended well")
""",
    "a call after the end": """
import atexit
client = registering("parent")
def late():
    try:
        client.register()
    except dps_core.DpsError as error:
        print("ended", error.name)
# Registered before ours would be, so called after it.
atexit.unregister(dps_core.at_exit)
atexit.register(late)
atexit.register(dps_core.at_exit)
client.register()
print("ended well")
""",
}


@pytest.fixture
def devices(cloud: Cloud, hierarchy: Hierarchy, tmp_path: Path) -> dict[str, str]:
    for name in ("parent", "child", "silent"):
        hierarchy.device(name).write(tmp_path)
    silent = Device("silent", hierarchy.root and hierarchy.device("silent").key, "")
    cloud.fault(silent, "register", {"drop": True}, times=0)
    return {"DEVICES": str(tmp_path), "SCOPE": cloud.id_scope}


def test_a_fork_leaves_the_parents_connection_alone(
    cloud: Cloud, devices: dict[str, str], bare_python: Path
) -> None:
    cloud.control("DELETE", "/emulator/packets")
    done = run(bare_python, PRELUDE + FORK, cloud, **devices)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr
    connects = [p for p in cloud.packets("parent", "hub") if p["packet"] == "CONNECT"]
    assert len(connects) == 1, "the parent never lost its connection"
    bodies = [message["body"] for message in cloud.feed("parent")]
    assert bodies[-2:] == ["before the fork", "after the fork"]


def test_a_fork_leaves_asyncio_alone(
    cloud: Cloud, devices: dict[str, str], edge_python: Path
) -> None:
    cloud.control("DELETE", "/emulator/packets")
    done = run(edge_python, PRELUDE + FORK_WITH_ASYNCIO, cloud, **devices)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr
    for device, role in (("parent", "hub"), ("silent", "dps")):
        connects = [p for p in cloud.packets(device, role) if p["packet"] == "CONNECT"]
        assert len(connects) == 1, "the parent never lost its connection"
    bodies = [message["body"] for message in cloud.feed("parent")]
    assert bodies[-2:] == ["before the fork", "after the fork"]
    assert [message["body"] for message in cloud.feed("child")][-50:] == [*map(str, range(50))]


def test_a_fork_leaves_signers_usable(
    cloud: Cloud, devices: dict[str, str], bare_python: Path
) -> None:
    done = run(bare_python, PRELUDE + FORK_WITH_SIGNER, cloud, **devices)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr


@pytest.mark.parametrize("how", EXITS)
def test_the_interpreter_exits_in_the_middle_of_work(
    cloud: Cloud, devices: dict[str, str], any_python: Path, how: str
) -> None:
    done = run(any_python, PRELUDE + EXITS[how], cloud, **devices)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ended well\n"), done.stderr
    assert "Fatal" not in done.stderr and "panicked" not in done.stderr, done.stderr
    if how == "a call after the end":
        assert done.stdout == "ended well\nended DPS_CLOSED\n"


def test_every_version_of_the_interpreter_talks_to_a_hub(
    cloud: Cloud, devices: dict[str, str], any_python: Path
) -> None:
    done = run(any_python, PRELUDE + EVERYTHING_WITH_A_HUB, cloud, **devices)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended well\n", "")
    once = ["connects by itself", "bytes", "bytearray", "view", "1.5", "again"]
    twice = [*(f"gathered {n}" for n in range(100)), *(f"batch {n}" for n in range(3))]
    expected = once + 2 * twice
    # Whether what is given up is written is a matter of chance.
    feed = [m for m in cloud.feed("parent") if m["body"] != "given up"][-len(expected) :]
    assert [message["body"] for message in feed] == expected
    assert feed[1]["properties"] == {"grad": "1 = ä/b"}


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
@pytest.mark.parametrize(
    ("call", "step"),
    [("connect", "hub-connect"), ("send", "telemetry"), ("shutdown", "telemetry")],
)
def test_ctrl_c_ends_a_call_to_the_hub_and_other_threads_run_before_it(
    cloud: Cloud,
    hierarchy: Hierarchy,
    bare_python: Path,
    tmp_path: Path,
    call: str,
    step: str,
    form: str,
) -> None:
    device = hierarchy.device()
    device.write(tmp_path)
    cloud.registering(device).register()
    cloud.fault(device, step, {"drop": True})
    environment = cloud.environment | {"DEVICES": str(tmp_path), "DEVICE": device.name}
    with subprocess.Popen(
        [bare_python, "-c", PRELUDE + CTRL_C, form, call],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if (call, form) == ("shutdown", "blocking"):
            assert process.stdout and process.stdout.readline() == "sending\n"
            deadline = time.monotonic() + 30
            while "PUBLISH" not in cloud.heard(device, "hub"):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
        stdout, stderr = process.communicate("arrived\n", timeout=60)
    assert (process.returncode, stdout) == (0, "interrupted\nended well\n"), stderr


@pytest.mark.parametrize("module", ["dps_core", "dps_core.aio"])
def test_ctrl_c_ends_a_registration(
    cloud: Cloud, devices: dict[str, str], bare_python: Path, module: str
) -> None:
    wait = {"dps_core": "", "dps_core.aio": "asyncio.run"}[module]
    # Whoever runs the tests in the background may ignore SIGINT, and a child inherits that.
    script = f"""{PRELUDE}
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
def show(stage):
    print(stage, flush=True)
{wait}(registering("silent", {module}).register(on_progress=show))
"""
    process = subprocess.Popen(
        [bare_python, "-c", script],
        env=cloud.environment | devices,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in stderr
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.parametrize("module", ["dps_core", "dps_core.aio"])
def test_ctrl_c_gets_out_of_a_client_with_a_message_under_way(
    cloud: Cloud, hierarchy: Hierarchy, devices: dict[str, str], bare_python: Path, module: str
) -> None:
    device = hierarchy.device(f"deaf-{module.replace('.', '-').replace('_', '-')}")
    device.write(Path(devices["DEVICES"]))
    cloud.registering(device).register()
    cloud.fault(device, "telemetry", {"drop": True}, times=0)
    body = {
        "dps_core": f"with hub({device.name!r}) as client: client.send_message('swallowed')",
        "dps_core.aio": f"""
async def main():
    async with hub({device.name!r}, aio) as client:
        await client.send_message('swallowed')
asyncio.run(main())
""",
    }[module]
    process = subprocess.Popen(
        [
            bare_python,
            "-c",
            f"{PRELUDE}\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{body}",
        ],
        env=cloud.environment | devices,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while "PUBLISH" not in cloud.heard(device, "hub"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert stderr.rstrip().endswith("KeyboardInterrupt"), stderr
    assert "NotDelivered" not in stderr


def test_a_subinterpreter_is_refused(any_python: Path) -> None:
    script = """
import dps_core
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
interpreter = interpreters.create()
interpreters.run_string(interpreter, '''
try:
    import dps_core
except ImportError as error:
    print(error)
''')
"""
    done = subprocess.run(
        [any_python, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert re.search("not support (loading in )?subinterpreters", done.stdout), done.stderr
    assert done.returncode == 0


def test_nothing_is_imported_before_it_is_used(bare_python: Path) -> None:
    script = """
import sys
before = set(sys.modules)
import dps_core
print(sorted(set(sys.modules) - before - {name for name in sys.modules if "dps_core" in name}))
"""
    done = subprocess.run(
        [bare_python, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    imported = set(eval(done.stdout))
    assert imported <= {"atexit", "__future__"}, imported


def test_a_free_threaded_build_is_refused(bare_python: Path) -> None:
    script = "import sys; sys._is_gil_enabled = lambda: False; import dps_core"
    done = subprocess.run(
        [bare_python, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ImportError: dps_core does not support the free-threaded build" in done.stderr

"""Forks, exits, signals and other interpreters: each in a process of its own."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HOST, HUB, Cloud, Device, Hierarchy, run, wheel

PRELUDE = f"""
import asyncio, os, sys, threading, time
import dps_core
from dps_core import X509, IoTHubDeviceClient, ProvisioningDeviceClient, aio
from pathlib import Path

def registering(name, module=dps_core, x509=None):
    folder = Path(os.environ["DEVICES"])
    x509 = x509 or X509(folder / f"{{name}}.cert.pem", folder / f"{{name}}.key.pem")
    return module.ProvisioningDeviceClient.create_from_x509_certificate(
        {HOST!r}, name, os.environ["SCOPE"], x509)

def hub(name):
    folder = Path(os.environ["DEVICES"])
    x509 = X509(folder / f"{{name}}.cert.pem", folder / f"{{name}}.key.pem")
    return IoTHubDeviceClient.create_from_x509_certificate(x509, {HUB!r}, name)

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
signer = Stuck()
x509 = X509.from_signer(Path(os.environ["DEVICES"]) / "silent.cert.pem", signer)
threading.Thread(target=dps_core.doctor, args=(x509,), daemon=True).start()
assert signer.asked.wait(30)
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


def test_a_fork_leaves_signers_usable(
    cloud: Cloud, devices: dict[str, str], bare_python: Path
) -> None:
    done = run(bare_python, PRELUDE + FORK_WITH_SIGNER, cloud, **devices)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr


def interpreters() -> list[str]:
    """This interpreter's version, and whichever others are installed."""
    versions = [f"3.{minor}" for minor in range(9, 15)]
    return [version for version in versions if _interpreter(version) is not None]


def _interpreter(version: str) -> str | None:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found: list[str | Path] = [f"python{version}"]
    found += Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in found:
        path = shutil.which(candidate)
        works = path and subprocess.run([path, "-c", ""], capture_output=True, check=False)
        if path and works and works.returncode == 0:
            return path
    return None


@pytest.fixture(scope="session", params=interpreters())
def any_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    python = _interpreter(request.param)
    assert python
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    install = ["install", "-q", "--disable-pip-version-check", "--no-index", str(wheel())]
    target = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "--python", target, *install], check=True)
    return target


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

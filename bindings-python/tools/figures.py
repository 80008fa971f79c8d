"""What this package costs against the emulator: CPU and memory of whole processes, CPU of messages.

Prints one line a figure, medians of several runs. The wheel must be installed in this interpreter;
DPS_COMMAND names the dps command (target/debug/dps unless told).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import HOST, HUB, Cloud, Hierarchy

RUNS = 7

MEASURE = """
import json, resource, time
def report(before=None):
    now = resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime
    # Not ru_maxrss, which begins with that of the process before exec.
    lines = open("/proc/self/status").read().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"cpu": cpu - (before or 0), "mb": int(peak.split()[1]) / 1024}))
def cpu():
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime
"""

OPEN = f"""
import os
x509 = X509(os.environ["CHAIN"], os.environ["KEY"])
registration = module.ProvisioningDeviceClient.create_from_x509_certificate(
    {HOST!r}, None, os.environ["SCOPE"], x509)
def hub(state):
    return module.IoTHubDeviceClient.create_from_x509_certificate(x509, {HUB!r}, state.device_id)
"""

SCRIPTS = {
    "bare interpreter": "",
    "bare import asyncio": "import asyncio",
    "import dps_core": "import dps_core",
    "blocking: register and 10 messages": f"""
import dps_core as module
from dps_core import X509
{OPEN}
with hub(registration.register().registration_state) as client:
    for number in range(10):
        client.send_message(f"message {{number}}")
""",
    "asyncio: register and 10 messages": f"""
import asyncio
from dps_core import X509, aio as module
{OPEN}
async def main():
    async with hub((await registration.register()).registration_state) as client:
        await asyncio.gather(*(client.send_message(f"message {{n}}") for n in range(10)))
asyncio.run(main())
""",
}

MESSAGES = f"""
import asyncio
import dps_core
from dps_core import X509, aio, Message
module = aio
{OPEN}
payload = b"x" * 256
def told(name, count, start, before):
    wall, used = time.perf_counter() - start, cpu() - before
    print(json.dumps({{"name": name, "us": used / count * 1e6, "per_second": count / wall}}))
async def main():
    async with hub((await registration.register()).registration_state) as client:
        await client.send_message(payload)
        start, before = time.perf_counter(), cpu()
        await asyncio.gather(*(client.send_message(Message(payload)) for _ in range(5000)))
        told("5,000 concurrent messages", 5000, start, before)
        start, before = time.perf_counter(), cpu()
        await client.send_messages([Message(payload) for _ in range(5000)])
        told("send_messages of 5,000", 5000, start, before)
        start, before = time.perf_counter(), cpu()
        for _ in range(500):
            await client.send_message(Message(payload))
        told("one at a time, asyncio", 500, start, before)
    module_blocking()
def module_blocking():
    global module
    module = dps_core
    with hub(type("State", (), {{"device_id": os.environ["NAME"]}})) as client:
        start, before = time.perf_counter(), cpu()
        for _ in range(500):
            client.send_message(Message(payload))
        told("one at a time, blocking", 500, start, before)
async def bare():
    async def nothing(): pass
    start, before = time.perf_counter(), cpu()
    await asyncio.gather(*(nothing() for _ in range(5000)))
    told("gathering empty coroutines", 5000, start, before)
asyncio.run(bare())
asyncio.run(main())
"""

DEVICES = f"""
import asyncio, os
from pathlib import Path
from dps_core import X509, aio
folder = Path(os.environ["DEVICES"])
async def one(name):
    x509 = X509(folder / f"{{name}}.cert.pem", folder / f"{{name}}.key.pem")
    await aio.ProvisioningDeviceClient.create_from_x509_certificate(
        {HOST!r}, name, os.environ["SCOPE"], x509).register()
    hub = aio.IoTHubDeviceClient.create_from_x509_certificate(x509, {HUB!r}, name)
    await hub.connect()
    return hub
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
async def main():
    names = sorted({{path.name.split(".")[0] for path in folder.iterdir()}})
    kept = [await one(names.pop())]
    memory, before = resident(), cpu()
    for start in range(0, len(names), 50):
        kept += await asyncio.gather(*map(one, names[start:start + 50]))
    count = len(names)
    print(json.dumps({{"ms": (cpu() - before) / count * 1e3,
        "kb": (resident() - memory) / count / 1024}}))
    await asyncio.gather(*(hub.shutdown() for hub in kept))
asyncio.run(main())
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hierarchy, cloud = Hierarchy(), Cloud(folder)
        try:
            cloud.enroll(hierarchy)
            device = hierarchy.device()
            chain, key = device.write(folder)
            environment = {"CHAIN": chain, "KEY": key, "NAME": device.name, "SCOPE": cloud.id_scope}
            for title, script in SCRIPTS.items():
                rows = [
                    _run(cloud, f"{MEASURE}{script}\nreport()", environment) for _ in range(RUNS)
                ]
                cpu, megabytes = (_median(rows, column) for column in ("cpu", "mb"))
                print(f"{title}: {cpu:.3f} s CPU, {megabytes:.1f} MB")
            found: dict[str, list[dict[str, Any]]] = {}
            for _ in range(RUNS):
                for row in _lines(cloud, MEASURE + MESSAGES, environment):
                    found.setdefault(row["name"], []).append(row)
            for title, rows in found.items():
                cpu, rate = (_median(rows, column) for column in ("us", "per_second"))
                print(f"{title}: {cpu:.1f} us CPU each, {rate:,.0f} a second")
            devices = folder / "devices"
            devices.mkdir()
            for _ in range(1001):
                hierarchy.device().write(devices)
            row = _run(cloud, MEASURE + DEVICES, environment | {"DEVICES": devices})
            print(f"1,000 devices: {row['ms']:.2f} ms CPU and {row['kb']:.1f} KB each")
        finally:
            cloud.stop()


def _lines(cloud: Cloud, script: str, environment: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=cloud.environment | {name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _run(cloud: Cloud, script: str, environment: dict[str, Any]) -> dict[str, Any]:
    return _lines(cloud, script, environment)[-1]


def _median(rows: list[dict[str, Any]], column: str) -> float:
    return float(statistics.median(row[column] for row in rows))


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    main()

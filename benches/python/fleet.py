"""Registers and connects devices that then stay connected, and prints what that used.

fleet.py ours|theirs ID_SCOPE FOLDER DEVICES
"""

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

who, id_scope, folder, count = sys.argv[1:]
DEVICES = int(count)
# How many devices register at the same time.
ABREAST = 32

if who == "ours":
    from dps_core import X509
    from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient
else:
    from azure.iot.device import X509
    from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])


async def connected(number):
    device_id = f"device-{number:05}"
    stem = os.path.join(folder, device_id)
    x509 = X509(cert_file=f"{stem}-full-chain.cert.pem", key_file=f"{stem}.key.pem")
    registration = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost", registration_id=device_id, id_scope=id_scope, x509=x509
    )
    state = (await registration.register()).registration_state
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509, hostname=state.assigned_hub, device_id=state.device_id
    )
    await hub.connect()
    return hub


async def main():
    # One more, which warms the process up.
    fleet = [await connected(DEVICES)]
    rss, before, start = status("VmRSS:"), cpu(), time.perf_counter()
    waiting = iter(range(DEVICES))

    async def work():
        for number in waiting:
            fleet.append(await connected(number))

    await asyncio.gather(*(work() for _ in range(ABREAST)))
    used, took = cpu() - before, time.perf_counter() - start
    if not all(hub.connected for hub in fleet):
        raise SystemExit("a device did not stay connected")
    reading = {
        "cpu": used * 1e6,
        "wall": took * 1e6,
        "rss_before": rss,
        "rss": status("VmRSS:"),
        "threads": status("Threads:"),
    }
    print(json.dumps(reading), flush=True)
    # The interpreter need not wait for what the incumbent's clients leave running.
    os._exit(0)


asyncio.run(main())

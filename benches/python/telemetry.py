"""Sends messages of 256 bytes at QoS 1 in one of several forms, and prints what that used.

    telemetry.py ours|theirs|bare FORM HUB DEVICE_ID CHAIN KEY MESSAGES

`bare` gathers as many coroutines that do nothing.
"""

import asyncio
import json
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

who, form, hostname, device_id, chain, key, count = sys.argv[1:]
if who == "ours":
    import dps_core as package
    from dps_core import X509, Message, aio
elif who == "theirs":
    import azure.iot.device as package
    from azure.iot.device import X509, Message, aio

MESSAGES = int(count)
WARM_UP = 100
THREADS = 20
PAYLOAD = b"x" * 256


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), cpu()

    def __exit__(self, *_):
        used, took = cpu() - self.cpu, time.perf_counter() - self.wall
        print(json.dumps({"cpu": used * 1e6, "wall": took * 1e6}), flush=True)


def client(module):
    return module.IoTHubDeviceClient.create_from_x509_certificate(
        x509=X509(cert_file=chain, key_file=key), hostname=hostname, device_id=device_id
    )


async def one_at_a_time(hub, number):
    for _ in range(number):
        await hub.send_message(Message(PAYLOAD))


async def gathered(hub, number):
    await asyncio.gather(*(hub.send_message(Message(PAYLOAD)) for _ in range(number)))


async def batch(hub, number):
    await hub.send_messages([Message(PAYLOAD) for _ in range(number)])


async def asynchronous(send):
    hub = client(aio)
    await hub.connect()
    await send(hub, WARM_UP)
    with Meter():
        await send(hub, MESSAGES)
    # The interpreter need not wait for what the incumbent's client leaves running.
    os._exit(0)


def blocking(threads):
    hub = client(package)
    hub.connect()

    def send(number):
        for _ in range(number):
            hub.send_message(Message(PAYLOAD))

    with ThreadPoolExecutor(threads) as pool:

        def send_all(number):
            list(pool.map(send, [number // threads] * threads))

        send_all(WARM_UP)
        with Meter():
            send_all(MESSAGES)
        os._exit(0)


async def empty():
    async def nothing():
        pass

    with Meter():
        await asyncio.gather(*(nothing() for _ in range(MESSAGES)))


if who == "bare":
    asyncio.run(empty())
elif form == "threads":
    blocking(THREADS)
elif form == "blocking":
    blocking(1)
else:
    asyncio.run(asynchronous({"one": one_at_a_time, "gather": gathered, "batch": batch}[form]))

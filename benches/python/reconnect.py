"""Sends a message, and then the one at which the server cuts the connection; prints how long that
one took, from the call to its acknowledgement over the next connection.

    reconnect.py ours|theirs HUB DEVICE_ID CHAIN KEY
"""

import asyncio
import json
import os
import sys
import time

who, hostname, device_id, chain, key = sys.argv[1:]

if who == "ours":
    from dps_core import X509
    from dps_core.aio import IoTHubDeviceClient
else:
    from azure.iot.device import X509
    from azure.iot.device.aio import IoTHubDeviceClient


async def main():
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        x509=X509(cert_file=chain, key_file=key), hostname=hostname, device_id=device_id
    )
    await hub.connect()
    await hub.send_message("before")
    start = time.perf_counter()
    await hub.send_message("cut off")
    print(json.dumps({"wall": (time.perf_counter() - start) * 1e6}), flush=True)
    os._exit(0)


asyncio.run(main())

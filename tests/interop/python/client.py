"""A device on Microsoft's Python SDK: the steps of its samples provision_x509.py and, where
PROVISIONING_SYMMETRIC_KEY is set, provision_symmetric_key.py.

Takes the samples' environment variables, and `parallel` or `one-by-one` for its ten messages.
Prints one line of JSON at the end: what the SDK told it.
"""

import asyncio
import json
import os
import sys

from azure.iot.device import X509, Message
from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient

DEADLINE = 50  # seconds

outcome = {"sent": []}


async def main(order):
    service = {
        "provisioning_host": os.environ["PROVISIONING_HOST"],
        "id_scope": os.environ["PROVISIONING_IDSCOPE"],
    }
    if "PROVISIONING_SYMMETRIC_KEY" in os.environ:
        registration_id = os.environ["PROVISIONING_REGISTRATION_ID"]
        proof = {"symmetric_key": os.environ["PROVISIONING_SYMMETRIC_KEY"]}
        create_provisioning = ProvisioningDeviceClient.create_from_symmetric_key
        create_hub = IoTHubDeviceClient.create_from_symmetric_key
    else:
        registration_id = os.environ["DPS_X509_REGISTRATION_ID"]
        x509 = X509(cert_file=os.environ["X509_CERT_FILE"], key_file=os.environ["X509_KEY_FILE"])
        proof = {"x509": x509}
        create_provisioning = ProvisioningDeviceClient.create_from_x509_certificate
        create_hub = IoTHubDeviceClient.create_from_x509_certificate
    provisioning = create_provisioning(registration_id=registration_id, **service, **proof)
    try:
        result = await provisioning.register()
    except Exception as error:
        outcome["errors"] = chain(error)
        return
    outcome["registration"] = str(result).splitlines()

    hub = create_hub(
        **proof,
        hostname=result.registration_state.assigned_hub,
        device_id=result.registration_state.device_id,
    )
    await hub.connect()
    messages = [message(registration_id, number) for number in range(1, 11)]
    if order == "parallel":
        await asyncio.gather(*(send(hub, each) for each in messages))
    else:
        for each in messages:
            await send(hub, each)
    await hub.shutdown()


def message(registration_id, number):
    made = Message(
        json.dumps({"number": number}),
        message_id=f"{registration_id}/{number}",
        content_encoding="utf-8",
        content_type="application/json",
    )
    made.custom_properties["grad °C & %"] = f"{number} = ä/b"
    return made


async def send(hub, each):
    await hub.send_message(each)
    outcome["sent"].append(each.message_id)


def chain(error):
    """The error and its causes, outermost first."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return texts


asyncio.run(asyncio.wait_for(main(sys.argv[1]), DEADLINE))
print(json.dumps(outcome), flush=True)
# A provisioning client that failed stays connected, on a thread of its own, and has no method
# that ends it.
os._exit(0)

"""The life of a simple device: registers, connects, sends ten messages, ends.

device.py ours|theirs blocking|asyncio ID_SCOPE DEVICE_ID CHAIN KEY
"""

import sys

who, form, id_scope, device_id, chain, key = sys.argv[1:]
MESSAGES = 10


def blocking():
    if who == "ours":
        from dps_core import X509, IoTHubDeviceClient, ProvisioningDeviceClient
    else:
        from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient

    x509 = X509(cert_file=chain, key_file=key)
    registration = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost", registration_id=device_id, id_scope=id_scope, x509=x509
    )
    state = registration.register().registration_state
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509, hostname=state.assigned_hub, device_id=state.device_id
    )
    hub.connect()
    for number in range(MESSAGES):
        hub.send_message(f"message {number}")
    hub.shutdown()


async def concurrent(gather):
    if who == "ours":
        from dps_core import X509
        from dps_core.aio import IoTHubDeviceClient, ProvisioningDeviceClient
    else:
        from azure.iot.device import X509
        from azure.iot.device.aio import IoTHubDeviceClient, ProvisioningDeviceClient

    x509 = X509(cert_file=chain, key_file=key)
    registration = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host="localhost", registration_id=device_id, id_scope=id_scope, x509=x509
    )
    state = (await registration.register()).registration_state
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509, hostname=state.assigned_hub, device_id=state.device_id
    )
    await hub.connect()
    await gather(*(hub.send_message(f"message {number}") for number in range(MESSAGES)))
    await hub.shutdown()


if form == "blocking":
    blocking()
else:
    import asyncio

    asyncio.run(concurrent(asyncio.gather))

// Port of Microsoft's register_symkey.js: registers a device through the Device Provisioning
// Service with its symmetric key, connects to the assigned hub and sends a message.
'use strict';

const { Client, Message, Mqtt, ProvisioningDeviceClient, SymmetricKeySecurityClient } = require('dps-core');

const provisioningHost = process.env.PROVISIONING_HOST;
const idScope = process.env.PROVISIONING_IDSCOPE;
const registrationId = process.env.PROVISIONING_REGISTRATION_ID;
const symmetricKey = process.env.PROVISIONING_SYMMETRIC_KEY;

const provisioningSecurityClient = new SymmetricKeySecurityClient(registrationId, symmetricKey);
const provisioningClient = ProvisioningDeviceClient.create(
  provisioningHost,
  idScope,
  new Mqtt(),
  provisioningSecurityClient,
);

async function main() {
  provisioningClient.setProvisioningPayload({ a: 'b' });
  let result;
  try {
    result = await provisioningClient.register();
  } catch (err) {
    console.log('error registering device: ' + err);
    return 1;
  }
  console.log('registration succeeded');
  console.log('assigned hub=' + result.assignedHub);
  console.log('deviceId=' + result.deviceId);
  console.log('payload=' + JSON.stringify(result.payload));

  const connectionString =
    'HostName=' + result.assignedHub + ';DeviceId=' + result.deviceId + ';SharedAccessKey=' + symmetricKey;
  const hubClient = Client.fromConnectionString(connectionString, Mqtt);
  try {
    await hubClient.open();
  } catch (err) {
    console.error('Could not connect: ' + err.message);
    return 1;
  }
  console.log('Client connected');
  try {
    const res = await hubClient.sendEvent(new Message('Hello world'));
    console.log('send status: ' + res.constructor.name);
  } catch (err) {
    console.log('send error: ' + err.toString());
    return 1;
  } finally {
    await hubClient.close();
  }
  return 0;
}

main().then((code) => {
  process.exitCode = code;
});

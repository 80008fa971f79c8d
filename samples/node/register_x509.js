// Port of Microsoft's register_x509.js: registers a device through the Device Provisioning Service
// with its X.509 certificate, connects to the assigned hub and sends a message.
'use strict';

const fs = require('fs');
const { Client, Message, Mqtt, ProvisioningDeviceClient, X509Security } = require('dps-core');

const provisioningHost = process.env.PROVISIONING_HOST;
const idScope = process.env.PROVISIONING_IDSCOPE;
const registrationId = process.env.PROVISIONING_REGISTRATION_ID;
const deviceCert = {
  cert: fs.readFileSync(process.env.CERTIFICATE_FILE).toString(),
  key: fs.readFileSync(process.env.KEY_FILE).toString(),
};

const transport = new Mqtt();
const securityClient = new X509Security(registrationId, deviceCert);
const deviceClient = ProvisioningDeviceClient.create(provisioningHost, idScope, transport, securityClient);

async function main() {
  let result;
  try {
    result = await deviceClient.register();
  } catch (err) {
    console.log('error registering device: ' + err);
    return 1;
  }
  console.log('registration succeeded');
  console.log('assigned hub=' + result.assignedHub);
  console.log('deviceId=' + result.deviceId);

  const connectionString = 'HostName=' + result.assignedHub + ';DeviceId=' + result.deviceId + ';x509=true';
  const hubClient = Client.fromConnectionString(connectionString, Mqtt);
  hubClient.setOptions(deviceCert);
  try {
    await hubClient.open();
  } catch (err) {
    console.error('Failure opening iothub connection: ' + err.message);
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

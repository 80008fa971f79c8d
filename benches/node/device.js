// The life of a simple device: registers, connects, sends ten messages, ends.
//
//     device.js ours|theirs ID_SCOPE DEVICE_ID CHAIN KEY
'use strict';

const { readFileSync } = require('node:fs');

const [who, idScope, deviceId, certFile, keyFile] = process.argv.slice(2);
const { Client, Message, Mqtt, ProvisioningDeviceClient, ProvisioningMqtt, X509Security } = require('./sdk')(who);
const MESSAGES = 10;

async function main() {
  const x509 = { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
  const security = new X509Security(deviceId, x509);
  const device = ProvisioningDeviceClient.create('localhost', idScope, new ProvisioningMqtt(), security);
  const result = await device.register();
  const hub = Client.fromConnectionString(`HostName=${result.assignedHub};DeviceId=${result.deviceId};x509=true`, Mqtt);
  await hub.setOptions(x509);
  await hub.open();
  const send = (_, number) => hub.sendEvent(new Message(`message ${number}`));
  await Promise.all(Array.from({ length: MESSAGES }, send));
  await hub.close();
}

main();

// Sends a message, and then the one at which the server cuts the connection; prints how long that
// one took, from the call to its acknowledgement over the next connection.
//
//     reconnect.js ours|theirs HUB DEVICE_ID CHAIN KEY
'use strict';

const { readFileSync } = require('node:fs');

const [who, hostname, deviceId, certFile, keyFile] = process.argv.slice(2);
const { Client, Message, Mqtt } = require('./sdk')(who);

async function main() {
  const hub = Client.fromConnectionString(`HostName=${hostname};DeviceId=${deviceId};x509=true`, Mqtt);
  await hub.setOptions({ cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') });
  await hub.open();
  await hub.sendEvent(new Message('before'));
  const start = process.hrtime.bigint();
  await hub.sendEvent(new Message('cut off'));
  console.log(JSON.stringify({ wall: Number(process.hrtime.bigint() - start) / 1e3 }));
  process.exit(0);
}

main();

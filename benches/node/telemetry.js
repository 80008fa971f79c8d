// Sends messages of 256 bytes at QoS 1, all at once or one at a time, and prints what that used.
//
//     telemetry.js ours|theirs|bare all|one HUB DEVICE_ID CHAIN KEY MESSAGES
//
// `bare` awaits as many functions that do nothing.
'use strict';

const { readFileSync } = require('node:fs');

const [who, form, hostname, deviceId, certFile, keyFile, count] = process.argv.slice(2);
const MESSAGES = Number(count);
const WARM_UP = 100;
const PAYLOAD = Buffer.alloc(256, 'x');

async function connected() {
  const { Client, Message, Mqtt } = require('./sdk')(who);
  const hub = Client.fromConnectionString(`HostName=${hostname};DeviceId=${deviceId};x509=true`, Mqtt);
  await hub.setOptions({ cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') });
  await hub.open();
  return () => hub.sendEvent(new Message(PAYLOAD));
}

async function run(send, messages) {
  if (form === 'all') {
    await Promise.all(Array.from({ length: messages }, send));
  } else {
    for (let sent = 0; sent < messages; sent += 1) await send();
  }
}

async function main() {
  const send = who === 'bare' ? async () => {} : await connected();
  await run(send, WARM_UP);
  const [start, before] = [process.hrtime.bigint(), process.cpuUsage()];
  await run(send, MESSAGES);
  const [used, end] = [process.cpuUsage(before), process.hrtime.bigint()];
  console.log(JSON.stringify({ cpu: used.user + used.system, wall: Number(end - start) / 1e3 }));
  process.exit(0);
}

main();

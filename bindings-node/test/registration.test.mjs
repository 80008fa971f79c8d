import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Client, Message, MessageEnqueued, Mqtt, ProvisioningDeviceClient, SymmetricKeySecurityClient, X509Security, deriveDeviceKey } from 'dps-core';

import { Chain, Emulator, HOST, HUB, rejects } from './support.mjs';

let chain, emulator;

before(async () => {
  chain = await Chain.make('device-01', 'device-02', 'device-03');
  emulator = await Emulator.start('--retry-after', '0');
  await emulator.enroll(chain);
});

after(async () => {
  await emulator.stop();
  chain.remove();
});

test('a device registers, connects and sends, and the hub has what it sent', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const result = await device.register();
  assert.equal(result.assignedHub, HUB);
  assert.equal(result.deviceId, 'device-01');
  assert.equal(result.registrationId, 'device-01');
  assert.equal(result.status, 'assigned');
  assert.equal(result.substatus, 'initialAssignment');
  assert.ok(Math.abs(Date.parse(result.createdDateTimeUtc) - Date.now()) < 60_000);
  assert.equal(JSON.parse(JSON.stringify(result)).deviceId, 'device-01');

  const hub = await device.connect(result);
  const full = new Message('{"temperature":21}', {
    messageId: 'm-1',
    correlationId: 'c-1',
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    properties: { alert: 'true' },
  });
  full.setProperty('ä=&', 'ö/?');
  full.userId = 'somebody';
  assert.equal(full.getData().toString(), '{"temperature":21}');
  const sent = await Promise.all([
    hub.sendEvent(full),
    hub.sendEvent('text'),
    hub.sendEvent(new Uint8Array([0x62, 0x79, 0x74, 0x65, 0x73])),
  ]);
  for (const status of sent) assert.ok(status instanceof MessageEnqueued);
  assert.equal(sent[0].constructor.name, 'MessageEnqueued');
  await hub.close();

  const [first, second, third] = await emulator.messages('device-01');
  assert.equal(first.body, '{"temperature":21}');
  assert.equal(second.body, 'text');
  assert.equal(third.body, 'bytes');
  const properties = JSON.stringify(first);
  for (const part of ['m-1', 'c-1', 'somebody', 'application/json', 'alert', 'ä=&', 'ö/?']) {
    assert.ok(properties.includes(part), `${part} in ${properties}`);
  }
});

test('what was kept of a registration is enough to connect again', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const kept = JSON.stringify(await device.register());
  const again = emulator.deviceOf(chain, 'device-01');
  const hub = await again.connect(JSON.parse(kept));
  await hub.sendEvent('from what was kept');
  await hub[Symbol.asyncDispose]();
  await rejects(hub.sendEvent('too late'), 'DPS_CLOSED');
});

test('the registration ID is taken from the certificate where none is given', async () => {
  const result = await emulator.device(new X509Security(undefined, chain.pem('device-02'))).register();
  assert.equal(result.registrationId, 'device-02');
});

test('the steps of a registration come one by one', async () => {
  const stages = [];
  let result;
  for await (const step of emulator.deviceOf(chain, 'device-02').registering()) {
    stages.push(step.stage);
    result = step.result;
  }
  assert.deepEqual(stages, ['connected', 'registering', 'assigning', 'assigned']);
  assert.equal(result.assignedHub, HUB);
  // Left early, it is over.
  const steps = emulator.deviceOf(chain, 'device-02').registering();
  for await (const step of steps) {
    assert.equal(step.stage, 'connected');
    break;
  }
  assert.deepEqual(await steps.next(), { done: true });
});

test('the incumbent shape works: a connection string, setOptions, open, sendEvent', async () => {
  const result = await emulator.deviceOf(chain, 'device-03').register();
  const hub = Client.fromConnectionString(
    `HostName=${result.assignedHub};DeviceId=${result.deviceId};x509=true`,
    new Mqtt({ connectTo: emulator.ready.connectTo }),
  );
  hub.setOptions({ ...chain.pem('device-03'), ca: emulator.ca, keepalive: 30 });
  await rejects(hub.sendEvent('too early'), 'DPS_CLOSED', 'Call open first');
  await Promise.all([hub.open(), hub.open(), hub.open()]);
  await hub.sendEvent(new Message('Hello world'));
  await hub.close();
  await hub.open();
  await hub.sendEvent(new Message('Hello again'));
  await hub.close();
  await hub.close();
  const bodies = (await emulator.messages('device-03')).map((message) => message.body);
  assert.deepEqual(bodies, ['Hello world', 'Hello again']);
});

test('a security object of the incumbent kind works', async () => {
  const { cert, key } = chain.pem('device-01');
  const security = {
    getRegistrationId: () => 'device-01',
    getCertificate: (callback) => setImmediate(callback, null, { cert, key: key.toString() }),
  };
  assert.equal((await emulator.device(security).register()).deviceId, 'device-01');

  const reason = new Error('the vault is closed');
  const closed = { ...security, getCertificate: (callback) => callback(reason) };
  const error = await rejects(emulator.device(closed).register(), 'DPS_SIGNER', 'the vault is closed');
  assert.equal(error.cause, reason);
  const throwing = { ...security, getCertificate: () => { throw reason; } };
  assert.equal((await rejects(emulator.device(throwing).register(), 'DPS_SIGNER')).cause, reason);
});

test('messages are first delivered in the order of the calls', async () => {
  const device = emulator.deviceOf(chain, 'device-02');
  const hub = await device.connect(await device.register());
  const bodies = Array.from({ length: 500 }, (_, number) => `message ${number}`);
  await Promise.all(bodies.map((body) => hub.sendEvent(body)));
  await hub.close();
  const seen = (await emulator.messages('device-02')).map((message) => message.body);
  assert.deepEqual(seen.slice(-100), bodies.slice(-100));
});

test('the states of a connection end with closed', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const hub = await device.connect(await device.register());
  const states = [];
  const watching = (async () => {
    for await (const { state } of hub.connectionStates()) states.push(state);
  })();
  await hub.sendEvent('x');
  await hub.close();
  await watching;
  assert.deepEqual(states, ['connected', 'closed']);
});

test('a connection that is cut comes back, and nothing is lost', async () => {
  const device = emulator.deviceOf(chain, 'device-03');
  const hub = await device.connect(await device.register());
  await emulator.fault({ device: 'device-03', step: 'telemetry', nth: 3, action: { cut: 'before' } });
  const bodies = Array.from({ length: 10 }, (_, number) => `cut ${number}`);
  await Promise.all(bodies.map((body) => hub.sendEvent(body)));
  await hub.close();
  const seen = new Set((await emulator.messages('device-03')).map((message) => message.body));
  for (const body of bodies) assert.ok(seen.has(body), body);
});

test('symmetric keys: one of an individual enrollment, one derived for a group', async () => {
  const key = Buffer.alloc(32, 7).toString('base64');
  await emulator.dps('enrollment', 'create', '--enrollment-id', 'keyed', '--attestation-type', 'symmetrickey', '--primary-key', key);
  const individual = new SymmetricKeySecurityClient('keyed', key);
  assert.equal(individual.getRegistrationId(), 'keyed');
  const device = emulator.device(individual);
  device.setProvisioningPayload({ a: 'b' });
  const result = await device.register();
  const hub = await device.connect(result);
  await hub.sendEvent('with a token');
  await hub.close();
  const direct = Client.fromConnectionString(
    `HostName=${result.assignedHub};DeviceId=keyed;SharedAccessKey=${key}`,
    emulator.transport,
  );
  await direct.open();
  await direct.sendEvent('and again');
  await direct.close();
  const bodies = (await emulator.messages('keyed')).map((message) => message.body);
  assert.deepEqual(bodies, ['with a token', 'and again']);

  const groupKey = Buffer.alloc(64, 9).toString('base64');
  await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'keys', '--primary-key', groupKey);
  const derived = deriveDeviceKey(groupKey, 'unit-7');
  assert.equal((await emulator.device(new SymmetricKeySecurityClient('unit-7', derived)).register()).deviceId, 'unit-7');
});

test('the derived key is the one that Microsoft documents', () => {
  // Microsoft, "Symmetric key attestation", group enrollments.
  const groupKey = '8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==';
  assert.equal(deriveDeviceKey(groupKey, 'sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6'), 'Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=');
});

test('the payload of a registration is what JSON.stringify makes of it', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const circular = {};
  circular.self = circular;
  assert.throws(() => device.setProvisioningPayload(circular), TypeError);
  device.setProvisioningPayload({ when: new Date(0), nothing: undefined, text: 'ä' });
  await device.register();
  const { packets } = await emulator.control('GET', 'packets');
  const asked = packets.filter((packet) => packet.topic?.includes('iotdps-register')).at(-1);
  const { payload } = JSON.parse(Buffer.from(asked.payload, 'base64'));
  assert.deepEqual(payload, { when: '1970-01-01T00:00:00.000Z', text: 'ä' });
});

test('a client of the wrong kind of arguments says so at once', () => {
  const security = new X509Security('device-01', chain.files('device-01'));
  for (const [make, word] of [
    [() => ProvisioningDeviceClient.create(undefined, 's', Mqtt, security), 'provisioningHost'],
    [() => ProvisioningDeviceClient.create(HOST, 5, Mqtt, security), 'idScope'],
    [() => ProvisioningDeviceClient.create(HOST, 's', {}, security), 'transport'],
    [() => ProvisioningDeviceClient.create(HOST, 's', Mqtt, {}), 'security'],
    [() => ProvisioningDeviceClient.create(HOST, 's', Mqtt, null), 'security'],
    [() => new X509Security('x', {}), 'cert'],
    [() => new X509Security('x', { cert: 'x' }), 'key'],
    [() => new X509Security('x', { cert: 'x', key: 5 }), 'key'],
    [() => new X509Security('x', { cert: 'x', certFile: 'y', key: 'z' }), 'certFile'],
    [() => new X509Security('x', { cert: 'x', key: 'y', signer: () => {} }), 'signer'],
    [() => new X509Security('x', { cert: 'x', signer: 'y' }), 'signer'],
    [() => new X509Security('x', { cert: 'x', signer: () => {}, algorithms: ['md5'] }), 'md5'],
    [() => new Mqtt({ port: 70_000 }), 'port'],
    [() => new Mqtt({ ca: 5 }), 'ca'],
    [() => new Message(5), 'data'],
    [() => Client.fromConnectionString('HostName=h;DeviceId=d'), 'x509=true'],
    [() => Client.fromConnectionString('nonsense'), 'connectionString'],
  ]) {
    assert.throws(make, (error) => {
      assert.equal(error.code, 'DPS_INVALID_ARGUMENT', error.message);
      assert.ok(error.message.includes(word), `${word} in ${error.message}`);
      return true;
    });
  }
});

import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Client, Message, MessageEnqueued, Mqtt, ProvisioningDeviceClient, SymmetricKeySecurityClient, X509Security, deriveDeviceKey } from 'dps-core';

import { HOST, HUB, pfx, rejects, tutorial, until } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02', 'device-03');

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
  // One that fails tells what it came through first.
  await emulator.fault({ device: 'device-02', step: 'poll', action: { registrationStatus: 'pondering' } });
  const before = [];
  await rejects((async () => {
    for await (const { stage } of emulator.deviceOf(chain, 'device-02').registering()) before.push(stage);
  })(), 'DPS_UNKNOWN_STATUS');
  assert.deepEqual(before, ['connected', 'registering', 'assigning']);
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
  // What was delivered twice counts where it came first.
  assert.deepEqual([...new Set(seen)], bodies);
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

test('a PKCS#12 file is a credential, by path and from memory, for registration and hub', async () => {
  const pkcs12File = chain.path('device-03.pfx');
  await pfx(chain, 'device-03', pkcs12File, 'geheim');
  const byPath = emulator.device(new X509Security('device-03', { pkcs12File, passphrase: 'geheim' }));
  const result = await byPath.register();
  const fromMemory = { pkcs12: readFileSync(pkcs12File), passphrase: 'geheim' };
  assert.equal((await emulator.device(new X509Security(undefined, fromMemory)).register()).deviceId, 'device-03');
  const hub = Client.fromConnectionString(`HostName=${result.assignedHub};DeviceId=device-03;x509=true`, emulator.transport);
  hub.setOptions(fromMemory);
  await hub.open();
  await hub.sendEvent('from a PFX');
  await hub.close();
  assert.equal((await emulator.messages('device-03')).at(-1).body, 'from a PFX');
});

test('what the service answers beyond what is known is there, and nothing where there is nothing', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const known = { registrationId: 'device-01', status: 'assigned', assignedHub: HUB, deviceId: 'device-01' };
  const more = { trustBundle: { certificates: [1, 2] } };
  for (const [registrationState, unknownFields] of [[known, undefined], [{ ...known, ...more }, more]]) {
    const body = JSON.stringify({ operationId: 'o-1', status: 'assigned', registrationState });
    await emulator.fault({ device: 'device-01', step: 'poll', action: { body } });
    assert.deepEqual((await device.register()).unknownFields, unknownFields);
  }
});

test('the version of the protocol is the one that was asked for', async () => {
  const transport = new Mqtt({ connectTo: emulator.ready.connectTo, ca: emulator.ca, apiVersion: '2021-10-01' });
  await emulator.deviceOf(chain, 'device-02', { transport }).register();
  const connects = await emulator.packets('device-02', 'dps', 'CONNECT');
  assert.match(connects.at(-1).userName, /api-version=2021-10-01/);
});

test('a token is renewed before the time that the hub was told', async () => {
  const key = Buffer.alloc(32, 5).toString('base64');
  await emulator.dps('enrollment', 'create', '--enrollment-id', 'renewing', '--attestation-type', 'symmetrickey', '--primary-key', key);
  const { assignedHub } = await emulator.device(new SymmetricKeySecurityClient('renewing', key)).register();
  const hub = Client.fromConnectionString(`HostName=${assignedHub};DeviceId=renewing;SharedAccessKey=${key}`, emulator.transport);
  hub.setOptions({ tokenRenewal: { tokenValidTimeInSeconds: 1 } });
  await hub.open();
  await until('a second token', async () => (await emulator.packets('renewing', 'hub', 'CONNECT')).length > 1);
  await hub.sendEvent('with the new token');
  await hub.close();
  hub.setOptions({ tokenRenewal: { tokenValidTimeInSeconds: 0 } });
  await rejects(hub.open(), 'DPS_INVALID_ARGUMENT', 'token lifetime');
});

test('close ends an open that is not done, and the client can be opened again', async () => {
  const { assignedHub } = await emulator.deviceOf(chain, 'device-01').register();
  const hub = Client.fromConnectionString(`HostName=${assignedHub};DeviceId=device-01;x509=true`, emulator.transport);
  hub.setOptions(chain.files('device-01'));
  const before = (await emulator.packets('device-01', 'hub', 'CONNECT')).length;
  await emulator.fault({ device: 'device-01', step: 'hub-connect', times: 0, action: { delay: { ms: 60_000 } } });
  const opening = rejects(hub.open(), 'DPS_CLOSED', 'while it connected');
  await until('CONNECT', async () => (await emulator.packets('device-01', 'hub', 'CONNECT')).length > before);
  await hub.close();
  await opening;
  await emulator.clearFaults();
  await hub.open();
  await hub.sendEvent('after all');
  await hub.close();
});

test('an open while a close still waits for an acknowledgement waits too, and then connects anew', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const hub = await device.connect(await device.register());
  await emulator.fault({ device: 'device-01', step: 'telemetry', action: { delay: { ms: 300 } } });
  const last = hub.sendEvent('before the close');
  const closing = hub.close();
  await hub.open();
  await hub.sendEvent('after the open');
  await Promise.all([last, closing]);
  await hub.close();
});

test('a deadline holds for all that open does, and behind another open', async () => {
  const { assignedHub } = await emulator.deviceOf(chain, 'device-02').register();
  const connection = `HostName=${assignedHub};DeviceId=device-02;x509=true`;
  const key = createPrivateKey(readFileSync(chain.keyFile('device-02')));
  // The test signature and the hub each take most of the deadline: one for each would do.
  let calls = 0;
  const slow = async ({ message }) => {
    if (calls++ === 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    return sign('sha256', message, key);
  };
  await emulator.fault({ device: 'device-02', step: 'hub-connect', times: 0, action: { delay: { ms: 1000 } } });
  const hub = Client.fromConnectionString(connection, emulator.transport);
  hub.setOptions({ certFile: chain.certFile('device-02'), signer: slow });
  await rejects(hub.open({ deadline: 1500 }), 'DPS_DEADLINE_EXCEEDED');
  await emulator.clearFaults();
  await emulator.fault({ device: 'device-02', step: 'hub-connect', times: 0, action: { delay: { ms: 60_000 } } });

  const silent = Client.fromConnectionString(connection, emulator.transport);
  let asked;
  const wasAsked = new Promise((resolve) => (asked = resolve));
  const silentSigner = () => { asked(); return new Promise(() => {}); };
  silent.setOptions({ certFile: chain.certFile('device-02'), signer: silentSigner });
  const first = rejects(silent.open(), 'DPS_CLOSED');
  await wasAsked;
  await rejects(silent.open({ deadline: 200 }), 'DPS_DEADLINE_EXCEEDED', 'an earlier open');
  await silent.close();
  await first;

  const device = emulator.deviceOf(chain, 'device-02');
  const connecting = device.connect({ assignedHub, deviceId: 'device-02' }, { deadline: 900 });
  await rejects(connecting, 'DPS_DEADLINE_EXCEEDED', 'not connected within 0.');
  await emulator.clearFaults();
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
  for (const unsayable of [circular, { a: 1n }]) {
    const refused = (error) => error.code === 'DPS_INVALID_ARGUMENT' && error.cause instanceof TypeError;
    assert.throws(() => device.setProvisioningPayload(unsayable), refused);
  }
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
    [() => Client.fromConnectionString('nonsense'), 'connection string'],
  ]) {
    assert.throws(make, (error) => {
      assert.equal(error.code, 'DPS_INVALID_ARGUMENT', error.message);
      assert.ok(error.message.includes(word), `${word} in ${error.message}`);
      return true;
    });
  }
});

// Keys that JavaScript functions sign with: what is promised to them, and what bad ones do.

import assert from 'node:assert/strict';
import { createHash, createPrivateKey, sign } from 'node:crypto';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

import { X509Security } from 'dps-core';

import { HUB, rejects, tutorial } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02');
const cert = readFileSync(chain.certFile('device-01'));
const key = createPrivateKey(readFileSync(chain.keyFile('device-01')));

const honest = ({ message }) => sign('sha256', message, key);
const device = (signer, more) => emulator.device(new X509Security('device-01', { cert, signer, ...more }));

test('a signer registers and sends; it is asked with the message and its digest', async () => {
  const requests = [];
  const client = device((request) => {
    requests.push(request);
    return honest(request);
  });
  const hub = await client.connect(await client.register());
  await hub.sendEvent('signed elsewhere');
  await hub.close();
  assert.ok(requests.length >= 3, 'a test signature, one for DPS, one for the hub');
  for (const { algorithm, message, digest } of requests) {
    assert.equal(algorithm, 'ecdsa-p256-sha256');
    assert.deepEqual(digest, createHash('sha256').update(message).digest());
  }
});

test('asynchronous, raw r || s, and plain Uint8Array answers are as good', async () => {
  for (const signer of [
    async (request) => honest(request),
    (request) => new Promise((resolve) => setImmediate(() => resolve(honest(request)))),
    ({ message }) => sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' }),
    (request) => new Uint8Array(honest(request)),
  ]) {
    assert.equal((await device(signer).register()).assignedHub, HUB);
  }
});

test('a signer may come with a file, and RSA keys with their algorithms', async () => {
  const certFile = chain.certFile('device-01');
  assert.equal((await emulator.device(new X509Security('device-01', { certFile, signer: honest })).register()).assignedHub, HUB);

  const [rsaKey, csr] = [chain.path('rsa.key.pem'), chain.path('rsa.csr.pem')];
  execFileSync('openssl', ['req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=rsa', '-keyout', rsaKey, '-out', csr], { stdio: 'ignore' });
  const leaf = execFileSync('openssl', ['x509', '-req', '-in', csr, '-days', '1', '-CA', chain.path('certs/azure-iot-test-only.intermediate.cert.pem'), '-CAkey', chain.path('private/azure-iot-test-only.intermediate.key.pem'), '-passin', 'pass:1234', '-CAcreateserial'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  const rsa = createPrivateKey(readFileSync(rsaKey));
  const full = leaf + chain.text('certs/azure-iot-test-only.intermediate.cert.pem') + chain.text('certs/azure-iot-test-only.root.ca.cert.pem');
  const asked = new Set();
  const signer = ({ algorithm, message }) => {
    asked.add(algorithm);
    return sign('sha256', message, rsa);
  };
  const x509 = { cert: full, signer, algorithms: ['rsa-pkcs1-sha256'] };
  assert.equal((await emulator.device(new X509Security('rsa', x509)).register()).assignedHub, HUB);
  assert.deepEqual([...asked], ['rsa-pkcs1-sha256']);
});

test('what a signer throws or rejects with is the cause, itself, whatever it is', async () => {
  class HsmError extends Error {}
  for (const thrown of [new HsmError('the token was removed'), 'a string', 42, null, undefined, { code: 5 }]) {
    for (const fail of [() => { throw thrown; }, () => Promise.reject(thrown)]) {
      // At the test signature, and at the handshake.
      for (const good of [0, 1]) {
        let calls = 0;
        const client = device((request) => (calls++ < good ? honest(request) : fail()));
        const error = await rejects(client.register(), 'DPS_SIGNER');
        assert.equal(error.cause, thrown);
        assert.equal(error.retryable, false);
        if (thrown instanceof Error) assert.ok(error.message.includes('the token was removed'), error.message);
      }
    }
  }
});

test('garbage is refused and said to be that', async () => {
  for (const [garbage, word] of [
    [Buffer.alloc(10), '10 bytes'],
    [Buffer.alloc(64, 0xff), 'does not belong'],
    [new Uint8Array(0), '0 bytes'],
    ['text', 'Uint8Array'],
    [undefined, 'Uint8Array'],
    [{}, 'Uint8Array'],
    [7, 'Uint8Array'],
  ]) {
    const error = await device(() => garbage).register().then(() => assert.fail('accepted'), (reason) => reason);
    assert.ok(['DPS_SIGNER', 'DPS_KEY_MISMATCH'].includes(error.code), error.message);
    assert.ok(error.message.includes(word), `${word} in ${error.message}`);
  }
});

test('the signer of another key is refused before anything is dialled', async () => {
  const other = createPrivateKey(readFileSync(chain.keyFile('device-02')));
  await rejects(device(({ message }) => sign('sha256', message, other)).register(), 'DPS_KEY_MISMATCH');
});

test('signers that never answer end at their deadlines, hold up nobody after that, and no thread', async () => {
  const silent = () => new Promise(() => {});
  const started = performance.now();
  // More of them than there are threads to sign on, at the test signature and at the handshake.
  const stuck = Array.from({ length: 24 }, (_, number) => {
    let calls = 0;
    const client = device((request) => (calls++ < number % 2 ? honest(request) : silent()));
    return rejects(client.register({ deadline: 400 }), 'DPS_DEADLINE_EXCEEDED');
  });
  await Promise.all(stuck);
  assert.ok(performance.now() - started < 5000);
  assert.equal((await device(honest).register()).assignedHub, HUB);
});

test('a deadline holds behind another call that waits for the same signer', async () => {
  const security = new X509Security('device-01', { cert, signer: () => new Promise(() => {}) });
  const controller = new AbortController();
  const first = emulator.device(security).register({ signal: controller.signal }).catch((error) => error);
  await rejects(emulator.device(security).register({ deadline: 300 }), 'DPS_DEADLINE_EXCEEDED');
  controller.abort('enough');
  assert.equal(await first, 'enough');
});

test('a signer that fails when the hub is connected to again: what it threw is at the end of the causes', async () => {
  const thrown = new Error('the token was removed');
  let removed = false;
  const client = device((request) => { if (removed) throw thrown; return honest(request); });
  const hub = await client.connect(await client.register());
  removed = true;
  await emulator.fault({ device: 'device-01', step: 'telemetry', action: { cut: 'before' } });
  const sends = [hub.sendEvent('one'), hub.sendEvent('two')].map((send) => rejects(send, 'DPS_SIGNER', 'the token was removed'));
  for (const error of await Promise.all(sends)) {
    let cause = error;
    while (cause?.code?.startsWith('DPS_')) cause = cause.cause;
    assert.equal(cause, thrown);
  }
  await emulator.clearFaults();
});

test('a slow signer stalls neither another device nor the event loop', async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  let calls = 0;
  const slow = device(async (request) => {
    if (calls++ === 1) await held;
    return honest(request);
  }).register();
  assert.equal((await emulator.deviceOf(chain, 'device-02').register()).deviceId, 'device-02');
  release();
  assert.equal((await slow).deviceId, 'device-01');
});

test('a signer that throws does not kill the process, and a silent one does not keep it alive', async () => {
  const run = (signer, deadline) => {
    const security = `new X509Security('device-01', { certFile: ${JSON.stringify(chain.certFile('device-01'))}, signer: ${signer} })`;
    return emulator.program(security, `client.register({ deadline: ${deadline} }).catch((error) => console.log(error.code));`);
  };
  const throwing = await run(`() => { throw new Error('no') }`, 60_000);
  assert.deepEqual([throwing.code, throwing.stdout], [0, 'DPS_SIGNER\n'], throwing.stderr);
  const silent = await run('() => new Promise(() => {})', 500);
  assert.deepEqual([silent.code, silent.stdout], [0, 'DPS_DEADLINE_EXCEEDED\n'], silent.stderr);
});

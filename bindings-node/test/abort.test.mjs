// An AbortSignal ends every call that waits, in every state, with its own reason.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, test } from 'node:test';

import { Client, Mqtt, X509Security } from 'dps-core';

import { rejects, tutorial, until, x509Security } from './support.mjs';

const { chain, emulator } = await tutorial(...Array.from({ length: 12 }, (_, number) => `device-${number}`));

afterEach(() => emulator.clearFaults());

/** Aborts once `reached` has come to pass, and asserts that the promise rejects with the reason. */
async function aborted(start, reached) {
  const controller = new AbortController();
  const reason = new Error('enough');
  const settled = start(controller.signal).then(
    () => assert.fail('it was not aborted'),
    (error) => error,
  );
  await reached();
  const before = performance.now();
  controller.abort(reason);
  assert.equal(await settled, reason);
  assert.ok(performance.now() - before < 1000, 'at once');
}

const forEver = (device, step, action) => emulator.fault({ device, step, times: 0, action });

test('a signal that has fired already starts nothing', async () => {
  const device = emulator.deviceOf(chain, 'device-0');
  const reason = new RangeError('before it began');
  await assert.rejects(device.register({ signal: AbortSignal.abort(reason) }), (error) => error === reason);
  await assert.rejects(device.register({ signal: AbortSignal.abort() }), { name: 'AbortError' });
  await assert.rejects(device.register({ signal: AbortSignal.timeout(1) }), { name: 'TimeoutError' });
});

test('while the certificate is waited for, and while the test signature is', async () => {
  for (const x509 of [
    (asked) => () => { asked(); return new Promise(() => {}); },
    (asked) => ({ ...chain.pem('device-0'), key: undefined, signer: () => { asked(); return new Promise(() => {}); } }),
  ]) {
    let asked;
    const wasAsked = new Promise((resolve) => (asked = resolve));
    const device = emulator.device(new X509Security('device-0', x509(asked)));
    await aborted((signal) => device.register({ signal }), () => wasAsked);
  }
});

test('while the host name is looked up, and the process ends in spite of it', async () => {
  // A resolver that never answers, as the C library's resolver looks to a program.
  const [library, asked] = ['resolver.so', 'asked'].map((name) => chain.path(name));
  const source = chain.write('resolver.c', `
    #include <fcntl.h>
    #include <netdb.h>
    #include <unistd.h>
    int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r) {
      close(open("${asked}", O_CREAT | O_WRONLY, 0600));
      for (;;) pause();
    }
  `);
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, source]);
  const program = `
    import { existsSync } from 'node:fs';
    const controller = new AbortController();
    const registering = client.register({ signal: controller.signal }).catch((error) => error);
    while (!existsSync('${asked}')) await new Promise(setImmediate);
    const before = performance.now();
    controller.abort('enough');
    console.log(await registering, performance.now() - before < 1000);
  `;
  const env = { DPS_CONNECT_TO: 'nobody.example:8883', LD_PRELOAD: library };
  const ended = await emulator.program(x509Security('device-9', chain.files('device-9')), program, { env });
  assert.deepEqual([ended.code, ended.signal, ended.stdout], [0, null, 'enough true\n'], ended.stderr);
});

test('while the TCP connection is made', async () => {
  // A listener whose queue is full answers no further SYN.
  const full = spawn('python3', ['-c', `
import socket, sys
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(0)
waiting = []
for _ in range(4):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(server.getsockname())
    waiting.append(client)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
  `], { stdio: ['pipe', 'pipe', 'inherit'] });
  const port = Number(String((await once(full.stdout, 'data'))[0]));
  const SYN_SENT = '02';
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const local = () => new Set(
    readFileSync('/proc/self/net/tcp', 'utf8').split('\n').map((line) => line.trim().split(/\s+/))
      .filter(([, , to, state]) => to === remote && state === SYN_SENT).map(([, from]) => from),
  );
  const others = local();
  const transport = new Mqtt({ connectTo: `127.0.0.1:${port}` });
  const device = emulator.deviceOf(chain, 'device-9', { transport });
  await aborted(
    (signal) => device.register({ signal }),
    () => until('SYN', () => [...local()].some((from) => !others.has(from))),
  );
  full.stdin.end();
  await once(full, 'close');
});

test('in the TLS handshake', async () => {
  let hello;
  const greeted = new Promise((resolve) => (hello = resolve));
  const silent = createServer((socket) => socket.on('error', () => {}).once('data', hello));
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const transport = new Mqtt({ connectTo: `127.0.0.1:${silent.address().port}` });
  const device = emulator.deviceOf(chain, 'device-9', { transport });
  await aborted((signal) => device.register({ signal }), () => greeted);
  silent.close();
});

test('while it connects', async () => {
  await forEver('device-1', 'connect', { delay: { ms: 60_000 } });
  const device = emulator.deviceOf(chain, 'device-1');
  await aborted((signal) => device.register({ signal }), () => emulator.packet('device-1', 'dps', 'CONNECT'));
});

test('while it asks to be registered', async () => {
  await forEver('device-2', 'register', { drop: true });
  const device = emulator.deviceOf(chain, 'device-2');
  await aborted((signal) => device.register({ signal }), () => emulator.packet('device-2', 'dps', 'PUBLISH'));
  await emulator.clearFaults();
  assert.equal((await device.register()).deviceId, 'device-2', 'the client is as good as new');
});

test('while a hub is being assigned, and while it waits to try again', async () => {
  await forEver('device-3', 'poll', { drop: true });
  await aborted(
    (signal) => emulator.deviceOf(chain, 'device-3').register({ signal }),
    () => until('a poll', async () => {
      const { packets } = await emulator.control('GET', 'packets');
      return packets.some(({ device, topic }) => device === 'device-3' && topic?.includes('iotdps-get'));
    }),
  );
  await forEver('device-4', 'register', { status: { code: 429, retryAfter: 60 } });
  await aborted(
    (signal) => emulator.deviceOf(chain, 'device-4').register({ signal }),
    () => emulator.packet('device-4', 'dps', 'PUBLISH'),
  );
});

test('in the middle of the steps of a registration', async () => {
  await forEver('device-5', 'poll', { drop: true });
  const stages = [];
  let assigning;
  const reached = new Promise((resolve) => (assigning = resolve));
  await aborted(async (signal) => {
    for await (const { stage } of emulator.deviceOf(chain, 'device-5').registering({ signal })) {
      stages.push(stage);
      if (stage === 'assigning') assigning();
    }
  }, () => reached);
  assert.deepEqual(stages, ['connected', 'registering', 'assigning']);
});

test('while it connects to the hub, sends, closes, or watches the connection', async () => {
  const device = emulator.deviceOf(chain, 'device-6');
  const result = await device.register();
  await forEver('device-6', 'hub-connect', { delay: { ms: 60_000 } });
  await aborted((signal) => device.connect(result, { signal }), () => emulator.packet('device-6', 'hub', 'CONNECT'));
  await emulator.clearFaults();

  const hub = await device.connect(result);
  await forEver('device-6', 'telemetry', { drop: true });
  await aborted((signal) => hub.sendEvent('lost', { signal }), () => emulator.packet('device-6', 'hub', 'PUBLISH'));
  await aborted(async (signal) => {
    for await (const { state } of hub.connectionStates({ signal })) assert.equal(state, 'connected');
  }, () => {});
  const lost = hub.sendEvent('lost too').catch((error) => error);
  await aborted((signal) => hub.close({ signal }), () => {});
  await rejects(hub.close({ deadline: 50 }), 'DPS_NOT_DELIVERED');
  assert.equal((await lost).code, 'DPS_NOT_DELIVERED');
});

test('while a client opens, and while a message waits for the connection to come back', async () => {
  const x509 = chain.pem('device-10');
  const { assignedHub, deviceId } = await emulator.deviceOf(chain, 'device-10').register();
  const hub = Client.fromConnectionString(`HostName=${assignedHub};DeviceId=${deviceId};x509=true`, emulator.transport);
  hub.setOptions(x509);
  await forEver('device-10', 'hub-connect', { delay: { ms: 60_000 } });
  await aborted((signal) => hub.open({ signal }), () => emulator.packet('device-10', 'hub', 'CONNECT'));
  await emulator.clearFaults();
  await hub.open();
  await hub.sendEvent('before');

  // Cut off with a message under way, and not let in again.
  await forEver('device-10', 'hub-connect', { refuse: 3 });
  await emulator.fault({ device: 'device-10', step: 'telemetry', action: { cut: 'before' } });
  const cut = hub.sendEvent('cut off');
  for await (const { state } of hub.connectionStates()) if (state === 'reconnecting') break;
  await aborted((signal) => hub.sendEvent('given up', { signal }), () => {});
  await emulator.clearFaults();
  await cut;
  await hub.sendEvent('after');
  await hub.close();
  const bodies = (await emulator.messages('device-10')).map(({ body }) => body);
  assert.deepEqual(bodies, ['before', 'cut off', 'after'], 'nothing was written of the one that was given up');
});

test('one signal for a thousand calls aborts them all, and leaves the user\'s own handlers alone', async () => {
  const device = emulator.deviceOf(chain, 'device-7');
  const hub = await device.connect(await device.register());
  await forEver('device-7', 'telemetry', { drop: true });
  const warnings = [];
  process.on('warning', (warning) => warnings.push(warning));
  const controller = new AbortController();
  const { signal } = controller;
  let [fired, listened] = [0, 0];
  const onabort = () => { fired += 1; };
  signal.onabort = onabort;
  signal.addEventListener('abort', () => { listened += 1; });
  const reason = { any: 'value' };
  const sends = Array.from({ length: 1000 }, () => hub.sendEvent('x', { signal }).catch((error) => error));
  await emulator.packet('device-7', 'hub', 'PUBLISH');
  controller.abort(reason);
  for (const error of await Promise.all(sends)) assert.equal(error, reason);
  assert.deepEqual([fired, listened], [1, 1]);
  assert.equal(signal.onabort, onabort);
  assert.deepEqual(warnings, []);
  await hub.close({ deadline: 100 }).catch(() => {});
});

test('a call that is done no longer listens to its signal', async () => {
  const device = emulator.deviceOf(chain, 'device-8');
  const hub = await device.connect(await device.register());
  let [added, removed] = [0, 0];
  const { signal } = new AbortController();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...all) => { added += 1; return addEventListener.apply(signal, all); };
  signal.removeEventListener = (...all) => { removed += 1; return removeEventListener.apply(signal, all); };
  for (let number = 0; number < 5; number += 1) await hub.sendEvent('x', { signal });
  assert.deepEqual([added, removed], [5, 5]);
  await Promise.all(Array.from({ length: 50 }, () => hub.sendEvent('x', { signal })));
  assert.deepEqual([added, removed], [6, 6], 'one listener for many calls');
  await hub.close();
});

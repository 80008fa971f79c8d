// What goes wrong for users, row by row: each has its own `code`, and says what to do.

import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

import {
  Authority, Certificate, CertificateChain, CertificateRequest, Client, ConnectionStates, MakingDevices, Message, MessageEnqueued, Mqtt, PrivateKey,
  ProvisioningDeviceClient, Registering, SubjectKey, SymmetricKeySecurityClient, X509Security, deriveDeviceKey, doctor, errorCatalogue, explainError,
} from 'dps-core';

import { Chain, HOST, INTERMEDIATE, ROOT, pfx, rejects, tutorial } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02');
const other = await Chain.make('device-01');
after(() => other.remove());

const registering = (x509, id = 'device-01', options) =>
  emulator.device(new X509Security(id, x509), options).register();

test('a file that is not there', async () => {
  const files = chain.files('device-01');
  for (const missing of [{ certFile: '/nowhere.pem' }, { keyFile: '/nowhere.pem' }]) {
    const error = await rejects(registering({ ...files, ...missing }), 'DPS_FILE_NOT_READABLE', '/nowhere.pem');
    assert.equal(error.operation, 'open credential');
    assert.equal(error.retryable, false);
    assert.equal(error.number, 101);
  }
});

test('a folder in place of a file', async () => {
  const { certFile, keyFile } = chain.files('device-01');
  await rejects(registering({ certFile: chain.folder, keyFile }), 'DPS_FILE_NOT_READABLE', chain.folder, 'directory');
  await rejects(registering({ certFile, keyFile: chain.folder }), 'DPS_FILE_NOT_READABLE', chain.folder, 'directory');
});

test('a file without an end is refused by its size, beside what is in memory too', async () => {
  const { cert, key } = chain.pem('device-01');
  const keyFile = '/dev/zero';
  for (const x509 of [{ cert, keyFile }, { certFile: '/dev/zero', key }, { pkcs12File: '/dev/zero' }]) {
    await rejects(registering(x509), 'DPS_FILE_NOT_READABLE', '/dev/zero');
  }
});

test('a wrong passphrase, and none', async () => {
  const keyFile = chain.path('encrypted.key.pem');
  execFileSync('openssl', ['pkcs8', '-topk8', '-in', chain.keyFile('device-01'), '-passout', 'pass:geheim', '-out', keyFile]);
  const files = { certFile: chain.certFile('device-01'), keyFile };
  await rejects(registering(files), 'DPS_PASSPHRASE_REQUIRED', 'encrypted.key.pem');
  const error = await rejects(registering({ ...files, passphrase: 'falsch' }), 'DPS_PASSPHRASE_WRONG');
  assert.ok(!`${error.message}${error.stack}${JSON.stringify(error)}`.includes('falsch'));
  assert.equal((await registering({ ...files, passphrase: 'geheim' })).deviceId, 'device-01');
});

test('the key of another certificate', async () => {
  const files = { ...chain.files('device-01'), keyFile: chain.keyFile('device-02') };
  await rejects(registering(files), 'DPS_KEY_MISMATCH', 'device-02.key.pem', 'CN=device-01');
});

test('a file that is something else, and nothing of a key in what is said', async () => {
  const { certFile, keyFile } = chain.files('device-01');
  await rejects(registering({ certFile: keyFile, keyFile }), 'DPS_WRONG_FILE_CONTENT', 'a private key');
  await rejects(registering({ certFile, keyFile: certFile }), 'DPS_WRONG_FILE_CONTENT', 'a private key was expected', 'certificate');
  await rejects(registering({ cert: 'hello', key: 'hello' }), 'DPS_WRONG_FILE_CONTENT', 'text');
  await rejects(registering({ cert: new Uint8Array(3), key: '' }), 'DPS_WRONG_FILE_CONTENT', 'binary');
  await rejects(registering({ cert: '', key: '' }), 'DPS_WRONG_FILE_CONTENT', 'empty');
  const key = readFileSync(keyFile, 'utf8');
  const damaged = await rejects(registering({ certFile, keyFile: chain.write('damaged.pem', key.replace('M', '!')) }), 'DPS_KEY_MALFORMED');
  assert.ok(!damaged.message.includes(key.slice(60, 100)));
});

test('an expired certificate, named with its dates', async () => {
  // A certificate of the past, by OpenSSL: dps chain makes none.
  const [key, csr, cert] = ['old.key.pem', 'old.csr.pem', 'old.cert.pem'].map((name) => chain.path(name));
  execFileSync('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=device-01', '-keyout', key, '-out', csr], { stdio: 'ignore' });
  const extensions = chain.write('old.ext', 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=clientAuth\n');
  execFileSync('openssl', ['x509', '-req', '-in', csr, '-signkey', key, '-days', '-1', '-extfile', extensions, '-out', cert], { stdio: 'ignore' });
  await rejects(registering({ certFile: cert, keyFile: key }), 'DPS_CERTIFICATE_EXPIRED', 'CN=device-01', 'has expired');
});

test('a certificate that is not valid yet, named with its dates', async () => {
  const key = await PrivateKey.generate('ec-p256');
  const root = await Authority.createRoot('Root of tomorrow', key);
  const [notBefore, notAfter] = [1, 2].map((days) => new Date(Date.now() + days * 86_400_000));
  const leaf = await root.issueDevice('device-01', key, { notBefore, notAfter });
  await rejects(registering({ cert: leaf.toPem(), key: await key.toPem() }), 'DPS_CERTIFICATE_NOT_YET_VALID', 'CN=device-01', 'not valid yet');
});

test('a symmetric key that is none', async () => {
  const registering = (key) => emulator.device(new SymmetricKeySecurityClient('device-01', key)).register();
  const error = await rejects(registering('my key'), 'DPS_KEY_MALFORMED', 'base64');
  assert.ok(!error.stack.includes('my key'));
  await rejects(registering(''), 'DPS_KEY_MALFORMED');
});

test('an option that is not here: misspelt, or the incumbent\'s alone', () => {
  const { certFile, keyFile } = chain.files('device-01');
  const client = Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true');
  for (const [call, name] of [
    [() => new X509Security('x', { certFile, keyFile, passPhrase: 'geheim' }), 'passPhrase'],
    [() => client.setOptions({ certFile, keyFile, mqtt: { webSocketAgent: {} } }), 'mqtt'],
    [() => client.setOptions({ keepAlive: 30 }), 'keepAlive'],
    [() => new Mqtt({ connectto: 'localhost:8883' }), 'connectto'],
  ]) {
    assert.throws(call, (error) => {
      assert.equal(error.code, 'DPS_UNSUPPORTED', String(call));
      assert.ok(error.message.includes(`"${name}"`), error.message);
      assert.ok(!error.message.includes('geheim'));
      return true;
    });
  }
  // One that is there and says nothing is none.
  client.setOptions({ certFile, keyFile, mqtt: undefined });
});

test('an option that nothing here uses is not left out without a word', async () => {
  const files = chain.files('device-01');
  const algorithms = ['ecdsa-p256-sha256'];
  const client = Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true');
  for (const [call, word] of [
    [() => client.setOptions({ passphrase: 'geheim' }), 'certFile'],
    [() => client.setOptions({ ...files, algorithms }), 'algorithms'],
    [() => client.setOptions({ algorithms }), 'algorithms'],
    [() => new X509Security('device-01', { ...files, algorithms }), 'algorithms'],
  ]) {
    assert.throws(call, (error) => {
      assert.equal(error.code, 'DPS_INVALID_ARGUMENT', String(call));
      assert.ok(error.message.includes(word) && !error.message.includes('geheim'), error.message);
      return true;
    });
  }
  await rejects(doctor({ ...files, algorithms }), 'DPS_INVALID_ARGUMENT', 'algorithms');
});

test('a registration ID that is not the common name, and one that cannot be', async () => {
  const files = chain.files('device-01');
  await rejects(registering(files, 'device-02'), 'DPS_REGISTRATION_ID_MISMATCH', 'device-02', 'device-01');
  await rejects(registering(files, 'dev ice'), 'DPS_REGISTRATION_ID_INVALID', 'dev ice');
  await rejects(registering(files, ''), 'DPS_REGISTRATION_ID_INVALID');
});

test('an ID scope that cannot be, and a host that is a URL', async () => {
  const files = chain.files('device-01');
  await rejects(registering(files, 'device-01', { idScope: 'my scope' }), 'DPS_INVALID_ARGUMENT', 'ID scope');
  const error = await rejects(registering(files, 'device-01', { host: 'https://my.dps.example' }), 'DPS_HOST_INVALID');
  assert.ok(error.hint.includes('"my.dps.example"'));
});

test('401002: a chain that nobody enrolled, with what the service said', async () => {
  const error = await rejects(registering(other.files('device-01')), 'DPS_UNAUTHORIZED', '401002');
  assert.equal(error.operation, 'register');
  assert.equal(error.service.status, 401);
  assert.equal(error.service.errorCode, 401002);
  assert.equal(typeof error.service.message, 'string');
  assert.equal(typeof error.service.trackingId, 'string');
  assert.ok(error.hint.length > 0);
});

test('a leaf alone: the missing intermediate is named', async () => {
  const leaf = chain.path('certs/device-01.cert.pem');
  const error = await rejects(registering({ certFile: leaf, keyFile: chain.keyFile('device-01') }), 'DPS_UNAUTHORIZED');
  assert.ok(error.hint.includes('only its leaf'), error.hint);
});

test('a disabled group', async () => {
  await emulator.enroll(other, { name: 'disabled', status: 'disabled' });
  await rejects(registering(other.files('device-01')), 'DPS_ENROLLMENT_DISABLED', 'disabled');
});

test('429 for ever is given up within the deadline with the service\'s words, and passes where it passes', async () => {
  const status = { code: 429, retryAfter: 1, errorCode: 429001, message: 'Operations are being throttled.' };
  await emulator.fault({ device: 'device-02', step: 'register', times: 0, action: { status } });
  const device = emulator.deviceOf(chain, 'device-02');
  const error = await rejects(device.register({ deadline: 1500 }), 'DPS_THROTTLED', '429001', 'throttled', '1.5 s');
  assert.equal(error.retryable, true);
  assert.equal(error.service.status, 429);
  assert.equal(error.service.retryAfter, 1000);
  await emulator.clearFaults();
  assert.equal((await device.register()).deviceId, 'device-02');
});

test('nonsense from the service', async () => {
  await emulator.fault({ step: 'register', action: { body: '{' } });
  await rejects(registering(chain.files('device-01')), 'DPS_PROTOCOL_VIOLATION');
  await emulator.fault({ step: 'poll', action: { registrationStatus: 'pondering' } });
  await rejects(registering(chain.files('device-01')), 'DPS_UNKNOWN_STATUS', 'pondering');
  await emulator.clearFaults();
});

test('a server that is not trusted, one with another name, a closed port', async () => {
  const files = chain.files('device-01');
  const { connectTo } = emulator.ready;
  const stranger = new Mqtt({ connectTo, ca: chain.text('certs/azure-iot-test-only.root.ca.cert.pem') });
  await rejects(registering(files, 'device-01', { transport: stranger }), 'DPS_SERVER_NOT_TRUSTED');
  await rejects(registering(files, 'device-01', { host: 'another.example' }), 'DPS_SERVER_NAME_MISMATCH', 'another.example');
  const transport = new Mqtt({ connectTo: `127.0.0.1:${await closedPort()}` });
  const device = emulator.device(new X509Security('device-01', files), { transport });
  const error = await rejects(device.register({ deadline: 300 }), 'DPS_CONNECTION_FAILED', '127.0.0.1', 'refused');
  assert.equal(error.retryable, true);
});

test('a deadline of zero, and ones that are no numbers', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  await rejects(device.register({ deadline: 0 }), 'DPS_DEADLINE_EXCEEDED');
  for (const deadline of [-1, NaN]) {
    await rejects(device.register({ deadline }), 'DPS_INVALID_ARGUMENT', 'deadline');
  }
  for (const options of [{ deadline: '1' }, { signal: {} }, { signal: 5 }, 5]) {
    await rejects(device.register(options), 'DPS_INVALID_ARGUMENT');
  }
  assert.equal((await device.register({ deadline: Infinity })).deviceId, 'device-01');
});

test('options whose properties throw: a call that waits rejects, and what was thrown is the cause', async () => {
  const boom = new Error('from a getter');
  const hostile = (name) => Object.defineProperty({}, name, { enumerable: true, get() { throw boom; } });
  const device = emulator.deviceOf(chain, 'device-01');
  const hub = await device.connect(await device.register());
  for (const call of [
    () => device.register(hostile('deadline')),
    () => device.register(hostile('signal')),
    () => device.register({ signal: hostile('aborted') }),
    () => device.register(new Proxy({}, { get() { throw boom; } })),
    () => device.connect(hostile('assignedHub')),
    () => hub.sendEvent('x', hostile('signal')),
    () => hub.close(hostile('deadline')),
    () => doctor(hostile('certFile')),
    () => doctor(hostile('reach')),
    () => registering(() => hostile('cert')),
  ]) {
    assert.equal((await rejects(call(), 'DPS_INVALID_ARGUMENT')).cause, boom, String(call));
  }
  for (const call of [
    () => new X509Security('x', hostile('cert')),
    () => new Mqtt(hostile('ca')),
    () => new Message('x', hostile('messageId')),
    () => new Message('x', { properties: hostile('a') }),
    () => Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true').setOptions(hostile('keepalive')),
  ]) {
    assert.throws(call, (error) => error.code === 'DPS_INVALID_ARGUMENT' && error.cause === boom, String(call));
  }
  // The environment is as good as before.
  await hub.sendEvent('x');
  await hub.close();
});

test('what only looks like an AbortSignal is refused, and throws nowhere else', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const boom = new Error('no listeners here');
  const throwing = { aborted: false, addEventListener() { throw boom; }, removeEventListener() {} };
  for (const signal of [{ aborted: false }, { aborted: false, addEventListener: 5, removeEventListener: 5 }, { aborted: false, addEventListener() {} }]) {
    await rejects(device.register({ signal }), 'DPS_INVALID_ARGUMENT', 'AbortSignal');
  }
  assert.equal((await rejects(device.register({ signal: throwing }), 'DPS_INVALID_ARGUMENT', 'signal')).cause, boom);
  // One that works as far as it must is taken.
  const quiet = { aborted: false, addEventListener() {}, removeEventListener() {} };
  assert.equal((await device.register({ signal: quiet })).deviceId, 'device-01');
});

test('no value of the wrong type is repeated: it may be a secret', async () => {
  const { certFile, keyFile } = chain.files('device-01');
  for (const call of [
    () => new X509Security('x', { certFile, keyFile, passphrase: 271828 }),
    () => new X509Security('x', { certFile, key: 271828 }),
    () => new X509Security('x', { certFile, keyFile: 271828 }),
    () => new SymmetricKeySecurityClient('x', 271828),
    () => deriveDeviceKey(271828, 'x'),
    () => Client.fromConnectionString(271828),
    () => Client.fromConnectionString('HostName=h.example;DeviceId=d;SharedAccessKey'),
    () => Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true').setOptions({ passphrase: 271828 }),
    () => new Message('x', { properties: { a: 271828 } }),
    () => new Message('x').setProperty('a', 271828),
    () => explainError(271828),
  ]) {
    assert.throws(call, (error) => {
      assert.equal(error.code, 'DPS_INVALID_ARGUMENT', String(call));
      assert.ok(!`${error.stack} ${JSON.stringify(error)}`.includes('271828'), String(call));
      return true;
    });
  }
  await rejects(doctor({ certFile, passphrase: 271828 }), 'DPS_INVALID_ARGUMENT', 'passphrase');
  assert.throws(() => new Message('x', { properties: { a: undefined } }), { code: 'DPS_INVALID_ARGUMENT' });
});

test('a transport that is not ours is refused: a site may let nothing else through', async () => {
  const security = new X509Security('device-01', chain.files('device-01'));
  class AmqpWs {}
  for (const transport of [AmqpWs, class Mqtt {}, () => {}, new AmqpWs(), {}, 5, 'mqtt']) {
    const unsupported = { code: 'DPS_UNSUPPORTED', message: /^transport: / };
    assert.throws(() => ProvisioningDeviceClient.create(HOST, 's', transport, security), unsupported);
    assert.throws(() => Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true', transport), unsupported);
  }
  for (const transport of [Mqtt, new Mqtt(), undefined, null]) ProvisioningDeviceClient.create(HOST, 's', transport, security);
});

test('what a message is given is sent, or refused at once', async () => {
  const device = emulator.deviceOf(chain, 'device-02');
  const hub = await device.connect(await device.register());
  const message = new Message('x', { outputName: 'first', expiryTimeUtc: new Date(0) });
  assert.deepEqual([message.outputName, message.expiryTimeUtc, message.messageId], ['first', new Date(0), undefined]);
  message.outputName = 'alarms';
  message.expiryTimeUtc = new Date(Date.UTC(2040, 1, 29, 12));
  message.contentType = 'text/plain';
  message.contentType = undefined;
  message.setAsSecurityMessage();
  await hub.sendEvent(message);
  await hub.close();
  // Microsoft, "Communicate with IoT Hub using MQTT", system properties.
  const { topic } = (await emulator.packets('device-02', 'hub', 'PUBLISH')).at(-1);
  assert.equal(
    decodeURIComponent(topic.split('/').at(-1)),
    '$.on=alarms&$.ifid=urn:azureiot:Security:SecurityAgent:1&$.exp=2040-02-29T12:00:00Z',
  );
  for (const name of ['messageId', 'correlationId', 'userId', 'contentType', 'contentEncoding', 'outputName', 'expiryTimeUtc']) {
    for (const value of [31337, { toString: () => '31337' }, Symbol('31337'), 'expiryTimeUtc' === name ? '31337' : new Date(31337)]) {
      for (const set of [() => { message[name] = value; }, () => new Message('x', { [name]: value })]) {
        assert.throws(set, (error) => error.code === 'DPS_INVALID_ARGUMENT' && error.message.includes(name) && !error.stack.includes('31337'));
      }
    }
  }
  assert.equal(message.outputName, 'alarms');
  for (const name of ['ack', 'to', 'lockToken', 'interfaceId']) {
    assert.throws(() => { message[name] = 'full'; }, { code: 'DPS_UNSUPPORTED', message: new RegExp(name) });
  }
  for (const misspelt of ['mesageId', 'ack', 'interfaceId']) {
    assert.throws(() => new Message('x', { [misspelt]: 'x' }), { code: 'DPS_UNSUPPORTED' });
  }
});

test('options that no call has, and callbacks that nobody would call', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const key = await PrivateKey.generate('ec-p256');
  const hub = Client.fromConnectionString('HostName=h.example;DeviceId=d;x509=true', Mqtt);
  for (const call of [
    () => device.register({ timeout: 1 }),
    () => device.connect({ assignedHub: 'h', deviceId: 'd' }, { timeout: 1 }),
    () => hub.open({ timeout: 1 }),
    () => hub.close({ timeout: 1 }),
    () => hub.sendEvent('x', { deadline: 1 }),
    () => doctor({ authority: 'x' }),
    () => PrivateKey.generate('ec-p256', { deadline: 1 }),
    () => PrivateKey.fromPem({ key: 'x', password: 'x' }),
    () => Authority.createRoot('x', key, { pathlength: 1 }),
  ]) {
    await rejects(call(), 'DPS_UNSUPPORTED', 'there is no option');
  }
  for (const call of [
    () => device.registering({ timeout: 1 }),
    () => hub.setOptions({ tokenRenewal: { tokenValidTimeInSeconds: 60, tokenRenewalMarginInSeconds: 6 } }),
  ]) {
    assert.throws(call, { code: 'DPS_UNSUPPORTED' });
  }
  const callback = () => assert.fail('called');
  assert.throws(() => hub.setOptions(chain.files('device-01'), callback), { code: 'DPS_INVALID_ARGUMENT', message: /callback/ });
  for (const call of [() => device.register(callback), () => hub.open(callback), () => hub.close(callback), () => hub.sendEvent('x', callback)]) {
    await rejects(call(), 'DPS_INVALID_ARGUMENT', 'options');
  }
});

test('classes are made by new, or not at all', () => {
  for (const Class of [Authority, CertificateChain, Message, Mqtt, SubjectKey, SymmetricKeySecurityClient, X509Security]) {
    assert.throws(() => Class('x', 'y'), TypeError);
    assert.throws(() => Class.prototype.constructor('x', 'y'), TypeError);
  }
  for (const Class of [Certificate, CertificateRequest, Client, ConnectionStates, MakingDevices, MessageEnqueued, PrivateKey, ProvisioningDeviceClient, Registering]) {
    assert.throws(() => Class('x'), TypeError);
    assert.throws(() => new Class('x'), { name: 'DpsError', code: 'DPS_UNSUPPORTED', message: new RegExp(Class.name) });
  }
  assert.ok(new Message('x') instanceof Message && new Message('x').constructor === Message);
  class Alarm extends Message {}
  assert.deepEqual(new Alarm('x').getData(), Buffer.from('x'));
});

test('an error says where the call was made, and its name can be changed', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const error = await (async function theCaller() {
    return rejects(device.register({ deadline: 0 }), 'DPS_DEADLINE_EXCEEDED');
  })();
  const [first, second] = error.stack.slice(error.stack.indexOf('\n    at ')).split('\n').slice(1);
  assert.match(first, /theCaller.*bad-input\.test\.mjs/);
  assert.doesNotMatch(`${first}${second}`, /dps-core\/index\.js/);
  assert.ok(error.stack.startsWith(`DpsError: ${error.message}`), error.stack);
  assert.deepEqual([error.name, Object.keys(error).includes('name')], ['DpsError', false]);
  error.name = 'MyError';
  assert.equal(error.name, 'MyError');
});

test('a chain that does not reach the CAs that DPS knows is refused before anything is dialled', async () => {
  const [{ certFile, keyFile }, root] = [chain.files('device-01'), chain.text(ROOT)];
  const [known, leaf] = [{ authoritiesFile: chain.path(ROOT) }, chain.text('certs/device-01.cert.pem')];
  const signer = ({ message }) => sign('sha256', message, chain.text('private/device-01.key.pem'));
  for (const x509 of [
    { certFile, keyFile, ...known },
    { certFile, keyFile, authorities: root },
    { certFile, keyFile, authorities: Buffer.from(chain.text(INTERMEDIATE)) },
    { certFile, signer, ...known },
  ]) {
    assert.equal((await registering(x509)).deviceId, 'device-01');
  }
  // Nothing listens there: whoever dialled would hear of that.
  const transport = new Mqtt({ connectTo: `127.0.0.1:${await closedPort()}`, ca: emulator.ca });
  const stranger = { authoritiesFile: other.path(ROOT) };
  for (const [x509, code, word] of [
    [{ certFile, keyFile, ...stranger }, 'DPS_CHAIN_BROKEN', 'the name matches and the key does not'],
    [{ certFile, signer, ...stranger }, 'DPS_CHAIN_BROKEN', 'the name matches and the key does not'],
    [() => ({ certFile, keyFile, ...stranger }), 'DPS_CHAIN_BROKEN', 'the name matches and the key does not'],
    [{ cert: leaf, keyFile, ...known }, 'DPS_ISSUER_MISSING', ''],
    [{ certFile, keyFile, authorities: 'no CAs' }, 'DPS_WRONG_FILE_CONTENT', 'the known CAs'],
    [{ certFile, keyFile, authoritiesFile: '/nowhere.pem' }, 'DPS_FILE_NOT_READABLE', '/nowhere.pem'],
  ]) {
    assert.equal((await rejects(registering(x509, 'device-01', { transport }), code, word)).operation, 'open credential');
  }
  const hub = Client.fromConnectionString('HostName=h.example;DeviceId=device-01;x509=true', transport);
  hub.setOptions({ certFile, keyFile, ...stranger });
  await rejects(hub.open(), 'DPS_CHAIN_BROKEN', 'the name matches and the key does not');
  assert.throws(() => hub.setOptions(known), { code: 'DPS_INVALID_ARGUMENT' });
  for (const wrong of [{ authorities: root, ...known }, { authorities: 5 }, { authoritiesFile: 5 }]) {
    assert.throws(() => new X509Security('x', { certFile, keyFile, ...wrong }), { code: 'DPS_INVALID_ARGUMENT' });
  }
});

test('a PKCS#12 file under another passphrase, under none, and beside a key', async () => {
  const pkcs12File = chain.path('device-01.pfx');
  await pfx(chain, 'device-01', pkcs12File, 'geheim');
  await rejects(registering({ pkcs12File }), 'DPS_PASSPHRASE_REQUIRED', 'device-01.pfx');
  await rejects(registering({ pkcs12File, passphrase: 'falsch' }), 'DPS_PASSPHRASE_WRONG', 'device-01.pfx');
  await rejects(registering({ pkcs12: Buffer.from('not one') }), 'DPS_WRONG_FILE_CONTENT');
  for (const more of [{ keyFile: 'x' }, { cert: 'x' }, { signer: () => {} }, { pkcs12: Buffer.alloc(1) }]) {
    assert.throws(() => new X509Security('x', { pkcs12File, ...more }), { code: 'DPS_INVALID_ARGUMENT' });
  }
});

test('a message that cannot be sent, and a client that is not open', async () => {
  const device = emulator.deviceOf(chain, 'device-01');
  const hub = await device.connect(await device.register());
  await rejects(hub.sendEvent(Buffer.alloc(256 * 1024 + 1)), 'DPS_MESSAGE_TOO_LARGE');
  await rejects(hub.sendEvent(5), 'DPS_INVALID_ARGUMENT', 'message');
  await rejects(hub.sendEvent(), 'DPS_INVALID_ARGUMENT', 'message');
  await hub.sendEvent(Buffer.alloc(200 * 1024));
  await hub.close();
  await rejects(hub.sendEvent('x'), 'DPS_CLOSED');
});

test('the catalogue has every code once, in the order of the numbers', () => {
  const catalogue = errorCatalogue();
  assert.ok(catalogue.length > 40);
  for (const [index, entry] of catalogue.entries()) {
    assert.match(entry.code, /^DPS_[A-Z_]+$/);
    assert.equal(typeof entry.retryable, 'boolean');
    assert.ok(entry.sentence.endsWith('.'));
    if (index > 0) assert.ok(entry.number > catalogue[index - 1].number);
  }
  assert.equal(new Set(catalogue.map((entry) => entry.code)).size, catalogue.length);
  const unauthorized = catalogue.find((entry) => entry.code === 'DPS_UNAUTHORIZED');
  assert.deepEqual([unauthorized.number, unauthorized.retryable], [401, false]);
});

function closedPort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

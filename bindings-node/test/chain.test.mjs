// Chains that are made in JavaScript: OpenSSL holds them for good, and devices register with them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';

import {
  Authority, Certificate, CertificateChain, CertificateRequest, PrivateKey, SubjectKey, X509Security, cString,
  inspectChain, javaString, makeDevices, verifyChain,
} from 'dps-core';

import { Emulator, Folder, rejects } from './support.mjs';

const folder = new Folder();
after(() => folder.remove());

const path = (name) => folder.path(name);
const openssl = (...options) => String(folder.openssl('', ...options));
const write = (...file) => folder.write(...file);
const newKey = () => PrivateKey.generate('ec-p256');
const fails = (call, code, ...words) => rejects(new Promise((resolve) => resolve(call())), code, ...words);

const root = await Authority.createRoot('Test root', await newKey(), { days: 3650, pathLength: 1 });
const intermediate = await root.createIntermediate('Test intermediate', await PrivateKey.generate('rsa-2048'));
const deviceKey = await newKey();
const device = await intermediate.issueDevice('device-01', deviceKey);
const chain = new CertificateChain([root.certificate, device, intermediate.certificate]);
write('root.pem', root.certificate.toPem());
write('intermediate.pem', intermediate.certificate.toPem());

const opensslVerifies = (certificate) => {
  const leaf = write('leaf.pem', certificate.toPem());
  assert.match(openssl('verify', '-x509_strict', '-CAfile', 'root.pem', '-untrusted', 'intermediate.pem', leaf), /: OK\n$/);
};

test('a chain made in JavaScript: openssl verifies it, strictly, and so do we', async () => {
  opensslVerifies(device);
  assert.deepEqual(chain.certificates.map((certificate) => certificate.inspect().commonName), ['device-01', 'Test intermediate', 'Test root']);
  assert.deepEqual(chain.warnings, []);
  const key = await deviceKey.toPem();
  const report = await verifyChain({ cert: chain.toPem(), key, authorities: root.certificate.toPem() });
  assert.deepEqual([report.exitCode, report.findings], [0, []]);
  const [inspected] = (await inspectChain({ cert: device.der })).certificates;
  assert.deepEqual(device.inspect(), inspected);
  const text = openssl('x509', '-in', write('leaf.pem', device.toPem()), '-noout', '-text');
  for (const words of ['CN *= *device-01', 'TLS Web Client Authentication', 'Digital Signature']) assert.match(text, new RegExp(words));
  assert.match(openssl('x509', '-in', 'intermediate.pem', '-noout', '-text'), /CA:TRUE, pathlen:0/);
  // Node's own reading.
  const read = new X509Certificate(device.der);
  assert.ok(read.verify(new X509Certificate(intermediate.certificate.toPem()).publicKey));
  assert.deepEqual(read.publicKey.export({ type: 'spki', format: 'der' }), deviceKey.publicKeyInfo);
});

test('a device with it is provisioned', async () => {
  const emulator = await Emulator.start('--retry-after', '0');
  try {
    await emulator.dps('certificate', 'create', '--certificate-name', 'made', '--path', path('root.pem'), '--verified', 'true');
    await emulator.dps('enrollment-group', 'create', '--enrollment-id', 'made', '--certificate-path', path('intermediate.pem'));
    const x509 = { cert: chain.toPem(), key: await deviceKey.toPem() };
    const client = emulator.device(new X509Security('device-01', x509));
    const result = await client.register();
    assert.equal(result.deviceId, 'device-01');
    const hub = await client.connect(result);
    await hub.sendEvent('made in JavaScript');
    await hub.close();
    assert.equal((await emulator.messages('device-01')).at(-1).body, 'made in JavaScript');
  } finally {
    await emulator.stop();
  }
});

test('a CA that is there already, from its files, issues as before', async () => {
  const caKey = await PrivateKey.generate('rsa-2048');
  const made = await root.createIntermediate('From files', caKey);
  write('intermediate.pem', made.certificate.toPem());
  const keyFile = write('ca.key.pem', await caKey.toPem('geheim'));
  assert.match(readFileSync(keyFile, 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY/);
  openssl('pkey', '-in', keyFile, '-passin', 'pass:geheim', '-noout');
  const [certificate] = await Certificate.fromPem({ certFile: path('intermediate.pem') });
  const key = await PrivateKey.fromPem({ keyFile, passphrase: 'geheim' });
  assert.equal(key.keyType, 'RSA-2048');
  const authority = new Authority(certificate, key);
  opensslVerifies(await authority.issueDevice('device-02', (await newKey()).publicKeyInfo, { days: 1 }));
  const code = await authority.issueVerification('3B1CD2B9D3E48AF6', key);
  opensslVerifies(code);
  assert.equal(code.inspect().commonName, '3B1CD2B9D3E48AF6');
  await fails(() => new Authority(certificate, deviceKey), 'DPS_KEY_MISMATCH');
  await fails(() => new Authority(device, deviceKey), 'DPS_INVALID_ARGUMENT', 'not a CA certificate');
  write('intermediate.pem', intermediate.certificate.toPem());
});

test('a device again: the same key or a new one, and the dates that were asked for', async () => {
  const notBefore = new Date('2026-01-01T00:00:00Z');
  const notAfter = new Date('2049-12-31T23:59:59Z');
  const same = await intermediate.reissueDevice(device, undefined, { notBefore, notAfter });
  const { publicKey, serialNumber, validFrom, validTo } = new X509Certificate(same.der);
  assert.deepEqual(publicKey.export({ type: 'spki', format: 'der' }), deviceKey.publicKeyInfo);
  assert.deepEqual([new Date(validFrom), new Date(validTo)], [notBefore, notAfter]);
  assert.notEqual(serialNumber, new X509Certificate(device.der).serialNumber);
  const other = await newKey();
  const changed = new X509Certificate((await intermediate.reissueDevice(device, other)).der);
  assert.deepEqual(changed.publicKey.export({ type: 'spki', format: 'der' }), other.publicKeyInfo);
  await rejects(intermediate.reissueDevice(root.certificate), 'DPS_INVALID_ARGUMENT', 'CA certificate');
});

test('a request made by openssl is signed; what it asks for beyond name and key is ignored, and listed', async () => {
  openssl(
    'req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'requested.key.pem', '-out', 'requested.csr.pem', '-subj', '/O=Contoso/CN=device-03',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'subjectAltName=DNS:example.org',
  );
  const request = CertificateRequest.fromPem(readFileSync(path('requested.csr.pem')));
  assert.equal(request.registrationId, 'device-03');
  for (const words of ['Contoso', 'critical extension basicConstraints', 'extension subjectAltName']) {
    assert.ok(request.ignored.some((line) => line.includes(words)), `${words} in ${request.ignored}`);
  }
  assert.equal(request.ignored.length, 3);
  const issued = await intermediate.issueRequested(request);
  opensslVerifies(issued);
  const { ca, commonName, subject } = issued.inspect();
  assert.deepEqual([ca, commonName, subject.includes('Contoso')], [false, 'device-03', false]);
  const read = new X509Certificate(issued.der);
  assert.equal(read.subjectAltName, undefined);
  assert.ok(read.publicKey.equals(createPublicKey(readFileSync(path('requested.key.pem')))));
});

test('a request made here is one that openssl and we verify', async () => {
  const pem = await deviceKey.certificateRequest('device-01');
  assert.match(openssl('req', '-in', write('made.csr.pem', pem), '-noout', '-verify', '-subject', '-text'), /CN *= *device-01/);
  const request = CertificateRequest.fromPem(pem);
  assert.deepEqual([request.registrationId, request.ignored], ['device-01', []]);
  const lines = pem.split('\n');
  const der = Buffer.from(lines.slice(1, -2).join(''), 'base64');
  der[der.length - 1] ^= 1;
  await fails(() => CertificateRequest.fromPem(der), 'DPS_CERTIFICATE_MALFORMED', 'signature');
});

// A key that only a function reaches, and its public part.
const elsewhere = (type, options) => {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  return { signer: async ({ message }) => sign('sha256', message, privateKey), publicKeyInfo: publicKey.export({ type: 'spki', format: 'der' }) };
};
const p256 = () => ({ ...elsewhere('ec', { namedCurve: 'P-256' }), algorithms: ['ecdsa-p256-sha256'] });

test('keys that JavaScript functions sign with: requests, CAs and devices of theirs hold for openssl', async () => {
  const key = new SubjectKey(p256());
  const request = await key.certificateRequest('device-04');
  assert.match(openssl('req', '-in', write('signed.csr.pem', request), '-noout', '-verify', '-subject'), /CN *= *device-04/);
  const rsa = new SubjectKey({ ...elsewhere('rsa', { modulusLength: 2048 }), algorithms: ['rsa-pss-sha256', 'rsa-pkcs1-sha256'] });
  const top = await Authority.createRoot('Root elsewhere', rsa);
  const middle = await top.createIntermediate('Intermediate elsewhere', new SubjectKey(p256()));
  write('root-elsewhere.pem', top.certificate.toPem());
  write('middle-elsewhere.pem', middle.certificate.toPem());
  const issued = await middle.issueDevice('device-04', key);
  for (const leaf of [
    issued, await middle.issueRequested(CertificateRequest.fromPem(request)), await middle.reissueDevice(issued, key), await middle.issueVerification('CODE', key),
  ]) {
    assert.deepEqual(new X509Certificate(leaf.der).publicKey.export({ type: 'spki', format: 'der' }), key.publicKeyInfo);
    const file = write('leaf-elsewhere.pem', leaf.toPem());
    assert.match(openssl('verify', '-x509_strict', '-CAfile', 'root-elsewhere.pem', '-untrusted', 'middle-elsewhere.pem', file), /: OK\n$/);
  }
});

test('a CA that is there already, with its key behind a function, issues; so do batches of it', async () => {
  const caKey = await newKey();
  const { certificate } = await root.createIntermediate('Behind a function', caKey);
  const held = createPrivateKey(await caKey.toPem());
  const authority = await Authority.fromSigner(certificate, { signer: ({ message }) => sign('sha256', message, held) });
  write('intermediate.pem', certificate.toPem());
  opensslVerifies(await authority.issueDevice('device-05', deviceKey));
  for await (const made of makeDevices({ folder: path('batch'), issuer: authority, keyType: 'ec-p256', range: 'b-1..b-3' })) {
    openssl('verify', '-CAfile', 'root.pem', '-untrusted', 'intermediate.pem', made.certFile);
  }
  write('intermediate.pem', intermediate.certificate.toPem());
  await rejects(Authority.fromSigner(certificate, { signer: p256().signer }), 'DPS_KEY_MISMATCH');
});

test('what such a function throws or rejects with is the cause, and a silent one can be aborted', async () => {
  const caKey = await newKey();
  const { certificate } = await Authority.createRoot('Fails', caKey);
  const held = createPrivateKey(await caKey.toPem());
  const removed = new Error('the token was removed');
  for (const fail of [() => { throw removed; }, () => Promise.reject(removed)]) {
    const key = new SubjectKey({ ...p256(), signer: fail });
    let good = 1;
    const authority = await Authority.fromSigner(certificate, { signer: ({ message }) => (good-- > 0 ? sign('sha256', message, held) : fail()) });
    for (const call of [
      () => key.certificateRequest('device-06'),
      () => Authority.createRoot('x', key),
      () => Authority.fromSigner(certificate, { signer: fail }),
      () => authority.issueDevice('device-06', key),
      () => authority.createIntermediate('x', key),
      () => makeDevices({ folder: path('fails'), issuer: authority, keyType: 'ec-p256', range: 'f-1..f-2' }).next(),
    ]) {
      const error = await rejects(call(), 'DPS_SIGNER', 'the token was removed');
      assert.equal(error.cause, removed);
    }
  }
  // More of them than there are threads to sign on.
  for (let count = 0; count < 20; count += 1) {
    const abort = new AbortController();
    const signer = () => {
      abort.abort(removed);
      return new Promise(() => {});
    };
    const silent = new SubjectKey({ ...p256(), signer });
    assert.equal(await silent.certificateRequest('device-06', { signal: abort.signal }).catch((error) => error), removed);
  }
  await new SubjectKey(p256()).certificateRequest('device-06');
});

test('a PKCS#12 file is read by openssl, and by us', async () => {
  const file = write('device.pfx', await chain.toPkcs12(deviceKey, 'geheim'));
  const shown = openssl('pkcs12', '-in', file, '-passin', 'pass:geheim', '-nodes');
  assert.equal(shown.match(/BEGIN CERTIFICATE/g).length, 3);
  assert.match(shown, /BEGIN PRIVATE KEY/);
  for (const options of [{ pkcs12File: file }, { pkcs12: readFileSync(file) }]) {
    const read = await CertificateChain.fromPkcs12({ ...options, passphrase: 'geheim' });
    assert.equal(read.toPem(), chain.toPem());
    await rejects(CertificateChain.fromPkcs12({ ...options, passphrase: 'falsch' }), 'DPS_PASSPHRASE_WRONG');
  }
  const key = await PrivateKey.fromPem({ keyFile: file, passphrase: 'geheim' });
  assert.deepEqual(key.publicKeyInfo, deviceKey.publicKeyInfo);
  await rejects(chain.toPkcs12(await newKey(), 'geheim'), 'DPS_KEY_MISMATCH', 'device-01');
});

test('string constants are those of the tutorial\'s sed', async () => {
  const pem = chain.toPem();
  const sed = (script) => execFileSync('sed', ['-e', script], { input: pem, encoding: 'utf8' });
  assert.equal(cString(pem), sed('s/^/"/;$ !s/$/""\\\\n"/;$ s/$/"/'));
  assert.equal(javaString(Buffer.from(pem)), sed('s/^/"/;$ !s/$/\\\\n" +/;$ s/$/"/'));
  await fails(() => cString('hello'), 'DPS_WRONG_FILE_CONTENT');
});

test('wrong arguments are errors with a code', async () => {
  const invalid = (call, ...words) => fails(call, 'DPS_INVALID_ARGUMENT', ...words);
  await invalid(() => PrivateKey.generate('dsa'), 'dsa', 'ec-p256');
  await invalid(() => PrivateKey.generate(4096), 'keyType');
  await invalid(() => PrivateKey.fromPem(), 'keyFile');
  await invalid(() => PrivateKey.fromPem({ key: 5 }), 'key');
  await invalid(() => deviceKey.toPem(5), 'passphrase');
  await fails(() => deviceKey.certificateRequest(''), 'DPS_INVALID_ARGUMENT');
  await invalid(() => Certificate.fromPem({}), 'certFile');
  await fails(() => Certificate.fromPem({ cert: 'hello' }), 'DPS_WRONG_FILE_CONTENT');
  await fails(() => Certificate.fromPem({ certFile: '/nowhere.pem' }), 'DPS_FILE_NOT_READABLE', '/nowhere.pem');
  await invalid(() => new CertificateChain('chain.pem'), 'array');
  await invalid(() => new CertificateChain([device.der]), 'Certificate');
  await fails(() => new CertificateChain([]), 'DPS_CHAIN_BROKEN', 'no certificate');
  const throwing = [];
  Object.defineProperty(throwing, 0, { get: () => { throw new Error('mine'); } });
  const error = await invalid(() => new CertificateChain(throwing), 'mine');
  assert.equal(error.cause.message, 'mine');
  await invalid(() => new CertificateChain(Object.assign([], { length: 2 ** 32 - 1 })), 'Certificate');
  await invalid(() => new Authority({}, deviceKey), 'Certificate');
  await invalid(() => new Authority(root.certificate, 'key'), 'PrivateKey');
  await invalid(() => Authority.createRoot('x', deviceKey.publicKeyInfo), 'SubjectKey');
  await invalid(() => Authority.fromSigner(root.certificate), 'options');
  await invalid(() => Authority.fromSigner(root.certificate, { signer: 5 }), 'signer', 'function');
  await fails(() => Authority.fromSigner(device, { signer: p256().signer }), 'DPS_INVALID_ARGUMENT', 'not a CA certificate');
  await invalid(() => new SubjectKey(), 'key');
  await invalid(() => new SubjectKey({ ...p256(), signer: undefined }), 'signer');
  await invalid(() => new SubjectKey({ ...p256(), algorithms: undefined }), 'algorithms');
  await invalid(() => new SubjectKey({ ...p256(), algorithms: ['md5'] }), 'md5');
  await invalid(() => new SubjectKey({ ...p256(), publicKeyInfo: 'key' }), 'publicKeyInfo');
  await fails(() => new SubjectKey({ ...p256(), publicKeyInfo: Buffer.from('no key') }).certificateRequest('x'), 'DPS_KEY_UNSUPPORTED');
  await fails(() => new SubjectKey({ ...p256(), algorithms: ['rsa-pss-sha256'] }).certificateRequest('x'), 'DPS_KEY_UNSUPPORTED');
  await invalid(() => Authority.createRoot('x', deviceKey, { pathLength: 256 }), 'pathLength');
  await invalid(() => Authority.createRoot('x', deviceKey, { days: 1.5 }), 'days');
  await invalid(() => Authority.createRoot('x', deviceKey, { days: -1 }), 'days');
  await invalid(() => Authority.createRoot('x', deviceKey, { days: 1, notAfter: new Date() }), 'notBefore');
  await invalid(() => Authority.createRoot('x', deviceKey, { notBefore: new Date(), notAfter: new Date(NaN) }), 'notAfter');
  await invalid(() => Authority.createRoot('x', deviceKey, { notBefore: new Date(1), notAfter: new Date(0) }), 'end before');
  await invalid(() => Authority.createRoot('x', deviceKey, { notBefore: new Date(0), notAfter: new Date(8.64e15) }), 'notAfter');
  await invalid(() => Authority.createRoot('x', deviceKey, { days: 2 ** 32 - 1 }), 'days');
  await invalid(() => Authority.createRoot('x', deviceKey, { notBefore: 0, notAfter: 1 }), 'Date');
  await invalid(() => intermediate.createIntermediate('deeper', deviceKey), 'pathlen:0');
  await invalid(() => intermediate.issueDevice('x', 'a string'), 'key');
  await fails(() => intermediate.issueDevice('not an ID', deviceKey), 'DPS_REGISTRATION_ID_INVALID');
  await fails(() => intermediate.issueDevice('x', Buffer.from('no key')), 'DPS_KEY_UNSUPPORTED');
  await invalid(() => intermediate.issueRequested('request'), 'CertificateRequest');
  await invalid(() => chain.toPkcs12(deviceKey), 'passphrase');
  const reason = new Error('enough');
  assert.equal(await PrivateKey.generate('rsa-4096', { signal: AbortSignal.abort(reason) }).catch((error) => error), reason);
});

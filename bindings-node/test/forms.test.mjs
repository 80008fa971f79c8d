// The forms in which certificates and keys come: DER, PKCS#12, old encrypted PEM, pasted text.
// OpenSSL makes them, and reads what is made here.

import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';

import {
  Authority, Certificate, CertificateChain, Client, PrivateKey, X509Security, cString, doctor, inspectChain,
  javaString, verifyChain,
} from 'dps-core';

import { Folder, HUB, ROOT, pfx, rejects, tutorial } from './support.mjs';

const { chain, emulator } = await tutorial('device-01', 'device-02', 'device-03', 'device-04');
const folder = new Folder();
after(() => folder.remove());

const path = (name) => folder.path(name);
const openssl = (...call) => folder.openssl(...call);
const write = (...file) => folder.write(...file);

/** Registers a device and lets its hub hear from it: by the security client, and by `setOptions`. */
async function lives(id, x509) {
  const client = emulator.device(new X509Security(id, x509));
  const { assignedHub, deviceId } = await client.register();
  assert.deepEqual([assignedHub, deviceId], [HUB, id]);
  const other = Client.fromConnectionString(`HostName=${assignedHub};DeviceId=${deviceId};x509=true`, emulator.transport);
  other.setOptions(x509);
  for (const hub of [await client.connect({ assignedHub, deviceId }), other]) {
    await hub.open();
    await hub.sendEvent('heard');
    await hub.close();
  }
}

for (const keyType of ['ec-p256', 'ec-p384', 'rsa-2048']) {
  test(`a key goes to DER and back: ${keyType}`, async () => {
    const key = await PrivateKey.generate(keyType);
    const der = key.toDer();
    assert.deepEqual(openssl(der, 'pkey', '-inform', 'DER', '-pubout', '-outform', 'DER'), key.publicKeyInfo);
    assert.equal(String(openssl(der, 'pkey', '-inform', 'DER')), await key.toPem());
    const again = await PrivateKey.fromPem({ key: der });
    assert.deepEqual([again.toDer(), again.keyType], [der, key.keyType]);
    // A copy: what is wiped here is still in the key.
    der.fill(0);
    assert.deepEqual(key.toDer(), again.toDer());
  });
}

for (const passphrase of [undefined, 'geheim']) {
  test(`a certificate and a key may be DER, ${passphrase ? 'encrypted' : 'plain'}`, async () => {
    // A file in DER holds one certificate, so the enrollment holds the leaf's.
    const id = passphrase ? 'der-encrypted' : 'der';
    const root = await Authority.createRoot('Root of DER', await PrivateKey.generate('ec-p256'));
    const key = await PrivateKey.generate('ec-p256');
    const leaf = await root.issueDevice(id, key);
    const file = write(`${id}.pem`, leaf.toPem());
    await emulator.dps('enrollment', 'create', '--enrollment-id', id, '--attestation-type', 'x509', '--certificate-path', file);
    const der = openssl(leaf.toPem(), 'x509', '-outform', 'DER');
    assert.deepEqual(der, leaf.der);
    const lock = passphrase ? ['-passout', `pass:${passphrase}`] : ['-nocrypt'];
    const pkcs8 = openssl(await key.toPem(), 'pkcs8', '-topk8', '-outform', 'DER', ...lock);
    const [certFile, keyFile] = [write(`${id}.cert.der`, der), write(`${id}.key.der`, pkcs8)];
    for (const x509 of [{ certFile, keyFile, passphrase }, { cert: der, key: new Uint8Array(pkcs8), passphrase }, { certFile, key: pkcs8, passphrase }]) {
      await lives(id, x509);
      // What is missing beside the leaf is the CA, which a file in DER cannot hold.
      const { findings } = await doctor({ ...x509, authorities: root.certificate.der });
      assert.deepEqual(findings.map(({ id }) => id), ['DPS-C027']);
    }
    assert.deepEqual((await PrivateKey.fromPem({ keyFile, passphrase })).toDer(), key.toDer());
    assert.equal((await Certificate.fromPem({ certFile }))[0].toPem(), leaf.toPem());
    assert.equal((await inspectChain({ cert: der })).certificates[0].commonName, id);
    await assert.rejects(Certificate.fromPem({ cert: der.subarray(0, -1) }), { name: 'DpsError' });
  });
}

test('a PFX stands wherever a credential does', async () => {
  const passphrase = 'geheim';
  const file = path('device-01.pfx');
  await pfx(chain, 'device-01', file, passphrase);
  const content = readFileSync(file);
  const authoritiesFile = chain.path(ROOT);
  for (const x509 of [
    { pkcs12File: file }, { pkcs12: content }, { certFile: file, keyFile: file }, { cert: content, key: content }, { cert: content, keyFile: file },
  ]) {
    await lives('device-01', { ...x509, passphrase });
    assert.deepEqual((await doctor({ ...x509, authoritiesFile, passphrase })).findings, []);
    assert.deepEqual((await verifyChain({ ...x509, authoritiesFile, passphrase })).findings, []);
    const register = (options) => emulator.device(new X509Security('device-01', { ...x509, ...options })).register();
    await rejects(register({ passphrase: 'falsch' }), 'DPS_PASSPHRASE_WRONG');
    await rejects(register(), 'DPS_PASSPHRASE_REQUIRED');
  }
  const key = await PrivateKey.fromPem({ key: content, passphrase });
  assert.equal(await key.toPem(), await (await PrivateKey.fromPem({ keyFile: chain.keyFile('device-01') })).toPem());
});

test('root.pfx and intermediate.pfx, as the store of Windows has them, go both ways', async () => {
  const rootKey = await PrivateKey.generate('ec-p256');
  const root = await Authority.createRoot('Windows root', rootKey);
  const belowKey = await PrivateKey.generate('rsa-2048');
  const below = await root.createIntermediate('Windows intermediate', belowKey);
  const ca = write('windows.pem', root.certificate.toPem());
  for (const [name, { certificate }, key] of [['root', root, rootKey], ['intermediate', below, belowKey]]) {
    const ours = write(`${name}.pfx`, await new CertificateChain([certificate]).toPkcs12(key, 'geheim'));
    const shown = openssl('', 'pkcs12', '-in', ours, '-passin', 'pass:geheim', '-nodes');
    assert.deepEqual((await Certificate.fromPem({ cert: openssl(shown, 'x509') })).map(({ der }) => der), [certificate.der]);
    assert.deepEqual(openssl(shown, 'pkey', '-outform', 'DER', '-pubout'), key.publicKeyInfo);

    const [pem, keyPem] = [write(`${name}.pem`, certificate.toPem()), write(`${name}.key.pem`, await key.toPem())];
    const theirs = path(`${name}-openssl.pfx`);
    openssl('', 'pkcs12', '-export', '-in', pem, '-inkey', keyPem, '-passout', 'pass:geheim', '-out', theirs);
    for (const pkcs12File of [ours, theirs]) {
      const { certificates: [read] } = await CertificateChain.fromPkcs12({ pkcs12File, passphrase: 'geheim' });
      const authority = new Authority(read, await PrivateKey.fromPem({ keyFile: pkcs12File, passphrase: 'geheim' }));
      const leaf = write('below.pem', (await authority.issueDevice('below-a-pfx', rootKey)).toPem());
      assert.match(String(openssl('', 'verify', '-x509_strict', '-CAfile', ca, '-untrusted', pem, leaf)), /: OK\n$/);
    }
  }
});

test('a PKCS#12 file without a MAC is refused', async () => {
  const { certFile, keyFile } = chain.files('device-02');
  const file = path('unsealed.pfx');
  openssl('', 'pkcs12', '-export', '-nomac', '-passout', 'pass:geheim', '-in', certFile, '-inkey', keyFile, '-out', file);
  const content = readFileSync(file);
  const passphrase = 'geheim';
  const register = (x509) => emulator.device(new X509Security('device-02', { ...x509, passphrase })).register();
  for (const reading of [
    () => register({ pkcs12File: file }), () => register({ pkcs12: content }), () => register({ certFile: file, keyFile: file }),
    () => CertificateChain.fromPkcs12({ pkcs12File: file, passphrase }), () => PrivateKey.fromPem({ key: content, passphrase }),
    () => inspectChain({ certFile: file, passphrase }),
  ]) {
    const error = await rejects(reading(), 'DPS_WRONG_FILE_CONTENT', 'no MAC');
    assert.match(error.hint, /-nomac/);
  }
  assert.equal((await doctor({ pkcs12File: file, passphrase })).exitCode, 2);
});

for (const [form, ...options] of [
  ['rsa', '-traditional', '-aes256'], ['rsa', '-traditional', '-des3'], ['ec', '-aes128'],
]) {
  test(`a key in OpenSSL's old encryption: ${form} ${options.join(' ')}`, async () => {
    const key = await PrivateKey.generate(form === 'rsa' ? 'rsa-2048' : 'ec-p256');
    const old = openssl(await key.toPem(), form, ...options, '-passout', 'pass:geheim');
    assert.match(String(old), /^Proc-Type: 4,ENCRYPTED$/m);
    const keyFile = write('old.key.pem', old);
    for (const source of [{ keyFile }, { key: old }, { key: String(old) }]) {
      assert.deepEqual((await PrivateKey.fromPem({ ...source, passphrase: 'geheim' })).toDer(), key.toDer());
      await rejects(PrivateKey.fromPem({ ...source, passphrase: 'falsch' }), 'DPS_PASSPHRASE_WRONG');
      await rejects(PrivateKey.fromPem(source), 'DPS_PASSPHRASE_REQUIRED');
    }
  });
}

test('a device registers with such a key', async () => {
  const { certFile, keyFile } = chain.files('device-03');
  const old = openssl(readFileSync(keyFile), 'ec', '-aes256', '-passout', 'pass:geheim');
  await lives('device-03', { certFile, keyFile: write('device-03.key.pem', old), passphrase: 'geheim' });
});

// What a clipboard, an environment variable or a source file makes of PEM, and what is said of it.
for (const [name, paste, ...mentioned] of [
  ['\\n in two characters', (pem) => pem.trimEnd().replaceAll('\n', '\\n'), '\\n'],
  ['quotation marks', (pem) => `"${pem}"`, 'quotation marks'],
  ['both', (pem) => `'${pem.trimEnd().replaceAll('\n', '\\n')}'`, '\\n', 'quotation marks'],
  ['a byte order mark', (pem) => `\ufeff${pem}`, 'byte order mark'],
  ['a byte order mark, and CRLF', (pem) => `\ufeff${pem.replaceAll('\n', '\r\n')}`, 'byte order mark', 'CRLF'],
  ['CRLF', (pem) => pem.replaceAll('\n', '\r\n'), 'CRLF'],
  ['one line', (pem) => pem.replaceAll('\n', ' '), 'line ends are lost'],
  ['a C constant', cString, '\\n', 'quotation marks'],
  ['a Java constant', javaString, '\\n', 'quotation marks'],
]) {
  test(`what was pasted is understood, and mentioned: ${name}`, async () => {
    const { certFile, keyFile } = chain.files('device-04');
    const [cert, key] = [certFile, keyFile].map((file) => paste(readFileSync(file, 'utf8')));
    const files = { certFile: write('pasted.pem', cert), keyFile: write('pasted.key.pem', key) };
    for (const source of [{ cert }, { cert: Buffer.from(cert) }, { certFile: files.certFile }]) {
      const { certificates, notes } = await inspectChain(source);
      assert.equal(certificates.length, 3);
      for (const words of mentioned) assert.ok(notes.some((note) => note.includes(words)), `${words} in ${notes}`);
    }
    for (const x509 of [{ cert, key }, files]) await lives('device-04', x509);
    assert.equal((await CertificateChain.fromPem({ cert })).toPem(), readFileSync(certFile, 'utf8'));
    assert.equal(await (await PrivateKey.fromPem({ key })).toPem(), readFileSync(keyFile, 'utf8'));
  });
}

test('what was not pasted has no such notes', async () => {
  assert.deepEqual((await inspectChain({ certFile: chain.certFile('device-04') })).notes, []);
});

for (const whose of ['root', 'intermediate']) {
  test(`the proof of possession of a CA is accepted, by openssl and by the service: ${whose}`, async () => {
    const name = `proven-${whose}`;
    const root = await Authority.createRoot(`Root of ${name}`, await PrivateKey.generate('ec-p256'));
    const authority = whose === 'root' ? root : await root.createIntermediate(`CA of ${name}`, await PrivateKey.generate('rsa-2048'));
    const [top, own] = [write(`${name}.root.pem`, root.certificate.toPem()), write(`${name}.pem`, authority.certificate.toPem())];
    await emulator.dps('certificate', 'create', '--certificate-name', name, '--path', own);
    const { properties } = await emulator.dps('certificate', 'generate-verification-code', '--certificate-name', name);
    const proof = await authority.issueVerification(properties.verificationCode, await PrivateKey.generate('ec-p256'));
    assert.deepEqual([proof.inspect().commonName, proof.inspect().ca], [properties.verificationCode, false]);
    const file = write(`${name}.proof.pem`, proof.toPem());
    assert.match(String(openssl('', 'verify', '-x509_strict', '-CAfile', top, '-untrusted', own, file)), /: OK\n$/);
    const verified = async () => (await emulator.dps('certificate', 'show', '--certificate-name', name)).properties.isVerified;
    assert.equal(await verified(), false);
    await emulator.dps('certificate', 'verify', '--certificate-name', name, '--path', file);
    assert.equal(await verified(), true);
  });
}

test('the certificate of an individual enrollment is compared with the device\'s', async () => {
  const { certFile, keyFile } = chain.files('device-01');
  const leaf = (device) => chain.path(`certs/${device}.cert.pem`);
  assert.deepEqual((await doctor({ certFile, keyFile, individualCertificateFile: leaf('device-01') })).findings, []);
  for (const other of [{ individualCertificateFile: leaf('device-02') }, { individualCertificate: readFileSync(leaf('device-02')) }]) {
    const { exitCode, findings } = await doctor({ certFile, keyFile, ...other });
    assert.deepEqual([exitCode, findings.map(({ id }) => id)], [2, ['DPS-C026']], JSON.stringify(findings));
  }
});

// The Node shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines.
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
const dps = createRequire(`${process.cwd()}/`)('dps-core');
const given = {};
const whole = (name) => readFileSync(given[name]);
const number = (name) => (name in given ? Number(given[name]) : undefined);
const seconds = (name) => (name in given ? Number(given[name]) / 1000 : undefined);
function lines(values) {
  for (const [name, value] of Object.entries(values)) if (value !== undefined && value !== null) console.log(`${name}: ${value}`);
}
// A key of this process that is slow, or fails at a call.
function signer() {
  const key = createPrivateKey(whole('--key'));
  let calls = 0;
  return async ({ algorithm, message }) => {
    calls += 1;
    if (calls === number('--sign-fails-at')) throw new Error('the token was pulled out');
    await new Promise((resolve) => setTimeout(resolve, number('--sign-delay') ?? 0));
    const padding = algorithm.startsWith('rsa-pss') ? { padding: 6, saltLength: -1 } : {};
    return sign(algorithm.split('-').at(-1), message, { key, ...padding });
  };
}
function credential(form) {
  const [id, key, passphrase] = [given['--id'], given['--key'], given['--passphrase']];
  const x509 = (material) => new dps.X509Security(given['--registration-id'], { passphrase, ...material });
  const forms = {
    'pem-files': () => x509({ certFile: given['--chain'], keyFile: key }), pem: () => x509({ cert: whole('--chain'), key: whole('--key') }),
    'pkcs12-file': () => x509({ pkcs12File: given['--chain'] }), pkcs12: () => x509({ pkcs12: whole('--chain') }),
    'symmetric-key': () => new dps.SymmetricKeySecurityClient(id, key),
    'group-key': () => new dps.SymmetricKeySecurityClient(id, dps.deriveDeviceKey(key, id)),
    signer: () => x509({ cert: whole('--chain'), signer: signer() }),
    hsm: () => ({ getRegistrationId: () => id, getCertificate: (done) => done(null, { cert: whole('--chain'), key: whole('--key') }) }),
  };
  return form in forms ? forms[form]() : process.exit(89);
}
// The outcome; nothing where the end of the input was to cancel the work, and came first.
async function orCancelled(cancels, work) {
  const aborter = new AbortController();
  if (cancels) process.stdin.on('end', () => aborter.abort()).resume();
  try {
    return (await work({ signal: aborter.signal, deadline: number('--deadline') })) ?? true;
  } catch (error) {
    if (!aborter.signal.aborted) throw error;
    lines({ cancelled: 'yes' });
  }
}
async function register(client, cancels) {
  if ('--payload' in given) client.setProvisioningPayload(JSON.parse(given['--payload']));
  return orCancelled(cancels, async (options) => {
    for await (const { stage, result: it } of client.registering(options)) {
      lines({ progress: stage });
      if (!it) continue;
      lines({ hub: it.assignedHub, 'device-id': it.deviceId, 'registration-id': it.registrationId, substatus: it.substatus, etag: it.etag });
      lines({ created: it.createdDateTimeUtc, 'last-updated': it.lastUpdatedDateTimeUtc });
      lines({ payload: JSON.stringify(it.payload), unknown: JSON.stringify(it.unknownFields) });
      return it;
    }
  });
}
async function connect(client, { assignedHub, deviceId }, transport, cancels) {
  const options = { keepalive: seconds('--keep-alive'), tokenRenewal: { tokenValidTimeInSeconds: seconds('--token-lifetime') } };
  if (!('--keep-alive' in given || '--token-lifetime' in given)) return orCancelled(cancels, (wait) => client.connect({ assignedHub, deviceId }, wait));
  const proof = '--chain' in given ? 'x509=true' : `SharedAccessKey=${given['--key']}`;
  const hub = dps.Client.fromConnectionString(`HostName=${assignedHub};DeviceId=${deviceId};${proof}`, transport);
  hub.setOptions('--chain' in given ? { ...options, certFile: given['--chain'], keyFile: given['--key'] } : options);
  await orCancelled(cancels, (wait) => hub.open(wait));
  return hub;
}
async function obey(words) {
  let [cancels, transport, client, hub, assigned, message, security] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [flag, value, now] = [words[at], words[at + 1], cancels];
    const [[assignedHub, deviceId], [messageId, correlationId, userId, contentType, contentEncoding]] = [value.split('/'), value.split(',')];
    cancels = flag === '--cancel';
    if (flag === '--credential') security = credential(value);
    else if (flag === '--register') {
      transport = new dps.Mqtt({ connectTo: given['--connect-to'], ca: whole('--roots'), apiVersion: given['--api-version'] });
      client ??= dps.ProvisioningDeviceClient.create(given['--host'] ?? 'global.azure-devices-provisioning.net', value, transport, security);
      assigned = await register(client, now);
    } else if (flag === '--connect') hub = await connect(client, deviceId ? { assignedHub, deviceId } : assigned, transport, now);
    else if (flag === '--body' || flag === '--size') message = new dps.Message(flag === '--body' ? value : Buffer.alloc(Number(value), 'x'));
    else if (flag === '--system') Object.assign(message, { messageId, correlationId, userId, contentType, contentEncoding });
    else if (flag === '--value') message.setProperty(given['--property'], value);
    else if (flag === '--send') {
      const bodies = value === '1' ? [message] : Array.from({ length: Number(value) }, (_, n) => `${n + 1}`);
      lines({ sent: (await orCancelled(now, ({ signal }) => Promise.all(bodies.map((body) => hub.sendEvent(body, { signal }))))) && value });
    } else if (flag === '--close') lines({ closed: (await hub.close({ deadline: Number(value) })) ?? 'yes' });
    else if (flag === '--catalogue') dps.errorCatalogue().forEach((kind) => lines({ [kind.number]: `${kind.code} ${kind.retryable} ${kind.sentence}` }));
    else given[flag] = value;
  }
}
await obey(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof dps.DpsError)) throw error;
  const { code, number: kind, retryable, operation, message: text, hint, service: said = {} } = error;
  lines({ error: code, code: kind, retryable, operation, text, hint, 'service-status': said.status, 'service-code': said.errorCode });
  lines({ 'service-message': said.message, 'tracking-id': said.trackingId, 'retry-after': said.retryAfter });
});
process.exit(0);

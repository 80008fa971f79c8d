// The Node shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { hsm, keyHsm, signer, tokenSigner } from './hardware.mjs';
const dps = createRequire(`${process.cwd()}/`)('dps-core');
const given = {};
const SETTINGS = `--connect-to --roots --host --registration-id --api-version --payload --deadline --keep-alive --token-lifetime
  --id --chain --key --passphrase --authorities --delay --sign-fails-at --hsm-fails --property`.split(/\s+/);
const SYSTEM = ['messageId', 'correlationId', 'userId', 'contentType', 'contentEncoding', 'outputName', 'expiryTimeUtc'];
const whole = (name) => readFileSync(given[name]);
const [number, seconds] = [1, 1000].map((unit) => (name) => (name in given ? Number(given[name]) / unit : undefined));
function lines(values) {
  for (const [name, value] of Object.entries(values)) if (value !== undefined && value !== null) console.log(`${name}: ${value}`);
}
function credential(form) {
  const [id, key, passphrase] = [given['--id'], given['--key'], given['--passphrase']];
  const authorities = '--authorities' in given ? whole('--authorities') : undefined;
  const x509 = (material) => new dps.X509Security(given['--registration-id'], { passphrase, authorities, ...material });
  const forms = {
    'pem-files': () => x509({ certFile: given['--chain'], keyFile: key }), pem: () => x509({ cert: whole('--chain'), key: whole('--key') }),
    'pkcs12-file': () => x509({ pkcs12File: given['--chain'] }), pkcs12: () => x509({ pkcs12: whole('--chain') }),
    'symmetric-key': () => new dps.SymmetricKeySecurityClient(id, key),
    'token-signer': () => new dps.SymmetricKeySecurityClient(id, tokenSigner(given)), 'hsm-key': () => keyHsm(given),
    'group-key': () => new dps.SymmetricKeySecurityClient(id, dps.deriveDeviceKey(key, id)),
    signer: () => x509({ cert: whole('--chain'), signer: signer(given) }), hsm: () => hsm(given),
  };
  return form in forms ? forms[form]() : process.exit(89);
}
// The outcome; nothing where the end of the input was to cancel the work, and did: whatever else the work ended in is an error.
async function orCancelled(cancels, work) {
  const aborter = new AbortController();
  if (cancels) process.stdin.on('end', () => aborter.abort()).resume();
  try {
    return (await work({ signal: aborter.signal, deadline: number('--deadline') })) ?? true;
  } catch (error) {
    if (!aborter.signal.aborted || error !== aborter.signal.reason) throw error;
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
const transport = () => new dps.Mqtt({ connectTo: given['--connect-to'], ca: whole('--roots'), apiVersion: given['--api-version'] });
async function open(connectionString, cancels) {
  const hub = dps.Client.fromConnectionString(connectionString, transport());
  const x509 = '--chain' in given ? { certFile: given['--chain'], keyFile: given['--key'] } : {};
  hub.setOptions({ keepalive: seconds('--keep-alive'), tokenRenewal: { tokenValidTimeInSeconds: seconds('--token-lifetime') }, ...x509 });
  await orCancelled(cancels, (wait) => hub.open(wait));
  return hub;
}
async function connect(client, { assignedHub, deviceId }, cancels) {
  const plain = client && !('--keep-alive' in given || '--token-lifetime' in given);
  if (plain) return orCancelled(cancels, (wait) => client.connect({ assignedHub, deviceId }, wait));
  return open(`HostName=${assignedHub};DeviceId=${deviceId};${'--chain' in given ? 'x509=true' : `SharedAccessKey=${given['--key']}`}`, cancels);
}
async function obey(words) {
  let [cancels, client, hub, assigned, message, security] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [flag, value, now] = [words[at], words[at + 1], cancels];
    const [assignedHub, deviceId] = value.split('/');
    cancels = flag === '--cancel';
    if (flag === '--credential') security = credential(value);
    else if (flag === '--register') {
      client ??= dps.ProvisioningDeviceClient.create(given['--host'] ?? 'global.azure-devices-provisioning.net', value, transport(), security);
      assigned = await register(client, now);
    } else if (flag === '--connect') hub = await connect(client, deviceId ? { assignedHub, deviceId } : assigned, now);
    else if (flag === '--connection-string') hub = await open(value, now);
    else if (flag === '--body' || flag === '--size') message = new dps.Message(flag === '--body' ? value : Buffer.alloc(Number(value), 'x'));
    else if (flag === '--system') {
      SYSTEM.forEach((name, at) => (message[name] = name === 'expiryTimeUtc' ? new Date(value.split(',')[at] * 1000) : value.split(',')[at]));
      message.setAsSecurityMessage();
    } else if (flag === '--value') message.setProperty(given['--property'], value);
    else if (flag === '--send') {
      const bodies = value === '1' ? [message] : Array.from({ length: Number(value) }, (_, n) => `${n + 1}`);
      lines({ sent: (await orCancelled(now, ({ signal }) => Promise.all(bodies.map((body) => hub.sendEvent(body, { signal }))))) && value });
    } else if (flag === '--submit') hub.sendEvent(message).catch(() => {});
    else if (flag === '--close') {
      lines({ closed: (await orCancelled(now, ({ signal }) => hub.close({ signal, deadline: Number(value) }))) && 'yes' });
    } else if (flag === '--catalogue') dps.errorCatalogue().forEach((kind) => lines({ [kind.number]: `${kind.code} ${kind.retryable} ${kind.sentence}` }));
    else if (SETTINGS.includes(flag)) given[flag] = value;
    else if (!cancels) process.exit(89);
  }
}
await obey(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof dps.DpsError)) throw error;
  const { code, number: kind, retryable, operation, message: text, hint, service: said = {} } = error;
  lines({ error: code, code: kind, retryable, operation, text, hint, 'service-status': said.status, 'service-code': said.errorCode });
  lines({ 'service-message': said.message, 'tracking-id': said.trackingId, 'retry-after': said.retryAfter });
});
process.exit(0);

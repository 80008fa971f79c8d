'use strict';

// Loads the native library and adds what only JavaScript can do for it.

const native = load();

/** What dps-core found to be wrong; see `errorCatalogue()` for every `code`. */
class DpsError extends Error {
  constructor(message, { cause, ...details }) {
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, details);
  }

  get name() {
    return 'DpsError';
  }
}

// One listener for each signal, however many calls wait with it: a signal that a thousand calls
// share is not searched a thousand times, and `onabort` stays the user's.
const signals = new Map(); // call -> its signal
const listeners = new WeakMap(); // signal -> { calls, listener }

function watch(signal, call) {
  let watched = listeners.get(signal);
  if (!watched) {
    const calls = new Set();
    const listener = () => {
      listeners.delete(signal);
      for (const waiting of calls) {
        signals.delete(waiting);
        native.abort(waiting, signal.reason);
      }
    };
    // First: where the signal throws, nothing is kept of it.
    signal.addEventListener('abort', listener, { once: true });
    watched = { calls, listener };
    listeners.set(signal, watched);
  }
  watched.calls.add(call);
  signals.set(call, signal);
}

function unwatch(call) {
  const signal = signals.get(call);
  signals.delete(call);
  const watched = listeners.get(signal);
  watched.calls.delete(call);
  if (watched.calls.size === 0) {
    listeners.delete(signal);
    signal.removeEventListener('abort', watched.listener);
  }
}

// The user's function may return or throw, at once or later: `done(failed, value)` hears of it.
async function call(userFunction, argument, done) {
  let value;
  try {
    value = await userFunction(argument);
  } catch (error) {
    done(true, error);
    return;
  }
  done(false, value);
}

// The incumbent's extension point: an object with getRegistrationId and getCertificate(callback).
function adopt(security) {
  return new native.X509Security(
    security.getRegistrationId(),
    () =>
      new Promise((resolve, reject) => {
        security.getCertificate((error, x509) => (error ? reject(error) : resolve(x509)));
      }),
  );
}

native.install({ DpsError, watch, unwatch, call, adopt, keep: (value) => () => value });

// Node 18 knows the symbol from 18.18 on.
if (Symbol.asyncDispose) {
  native.Client.prototype[Symbol.asyncDispose] = function asyncDispose() {
    return this.close();
  };
}

if (/(^|[\s,])(\*|dps-core(:\*)?)($|[\s,])/.test(process.env.DEBUG ?? '')) {
  native.setLogger(({ level, target, message }) => {
    process.stderr.write(`${new Date().toISOString()} ${level} ${target} ${message}\n`);
  }, 'debug');
}

const {
  Authority,
  Certificate,
  CertificateChain,
  CertificateRequest,
  Client,
  ConnectionStates,
  MakingDevices,
  Message,
  MessageEnqueued,
  Mqtt,
  PrivateKey,
  ProvisioningDeviceClient,
  Registering,
  SubjectKey,
  SymmetricKeySecurityClient,
  X509Security,
  cString,
  deriveDeviceKey,
  doctor,
  errorCatalogue,
  explainError,
  inspectChain,
  javaString,
  makeDevices,
  setLogger,
  verifyChain,
} = native;

module.exports = {
  Authority,
  Certificate,
  CertificateChain,
  CertificateRequest,
  Client,
  ConnectionStates,
  DpsError,
  MakingDevices,
  Message,
  MessageEnqueued,
  Mqtt,
  PrivateKey,
  ProvisioningDeviceClient,
  Registering,
  SubjectKey,
  SymmetricKeySecurityClient,
  X509Security,
  cString,
  deriveDeviceKey,
  doctor,
  errorCatalogue,
  explainError,
  inspectChain,
  javaString,
  makeDevices,
  setLogger,
  verifyChain,
};

function load() {
  const platform = `${process.platform}-${process.arch}`;
  if (platform === 'linux-x64') {
    try {
      return require('@dps-core/linux-x64-gnu');
    } catch (cause) {
      throw new Error(
        'dps-core cannot load its library. It needs Linux on x86-64 with glibc, and the optional ' +
          'package @dps-core/linux-x64-gnu, which `npm install --omit=optional` leaves out.',
        { cause },
      );
    }
  }
  throw new Error(`dps-core is not built for ${platform}: Linux on x86-64 with glibc is supported`);
}

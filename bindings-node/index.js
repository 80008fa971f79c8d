'use strict';

// Loads the native library and adds what only JavaScript can do for it.

const native = load();

/** What dps-core found to be wrong; see `errorCatalogue()` for every `code`. */
class DpsError extends Error {
  constructor(message, { cause, trace, ...details }) {
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, details);
    // Made when the promise is settled, which is called from nowhere.
    if (trace) this.stack = `${this.name}: ${message}${trace()}`;
  }
}
Object.defineProperty(DpsError.prototype, 'name', { value: 'DpsError', writable: true, configurable: true });

// A function that tells where this was called from, in the lines of an error's stack.
function trace() {
  const place = {};
  Error.captureStackTrace(place, trace);
  return () => {
    try {
      return place.stack.replace(/^.*/, '');
    } catch {
      return ''; // The user's own form of a stack is no text, or throws.
    }
  };
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
  // Another copy of this file watches it.
  if (watched === undefined) return;
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

// An object with getRegistrationId, and with getCertificate, which is the incumbent's extension
// point, or with getSymmetricKey. It says what it gives to its callback; or returns a promise of it,
// or where it takes no callback the thing itself.
function adopt(security, method) {
  const give = () =>
    new Promise((resolve, reject) => {
      const callback = (error, value) => (error ? reject(error) : resolve(value));
      const takesCallback = security[method].length > 0;
      const returned = security[method](callback);
      const counts = !takesCallback || typeof returned?.then === 'function';
      Promise.resolve(returned).then((value) => {
        if (counts && value !== undefined) resolve(value);
      }, reject);
    });
  return { registrationId: security.getRegistrationId(), give };
}

// Called without `new`, a native class would make its instance of whatever `this` is.
const madeByUsers = {
  apply(Class) {
    throw new TypeError(`Class constructor ${Class.name} cannot be invoked without 'new'`);
  },
};
const madeByFactories = {
  ...madeByUsers,
  // The class's own factories come by here too; they are let in.
  construct(Class, ...call) {
    try {
      return Reflect.construct(Class, ...call);
    } catch {
      return native.refuseConstruction(Class.name);
    }
  },
};
const MADE_BY_USERS = ['Authority', 'CertificateChain', 'Message', 'Mqtt', 'SubjectKey', 'SymmetricKeySecurityClient', 'X509Security'];
const classes = {};
for (const [name, Class] of Object.entries(native)) {
  if (name >= 'a') continue; // A function.
  const handler = MADE_BY_USERS.includes(name) ? madeByUsers : madeByFactories;
  classes[name] = Class.prototype.constructor = new Proxy(Class, handler);
}
// Only users make these, by the thousand: a class of JavaScript's own costs each of them less.
classes.Message = class Message extends native.Message {};

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
} = classes;
const {
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

native.install({ DpsError, Mqtt, adopt, call, keep: (value) => () => value, trace, unwatch, watch });

// Node 18 knows the symbol from 18.18 on.
if (Symbol.asyncDispose) {
  Client.prototype[Symbol.asyncDispose] = function asyncDispose() {
    return this.close();
  };
}

if (process.env.DEBUG && debugs(process.env.DEBUG)) {
  native.setProcessLogger(({ level, target, message }) => {
    process.stderr.write(`${new Date().toISOString()} ${level} ${target} ${message}\n`);
  }, 'debug');
}

// Whether a list of names as the package `debug` reads it asks for this module's lines.
function debugs(list) {
  const means = (name) => {
    const parts = name.replace(/:\*$/, '').split('*');
    return new RegExp(`^${parts.map((part) => part.replace(/\W/g, '\\$&')).join('.*')}$`).test('dps-core');
  };
  const names = list.split(/[\s,]+/);
  const refused = names.filter((name) => name.startsWith('-')).map((name) => name.slice(1));
  return names.some(means) && !refused.some(means);
}

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

// Generated from Rust by @napi-rs/cli, behind the head in types.d.ts. `make test-node` compares.
/* eslint-disable */
/// <reference lib="esnext.disposable" />

/** What dps-core found to be wrong. */
export declare class DpsError extends Error {
  private constructor();
  /** Which kind of error it is, such as `DPS_UNAUTHORIZED`; `errorCatalogue()` lists them all. */
  readonly code: string;
  /** The number of the kind, such as 401; the same in every language. */
  readonly number: number;
  /** Whether the same call may succeed later with nothing changed on this side. */
  readonly retryable: boolean;
  /** What was being done, such as `register`. */
  readonly operation?: string;
  /** What to do about it. */
  readonly hint?: string;
  /** What the service said, if it was the service that refused. */
  readonly service?: ServiceDetails;
  /** What lies behind it: another error, or the very value that a signer threw. */
  readonly cause?: unknown;
}

/** How to sign: the type of key, the padding, and the hash. */
export type SignatureAlgorithm =
  | 'ecdsa-p256-sha256'
  | 'ecdsa-p384-sha384'
  | 'rsa-pss-sha256'
  | 'rsa-pss-sha384'
  | 'rsa-pss-sha512'
  | 'rsa-pkcs1-sha256'
  | 'rsa-pkcs1-sha384'
  | 'rsa-pkcs1-sha512';

/**
 * A key that stays where it is. It returns the signature of the request's message: PKCS#1 v1.5 or
 * PSS bytes for RSA; for ECDSA either DER or the raw `r || s` that hardware returns. What it throws
 * becomes the `cause` of the call's error. A device's has 30 seconds for an answer; a CA's, or that
 * of a certificate request, has no limit but the call's `signal`.
 */
export type Signer = (request: SignRequest) => Uint8Array | Promise<Uint8Array>;

/**
 * A symmetric key that stays where it is. It returns the HMAC-SHA256 of the request's message under
 * the key, 32 bytes. What it throws becomes the `cause` of the call's error.
 */
export type TokenSigner = (request: TokenSignRequest) => Uint8Array | Promise<Uint8Array>;

/** The incumbent's extension point: an object that knows where the certificate is. */
export interface CertificateProvider {
  getRegistrationId(): string;
  /** Gives it to the callback; or, where it takes none, returns it or a promise of it. */
  getCertificate(callback: (error: Error | null | undefined, x509?: X509) => void): unknown;
}

/** An object that knows where the symmetric key is, and hands it over in base64. */
export interface SymmetricKeyProvider {
  getRegistrationId(): string;
  /** Gives it to the callback; or, where it takes none, returns it or a promise of it. */
  getSymmetricKey(callback: (error: Error | null | undefined, key?: string) => void): unknown;
}

/** Who a device is. */
export type SecurityClient =
  | X509Security
  | SymmetricKeySecurityClient
  | CertificateProvider
  | SymmetricKeyProvider;

/** How important a line of the log is. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

export interface ClientOptions extends X509 {}
export interface DoctorOptions extends X509, DeadlineOptions {}
/** A chain, and what it is to be verified against; without `authorities`, it is judged by itself. */
export interface VerifyOptions extends X509, WaitOptions {}
export interface InspectOptions extends WaitOptions {}
export interface PrivateKeyOptions extends WaitOptions {}
export interface CertificateOptions extends WaitOptions {}
export interface Pkcs12Options extends WaitOptions {}
export interface IssueOptions extends WaitOptions {}
export interface SignerOptions extends WaitOptions {}
export interface AuthorityOptions extends IssueOptions {}
export interface DevicesOptions extends IssueOptions {}

/** A type of key that can be made. */
export type KeyType = 'rsa-2048' | 'rsa-3072' | 'rsa-4096' | 'ec-p256' | 'ec-p384';

/** What `doctor` and `verifyChain` find; the JSON of `dps doctor --json`. */
export interface DoctorReport {
  /** 0 where nothing was found, 1 for warnings, 2 for errors. */
  exitCode: 0 | 1 | 2;
  /** What is wrong, or soon will be. */
  findings: Finding[];
  /** What was examined and is in order, one sentence each. */
  seen: string[];
}

/** One thing that is wrong, or soon will be. */
export interface Finding {
  /** What was looked for, such as `DPS-C002`; an ID never changes its meaning. */
  id: string;
  /** An error does not work; a warning works here and now, and may not elsewhere or later. */
  severity: 'warning' | 'error';
  /** What a finding of this ID means. */
  sentence: string;
  /** What was seen, with names and dates. */
  evidence: string;
  /** What to do about it. */
  fix: string;
  /** The page that explains it, relative to the root of dps-core's source tree. */
  page: string;
}

/** What `inspectChain` tells; the JSON of `dps chain inspect --json`. */
export interface ChainInspection {
  /** The certificates, in the order of the file. */
  certificates: InspectedCertificate[];
  /** What was tolerated while reading, one sentence each. */
  notes: string[];
}

/** A certificate, as far as it matters to DPS. */
export interface InspectedCertificate {
  subject: string;
  commonName: string | null;
  issuer: string;
  /** The position of the issuer among the certificates; null where it is not there. */
  issuedBy: number | null;
  selfSigned: boolean;
  /** The serial number in hexadecimal. */
  serial: string;
  /** RFC 3339, in UTC. */
  notBefore: string;
  /** RFC 3339, in UTC. */
  notAfter: string;
  /** Whole days until `notAfter`; negative afterwards. */
  daysLeft: number;
  /** The type of the key, such as `EC P-256`. */
  key: string;
  signature: string;
  version: number;
  ca: boolean;
  pathLength: number | null;
  keyUsage: string[] | null;
  extendedKeyUsage: string[] | null;
  sha1Thumbprint: string;
  sha256Thumbprint: string;
  /** Where in DPS a certificate of this kind belongs. */
  use: string;
}

export interface Client {
  /** Closes the connection: `await using client = …`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A CA certificate with its key: issues with the extensions of the tutorial's OpenSSL profiles. */
export declare class Authority {
  /** A CA that exists already. Throws unless the certificate is a CA's and the key is its own. */
  constructor(certificate: Certificate, key: PrivateKey)
  /**
   * A CA that exists already, whose key stays where it is. One test signature proves that the
   * signer holds the certificate's key.
   */
  static fromSigner(certificate: Certificate, options: SignerOptions): Promise<Authority>
  /** A new root, signed by itself. */
  static createRoot(commonName: string, key: PrivateKey | SubjectKey, options?: AuthorityOptions): Promise<Authority>
  /** A new intermediate CA below this one. */
  createIntermediate(commonName: string, key: PrivateKey | SubjectKey, options?: AuthorityOptions): Promise<Authority>
  /**
   * A device certificate whose common name is the registration ID. The key is the device's own,
   * or its public part as DER SubjectPublicKeyInfo.
   */
  issueDevice(registrationId: string, key: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions): Promise<Certificate>
  /**
   * A device certificate for a request that was made elsewhere. What the request asks for beyond
   * its name and key is in its `ignored`.
   */
  issueRequested(request: CertificateRequest, options?: IssueOptions): Promise<Certificate>
  /**
   * A device certificate in place of an old one: the same name, with the same key, or with a new
   * one where it is given.
   */
  reissueDevice(old: Certificate, key?: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions): Promise<Certificate>
  /**
   * A certificate that proves possession of this CA's key: its common name is the verification
   * code that DPS gave.
   */
  issueVerification(verificationCode: string, key: PrivateKey | SubjectKey | Uint8Array, options?: IssueOptions): Promise<Certificate>
  /** The CA's own certificate. */
  get certificate(): Certificate
}

/** One certificate. */
export declare class Certificate {
  /** Reads every certificate there is, in the order in which they stand. */
  static fromPem(options: CertificateOptions): Promise<Certificate[]>
  /** The certificate in DER. */
  get der(): Buffer
  /** The certificate in PEM. */
  toPem(): string
  /** What matters of it to DPS, as `inspectChain` tells it. */
  inspect(): InspectedCertificate
}

/** A device's certificates, leaf first, each followed by its issuer. */
export declare class CertificateChain {
  /**
   * Puts certificates into order, in whichever they are given. What is not on the path from the
   * leaf is an error, and so is a gap in the path.
   */
  constructor(certificates: Certificate[])
  /** Reads a chain: one certificate or more, in any order. */
  static fromPem(options: CertificateOptions): Promise<CertificateChain>
  /** Takes the certificates of a PKCS#12 (PFX) file; `PrivateKey.fromPem` takes its key. */
  static fromPkcs12(options: Pkcs12Options): Promise<CertificateChain>
  /** The certificates, leaf first. */
  get certificates(): Array<Certificate>
  /** What was tolerated while reading, one sentence each. */
  get warnings(): Array<string>
  /** The chain as PEM, leaf first. */
  toPem(): string
  /**
   * The chain and its leaf's key as a PKCS#12 (PFX) file: the C# sample's input, and what the
   * certificate store of Windows imports.
   */
  toPkcs12(key: PrivateKey, passphrase: string, options?: WaitOptions): Promise<Buffer>
}

/** A certificate request that was made elsewhere, whose signature holds. */
export declare class CertificateRequest {
  /** Reads a request as PEM or DER, and verifies its signature. */
  static fromPem(request: string | Uint8Array): CertificateRequest
  /** The common name, which is the registration ID that is asked for. */
  get registrationId(): string
  /** What the request asks for beyond its name and key, which a certificate will not have. */
  get ignored(): Array<string>
}

/** A device's connection to its hub, which comes back by itself when it is lost. */
export declare class Client {
  /**
   * A client for `HostName=…;DeviceId=…;x509=true`, whose certificate `setOptions` gives, or for
   * `HostName=…;DeviceId=…;SharedAccessKey=…`. Opens nothing yet.
   */
  static fromConnectionString(connectionString: string, transport?: Mqtt | typeof Mqtt): Client
  /** Changes how the client will connect the next time it is opened. */
  setOptions(options: ClientOptions): void
  /**
   * Connects, unless the client is connected or coming back already; one that is being closed is
   * waited for first. The deadline is a minute unless told.
   */
  open(options?: DeadlineOptions): Promise<void>
  /**
   * Sends one message, and resolves once the hub has acknowledged it: for as long as the hub
   * cannot be reached, it waits. Messages are sent in the order of the calls. A cancelled
   * message that was written already may still arrive.
   */
  sendEvent(message: Message | string | Uint8Array, options?: WaitOptions): Promise<MessageEnqueued>
  /**
   * Takes no more messages, waits until the hub has acknowledged all that were taken, and
   * disconnects; after the deadline, 10 seconds unless told, it disconnects all the same and
   * says how many were not acknowledged. An `open` that is not done yet is rejected.
   */
  close(options?: DeadlineOptions): Promise<void>
  /**
   * The states of the connection, from the present one to `closed`:
   * `for await (const state of client.connectionStates()) …`.
   */
  connectionStates(options?: WaitOptions): ConnectionStates
}

/** The states of a connection, from the present one to `closed`. */
export declare class ConnectionStates {
  /** The states themselves, for `for await`. */
  [globalThis.Symbol.asyncIterator](): AsyncIterableIterator<ConnectionState>
  /** Waits for the next state. */
  next(): Promise<IteratorResult<ConnectionState, void>>
}

/** A batch that goes on as its next device is asked for. */
export declare class MakingDevices {
  /** The batch itself, for `for await`. */
  [globalThis.Symbol.asyncIterator](): AsyncIterableIterator<MadeDevice>
  /** Makes the next device. */
  next(): Promise<IteratorResult<MadeDevice, void>>
  /** Ends the batch after the device that has begun; a `for await` that is left early calls it. */
  return(): Promise<IteratorResult<MadeDevice, void>>
}

/** A message from a device to the cloud. */
export declare class Message {
  /** A message with a copy of this data; a string is sent as UTF-8. */
  constructor(data: string | Uint8Array, options?: MessageOptions)
  /** The ID by which the receiver tells messages apart. */
  get messageId(): string | undefined
  set messageId(value: string | undefined)
  /** The ID of the message that this one belongs to. */
  get correlationId(): string | undefined
  set correlationId(value: string | undefined)
  /** The ID of the user that this message comes from. */
  get userId(): string | undefined
  set userId(value: string | undefined)
  /** The content type, such as `application/json`; routing by the body needs it. */
  get contentType(): string | undefined
  set contentType(value: string | undefined)
  /** The content encoding, such as `utf-8`; routing by the body needs it. */
  get contentEncoding(): string | undefined
  set contentEncoding(value: string | undefined)
  /** The output that the message goes to, by which an edge hub routes it. */
  get outputName(): string | undefined
  set outputName(value: string | undefined)
  /** When the message loses its worth. */
  get expiryTimeUtc(): Date | undefined
  set expiryTimeUtc(value: Date | undefined)
  /** Marks the message as one for Microsoft Defender for IoT. */
  setAsSecurityMessage(): void
  /** A copy of the data. */
  getData(): Buffer
  /** Sets an application property, in place of an earlier one of the same name. */
  setProperty(name: string, value: string): void
}

/** What `sendEvent` resolves to: the hub has acknowledged the message. */
export declare class MessageEnqueued {}

/** MQTT over TLS. Share one among the devices of a process, and they share its roots. */
export declare class Mqtt {
  /** Opens nothing yet. */
  constructor(options?: MqttOptions)
}

/** A private key in this process's memory. */
export declare class PrivateKey {
  /** Makes a new key; `rsa-4096`, as in the tutorial, unless told. */
  static generate(keyType?: KeyType, options?: WaitOptions): Promise<PrivateKey>
  /** Reads a key in whatever form it is kept: PKCS#8, PKCS#1, SEC1, encrypted or not, or PKCS#12. */
  static fromPem(options: PrivateKeyOptions): Promise<PrivateKey>
  /** The key as PEM (PKCS#8), encrypted where there is a passphrase. */
  toPem(passphrase?: string, options?: WaitOptions): Promise<string>
  /** The key as DER (PKCS#8), unencrypted. Whoever is given it wipes it: `der.fill(0)`. */
  toDer(): Buffer
  /** A certificate request (PKCS#10) in PEM with this common name. */
  certificateRequest(commonName: string, options?: WaitOptions): Promise<string>
  /** The public key as DER SubjectPublicKeyInfo. */
  get publicKeyInfo(): Buffer
  /** The type, such as `EC P-256`. */
  get keyType(): string
}

/** Registers a device with the Device Provisioning Service. */
export declare class ProvisioningDeviceClient {
  /** A client for one device. Opens nothing yet. */
  static create(provisioningHost: string, idScope: string, transport: Mqtt | typeof Mqtt | undefined, security: SecurityClient): ProvisioningDeviceClient
  /** Sets what a custom allocation policy is to know about the device: whatever JSON can say. */
  setProvisioningPayload(payload: unknown): void
  /**
   * Registers the device and waits for its assignment, with retries where they help. The deadline
   * is two minutes unless told.
   */
  register(options?: DeadlineOptions): Promise<RegistrationResult>
  /**
   * As `register`, step by step: `for await (const step of client.registering()) …`. The last
   * step, `assigned`, has the result. The registration goes on while a step is waited for;
   * leaving the loop cancels it.
   */
  registering(options?: DeadlineOptions): Registering
  /**
   * Connects to the hub that the device was assigned to, with the same security client and
   * transport. The deadline is a minute unless told.
   */
  connect(assignment: AssignedTo, options?: DeadlineOptions): Promise<Client>
}

/** A registration that goes on while its next step is waited for. */
export declare class Registering {
  /** The registration itself, for `for await`. */
  [globalThis.Symbol.asyncIterator](): AsyncIterableIterator<RegistrationStep>
  /** Waits for the next step. */
  next(): Promise<IteratorResult<RegistrationStep, void>>
  /** Cancels what is left of the registration; a `for await` that is left early calls it. */
  return(): Promise<IteratorResult<RegistrationStep, void>>
}

/** A key that signs elsewhere, for a CA's or a device's certificate, or a request for one. */
export declare class SubjectKey {
  /** Signs nothing yet: what is wrong with the signer is said by the first call that needs it. */
  constructor(key: SubjectKeyOptions)
  /** A certificate request (PKCS#10) in PEM with this common name. */
  certificateRequest(commonName: string, options?: WaitOptions): Promise<string>
  /** The public key as DER SubjectPublicKeyInfo. */
  get publicKeyInfo(): Buffer
}

/** A device that proves itself by a symmetric key. */
export declare class SymmetricKeySecurityClient {
  /**
   * A device with the key of its individual enrollment, or with the key that was derived for it
   * from its group's, in base64; or with a function that signs with a key that stays where it is.
   */
  constructor(registrationId: string, symmetricKey: string | TokenSigner)
  /** The registration ID. */
  getRegistrationId(): string
}

/** A device that proves itself by an X.509 certificate. */
export declare class X509Security {
  /**
   * Reads nothing yet: what is wrong with the certificate or the key is said by the first call
   * that needs them. Without a registration ID, that is the common name of the leaf. The
   * certificate and key may also come from a function, once they are needed.
   */
  constructor(registrationId: string | undefined, x509: X509 | (() => X509 | Promise<X509>))
  /** The registration ID, where one was given. */
  getRegistrationId(): string | null
}

/** Where a device was assigned to: a `RegistrationResult`, or what was kept of one. */
export interface AssignedTo {
  /** The host name of the assigned hub. */
  assignedHub: string
  /** The device's ID in the hub. */
  deviceId: string
}

/** What a new CA may do; beside these, `IssueOptions`. */
export interface AuthorityOptions {
  /** How many CAs may stand between it and a device. Without it, as many as the CA above leaves. */
  pathLength?: number
}

/** Where certificates are; beside these, `WaitOptions`. */
export interface CertificateOptions {
  /** The certificates, as PEM; or one as DER. */
  cert?: string | Uint8Array
  /** The path of a file with them; errors then name the file. */
  certFile?: string
}

/** How a client of a hub connects; beside these, the options of `X509`. */
export interface ClientOptions {
  /** The roots that the hub's certificate must lead to, as PEM. */
  ca?: string | Uint8Array
  /** How long the connection may be idle before the hub is asked for a sign of life, in seconds. */
  keepalive?: number
  /** How a device with a symmetric key renews what it proves itself with. */
  tokenRenewal?: TokenRenewal
}

/** Whether a client is connected. */
export interface ConnectionState {
  /** `closed` is for good: the client was closed, or the hub refused the device. */
  state: 'connected' | 'reconnecting' | 'closed'
  /** While reconnecting: which attempt comes next. */
  attempt?: number
  /** While reconnecting: why the last connection or the last attempt failed. */
  lastError?: string
}

/** A PEM text as a C string constant, one source line for each line of the text. */
export declare function cString(pem: string | Uint8Array): string

/** What a call that waits takes, where dps-core gives it a deadline. */
export interface DeadlineOptions {
  /** Cancels the call; its promise is then rejected with `signal.reason`. */
  signal?: AbortSignal
  /** The longest that the call may take, retries included, in milliseconds. */
  deadline?: number
}

/**
 * The key of one device of an enrollment group, from the key of the group, both in base64.
 *
 * Whoever holds the group's key can take the part of every device of the group, so it belongs
 * where devices are made, and the derived key into the device.
 */
export declare function deriveDeviceKey(groupKey: string, registrationId: string): string

/**
 * Which devices to make, and where; beside these, `IssueOptions`. One of `registrationIds`,
 * `range`, `csv` and `csvFile` says which.
 */
export interface DevicesOptions {
  /**
   * The folder that the tutorial builds: its `certs` and `private` take the files. CA
   * certificates in its `certs` that stand above the issuer complete the full chains.
   */
  folder: string
  /** The CA that issues. */
  issuer: Authority
  /** The registration IDs. */
  registrationIds?: string[]
  /** Registration IDs that differ in a number, such as `device-0001..device-1000`. */
  range?: string
  /**
   * A CSV with the registration IDs: the column headed `registrationId` or `deviceId`, in any
   * spelling of case, `_` and `-`; one column alone needs no header.
   */
  csv?: string | Uint8Array
  /** The path of such a CSV. */
  csvFile?: string
  /** The type of the devices' keys; `rsa-4096`, as in the tutorial, unless told. */
  keyType?: KeyType
  /** Makes what is there already anew. */
  overwrite?: boolean
}

/**
 * Examines a device's credential and what surrounds it. Rejects only where an examination cannot
 * be made: what is wrong with the device is in the report, which is that of `dps doctor --json`.
 * What has not answered by the deadline, a minute unless told, is a finding; where files alone are
 * examined, a signer has 30 seconds.
 */
export declare function doctor(options: DoctorOptions): Promise<DoctorReport>

/**
 * What the doctor is given, and how far it goes; beside these, the options of `X509` and
 * `DeadlineOptions`. What is not given is not examined.
 */
export interface DoctorOptions {
  /**
   * How far to go: `files` looks at what is given and at the clock; `network` also at DNS, the
   * ports, TLS and the clock of the server; `service` registers the device too. `files` unless
   * told.
   */
  reach?: 'files' | 'network' | 'service'
  /** The certificate that the enrollment group lists. */
  groupCertificate?: string | Uint8Array
  /** The path of a file with it. */
  groupCertificateFile?: string
  /** The certificate that the device's individual enrollment holds. */
  individualCertificate?: string | Uint8Array
  /** The path of a file with it. */
  individualCertificateFile?: string
  /** The registration ID that the device uses, where it is not its certificate's common name. */
  registrationId?: string
  /** The ID scope; `service` needs it. */
  idScope?: string
  /** The provisioning host, where it is not the global one. */
  provisioningHost?: string
  /**
   * Where to connect to instead, as `host:port`, while the names stay the real ones. Where it is
   * not given, `DPS_CONNECT_TO` decides.
   */
  connectTo?: string
  /** The roots that the server's certificate must lead to, as PEM, in place of the system's. */
  ca?: string | Uint8Array
}

/** Every kind of error, in the order of its number. */
export declare function errorCatalogue(): Array<ErrorKindEntry>

/** One kind of error that dps-core knows: the same in every language. */
export interface ErrorKindEntry {
  /** What `DpsError.code` is, such as `DPS_UNAUTHORIZED`. */
  code: string
  /** The number of the kind, such as 401. */
  number: number
  /** Whether the same call may succeed later with nothing changed on this side. */
  retryable: boolean
  /** One sentence that says what the kind means. */
  sentence: string
}

/**
 * What an error of the service means that is at hand already, such as
 * `401002 CA certificate not found`.
 */
export declare function explainError(error: string): DoctorReport

/**
 * Reads certificates, a chain or not, and tells what matters to DPS: that of
 * `dps chain inspect --json`.
 */
export declare function inspectChain(options: InspectOptions): Promise<ChainInspection>

/** Certificates as PEM, DER or PKCS#12; beside these, `WaitOptions`. */
export interface InspectOptions {
  /** The certificates. */
  cert?: string | Uint8Array
  /** The path of a file with them; errors then name the file. */
  certFile?: string
  /** The passphrase of a PKCS#12 file. */
  passphrase?: string
}

/**
 * How long a new certificate is valid: for `days` from now, or from `notBefore` to `notAfter`; as
 * long as the tutorial's where nothing is said. Beside these, `WaitOptions`.
 */
export interface IssueOptions {
  /** How many days from now. */
  days?: number
  /** The first moment at which it is valid. */
  notBefore?: Date
  /** The last moment at which it is valid. */
  notAfter?: Date
}

/**
 * A PEM text as a Java string constant, one source line for each line of the text; Python reads
 * it too, between parentheses.
 */
export declare function javaString(pem: string | Uint8Array): string

/** One line of the log. It never holds a key, a passphrase or a token. */
export interface LogRecord {
  /** How important it is. */
  level: LogLevel
  /** Which part of the SDK says it, such as `dps_core::provisioning`. */
  target: string
  /** What it says. */
  message: string
}

/** A device of a batch, whose files are there. */
export interface MadeDevice {
  /** Its registration ID. */
  registrationId: string
  /** Whether it was made, or finished, now; or was there already. */
  outcome: 'made' | 'present'
  /** The path of its full chain. */
  certFile: string
  /** The path of its private key. */
  keyFile: string
  /** How many devices of the batch are done, this one included. */
  done: number
  /** How many devices the batch has. */
  total: number
}

/**
 * Makes devices in a folder, each with key, certificate and full chain, as `for await` asks for
 * them. What is there already is left as it is, so a batch that was interrupted is finished by
 * running it again. A signal, and leaving the loop, end it between two devices.
 */
export declare function makeDevices(options: DevicesOptions): MakingDevices

/** What a message has beside its data. */
export interface MessageOptions {
  /** The ID by which the receiver tells messages apart. */
  messageId?: string
  /** The ID of the message that this one belongs to. */
  correlationId?: string
  /** The ID of the user that this message comes from. */
  userId?: string
  /** The content type, such as `application/json`; routing by the body needs it. */
  contentType?: string
  /** The content encoding, such as `utf-8`; routing by the body needs it. */
  contentEncoding?: string
  /** The output that the message goes to, by which an edge hub routes it. */
  outputName?: string
  /** When the message loses its worth. */
  expiryTimeUtc?: Date
  /** The application's own properties. */
  properties?: Record<string, string>
}

/** How connections are opened, for the Device Provisioning Service and the hub alike. */
export interface MqttOptions {
  /**
   * Sends every connection to this `host:port`, while the names stay the real ones: for private
   * endpoints, tests and the emulator. Where it is not given, `DPS_CONNECT_TO` decides.
   */
  connectTo?: string
  /** The roots that a server's certificate must lead to, as PEM, in place of the system's. */
  ca?: string | Uint8Array
  /** The port, where it is not 8883. */
  port?: number
  /**
   * The version of the Device Provisioning Service's protocol to speak, such as `2021-06-01`,
   * where it is not this SDK's own.
   */
  apiVersion?: string
}

/** Where a PKCS#12 (PFX) file is; beside these, `WaitOptions`. */
export interface Pkcs12Options {
  /** Its content. */
  pkcs12?: Uint8Array
  /** Its path; errors then name the file. */
  pkcs12File?: string
  /** Its passphrase. */
  passphrase?: string
}

/** Where a private key is; beside these, `WaitOptions`. */
export interface PrivateKeyOptions {
  /** The key, as PEM, DER or PKCS#12. */
  key?: string | Uint8Array
  /** The path of a file with it; errors then name the file. */
  keyFile?: string
  /** The passphrase of an encrypted key or of a PKCS#12 file. */
  passphrase?: string
}

/** What a registration gives. */
export interface RegistrationResult {
  /** The registration ID, as the service has it. */
  registrationId: string
  /** The ID of the operation that made the assignment. */
  operationId: string
  /** The host name of the assigned hub. */
  assignedHub: string
  /** The device's ID in the hub. */
  deviceId: string
  /** `assigned`: a registration that ends otherwise rejects its promise. */
  status: 'assigned'
  /** How the assignment came about, such as `initialAssignment`. */
  substatus?: string
  /** When the registration was made, as the service writes it. */
  createdDateTimeUtc?: string
  /** When the registration last changed, as the service writes it. */
  lastUpdatedDateTimeUtc?: string
  /** The entity tag of the registration record. */
  etag?: string
  /** What a custom allocation policy returned for the device. */
  payload?: unknown
  /** What else the service answered, by the names that it uses; absent where there is nothing. */
  unknownFields?: Record<string, unknown>
}

/** One step of a registration. */
export interface RegistrationStep {
  /** How far it is. */
  stage: 'connected' | 'registering' | 'assigning' | 'assigned'
  /** What the registration gave, with the stage `assigned`. */
  result?: RegistrationResult
}

/** What the service said when it refused. */
export interface ServiceDetails {
  /** The HTTP-like status, such as 401. */
  status?: number
  /** The service's own number, such as 401002. */
  errorCode?: number
  /** The service's message, verbatim. */
  message?: string
  /** The ID that Microsoft support asks for. */
  trackingId?: string
  /** How long the service asks the caller to wait, in milliseconds. */
  retryAfter?: number
}

/**
 * Hands what the SDK logs, down to this level, `info` unless told, to the function; `null` ends
 * it. Each thread has its own function, and all see what happens in the process.
 */
export declare function setLogger(logger: ((record: LogRecord) => void) | null, level?: LogLevel): void

/** What signs for a CA that exists already; beside these, `WaitOptions`. */
export interface SignerOptions {
  /** Signs in place of a key: the key stays where it is. */
  signer: Signer
  /**
   * What the signer can do, in order of preference, where it is not all that its type of key
   * can.
   */
  algorithms?: SignatureAlgorithm[]
}

/** What a signer is asked to sign. */
export interface SignRequest {
  /** How to sign: one of the algorithms that the signer was announced with. */
  algorithm: SignatureAlgorithm
  /** The whole message, for a key that hashes by itself. */
  message: Buffer
  /** The hash of the message, for a key that takes digests. */
  digest: Buffer
}

/** A function that signs, and the key that it signs with. */
export interface SubjectKeyOptions {
  /** Signs in place of a key: the key stays where it is. */
  signer: Signer
  /** What the signer can do, in order of preference. Certificates may have ECDSA and RSA PKCS#1. */
  algorithms: SignatureAlgorithm[]
  /** The public key as DER SubjectPublicKeyInfo. */
  publicKeyInfo: Uint8Array
}

/** How a device with a symmetric key renews what it proves itself with. */
export interface TokenRenewal {
  /** How long the hub accepts a token, in seconds; the client connects anew before it ends. */
  tokenValidTimeInSeconds?: number
}

/** What a key that signs tokens is asked to sign. */
export interface TokenSignRequest {
  /** How to sign: HMAC-SHA256, whose answer has 32 bytes. */
  algorithm: 'hmac-sha256'
  /** The message. */
  message: Buffer
}

/**
 * Verifies a chain, and that the key is its leaf's where one is given: every link, date and rule.
 * It holds where no finding of the report is an error; the report is that of
 * `dps chain verify --json`.
 */
export declare function verifyChain(options: VerifyOptions): Promise<DoctorReport>

/** What every call that waits takes. */
export interface WaitOptions {
  /** Cancels the call; its promise is then rejected with `signal.reason`. */
  signal?: AbortSignal
}

/**
 * A certificate chain and what signs for its leaf: `cert` or `certFile`, with `key`, `keyFile` or
 * `signer`; or both in one, as `pkcs12` or `pkcs12File`.
 */
export interface X509 {
  /** The full chain as PEM; or as PKCS#12, or, where it is one certificate, as DER. */
  cert?: string | Uint8Array
  /** The path of a file with the full chain; errors then name the file. */
  certFile?: string
  /** The leaf's private key as PEM, DER or PKCS#12. */
  key?: string | Uint8Array
  /** The path of a file with the leaf's private key. */
  keyFile?: string
  /** A PKCS#12 (PFX) file's content: the full chain and the leaf's private key. */
  pkcs12?: Uint8Array
  /** The path of a PKCS#12 (PFX) file with the full chain and the leaf's private key. */
  pkcs12File?: string
  /** The passphrase of an encrypted key or of a PKCS#12 file. */
  passphrase?: string
  /** Signs in place of a key: the key stays where it is. */
  signer?: Signer
  /**
   * What the signer can do, in order of preference, where it is not all that its type of key
   * can.
   */
  algorithms?: SignatureAlgorithm[]
  /**
   * The CA certificates that DPS knows, as PEM: the verified root, or the enrollment group's own.
   * With them a missing intermediate is found before dialling.
   */
  authorities?: string | Uint8Array
  /** The path of a file with them. */
  authoritiesFile?: string
}

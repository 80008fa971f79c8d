/*
 * libdps_core: registers a device with the Azure IoT Hub Device Provisioning Service (DPS) and
 * sends telemetry to the hub that it is assigned to.
 *
 *     dps_identity *identity = NULL;
 *     dps_assignment *assignment = NULL;
 *     dps_error *error = NULL;
 *     if (dps_identity_from_pem_files("device-01-full-chain.cert.pem", "device-01.key.pem", NULL,
 *                                     &identity, &error) != DPS_OK
 *         || dps_register("0ne00000A0A", identity, NULL, NULL, NULL, &assignment, &error)
 *                != DPS_OK) {
 *         fprintf(stderr, "%s\n", dps_error_text(error));
 *     }
 *
 * CONVENTIONS, which hold for every function unless its own comment says otherwise
 *
 * Names    dps_THING_VERB. A function that returns dps_status can fail; the others cannot.
 * Handles  are opaque, and each create has one free. A free takes NULL. Freeing a handle twice, or
 *          using it after it was freed, is a mistake that no library can notice. A handle that was
 *          made from another keeps what it needs: free them in any order.
 * Order    of parameters: what is acted on, inputs, outputs, and last the error.
 * Outputs  are written only on success: wholly or not at all.
 * Errors   A call that fails returns a status other than DPS_OK and, if error is not NULL, writes
 *          a new dps_error to *error, which is the caller's to free. On success it leaves *error
 *          alone. Status numbers never change; treat those you do not know as failures.
 * NULL     for a handle, an output or a string gives DPS_INVALID_ARGUMENT, which says which one;
 *          a function without a status gives NULL, 0 or false.
 * Strings  are NUL-terminated UTF-8. What comes in is copied. What comes out as const char * lives
 *          as long as the handle it came from; what comes out as char * is the caller's, for
 *          dps_string_free.
 * Bytes    are a pointer and a length; NULL is allowed if the length is 0. What comes out as
 *          uint8_t * is the caller's, for dps_bytes_free, which wipes it.
 * Threads  Every function may be called from any thread, and a handle used from several at once.
 *          The calls that work for a polled handle (dps_registration_do_work, and on a hub of
 *          dps_hub_start its do_work, send, flush and close) take one thread at a time; a second
 *          one, or a signer inside, gets DPS_INVALID_ARGUMENT and has done nothing.
 *          Two threads of this library, started when first needed, work for the blocking calls,
 *          and others come and go that look names up and call signers; for polled handles there
 *          is none.
 * Signals  A connection that breaks raises no SIGPIPE. The signal may be blocked on the thread
 *          that calls a signer, an HSM or the log callback: a program that these start inherits
 *          that.
 * Callbacks  run inside the call that they belong to, on its thread, with no lock held: they may
 *          call anything of this library, and free anything. Two exceptions say so themselves: a
 *          dps_signer, and the log. No callback may throw a C++ exception or longjmp.
 * fork     A handle of a registration or a hub does not survive a fork: in the child its calls
 *          give DPS_FORKED and its free leaves the parent's connection alone. Make new ones
 *          there.
 * Secrets  (keys, passphrases, tokens) are wiped after use and never appear in errors and logs.
 * Small build  The same header and symbols. Keys under a passphrase, PKCS#12, the making of RSA keys
 *          and built-in roots give DPS_UNSUPPORTED.
 * Environment  DPS_CONNECT_TO and SSL_CERT_FILE; see dps_options_set_connect_to and
 *          dps_options_set_roots_file.
 *
 * Generated from bindings-c/src; do not edit.
 */


#ifndef DPS_CORE_H
#define DPS_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>


/* The version of this header; dps_version gives that of the library. */
#define DPS_VERSION "0.1.0"
#define DPS_VERSION_MAJOR 0
#define DPS_VERSION_MINOR 1
#define DPS_VERSION_PATCH 0

/* What a dps_status may be. */
enum {
    /* Everything went well. */
    DPS_OK = 0,
    /* A file could not be read. */
    DPS_FILE_NOT_READABLE = 101,
    /* A file could not be written. */
    DPS_FILE_NOT_WRITABLE = 102,
    /* A certificate could not be parsed. */
    DPS_CERTIFICATE_MALFORMED = 103,
    /* A private key could not be parsed. */
    DPS_KEY_MALFORMED = 104,
    /* A file holds something other than what was expected. */
    DPS_WRONG_FILE_CONTENT = 105,
    /* The private key is encrypted and no passphrase was given. */
    DPS_PASSPHRASE_REQUIRED = 106,
    /* The passphrase does not decrypt the private key. */
    DPS_PASSPHRASE_WRONG = 107,
    /* The key is of a type or size that is not supported. */
    DPS_KEY_UNSUPPORTED = 108,
    /* The private key does not belong to the leaf certificate. */
    DPS_KEY_MISMATCH = 109,
    /* A certificate in the chain is not part of the path from the leaf. */
    DPS_CERTIFICATE_NOT_IN_CHAIN = 110,
    /* A certificate between the leaf and the root is missing. */
    DPS_ISSUER_MISSING = 111,
    /* A link of the certificate chain does not hold. */
    DPS_CHAIN_BROKEN = 112,
    /* A certificate has expired. */
    DPS_CERTIFICATE_EXPIRED = 113,
    /* A certificate is not valid yet, or the clock is wrong. */
    DPS_CERTIFICATE_NOT_YET_VALID = 114,
    /* The registration ID breaks the naming rule. */
    DPS_REGISTRATION_ID_INVALID = 115,
    /* The registration ID differs from the common name of the leaf certificate. */
    DPS_REGISTRATION_ID_MISMATCH = 116,
    /* The signer failed. */
    DPS_SIGNER = 117,
    /* The server's certificate does not lead to a trusted root. */
    DPS_SERVER_NOT_TRUSTED = 201,
    /* The server's certificate is for another host name. */
    DPS_SERVER_NAME_MISMATCH = 202,
    /* The server's certificate is expired, not valid yet, or unusable. */
    DPS_SERVER_CERTIFICATE_INVALID = 203,
    /* The TLS handshake was refused. */
    DPS_TLS_REFUSED = 204,
    /* The host is not a host name. */
    DPS_HOST_INVALID = 301,
    /* The host name could not be resolved. */
    DPS_HOST_NOT_FOUND = 302,
    /* The connection could not be opened. */
    DPS_CONNECTION_FAILED = 303,
    /* The connection was lost. */
    DPS_CONNECTION_LOST = 304,
    /* The other side did not answer in time. */
    DPS_REQUEST_TIMEOUT = 305,
    /* The other side sent something that the protocol does not allow. */
    DPS_PROTOCOL_VIOLATION = 306,
    /* The proxy did not open the connection. */
    DPS_PROXY_FAILED = 307,
    /* The service rejected the request as malformed. */
    DPS_BAD_REQUEST = 400,
    /* The service did not accept the device's credential. */
    DPS_UNAUTHORIZED = 401,
    /* The service forbids the request. */
    DPS_FORBIDDEN = 403,
    /* The service knows no such thing. */
    DPS_NOT_FOUND = 404,
    /* The request conflicts with what the service already has. */
    DPS_CONFLICT = 409,
    /* Somebody else changed the record first. */
    DPS_PRECONDITION_FAILED = 412,
    /* The service is throttling requests. */
    DPS_THROTTLED = 429,
    /* The service failed. */
    DPS_SERVICE_FAULT = 450,
    /* The service refused the request with a status that has no kind of its own. */
    DPS_SERVICE_REFUSED = 451,
    /* The enrollment of this device is disabled. */
    DPS_ENROLLMENT_DISABLED = 501,
    /* The service accepted the device but could not assign it to a hub. */
    DPS_ALLOCATION_FAILED = 502,
    /* The service answered with a registration status that this version does not know. */
    DPS_UNKNOWN_STATUS = 503,
    /* The deadline passed before the work was done. */
    DPS_DEADLINE_EXCEEDED = 504,
    /* The caller cancelled the work. */
    DPS_CANCELLED = 505,
    /* The message is larger than the hub accepts. */
    DPS_MESSAGE_TOO_LARGE = 601,
    /* The message cannot be sent as it is. */
    DPS_MESSAGE_INVALID = 602,
    /* The hub dropped the connection each time this message was sent. */
    DPS_MESSAGE_REJECTED = 603,
    /* Messages were not acknowledged before the client closed. */
    DPS_NOT_DELIVERED = 604,
    /* The client is closed. */
    DPS_CLOSED = 605,
    /* An argument is invalid. */
    DPS_INVALID_ARGUMENT = 901,
    /* This is not supported. */
    DPS_UNSUPPORTED = 902,
    /* The client belongs to the process that this one was forked from. */
    DPS_FORKED = 903,
    /* A fault of this SDK. */
    DPS_INTERNAL = 999,
};

/* The tables of Microsoft's custom-HSM interface, which hsm_client_data.h defines. */
struct HSM_CLIENT_X509_INTERFACE_TAG;
struct HSM_CLIENT_TPM_INTERFACE_TAG;
struct HSM_CLIENT_KEY_INTERFACE_TAG;


// As a deadline in milliseconds: no deadline at all.
#define DPS_NO_DEADLINE UINT32_MAX

// What do_work says when there is nothing left to do.
#define DPS_NEVER UINT32_MAX

// What dps_signer.version must be.
#define DPS_SIGNER_VERSION 1

// The hub that a device was assigned to, and the device's name there.
//
// All texts belong to the assignment and live until dps_assignment_free.
typedef struct dps_assignment dps_assignment;

// A CA certificate with its key: issues other certificates.
typedef struct dps_authority dps_authority;

// A chain of certificates, leaf first.
//
// All texts belong to the chain and live until dps_chain_free.
typedef struct dps_chain dps_chain;

// What is to be examined. May serve several examinations.
typedef struct dps_doctor dps_doctor;

// Why a call failed, in detail.
//
// All texts belong to the error and live until dps_error_free.
typedef struct dps_error dps_error;

// A device's connection to its hub; comes back by itself when it is lost.
//
// A message is kept until the hub has acknowledged it. After a lost connection what was not
// acknowledged is sent again, in order: a message may arrive twice, but first deliveries are in
// the order of sending.
typedef struct dps_hub dps_hub;

// Who the device is: a certificate chain and a key that belong together, or a symmetric key.
//
// Registrations and hub connections keep what they need of it: it may be freed while they last.
typedef struct dps_identity dps_identity;

// A private key in this process's memory.
typedef struct dps_key dps_key;

// A message. Sending copies it: one message may be sent several times, changed between.
typedef struct dps_message dps_message;

// Settings that differ from the defaults. One set may serve several calls; changing it later
// changes nothing that was made with it before. A host, port or time that cannot be is refused by
// the call that uses it.
typedef struct dps_options dps_options;

// A registration that runs inside dps_registration_do_work.
typedef struct dps_registration dps_registration;

// What an examination found. All texts belong to the report and live until dps_report_free.
typedef struct dps_report dps_report;

// DPS_OK, or what went wrong. The numbers never change; later versions may add some.
typedef uint32_t dps_status;

// The type and size of a new key: one of DPS_KEY_...
typedef uint32_t dps_key_type;

// What became of one device of a batch: one of DPS_BATCH_...
typedef uint32_t dps_batch_outcome;

// Told after each device of a batch; done counts this one too. The text lives for the call only.
// Returns true to go on, false to stop the batch.
typedef bool (*dps_batch_callback)(void *userdata,
                                   const char *registration_id,
                                   dps_batch_outcome outcome,
                                   uint64_t done,
                                   uint64_t total);

// How a signature is made: key type, padding and hash in one; one of DPS_SIGN_...
typedef uint32_t dps_signature_algorithm;

// What is to be signed. Lives for the call only.
typedef struct {
    // The algorithm: one of those that the signer named, or DPS_SIGN_HMAC_SHA256 for a symmetric
    // key.
    dps_signature_algorithm algorithm;
    // The whole message, for a signer that hashes by itself.
    const uint8_t *message;
    // How many bytes the message has.
    size_t message_len;
    // The message's hash under the algorithm, for a signer that takes digests. NULL for
    // DPS_SIGN_HMAC_SHA256.
    const uint8_t *digest;
    // How many bytes the hash has; 0 where it is NULL.
    size_t digest_len;
} dps_sign_request;

// Where the signer writes. Lives for the call only.
typedef struct {
    // The signature goes here: PKCS#1 or PSS bytes for RSA; for ECDSA either DER or the raw
    // r || s; the 32 bytes of an HMAC-SHA256.
    uint8_t *signature;
    // How many bytes there is room for; enough for every supported key.
    size_t signature_capacity;
    // How many bytes were written. 0 at first.
    size_t signature_len;
    // Where the signer fails, it may say why here, as NUL-terminated text. Empty at first.
    char *failure_text;
    // How many bytes there is room for, the NUL included.
    size_t failure_text_capacity;
} dps_sign_answer;

// Signs. 0 for success; any other number is the signer's own and comes back in the error
// (dps_error_signer_code), with the text it wrote.
typedef int32_t (*dps_sign_function)(void *userdata,
                                     const dps_sign_request *request,
                                     dps_sign_answer *answer);

// Says that the signer is called no more: userdata may be freed.
typedef void (*dps_drop_function)(void *userdata);

// A private key, or a symmetric one (dps_identity_from_token_signer), that signs and stays where it
// is.
//
// Threads: sign may be called from any thread and from several at once, with no lock of this
// library held, and may block. For blocking calls it runs on a thread of its own, at most eight
// at a time, so that a slow signer stalls no other device; in the polling form it runs inside
// do_work, on the caller's thread.
//
// Lifetime: a deadline ends the wait for a signature, not the call of sign. userdata must stay
// valid until drop is called, once, from any thread; freeing the identity may return before.
typedef struct {
    // DPS_SIGNER_VERSION.
    uint32_t version;
    // Given to sign and to drop.
    void *userdata;
    // The full certificate chain as PEM text, leaf first. Copied. NULL for a symmetric key, and for
    // a key that has no certificate yet.
    const char *certificate_chain;
    // What the key can do, in order of preference. Copied. NULL and 0: everything that the leaf's
    // type of key can do. A key that can only do PKCS#1 is used with TLS 1.2 alone. Not looked at
    // for a symmetric key.
    const dps_signature_algorithm *algorithms;
    // How many algorithms there are.
    size_t algorithms_len;
    // Signs. Must not be NULL.
    dps_sign_function sign;
    // May be NULL.
    dps_drop_function drop;
} dps_signer;

// The functions that a custom HSM exports, wherever they come from: two HSMs in one process are
// two sources. dps_hsm_link.h makes one of the functions that the program is linked with.
//
// A member that the HSM does not have may be NULL, except the table of the kind that is used, and
// free. The init functions are called when an identity is opened, whichever kind is used, as
// Microsoft's client does, and their deinit when the last identity of theirs is freed. One init
// function is never called again before its deinit. The init and deinit functions run under a lock
// and must not call this library.
typedef struct {
    // sizeof(dps_hsm_source).
    size_t size;
    // hsm_client_x509_interface.
    const struct HSM_CLIENT_X509_INTERFACE_TAG *(*x509_interface)(void);
    // hsm_client_tpm_interface.
    const struct HSM_CLIENT_TPM_INTERFACE_TAG *(*tpm_interface)(void);
    // hsm_client_key_interface.
    const struct HSM_CLIENT_KEY_INTERFACE_TAG *(*key_interface)(void);
    // hsm_client_x509_init.
    int (*x509_init)(void);
    // hsm_client_x509_deinit.
    void (*x509_deinit)(void);
    // hsm_client_tpm_init.
    int (*tpm_init)(void);
    // hsm_client_tpm_deinit.
    void (*tpm_deinit)(void);
    // The free of the C runtime whose malloc the HSM uses.
    void (*free)(void *memory);
} dps_hsm_source;

// How far an examination goes: one of DPS_DOCTOR_...
typedef uint32_t dps_doctor_reach;

// How bad a finding is: one of DPS_SEVERITY_...
typedef uint32_t dps_severity;

// Called once for each message of dps_hub_submit, in their order, in dps_hub_do_work, dps_hub_send,
// dps_hub_flush or dps_hub_close, on their thread. error is NULL for DPS_OK, and lives for the call
// only. It may call anything of this library.
typedef void (*dps_hub_callback)(void *userdata, dps_status status, const dps_error *error);

// Whether a hub is connected: one of DPS_HUB_...
typedef uint32_t dps_hub_state;

// How important a line of the log is: one of DPS_LOG_...
typedef uint32_t dps_log_level;

// Gets each line of the log; the texts live for the call only. It is called from any thread and
// from several at once, and must not call this library.
typedef void (*dps_log_callback)(void *userdata,
                                 dps_log_level level,
                                 const char *target,
                                 const char *message);

// How far a registration has come: one of DPS_REGISTRATION_...
typedef uint32_t dps_registration_status;

// Called with each stage that a registration reaches, always inside the call that registers or
// polls, and on its thread. It may call anything of this library.
typedef void (*dps_registration_callback)(void *userdata, dps_registration_status status);

// It was made, or finished.
#define DPS_BATCH_MADE 1

// It was there already.
#define DPS_BATCH_PRESENT 2

// RSA with 2048 bits.
#define DPS_KEY_RSA_2048 1

// RSA with 3072 bits.
#define DPS_KEY_RSA_3072 2

// RSA with 4096 bits, which the tutorial uses.
#define DPS_KEY_RSA_4096 3

// Elliptic curve P-256.
#define DPS_KEY_EC_P256 4

// Elliptic curve P-384.
#define DPS_KEY_EC_P384 5

// The files, the names and the clock. Opens no connection.
#define DPS_DOCTOR_FILES 1

// Also name lookup, ports 8883 and 443, the TLS handshake, the WebSocket upgrade, the clocks.
#define DPS_DOCTOR_NETWORK 2

// Also registers the device.
#define DPS_DOCTOR_SERVICE 3

// It works now, and soon or elsewhere will not.
#define DPS_SEVERITY_WARNING 1

// It does not work.
#define DPS_SEVERITY_ERROR 2

// The first connection is being made.
#define DPS_HUB_CONNECTING 1

// The hub has accepted the connection.
#define DPS_HUB_CONNECTED 2

// The connection was lost and comes back by itself.
#define DPS_HUB_RECONNECTING 3

// The hub was closed, or it has refused the device for good.
#define DPS_HUB_CLOSED 4

// Something failed for good.
#define DPS_LOG_ERROR 1

// Something is not as it should be, and goes on.
#define DPS_LOG_WARN 2

// What happens rarely and matters.
#define DPS_LOG_INFO 3

// What helps to find a fault.
#define DPS_LOG_DEBUG 4

// Everything.
#define DPS_LOG_TRACE 5

// The connection to DPS is open.
#define DPS_REGISTRATION_CONNECTED 1

// The device asks to be registered.
#define DPS_REGISTRATION_REGISTERING 2

// The service has accepted the device and looks for a hub.
#define DPS_REGISTRATION_ASSIGNING 3

// The service has assigned a hub.
#define DPS_REGISTRATION_ASSIGNED 4

// ECDSA on P-256 over SHA-256.
#define DPS_SIGN_ECDSA_P256_SHA256 1

// ECDSA on P-384 over SHA-384.
#define DPS_SIGN_ECDSA_P384_SHA384 2

// RSASSA-PSS over SHA-256, salt of 32 bytes, MGF1 with SHA-256.
#define DPS_SIGN_RSA_PSS_SHA256 3

// RSASSA-PSS over SHA-384, salt of 48 bytes, MGF1 with SHA-384.
#define DPS_SIGN_RSA_PSS_SHA384 4

// RSASSA-PSS over SHA-512, salt of 64 bytes, MGF1 with SHA-512.
#define DPS_SIGN_RSA_PSS_SHA512 5

// RSASSA-PKCS1-v1_5 over SHA-256.
#define DPS_SIGN_RSA_PKCS1_SHA256 6

// RSASSA-PKCS1-v1_5 over SHA-384.
#define DPS_SIGN_RSA_PKCS1_SHA384 7

// RSASSA-PKCS1-v1_5 over SHA-512.
#define DPS_SIGN_RSA_PKCS1_SHA512 8

// HMAC-SHA256 (RFC 2104), by which a symmetric key signs tokens.
#define DPS_SIGN_HMAC_SHA256 9

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The host name of the assigned hub.
const char *dps_assignment_hub(const dps_assignment *assignment);

// The device's ID in the hub.
const char *dps_assignment_device_id(const dps_assignment *assignment);

// The registration ID, as the service has it.
const char *dps_assignment_registration_id(const dps_assignment *assignment);

// The ID under which the service registered the device, which Microsoft's support may ask for.
const char *dps_assignment_operation_id(const dps_assignment *assignment);

// How the assignment came about, in the service's own word, such as "initialAssignment"; or NULL.
const char *dps_assignment_substatus(const dps_assignment *assignment);

// When the registration was made, as the service writes it (RFC 3339); or NULL.
const char *dps_assignment_created(const dps_assignment *assignment);

// When the registration last changed, as the service writes it (RFC 3339); or NULL.
const char *dps_assignment_last_updated(const dps_assignment *assignment);

// The entity tag of the registration record; or NULL.
const char *dps_assignment_etag(const dps_assignment *assignment);

// What a custom allocation policy returned for the device, as JSON text; or NULL.
const char *dps_assignment_payload(const dps_assignment *assignment);

// The fields of the registration state that this version does not know, as the JSON text of an
// object; or NULL.
const char *dps_assignment_unknown_fields(const dps_assignment *assignment);

// Frees an assignment and its texts.
void dps_assignment_free(dps_assignment *assignment);

// Makes a device for each registration ID of a range FIRST..LAST, such as
// "device-0001..device-1000": its key in FOLDER/private, its certificate and its full chain in
// FOLDER/certs, under the tutorial's names. The CA certificates above the issuer are looked for in
// FOLDER/certs, and appended to the full chains. Blocks the calling thread.
//
// Each file is written whole or not at all. A device that is there already is left as it is, so
// the same call again picks up where a batch was interrupted; with overwrite everything is made
// anew. One batch at a time works in a folder.
//
// callback and userdata may be NULL. Where the callback stops the batch the call gives
// DPS_CANCELLED; what was made stays.
dps_status dps_batch_make_range(const dps_authority *issuer,
                                const char *range,
                                const char *folder,
                                dps_key_type key_type,
                                uint32_t days,
                                bool overwrite,
                                dps_batch_callback callback,
                                void *userdata,
                                dps_error **error);

// As dps_batch_make_range, for each registration ID of a CSV file: the column headed
// registrationId or deviceId; one column alone needs no header. The whole file is checked before
// the first device is made.
dps_status dps_batch_make_csv(const dps_authority *issuer,
                              const char *csv_path,
                              const char *folder,
                              dps_key_type key_type,
                              uint32_t days,
                              bool overwrite,
                              dps_batch_callback callback,
                              void *userdata,
                              dps_error **error);

// Makes a new key. RSA-4096 may take seconds.
dps_status dps_key_generate(dps_key_type key_type, dps_key **key, dps_error **error);

// Reads a key from PEM text: PKCS#8 (plain or encrypted), PKCS#1 or SEC1. passphrase may be NULL.
dps_status dps_key_from_pem(const uint8_t *pem,
                            size_t pem_len,
                            const char *passphrase,
                            dps_key **key,
                            dps_error **error);

// The key as PKCS#8 PEM text: encrypted (PBES2, AES-256) under a passphrase, or in the clear for
// NULL. To be freed by dps_string_free, which wipes it.
dps_status dps_key_to_pem(const dps_key *key,
                          const char *passphrase,
                          char **pem,
                          dps_error **error);

// The key as PKCS#8 DER in the clear, to be freed by dps_bytes_free, which wipes it.
dps_status dps_key_to_der(const dps_key *key, uint8_t **der, size_t *der_len, dps_error **error);

// The public part of the key as DER SubjectPublicKeyInfo, to be freed by dps_bytes_free.
dps_status dps_key_public_key(const dps_key *key,
                              uint8_t **der,
                              size_t *der_len,
                              dps_error **error);

// Frees a key. What was made with it keeps what it needs.
void dps_key_free(dps_key *key);

// A CA that exists already: its certificate as PEM text, and its key. Fails unless they belong
// together and the certificate is a CA's. Of several certificates the first is taken, and the log
// mentions the others.
dps_status dps_authority_new(const uint8_t *certificate_pem,
                             size_t certificate_pem_len,
                             const dps_key *key,
                             dps_authority **authority,
                             dps_error **error);

// Makes a root CA with the extensions of the tutorial's v3_ca, valid for this many days.
dps_status dps_authority_create_root(const char *common_name,
                                     const dps_key *key,
                                     uint32_t days,
                                     dps_authority **authority,
                                     dps_error **error);

// As dps_authority_create_root, with at most path_length CAs on the way from it to a device.
dps_status dps_authority_create_root_with_path_length(const char *common_name,
                                                      const dps_key *key,
                                                      uint32_t days,
                                                      uint32_t path_length,
                                                      dps_authority **authority,
                                                      dps_error **error);

// Makes an intermediate CA below an issuer, with the extensions of the tutorial's
// v3_intermediate_ca. Where the issuer limits the CAs below it, the new one allows one less.
dps_status dps_authority_create_intermediate(const dps_authority *issuer,
                                             const char *common_name,
                                             const dps_key *key,
                                             uint32_t days,
                                             dps_authority **authority,
                                             dps_error **error);

// As dps_authority_create_intermediate, with at most path_length CAs below it: 0 for one that
// issues devices only. Fails where the issuer leaves less.
dps_status dps_authority_create_intermediate_with_path_length(const dps_authority *issuer,
                                                              const char *common_name,
                                                              const dps_key *key,
                                                              uint32_t days,
                                                              uint32_t path_length,
                                                              dps_authority **authority,
                                                              dps_error **error);

// The CA's own certificate as PEM text, to be freed by dps_string_free.
dps_status dps_authority_certificate(const dps_authority *authority, char **pem, dps_error **error);

// Issues a device certificate, with the extensions of the tutorial's usr_cert, for the public part
// of a key. Gives the certificate followed by the issuer's as PEM text, to be freed by
// dps_string_free; what stands above the issuer is to be appended.
dps_status dps_authority_issue_device(const dps_authority *authority,
                                      const char *registration_id,
                                      const dps_key *key,
                                      uint32_t days,
                                      char **chain_pem,
                                      dps_error **error);

// Issues the certificate that proves to DPS that the caller holds this CA's key: its common name
// is the verification code. As PEM text, to be freed by dps_string_free.
dps_status dps_authority_issue_verification(const dps_authority *authority,
                                            const char *verification_code,
                                            const dps_key *key,
                                            uint32_t days,
                                            char **pem,
                                            dps_error **error);

// Frees a CA.
void dps_authority_free(dps_authority *authority);

// Reads a chain from PEM text, in any order: the order becomes leaf first. A stranger or a gap is
// an error that names the certificate.
dps_status dps_chain_from_pem(const uint8_t *pem,
                              size_t pem_len,
                              dps_chain **chain,
                              dps_error **error);

// As dps_chain_from_pem, from a file.
dps_status dps_chain_from_pem_file(const char *path, dps_chain **chain, dps_error **error);

// Reads the chain of a PKCS#12 (PFX) file, in any order, and its private key, unless key is NULL.
// passphrase may be NULL, and then the empty one is tried. A file without a MAC is refused.
dps_status dps_chain_from_pkcs12(const uint8_t *bytes,
                                 size_t bytes_len,
                                 const char *passphrase,
                                 dps_chain **chain,
                                 dps_key **key,
                                 dps_error **error);

// The chain and the leaf's key as a PKCS#12 (PFX) file under a passphrase (AES-256, a SHA-256
// MAC), to be freed by dps_bytes_free, which wipes it. Fails unless the key is the leaf's.
dps_status dps_chain_to_pkcs12(const dps_chain *chain,
                               const dps_key *key,
                               const char *passphrase,
                               uint8_t **bytes,
                               size_t *bytes_len,
                               dps_error **error);

// Fails with the first certificate, from the leaf upward, that is not valid now.
dps_status dps_chain_check_validity(const dps_chain *chain, dps_error **error);

// Fails unless the chain reaches one of the CA certificates that DPS knows, given as PEM text: the
// verified root, or the enrollment group's own. The error names the certificate that is missing.
dps_status dps_chain_check_reaches(const dps_chain *chain,
                                   const uint8_t *authorities_pem,
                                   size_t authorities_pem_len,
                                   dps_error **error);

// The chain as PEM text, leaf first, to be freed by dps_string_free.
dps_status dps_chain_to_pem(const dps_chain *chain, char **pem, dps_error **error);

// One certificate of the chain in DER; the leaf's index is 0. To be freed by dps_bytes_free.
dps_status dps_chain_to_der(const dps_chain *chain,
                            size_t index,
                            uint8_t **der,
                            size_t *der_len,
                            dps_error **error);

// How many certificates the chain has. 0 for NULL.
size_t dps_chain_length(const dps_chain *chain);

// The subject of a certificate, such as "CN=device-01"; the leaf's index is 0. NULL beyond the
// end.
const char *dps_chain_subject(const dps_chain *chain, size_t index);

// The issuer of a certificate. NULL beyond the end.
const char *dps_chain_issuer(const dps_chain *chain, size_t index);

// The SHA-1 thumbprint in upper-case hexadecimal, as the Azure portal shows it. NULL beyond the
// end.
const char *dps_chain_sha1(const dps_chain *chain, size_t index);

// The SHA-256 thumbprint in upper-case hexadecimal. NULL beyond the end.
const char *dps_chain_sha256(const dps_chain *chain, size_t index);

// The first second at which a certificate is valid, since 1970 in UTC. 0 beyond the end.
int64_t dps_chain_not_before(const dps_chain *chain, size_t index);

// The last second at which a certificate is valid, since 1970 in UTC. 0 beyond the end.
int64_t dps_chain_not_after(const dps_chain *chain, size_t index);

// Frees a chain and its texts.
void dps_chain_free(dps_chain *chain);

// PEM text as a C string constant, one source line for each line of the text: the same bytes as
// the tutorial's sed command. To be freed by dps_string_free, which wipes it.
dps_status dps_pem_to_c_string(const uint8_t *pem,
                               size_t pem_len,
                               char **constant,
                               dps_error **error);

// As dps_pem_to_c_string, for Java. Python reads it too, between parentheses.
dps_status dps_pem_to_java_string(const uint8_t *pem,
                                  size_t pem_len,
                                  char **constant,
                                  dps_error **error);

// Opens two files: the full chain, and the leaf's private key (PKCS#8, PKCS#1 or SEC1), which may
// be encrypted. Each is PEM, or else DER or PKCS#12. passphrase may be NULL.
dps_status dps_identity_from_pem_files(const char *chain_path,
                                       const char *key_path,
                                       const char *passphrase,
                                       dps_identity **identity,
                                       dps_error **error);

// As dps_identity_from_pem_files, from memory.
dps_status dps_identity_from_pem(const uint8_t *chain,
                                 size_t chain_len,
                                 const uint8_t *key,
                                 size_t key_len,
                                 const char *passphrase,
                                 dps_identity **identity,
                                 dps_error **error);

// Opens a PKCS#12 (PFX) file with the full chain and the leaf's private key. passphrase may be
// NULL, and then the empty one is tried.
dps_status dps_identity_from_pkcs12_file(const char *path,
                                         const char *passphrase,
                                         dps_identity **identity,
                                         dps_error **error);

// As dps_identity_from_pkcs12_file, from memory.
dps_status dps_identity_from_pkcs12(const uint8_t *bytes,
                                    size_t bytes_len,
                                    const char *passphrase,
                                    dps_identity **identity,
                                    dps_error **error);

// Takes a key that signs and stays where it is. Makes one test signature, on this thread, which
// proves that the key is the leaf's.
//
// The structure and its chain are copied; userdata is the signer's until its drop is called,
// which also happens when this call fails, except where signer itself is refused (NULL, an
// unknown version, no sign).
dps_status dps_identity_from_signer(const dps_signer *signer,
                                    dps_identity **identity,
                                    dps_error **error);

// A symmetric key of an individual enrollment, or one derived for this device, in base64. For a
// hub alone, dps_hub_connect_by_connection_string takes the key of any device.
dps_status dps_identity_from_symmetric_key(const char *registration_id,
                                           const char *key,
                                           dps_identity **identity,
                                           dps_error **error);

// Takes a symmetric key that signs and stays where it is. It is asked for nothing yet: a token is
// signed for each connection, and only the service can tell whether the key is the right one.
//
// For a hub alone, registration_id is the ID of a device that the hub knows, which may hold more
// characters than a registration ID: only registering it then gives DPS_REGISTRATION_ID_INVALID.
//
// signer->certificate_chain must be NULL. Each request has the algorithm DPS_SIGN_HMAC_SHA256, the
// message and no digest; the answer is 32 bytes. For userdata and drop see
// dps_identity_from_signer.
dps_status dps_identity_from_token_signer(const char *registration_id,
                                          const dps_signer *signer,
                                          dps_identity **identity,
                                          dps_error **error);

// Derives the device's key from the key of its enrollment group, in base64. Whoever holds the
// group's key can take the part of every device of the group: it belongs where devices are made.
dps_status dps_identity_from_group_key(const char *registration_id,
                                       const char *group_key,
                                       dps_identity **identity,
                                       dps_error **error);

// The key of one device of an enrollment group, in base64, to be freed by dps_string_free.
dps_status dps_derive_device_key(const char *group_key,
                                 const char *registration_id,
                                 char **device_key,
                                 dps_error **error);

// Asks a custom HSM for its X.509 certificate and key, in the order of Microsoft's client: the
// common name, the chain, the key. The HSM's functions are called on this thread, and its destroy
// and deinit on the one that frees the identity.
dps_status dps_identity_from_hsm_x509(const dps_hsm_source *source,
                                      dps_identity **identity,
                                      dps_error **error);

// Asks a custom HSM for its symmetric key, in the order of Microsoft's client. registration_id and
// key are given to the HSM first (hsm_client_set_symm_key_info); NULL for both asks it for what it
// holds already. What the HSM says is its registration ID may be more, for a hub alone, as in
// dps_identity_from_token_signer. Threads as in dps_identity_from_hsm_x509.
dps_status dps_identity_from_hsm_symmetric_key(const dps_hsm_source *source,
                                               const char *registration_id,
                                               const char *key,
                                               dps_identity **identity,
                                               dps_error **error);

// A TPM behind the custom-HSM interface: not supported by this version, and said so.
dps_status dps_identity_from_hsm_tpm(const dps_hsm_source *source,
                                     dps_identity **identity,
                                     dps_error **error);

// Whether the chain reaches one of these CA certificates: the verified root, or the enrollment
// group's own, as a PEM file. So a missing intermediate is found before dialling.
dps_status dps_identity_check_reaches_file(const dps_identity *identity,
                                           const char *authorities_path,
                                           dps_error **error);

// As dps_identity_check_reaches_file, from PEM text.
dps_status dps_identity_check_reaches(const dps_identity *identity,
                                      const uint8_t *authorities_pem,
                                      size_t authorities_pem_len,
                                      dps_error **error);

// The registration ID that the identity stands for; NULL if it stands for none. Lives as long as
// the identity.
const char *dps_identity_registration_id(const dps_identity *identity);

// Frees an identity.
void dps_identity_free(dps_identity *identity);

// A doctor that has been given nothing yet.
dps_doctor *dps_doctor_new(void);

// Frees a doctor.
void dps_doctor_free(dps_doctor *doctor);

// The file with the device's chain: PEM, DER or PKCS#12. Of a PKCS#12 file the private key is
// taken too, unless another is given.
dps_status dps_doctor_set_certificate_file(dps_doctor *doctor, const char *path, dps_error **error);

// The file with the leaf's private key: PEM, DER or PKCS#12. passphrase may be NULL; it is also
// that of a PKCS#12 file given as the certificate, for which path may be NULL.
dps_status dps_doctor_set_key_file(dps_doctor *doctor,
                                   const char *path,
                                   const char *passphrase,
                                   dps_error **error);

// The file with the CA certificates that are verified in DPS.
dps_status dps_doctor_set_authorities_file(dps_doctor *doctor, const char *path, dps_error **error);

// The file with the certificate that the enrollment group lists.
dps_status dps_doctor_set_group_certificate_file(dps_doctor *doctor,
                                                 const char *path,
                                                 dps_error **error);

// The file with the certificate that the device's individual enrollment holds.
dps_status dps_doctor_set_individual_certificate_file(dps_doctor *doctor,
                                                      const char *path,
                                                      dps_error **error);

// Examines what the doctor was given, as far as reach says. id_scope may be NULL, except for
// DPS_DOCTOR_SERVICE. Of the options, which may be NULL, it heeds the host, the registration ID,
// connect_to, the roots and the deadline. Blocks the calling thread.
//
// Whatever is wrong is a finding of the report; the call itself fails only where no examination
// can be made: nothing was given, or a file that is to be compared with cannot be read.
dps_status dps_doctor_run(const dps_doctor *doctor,
                          dps_doctor_reach reach,
                          const char *id_scope,
                          const dps_options *options,
                          dps_report **report,
                          dps_error **error);

// Explains an error that the user has already: the service's words and numbers, such as
// "401002 CA certificate not found.", or an error of this library, such as "DPS_UNAUTHORIZED".
dps_status dps_doctor_decode(const char *text, dps_report **report, dps_error **error);

// The report as JSON text, the same as `dps doctor --json` prints: exitCode, findings (id,
// severity, sentence, evidence, fix, page), seen.
const char *dps_report_json(const dps_report *report);

// The exit code of `dps doctor`: 0 nothing found, 1 warnings, 2 errors; for NULL 0.
int32_t dps_report_exit_code(const dps_report *report);

// How many findings there are.
size_t dps_report_len(const dps_report *report);

// The stable id of the finding at index, such as "DPS-C001"; NULL beyond the last.
const char *dps_report_id(const dps_report *report, size_t index);

// How bad the finding at index is; 0 beyond the last.
dps_severity dps_report_severity(const dps_report *report, size_t index);

// What the finding at index is about, in one sentence; NULL beyond the last.
const char *dps_report_sentence(const dps_report *report, size_t index);

// What was seen, with names and dates; NULL beyond the last.
const char *dps_report_evidence(const dps_report *report, size_t index);

// What to do about it; NULL beyond the last.
const char *dps_report_fix(const dps_report *report, size_t index);

// The page that explains the finding at index; NULL beyond the last.
const char *dps_report_page(const dps_report *report, size_t index);

// Frees a report and its texts.
void dps_report_free(dps_report *report);

// What matters to DPS in the certificates of bytes (PEM, DER or PKCS#12), as JSON text, the same
// as `dps chain inspect --json` prints. passphrase may be NULL. To be freed by dps_string_free.
dps_status dps_chain_inspect(const uint8_t *bytes,
                             size_t bytes_len,
                             const char *passphrase,
                             char **json,
                             dps_error **error);

// The status that the failed call returned. DPS_OK for NULL.
dps_status dps_error_status(const dps_error *error);

// One line with everything: what was being done, what happened and to which file or host, what
// the service said, the name of the status, and what to do about it. NULL for NULL.
const char *dps_error_text(const dps_error *error);

// What happened, without the hint and the service's words. NULL for NULL.
const char *dps_error_message(const dps_error *error);

// What was being done, such as "register"; empty where nothing was named. NULL for NULL.
const char *dps_error_operation(const dps_error *error);

// What to do about it, or NULL.
const char *dps_error_hint(const dps_error *error);

// The HTTP-like status with which the service refused, such as 401; 0 if it was not the service.
uint32_t dps_error_service_status(const dps_error *error);

// The service's own number, such as 401002; 0 if it gave none.
uint32_t dps_error_service_code(const dps_error *error);

// The service's message, verbatim, or NULL.
const char *dps_error_service_message(const dps_error *error);

// The ID that Microsoft's support asks for, or NULL.
const char *dps_error_tracking_id(const dps_error *error);

// How many milliseconds the service asks the device to wait; 0 if it asks for nothing.
uint32_t dps_error_retry_after_ms(const dps_error *error);

// Whether the same call may succeed later with nothing changed on this side.
bool dps_error_retryable(const dps_error *error);

// Whether the failure was a signer's and the signer gave a number, which goes to *code.
bool dps_error_signer_code(const dps_error *error, int64_t *code);

// Frees an error and its texts.
void dps_error_free(dps_error *error);

// The name of a status, such as "DPS_UNAUTHORIZED"; "DPS_OK" for 0; NULL for a number that is
// none. Lives for ever.
const char *dps_status_name(dps_status status);

// One sentence that says what a status means; NULL for a number that is none. Lives for ever.
const char *dps_status_sentence(dps_status status);

// Whether a call that failed with this status may succeed later with nothing changed.
bool dps_status_retryable(dps_status status);

// How many statuses this version knows, DPS_OK included.
size_t dps_status_count(void);

// The status at this place of the catalogue, which is in the order of the numbers; DPS_OK beyond
// its end.
dps_status dps_status_at(size_t index);

// The version of the library, such as "0.1.0". Lives for ever.
const char *dps_version(void);

// Wipes and frees a string that a call handed out to be freed.
void dps_string_free(char *string);

// Wipes and frees bytes that a call handed out to be freed.
void dps_bytes_free(uint8_t *bytes);

// Connects and waits for it, until the deadline of the options, which may be NULL. hub_host and
// device_id are those of the assignment. Blocks the calling thread.
dps_status dps_hub_connect(const char *hub_host,
                           const char *device_id,
                           const dps_identity *identity,
                           const dps_options *options,
                           dps_hub **hub,
                           dps_error **error);

// As dps_hub_connect, to what a device's connection string names:
// HostName=...;DeviceId=...;SharedAccessKey=..., where identity must be NULL, or
// HostName=...;DeviceId=...;x509=true, where identity is the device's.
dps_status dps_hub_connect_by_connection_string(const char *connection_string,
                                                const dps_identity *identity,
                                                const dps_options *options,
                                                dps_hub **hub,
                                                dps_error **error);

// Prepares a connection that is made and kept only inside the calls on the hub: no thread of this
// library's own. Does not block. Messages may be submitted at once.
dps_status dps_hub_start(const char *hub_host,
                         const char *device_id,
                         const dps_identity *identity,
                         const dps_options *options,
                         dps_hub **hub,
                         dps_error **error);

// As dps_hub_start, to what a device's connection string names; identity as in
// dps_hub_connect_by_connection_string.
dps_status dps_hub_start_by_connection_string(const char *connection_string,
                                              const dps_identity *identity,
                                              const dps_options *options,
                                              dps_hub **hub,
                                              dps_error **error);

// Sends a message and waits until the hub has acknowledged it. When the deadline passes, the
// message is still the hub's: it may be delivered later. Where dps_hub_submit would find no room,
// it fails as that does, at once.
dps_status dps_hub_send(dps_hub *hub,
                        const dps_message *message,
                        uint32_t deadline_ms,
                        dps_error **error);

// Hands a message over without waiting; callback, which may be NULL, learns what became of it.
//
// At most 8 MiB wait for their acknowledgement, those included whose callback has not run. When
// they are used up, the call fails with DPS_DEADLINE_EXCEEDED and takes nothing: let
// dps_hub_do_work or dps_hub_flush make room.
dps_status dps_hub_submit(dps_hub *hub,
                          const dps_message *message,
                          dps_hub_callback callback,
                          void *userdata,
                          dps_error **error);

// Runs the callbacks that are due, and, on a hub of dps_hub_start, does what can be done now.
// *wait_ms is within how many milliseconds to call again, DPS_NEVER once the hub is closed;
// wait_ms may be NULL. Returns why, on every call, if the hub could not be connected to, or has
// refused the device since, once the callbacks of what was submitted until then have run: such a
// hub does not come back.
//
// On a hub of dps_hub_start it blocks as dps_registration_do_work does: for a name lookup and for
// a signature, each time a connection is made.
dps_status dps_hub_do_work(dps_hub *hub, uint32_t *wait_ms, dps_error **error);

// Waits until every message that was submitted has met its fate and its callback has run, or runs:
// in a call of another thread, or around this call.
dps_status dps_hub_flush(dps_hub *hub, uint32_t deadline_ms, dps_error **error);

// Whether the hub is connected. DPS_HUB_CLOSED for NULL, and in a forked child.
dps_hub_state dps_hub_get_state(const dps_hub *hub);

// Takes no more messages, waits until the hub has acknowledged all that it took, runs their
// callbacks, and disconnects. After the deadline it disconnects all the same and returns
// DPS_NOT_DELIVERED with how many were not acknowledged; at once, where the hub is being closed
// and then cannot be connected to or refuses the device. A hub that is not connected yet goes on
// connecting while a message waits for it.
//
// Returns why a message without a callback was lost before, if one was. Apart from that a hub that
// has ended, for a reason that dps_hub_do_work tells, closes with DPS_OK. Of several calls the
// shortest deadline holds for all. The hub still has to be freed.
dps_status dps_hub_close(dps_hub *hub, uint32_t deadline_ms, dps_error **error);

// Begins what dps_hub_close does, and does not wait for it: dps_hub_do_work goes on with it and runs
// the callbacks. Once dps_hub_get_state says DPS_HUB_CLOSED, dps_hub_close returns at once, with
// what became of it; dps_hub_free before that gives it up.
dps_status dps_hub_start_close(dps_hub *hub,
                               uint32_t deadline_ms,
                               dps_error **error);

// Frees a hub. Without dps_hub_close before, what was not acknowledged may be lost, and callbacks
// that have not run never do. In a callback it is freed when the call that runs the callback
// returns.
void dps_hub_free(dps_hub *hub);

// Sends the log of the whole process, up to a level, to a callback; NULL turns it off. When the
// call returns, the callback before is called no more. Keys, passphrases and tokens are never
// logged. This is the only setting that is not a handle's.
dps_status dps_log_set(dps_log_level level,
                       dps_log_callback callback,
                       void *userdata,
                       dps_error **error);

// A new message; the payload is copied. NULL is a payload of no bytes if payload_len is 0.
dps_status dps_message_new(const uint8_t *payload,
                           size_t payload_len,
                           dps_message **message,
                           dps_error **error);

// Sets an application property, in place of an earlier one of the same name.
dps_status dps_message_set_property(dps_message *message,
                                    const char *name,
                                    const char *value,
                                    dps_error **error);

// Sets the ID by which the receiver tells messages apart.
dps_status dps_message_set_message_id(dps_message *message, const char *id, dps_error **error);

// Sets the ID of the message that this one belongs to.
dps_status dps_message_set_correlation_id(dps_message *message, const char *id, dps_error **error);

// Sets the ID of the user that this message comes from.
dps_status dps_message_set_user_id(dps_message *message, const char *id, dps_error **error);

// Sets the content type, such as "application/json"; routing by the body needs it.
dps_status dps_message_set_content_type(dps_message *message,
                                        const char *content_type,
                                        dps_error **error);

// Sets the content encoding, such as "utf-8"; routing by the body needs it.
dps_status dps_message_set_content_encoding(dps_message *message,
                                            const char *content_encoding,
                                            dps_error **error);

// Names the output that the message goes to, by which an edge hub routes it.
dps_status dps_message_set_output_name(dps_message *message, const char *name, dps_error **error);

// Sets when the message loses its worth, in seconds since 1970-01-01T00:00:00Z. Times before that
// count as 1970, times after the year 9999 as none.
dps_status dps_message_set_expiry_time(dps_message *message, int64_t seconds, dps_error **error);

// Marks the message as one for Microsoft Defender for IoT.
dps_status dps_message_set_security_message(dps_message *message, dps_error **error);

// Frees a message.
void dps_message_free(dps_message *message);

// New options, all at their defaults.
dps_options *dps_options_new(void);

// Frees options.
void dps_options_free(dps_options *options);

// The DPS endpoint; global.azure-devices-provisioning.net unless set. A host name, no URL.
dps_status dps_options_set_host(dps_options *options, const char *host, dps_error **error);

// The port of DPS and of the hub; 8883 unless set.
dps_status dps_options_set_port(dps_options *options, uint16_t port, dps_error **error);

// Sends every connection to HOST:PORT, while SNI, the check of the server's name and the user
// names keep the real host: for private endpoints, tests and the emulator. An IP address needs no
// name lookup. Unless set, the environment variable DPS_CONNECT_TO decides.
dps_status dps_options_set_connect_to(dps_options *options,
                                      const char *host_and_port,
                                      dps_error **error);

// The roots that a server's certificate must lead to, as a PEM file. Unless set, the file in the
// environment variable SSL_CERT_FILE, else the system's store.
dps_status dps_options_set_roots_file(dps_options *options, const char *path, dps_error **error);

// As dps_options_set_roots_file, from PEM text.
dps_status dps_options_set_roots_pem(dps_options *options,
                                     const uint8_t *pem,
                                     size_t pem_len,
                                     dps_error **error);

// The longest that a registration, or connecting to a hub, may take, waits and retries included;
// 120 and 60 seconds unless set. DPS_NO_DEADLINE for as long as it takes.
dps_status dps_options_set_deadline_ms(dps_options *options,
                                       uint32_t deadline_ms,
                                       dps_error **error);

// How long a connection to a hub may be idle before the hub is asked for a sign of life; a minute
// unless set.
dps_status dps_options_set_keep_alive_ms(dps_options *options,
                                         uint32_t keep_alive_ms,
                                         dps_error **error);

// How long the hub accepts a token of a device with a symmetric key; an hour unless set. At four
// fifths of it the hub is connected to anew, and nothing is lost.
dps_status dps_options_set_token_lifetime_ms(dps_options *options,
                                             uint32_t token_lifetime_ms,
                                             dps_error **error);

// The version of the DPS device API, where it is not 2021-06-01.
dps_status dps_options_set_api_version(dps_options *options,
                                       const char *api_version,
                                       dps_error **error);

// The registration ID, where it is not to be taken from the credential, which it must fit all the
// same.
dps_status dps_options_set_registration_id(dps_options *options,
                                           const char *registration_id,
                                           dps_error **error);

// What a custom allocation policy is to know about the device, as JSON text. NULL takes it back.
dps_status dps_options_set_payload(dps_options *options, const char *json, dps_error **error);

// Registers the device and waits for its assignment, until the deadline of the options. options
// and callback may be NULL. Blocks the calling thread.
dps_status dps_register(const char *id_scope,
                        const dps_identity *identity,
                        const dps_options *options,
                        dps_registration_callback callback,
                        void *userdata,
                        dps_assignment **assignment,
                        dps_error **error);

// Prepares a registration that goes on only inside dps_registration_do_work. Does not block.
dps_status dps_registration_start(const char *id_scope,
                                  const dps_identity *identity,
                                  const dps_options *options,
                                  dps_registration_callback callback,
                                  void *userdata,
                                  dps_registration **registration,
                                  dps_error **error);

// Does what can be done now. DPS_OK while the registration lasts and when it has succeeded;
// *wait_ms is within how many milliseconds to call again, DPS_NEVER once it is over. Once it has
// failed, every call returns why. wait_ms may be NULL.
//
// Blocks for a name lookup, which may take seconds where the DNS server is silent (an IP address
// in dps_options_set_connect_to needs none), and for a signature when a connection is made: a
// software RSA-4096 key takes about 3 ms on a PC, a dps_signer as long as it likes. Waits for
// nothing else.
dps_status dps_registration_do_work(dps_registration *registration,
                                    uint32_t *wait_ms,
                                    dps_error **error);

// The assignment, once there is one; else NULL. Give it to dps_assignment_free: it outlives the
// registration.
dps_assignment *dps_registration_assignment(const dps_registration *registration);

// Ends a registration, in whatever state it is, and frees it. In a callback it is freed when the
// call that runs the callback returns.
void dps_registration_free(dps_registration *registration);

// Makes a certificate request with this common name, signed by the key. For a device the name is
// the registration ID. As PEM text, to be freed by dps_string_free.
dps_status dps_key_certificate_request(const dps_key *key,
                                       const char *common_name,
                                       char **pem,
                                       dps_error **error);

// As dps_key_certificate_request, for a key that signs and stays where it is. public_key is its
// public part as DER SubjectPublicKeyInfo; one of another key gives DPS_KEY_MISMATCH.
//
// signer.algorithms must name at least one of ECDSA P-256, ECDSA P-384 and RSA PKCS#1;
// signer.certificate_chain is not read, since there is none yet. sign runs on this thread. The
// signer is not kept: its drop is called before this returns, also when it fails, except where
// signer itself is refused (NULL, an unknown version, no sign).
dps_status dps_signer_certificate_request(const dps_signer *signer,
                                          const uint8_t *public_key,
                                          size_t public_key_len,
                                          const char *common_name,
                                          char **pem,
                                          dps_error **error);

// Issues a device certificate for a request that was made elsewhere, PEM or DER, whose signature
// holds. Only its common name, the registration ID, and its key are taken over; the extensions are
// those of dps_authority_issue_device.
//
// Gives the certificate followed by the issuer's as PEM text, and in ignored, which may be NULL,
// what the request asked for and did not get, as a JSON array of texts such as
// ["subject organizationName=Contoso","extension subjectAltName"]. Both are to be freed by
// dps_string_free.
dps_status dps_authority_issue_requested(const dps_authority *authority,
                                         const uint8_t *request,
                                         size_t request_len,
                                         uint32_t days,
                                         char **chain_pem,
                                         char **ignored,
                                         dps_error **error);

// Issues a device certificate in place of an older one, PEM or DER, alone or with its chain: the
// same common name, and the same key, or new_key where it is not NULL. Gives what
// dps_authority_issue_device gives.
dps_status dps_authority_reissue_device(const dps_authority *authority,
                                        const uint8_t *certificate,
                                        size_t certificate_len,
                                        const dps_key *new_key,
                                        uint32_t days,
                                        char **chain_pem,
                                        dps_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DPS_CORE_H */

/*
 * The custom-HSM interface of Microsoft's C device SDK, with that SDK's names, types and member
 * order, so that the source of an existing custom HSM compiles against this file unchanged. Plug
 * it in by dps_hsm_link.h, or at run time by a dps_hsm_source of dps_core.h.
 *
 * The interface has no version: its members are fixed. Functions that return int give 0 for
 * success; those that return a pointer give NULL for failure. Whatever a function allocates comes
 * from malloc, and the caller frees it. Texts are NUL-terminated.
 */
#ifndef HSM_CLIENT_DATA_H
#define HSM_CLIENT_DATA_H

#include <stddef.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a create function makes, and every other function gets. */
typedef void* HSM_CLIENT_HANDLE;

typedef HSM_CLIENT_HANDLE (*HSM_CLIENT_CREATE)(void);
typedef void (*HSM_CLIENT_DESTROY)(HSM_CLIENT_HANDLE handle);

/* TPM */
typedef int (*HSM_CLIENT_ACTIVATE_IDENTITY_KEY)(HSM_CLIENT_HANDLE handle, const unsigned char* key, size_t key_len);
typedef int (*HSM_CLIENT_GET_ENDORSEMENT_KEY)(HSM_CLIENT_HANDLE handle, unsigned char** key, size_t* key_len);
typedef int (*HSM_CLIENT_GET_STORAGE_ROOT_KEY)(HSM_CLIENT_HANDLE handle, unsigned char** key, size_t* key_len);
typedef int (*HSM_CLIENT_SIGN_WITH_IDENTITY)(HSM_CLIENT_HANDLE handle, const unsigned char* data, size_t data_len, unsigned char** key, size_t* key_len);

/* X.509: the chain as PEM, leaf first; the key as PEM; the common name, which is the registration ID */
typedef char* (*HSM_CLIENT_GET_CERTIFICATE)(HSM_CLIENT_HANDLE handle);
typedef char* (*HSM_CLIENT_GET_ALIAS_KEY)(HSM_CLIENT_HANDLE handle);
typedef char* (*HSM_CLIENT_GET_COMMON_NAME)(HSM_CLIENT_HANDLE handle);

/* Edge */
typedef char* (*HSM_CLIENT_GET_TRUST_BUNDLE)(HSM_CLIENT_HANDLE handle);

/* Symmetric key, in base64 */
typedef char* (*HSM_CLIENT_GET_SYMMETRICAL_KEY)(HSM_CLIENT_HANDLE handle);
typedef char* (*HSM_CLIENT_GET_REGISTRATION_NAME)(HSM_CLIENT_HANDLE handle);
typedef int (*HSM_CLIENT_SET_SYMMETRICAL_KEY_INFO)(HSM_CLIENT_HANDLE handle, const char* reg_name, const char* symm_key);

typedef struct HSM_CLIENT_TPM_INTERFACE_TAG
{
    HSM_CLIENT_CREATE hsm_client_tpm_create;
    HSM_CLIENT_DESTROY hsm_client_tpm_destroy;
    HSM_CLIENT_ACTIVATE_IDENTITY_KEY hsm_client_activate_identity_key;
    HSM_CLIENT_GET_ENDORSEMENT_KEY hsm_client_get_ek;
    HSM_CLIENT_GET_STORAGE_ROOT_KEY hsm_client_get_srk;
    HSM_CLIENT_SIGN_WITH_IDENTITY hsm_client_sign_with_identity;
} HSM_CLIENT_TPM_INTERFACE;

typedef struct HSM_CLIENT_X509_INTERFACE_TAG
{
    HSM_CLIENT_CREATE hsm_client_x509_create;
    HSM_CLIENT_DESTROY hsm_client_x509_destroy;
    HSM_CLIENT_GET_CERTIFICATE hsm_client_get_cert;
    HSM_CLIENT_GET_ALIAS_KEY hsm_client_get_key;
    HSM_CLIENT_GET_COMMON_NAME hsm_client_get_common_name;
} HSM_CLIENT_X509_INTERFACE;

typedef struct HSM_CLIENT_KEY_INTERFACE_TAG
{
    HSM_CLIENT_CREATE hsm_client_key_create;
    HSM_CLIENT_DESTROY hsm_client_key_destroy;
    HSM_CLIENT_GET_SYMMETRICAL_KEY hsm_client_get_symm_key;
    HSM_CLIENT_GET_REGISTRATION_NAME hsm_client_get_registration_name;
    HSM_CLIENT_SET_SYMMETRICAL_KEY_INFO hsm_client_set_symm_key_info;
} HSM_CLIENT_KEY_INTERFACE;

/* What a custom HSM defines: all seven, whatever it supports; an interface may be NULL. */
extern int hsm_client_x509_init(void);
extern void hsm_client_x509_deinit(void);
extern const HSM_CLIENT_X509_INTERFACE* hsm_client_x509_interface(void);

extern int hsm_client_tpm_init(void);
extern void hsm_client_tpm_deinit(void);
extern const HSM_CLIENT_TPM_INTERFACE* hsm_client_tpm_interface(void);

extern const HSM_CLIENT_KEY_INTERFACE* hsm_client_key_interface(void);

#ifdef __cplusplus
}
#endif

#endif /* HSM_CLIENT_DATA_H */

/*
 * A custom HSM behind Microsoft's interface, as the tutorial has it: it keeps a certificate chain
 * and a private key in constants, where a real one would ask its hardware.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hsm_client_data.h"

/* The common name of the device certificate, which is the registration ID. */
static const char* const COMMON_NAME = "<Enter common name>";

/* <Device/leaf cert>
 * <intermediates>
 * <root> */
static const char* const CERTIFICATE = "<Enter full chain>";

static const char* const PRIVATE_KEY = "<Enter private key>";

/* For the symmetric-key table: what set_symm_key_info was given. */
typedef struct CUSTOM_HSM_TAG
{
    char* registration_name;
    char* symmetric_key;
} CUSTOM_HSM;

/* Whoever asks frees the answer. */
static char* copy_of(const char* text)
{
    size_t size;
    char* copy;
    if (text == NULL)
    {
        return NULL;
    }
    size = strlen(text) + 1;
    copy = (char*)malloc(size);
    if (copy == NULL)
    {
        (void)fprintf(stderr, "Failure allocating %lu bytes\n", (unsigned long)size);
        return NULL;
    }
    memcpy(copy, text, size);
    return copy;
}

static HSM_CLIENT_HANDLE custom_hsm_create(void)
{
    return calloc(1, sizeof(CUSTOM_HSM));
}

static void custom_hsm_destroy(HSM_CLIENT_HANDLE handle)
{
    CUSTOM_HSM* hsm = (CUSTOM_HSM*)handle;
    if (hsm != NULL)
    {
        free(hsm->registration_name);
        free(hsm->symmetric_key);
        free(hsm);
    }
}

static char* custom_hsm_get_certificate(HSM_CLIENT_HANDLE handle)
{
    return handle == NULL ? NULL : copy_of(CERTIFICATE);
}

static char* custom_hsm_get_key(HSM_CLIENT_HANDLE handle)
{
    return handle == NULL ? NULL : copy_of(PRIVATE_KEY);
}

static char* custom_hsm_get_common_name(HSM_CLIENT_HANDLE handle)
{
    return handle == NULL ? NULL : copy_of(COMMON_NAME);
}

static char* custom_hsm_get_symm_key(HSM_CLIENT_HANDLE handle)
{
    return handle == NULL ? NULL : copy_of(((CUSTOM_HSM*)handle)->symmetric_key);
}

static char* custom_hsm_get_registration_name(HSM_CLIENT_HANDLE handle)
{
    return handle == NULL ? NULL : copy_of(((CUSTOM_HSM*)handle)->registration_name);
}

static int custom_hsm_set_symm_key_info(HSM_CLIENT_HANDLE handle, const char* reg_name, const char* symm_key)
{
    CUSTOM_HSM* hsm = (CUSTOM_HSM*)handle;
    if (hsm == NULL || reg_name == NULL || symm_key == NULL)
    {
        return 1;
    }
    free(hsm->registration_name);
    free(hsm->symmetric_key);
    hsm->registration_name = copy_of(reg_name);
    hsm->symmetric_key = copy_of(symm_key);
    return hsm->registration_name != NULL && hsm->symmetric_key != NULL ? 0 : 1;
}

static const HSM_CLIENT_X509_INTERFACE x509_interface =
{
    custom_hsm_create,
    custom_hsm_destroy,
    custom_hsm_get_certificate,
    custom_hsm_get_key,
    custom_hsm_get_common_name
};

static const HSM_CLIENT_KEY_INTERFACE key_interface =
{
    custom_hsm_create,
    custom_hsm_destroy,
    custom_hsm_get_symm_key,
    custom_hsm_get_registration_name,
    custom_hsm_set_symm_key_info
};

int hsm_client_x509_init(void)
{
    return 0;
}

void hsm_client_x509_deinit(void)
{
}

const HSM_CLIENT_X509_INTERFACE* hsm_client_x509_interface(void)
{
    return &x509_interface;
}

int hsm_client_tpm_init(void)
{
    return 0;
}

void hsm_client_tpm_deinit(void)
{
}

/* It has no TPM. */
const HSM_CLIENT_TPM_INTERFACE* hsm_client_tpm_interface(void)
{
    return NULL;
}

const HSM_CLIENT_KEY_INTERFACE* hsm_client_key_interface(void)
{
    return &key_interface;
}

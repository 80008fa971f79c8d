/* An HSM in the style of sources that were written for Microsoft's header: empty parentheses, and a
 * symmetric-key table that ends early. Compiled only. */
#include <stdlib.h>

#include "hsm_client_data.h"

int hsm_client_x509_init()
{
    return 0;
}

void hsm_client_x509_deinit()
{
}

int hsm_client_tpm_init()
{
    return 0;
}

void hsm_client_tpm_deinit()
{
}

static HSM_CLIENT_HANDLE create()
{
    return malloc(1);
}

static void destroy(HSM_CLIENT_HANDLE handle)
{
    free(handle);
}

static char* get(HSM_CLIENT_HANDLE handle)
{
    (void)handle;
    return NULL;
}

static int give_bytes(HSM_CLIENT_HANDLE handle, unsigned char** key, size_t* key_len)
{
    (void)handle;
    (void)key;
    (void)key_len;
    return __LINE__;
}

static int sign(HSM_CLIENT_HANDLE handle, const unsigned char* data, size_t data_len, unsigned char** key, size_t* key_len)
{
    (void)data;
    (void)data_len;
    return give_bytes(handle, key, key_len);
}

static int activate(HSM_CLIENT_HANDLE handle, const unsigned char* key, size_t key_len)
{
    (void)handle;
    (void)key;
    (void)key_len;
    return __LINE__;
}

static const HSM_CLIENT_X509_INTERFACE x509_interface = { create, destroy, get, get, get };
static const HSM_CLIENT_TPM_INTERFACE tpm_interface = { create, destroy, activate, give_bytes, give_bytes, sign };
static const HSM_CLIENT_KEY_INTERFACE key_interface = { create, destroy, get, get };

const HSM_CLIENT_X509_INTERFACE* hsm_client_x509_interface()
{
    return &x509_interface;
}

const HSM_CLIENT_TPM_INTERFACE* hsm_client_tpm_interface()
{
    return &tpm_interface;
}

const HSM_CLIENT_KEY_INTERFACE* hsm_client_key_interface()
{
    return &key_interface;
}

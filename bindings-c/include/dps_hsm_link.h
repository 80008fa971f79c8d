/*
 * Plugs in the custom HSM that the program is linked with: the seven functions that
 * hsm_client_data.h declares.
 *
 * The library itself refers to none of them. These functions are compiled into the program, so the
 * order of libraries on the command line does not matter, nor whether they are static or shared,
 * and a program that calls none of these functions needs no HSM.
 */
#ifndef DPS_HSM_LINK_H
#define DPS_HSM_LINK_H

#include <stdlib.h>

#include "dps_core.h"
#include "hsm_client_data.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The HSM that the program is linked with, and the free of the program's C runtime. */
static inline dps_hsm_source dps_linked_hsm(void)
{
    dps_hsm_source source;
    source.size = sizeof source;
    source.x509_interface = hsm_client_x509_interface;
    source.tpm_interface = hsm_client_tpm_interface;
    source.key_interface = hsm_client_key_interface;
    source.x509_init = hsm_client_x509_init;
    source.x509_deinit = hsm_client_x509_deinit;
    source.tpm_init = hsm_client_tpm_init;
    source.tpm_deinit = hsm_client_tpm_deinit;
    source.free = free;
    return source;
}

/* dps_identity_from_hsm_x509 with the linked HSM. */
static inline dps_status dps_identity_from_linked_hsm_x509(dps_identity **identity, dps_error **error)
{
    dps_hsm_source source = dps_linked_hsm();
    return dps_identity_from_hsm_x509(&source, identity, error);
}

/* dps_identity_from_hsm_symmetric_key with the linked HSM. */
static inline dps_status dps_identity_from_linked_hsm_symmetric_key(const char *registration_id, const char *key,
                                                                    dps_identity **identity, dps_error **error)
{
    dps_hsm_source source = dps_linked_hsm();
    return dps_identity_from_hsm_symmetric_key(&source, registration_id, key, identity, error);
}

/* dps_identity_from_hsm_tpm with the linked HSM. */
static inline dps_status dps_identity_from_linked_hsm_tpm(dps_identity **identity, dps_error **error)
{
    dps_hsm_source source = dps_linked_hsm();
    return dps_identity_from_hsm_tpm(&source, identity, error);
}

#ifdef __cplusplus
}
#endif

#endif /* DPS_HSM_LINK_H */

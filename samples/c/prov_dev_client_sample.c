/*
 * Registers a device with the Device Provisioning Service, with the X.509 certificate of the
 * custom HSM that the program is linked with.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dps_core.h"
#include "dps_hsm_link.h"

static const char* global_prov_uri = "global.azure-devices-provisioning.net";
static const char* id_scope = "[ID Scope]";

static void registration_status_callback(void* user_context, dps_registration_status status)
{
    (void)user_context;
    if (status == DPS_REGISTRATION_CONNECTED)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED\n");
    }
    else if (status == DPS_REGISTRATION_ASSIGNING)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING\n");
    }
}

static dps_status register_device(dps_assignment** assignment, dps_error** error)
{
    dps_identity* identity = NULL;
    dps_options* options = dps_options_new();
    dps_status status = dps_identity_from_linked_hsm_x509(&identity, error);
    if (status == DPS_OK)
    {
        status = dps_options_set_host(options, global_prov_uri, error);
    }
    if (status == DPS_OK)
    {
        status = dps_register(id_scope, identity, options, registration_status_callback, NULL, assignment, error);
    }
    dps_options_free(options);
    dps_identity_free(identity);
    return status;
}

int main(void)
{
    dps_assignment* assignment = NULL;
    dps_error* error = NULL;
    dps_status status;

    (void)printf("Provisioning API Version: %s\n", dps_version());
    (void)printf("\nRegistering Device\n\n");
    status = register_device(&assignment, &error);
    if (status == DPS_OK)
    {
        (void)printf("\nRegistration Information received from service: %s, deviceId: %s\n",
            dps_assignment_hub(assignment), dps_assignment_device_id(assignment));
    }
    else
    {
        (void)printf("\nFailure registering device: %s\n%s\n", dps_status_name(status), dps_error_text(error));
    }
    dps_assignment_free(assignment);
    dps_error_free(error);

    (void)printf("Press enter key to exit:\n");
    (void)getchar();
    return status == DPS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

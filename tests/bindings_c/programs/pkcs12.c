/* A credential in PKCS#12, from a file and from memory. */
#include "support.h"

static void provision(dps_identity *identity)
{
    dps_assignment *assignment = NULL;
    CHECK(strcmp(dps_identity_registration_id(identity), "device-01") == 0);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(strcmp(dps_assignment_device_id(assignment), "device-01") == 0);
    /* The service's word on the attestation, which this version has no member for. */
    CHECK(strcmp(dps_assignment_unknown_fields(assignment), "{\"x509\":{}}") == 0);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

int main(void)
{
    const char *path = variable("PFX");
    size_t length = 0;
    char *bytes = read_bytes(path, &length);
    dps_identity *identity = NULL;

    OK(dps_identity_from_pkcs12_file(path, "1234", &identity, error));
    provision(identity);
    OK(dps_identity_from_pkcs12((const uint8_t *)bytes, length, "1234", &identity, error));
    provision(identity);

    identity = NULL;
    FAILS(DPS_PASSPHRASE_REQUIRED, "", dps_identity_from_pkcs12_file(path, NULL, &identity, error));
    FAILS(DPS_PASSPHRASE_WRONG, path, dps_identity_from_pkcs12_file(path, "no", &identity, error));
    FAILS(DPS_FILE_NOT_READABLE, "no-such-file",
          dps_identity_from_pkcs12_file("no-such-file", "1234", &identity, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "",
          dps_identity_from_pkcs12((const uint8_t *)bytes, length / 2, "1234", &identity, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "empty", dps_identity_from_pkcs12(NULL, 0, "1234", &identity, error));
    CHECK(identity == NULL);
    free(bytes);
    (void)printf("done\n");
    return 0;
}

/* A credential in the forms in which it is kept: keys in older encodings and in DER, PKCS#12 in place
   of the PEM files, values that were pasted. */
#include "support.h"

static char logged[1 << 16];

/* The log of this program comes from the thread that opens. */
static void log_line(void *userdata, dps_log_level level, const char *target, const char *message)
{
    (void)userdata;
    (void)target;
    CHECK(level <= DPS_LOG_WARN && strlen(logged) + strlen(message) + 2 < sizeof logged);
    (void)strcat(strcat(logged, message), "\n");
}

static void is_device_01(dps_identity *identity)
{
    CHECK(strcmp(dps_identity_registration_id(identity), "device-01") == 0);
    dps_identity_free(identity);
}

static dps_identity *opened(const char *chain, const char *key, const char *passphrase)
{
    dps_identity *from_files = NULL, *from_memory = NULL;
    size_t chain_len = 0, key_len = 0;
    char *chain_bytes = read_bytes(chain, &chain_len), *key_bytes = read_bytes(key, &key_len);
    OK(dps_identity_from_pem((const uint8_t *)chain_bytes, chain_len, (const uint8_t *)key_bytes,
                             key_len, passphrase, &from_memory, error));
    is_device_01(from_memory);
    OK(dps_identity_from_pem_files(chain, key, passphrase, &from_files, error));
    free(chain_bytes);
    free(key_bytes);
    return from_files;
}

static void keys(const char *chain)
{
    const char *legacy = variable("LEGACY_KEY"), *der = variable("DER_KEY");
    dps_identity *none = NULL;
    dps_key *key = NULL;
    size_t length = 0;
    char *bytes;
    is_device_01(opened(chain, legacy, "1234"));
    is_device_01(opened(chain, variable("ENCRYPTED_KEY"), "1234"));
    is_device_01(opened(chain, der, NULL));
    FAILS(DPS_PASSPHRASE_REQUIRED, legacy, dps_identity_from_pem_files(chain, legacy, NULL, &none, error));
    FAILS(DPS_PASSPHRASE_WRONG, legacy, dps_identity_from_pem_files(chain, legacy, "no", &none, error));
    CHECK(none == NULL);

    bytes = read_bytes(legacy, &length);
    OK(dps_key_from_pem((const uint8_t *)bytes, length, "1234", &key, error));
    dps_key_free(key);
    free(bytes);
    bytes = read_bytes(der, &length);
    OK(dps_key_from_pem((const uint8_t *)bytes, length, NULL, &key, error));
    dps_key_free(key);
    free(bytes);
}

static void pkcs12(const char *chain)
{
    const char *pfx = variable("PFX"), *no_mac = variable("NO_MAC");
    dps_identity *none = NULL;
    dps_chain *no_chain = NULL;
    size_t length = 0;
    char *bytes = read_bytes(no_mac, &length);
    is_device_01(opened(pfx, pfx, "1234"));
    is_device_01(opened(chain, pfx, "1234"));
    is_device_01(opened(pfx, variable("KEY"), "1234"));

    FAILS(DPS_WRONG_FILE_CONTENT, "no MAC", dps_identity_from_pkcs12_file(no_mac, "1234", &none, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "no MAC",
          dps_identity_from_pkcs12((const uint8_t *)bytes, length, "1234", &none, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "no MAC",
          dps_identity_from_pem_files(no_mac, no_mac, "1234", &none, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "no MAC",
          dps_chain_from_pkcs12((const uint8_t *)bytes, length, "1234", &no_chain, NULL, error));
    CHECK(none == NULL && no_chain == NULL);
    free(bytes);
}

/* Understood, and mentioned in the log. */
static void pasted(const char *chain, const char *key)
{
    dps_assignment *assignment = NULL;
    dps_identity *identity;
    OK(dps_log_set(DPS_LOG_WARN, log_line, NULL, error));
    is_device_01(opened(chain, key, NULL));
    CHECK(logged[0] == '\0');
    identity = opened(variable("PASTED_CHAIN"), variable("PASTED_KEY"), NULL);
    CHECK(strstr(logged, variable("PASTED_CHAIN")) != NULL);
    CHECK(strstr(logged, "byte order mark") != NULL && strstr(logged, "quotation marks") != NULL);
    CHECK(strstr(logged, "two characters \\n") != NULL);
    CHECK(strstr(logged, "BEGIN") == NULL);
    OK(dps_log_set(DPS_LOG_WARN, NULL, NULL, error));
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(strcmp(dps_assignment_device_id(assignment), "device-01") == 0);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

/* The CAs that DPS knows, where the chain leads to them, and where it does not. */
static void authorities(const char *chain, const char *key)
{
    const char *known = variable("AUTHORITIES"), *others = variable("SSL_CERT_FILE");
    dps_identity *whole = opened(chain, key, NULL), *alone = opened(variable("LEAF"), key, NULL);
    dps_identity *keyed = NULL;
    size_t length = 0;
    char *pem = read_bytes(known, &length);
    const uint8_t *bytes = (const uint8_t *)pem;
    OK(dps_identity_check_reaches_file(whole, known, error));
    OK(dps_identity_check_reaches(whole, bytes, length, error));
    FAILS(DPS_CHAIN_BROKEN, "none of the known CAs", dps_identity_check_reaches_file(whole, others, error));
    FAILS(DPS_ISSUER_MISSING, "", dps_identity_check_reaches_file(alone, known, error));
    FAILS(DPS_ISSUER_MISSING, "", dps_identity_check_reaches(alone, bytes, length, error));
    FAILS(DPS_FILE_NOT_READABLE, "/nowhere", dps_identity_check_reaches_file(whole, "/nowhere", error));
    FAILS(DPS_WRONG_FILE_CONTENT, key, dps_identity_check_reaches_file(whole, key, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "known CAs", dps_identity_check_reaches(whole, NULL, 0, error));
    FAILS(DPS_INVALID_ARGUMENT, "authorities_pem is NULL", dps_identity_check_reaches(whole, NULL, 1, error));
    FAILS(DPS_INVALID_ARGUMENT, "bytes", dps_identity_check_reaches(whole, bytes, (size_t)-1, error));
    OK(dps_identity_from_symmetric_key("meter", variable("SYMMETRIC_KEY"), &keyed, error));
    FAILS(DPS_INVALID_ARGUMENT, "symmetric key", dps_identity_check_reaches_file(keyed, known, error));
    dps_identity_free(keyed);
    dps_identity_free(alone);
    dps_identity_free(whole);
    free(pem);
}

int main(void)
{
    const char *chain = variable("CHAIN"), *key = variable("KEY");
    keys(chain);
    pkcs12(chain);
    pasted(chain, key);
    authorities(chain, key);
    (void)printf("done\n");
    return 0;
}

/* The small build: what it leaves out says so and writes nothing; what it has is whole. */
#include "support.h"

/* Fails unless the call says that this is the small build, and what to do instead. */
#define LEFT_OUT(instead, call)                                                                 \
    do                                                                                          \
    {                                                                                           \
        dps_error *left_out_error = NULL;                                                       \
        dps_error **error = &left_out_error;                                                    \
        CHECK((call) == DPS_UNSUPPORTED);                                                       \
        CHECK(dps_error_status(left_out_error) == DPS_UNSUPPORTED);                             \
        CHECK(strstr(dps_error_message(left_out_error), "this is the small build") != NULL);    \
        CHECK(dps_error_hint(left_out_error) != NULL);                                          \
        CHECK(strstr(dps_error_hint(left_out_error), (instead)) != NULL);                       \
        dps_error_free(left_out_error);                                                         \
    } while (0)

static void left_out(void)
{
    size_t length = 0, written = 0;
    char *pfx = read_bytes(variable("PFX"), &length);
    const uint8_t *bytes = (const uint8_t *)pfx;
    char *old = read_whole(variable("OLD_ENCRYPTED_KEY"));
    char *encrypted = read_whole(variable("ENCRYPTED_KEY"));
    dps_identity *identity = NULL;
    dps_chain *chain = NULL;
    dps_key *key = NULL, *none = NULL;
    char *text = NULL;
    uint8_t *made = NULL;
    dps_key_type type;

    LEFT_OUT("openssl pkey", dps_identity_from_pem_files(variable("CHAIN"), variable("ENCRYPTED_KEY"),
                                                         "1234", &identity, error));
    LEFT_OUT("openssl pkey", dps_key_from_pem((const uint8_t *)encrypted, strlen(encrypted), "1234",
                                              &none, error));
    LEFT_OUT("openssl pkey",
             dps_key_from_pem((const uint8_t *)old, strlen(old), "1234", &none, error));
    LEFT_OUT("openssl pkcs12",
             dps_identity_from_pkcs12_file(variable("PFX"), "1234", &identity, error));
    LEFT_OUT("openssl pkcs12", dps_identity_from_pkcs12(bytes, length, "1234", &identity, error));
    LEFT_OUT("openssl pkcs12", dps_chain_from_pkcs12(bytes, length, "1234", &chain, &none, error));
    LEFT_OUT("openssl ec", dps_identity_from_pem_files(variable("CHAIN"),
                                                       variable("KEY_WITHOUT_PUBLIC"), NULL,
                                                       &identity, error));
    for (type = DPS_KEY_RSA_2048; type <= DPS_KEY_RSA_4096; type++)
    {
        LEFT_OUT("EC P-256", dps_key_generate(type, &none, error));
    }

    free(encrypted);
    encrypted = read_whole(variable("KEY"));
    OK(dps_key_from_pem((const uint8_t *)encrypted, strlen(encrypted), NULL, &key, error));
    OK(dps_chain_from_pem_file(variable("CHAIN"), &chain, error));
    LEFT_OUT("openssl pkey", dps_key_to_pem(key, "1234", &text, error));
    LEFT_OUT("openssl pkcs12", dps_chain_to_pkcs12(chain, key, "1234", &made, &written, error));
    CHECK(identity == NULL && none == NULL && text == NULL && made == NULL && written == 0);

    dps_chain_free(chain);
    dps_key_free(key);
    free(encrypted);
    free(old);
    free(pfx);
}

/* Keys are made on both curves, and what is written is read again; CAs issue with them. */
static void keys_and_chains(void)
{
    dps_key_type types[] = { DPS_KEY_EC_P256, DPS_KEY_EC_P384 };
    size_t index;
    for (index = 0; index < 2; index++)
    {
        dps_key *key = NULL, *again = NULL;
        dps_authority *root = NULL;
        dps_identity *identity = NULL;
        uint8_t *public_key = NULL, *read = NULL;
        size_t public_length = 0, read_length = 0;
        char *pem = NULL, *chain = NULL;
        OK(dps_key_generate(types[index], &key, error));
        OK(dps_key_to_pem(key, NULL, &pem, error));
        OK(dps_key_from_pem((const uint8_t *)pem, strlen(pem), NULL, &again, error));
        OK(dps_key_public_key(key, &public_key, &public_length, error));
        OK(dps_key_public_key(again, &read, &read_length, error));
        CHECK(public_length == read_length && memcmp(public_key, read, read_length) == 0);

        OK(dps_authority_create_root("Small Root", key, 30, &root, error));
        OK(dps_authority_issue_device(root, "device-09", again, 30, &chain, error));
        OK(dps_identity_from_pem((const uint8_t *)chain, strlen(chain), (const uint8_t *)pem,
                                 strlen(pem), NULL, &identity, error));
        dps_identity_free(identity);
        dps_string_free(chain);
        dps_authority_free(root);
        dps_bytes_free(public_key);
        dps_bytes_free(read);
        dps_string_free(pem);
        dps_key_free(again);
        dps_key_free(key);
    }
}

/* Registers and delivers one message. */
static void deliver(dps_identity *identity)
{
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    dps_message *message = text_message("from the small build");
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       NULL, &hub, error));
    OK(dps_hub_send(hub, message, 60000, error));
    OK(dps_hub_close(hub, 60000, error));
    dps_hub_free(hub);
    dps_message_free(message);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

int main(void)
{
    const char *keys[] = { "KEY", "P384_KEY", "RSA_KEY", "SEC1_KEY", "PKCS1_KEY" };
    const char *chains[] = { "CHAIN", "P384_CHAIN", "RSA_CHAIN", "CHAIN", "RSA_CHAIN" };
    size_t index;
    dps_identity *identity = NULL;

    left_out();
    keys_and_chains();
    for (index = 0; index < 5; index++)
    {
        OK(dps_identity_from_pem_files(variable(chains[index]), variable(keys[index]), NULL,
                                       &identity, error));
        deliver(identity);
    }
    OK(dps_identity_from_symmetric_key(variable("SYMMETRIC_ID"), variable("SYMMETRIC_KEY"), &identity,
                                       error));
    deliver(identity);
    FAILS(DPS_KEY_MISMATCH, "does not belong",
          dps_identity_from_pem_files(variable("CHAIN"), variable("OTHER_KEY"), NULL, &identity, error));
    (void)puts("done");
    return 0;
}

/* Blocking calls: registration, assignment, telemetry, errors, chains, symmetric keys, the log. */
#include <pthread.h>

#include "support.h"

static void note_status(void *userdata, dps_registration_status status)
{
    char *seen = (char *)userdata;
    dps_options *options = dps_options_new();
    /* It may call back in. */
    CHECK(options != NULL);
    dps_options_free(options);
    seen[strlen(seen)] = (char)('0' + status);
}

static void count_log(void *userdata, dps_log_level level, const char *target, const char *message)
{
    CHECK(level >= DPS_LOG_ERROR && level <= DPS_LOG_DEBUG);
    CHECK(strncmp(target, "dps_core", 8) == 0 && message[0] != '\0');
    CHECK(strstr(message, "PRIVATE KEY") == NULL);
    (void)__atomic_add_fetch((int *)userdata, 1, __ATOMIC_SEQ_CST);
}

struct order
{
    dps_hub *hub;
    int next;
    int index[300];
};

static struct order order;

static void confirm(void *userdata, dps_status status, const dps_error *error)
{
    int *index = (int *)userdata;
    CHECK(status == DPS_OK && error == NULL);
    CHECK(*index == order.next);
    order.next += 1;
    if (*index == 150)
    {
        OK(dps_hub_flush(order.hub, 20000, error));
        CHECK(order.next == 300);
    }
}

static void *send_ten(void *hub)
{
    int index;
    dps_message *message = text_message("from a thread");
    for (index = 0; index < 10; index++)
    {
        OK(dps_hub_send((dps_hub *)hub, message, 20000, error));
    }
    dps_message_free(message);
    return NULL;
}

static void telemetry(dps_assignment *assignment, dps_identity *identity)
{
    dps_hub *hub = NULL;
    dps_assignment *again = NULL;
    dps_options *patient = dps_options_new();
    dps_message *message = text_message("{\"temperature\": 21}");
    pthread_t threads[2];
    int index;

    OK(dps_options_set_deadline_ms(patient, DPS_NO_DEADLINE, error));
    OK(dps_register(variable("ID_SCOPE"), identity, patient, NULL, NULL, &again, error));
    CHECK(strcmp(dps_assignment_hub(again), dps_assignment_hub(assignment)) == 0);
    dps_assignment_free(again);
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       patient, &hub, error));
    dps_options_free(patient);
    CHECK(dps_hub_get_state(hub) == DPS_HUB_CONNECTED);
    OK(dps_message_set_property(message, "alert", "no/yes", error));
    OK(dps_message_set_message_id(message, "m-1", error));
    OK(dps_message_set_content_type(message, "application/json", error));
    OK(dps_message_set_content_encoding(message, "utf-8", error));
    OK(dps_message_set_output_name(message, "alerts", error));
    OK(dps_message_set_security_message(message, error));
    /* Of several times the last one counts; those that are none take it back. */
    OK(dps_message_set_expiry_time(message, INT64_MIN, error));
    OK(dps_message_set_expiry_time(message, INT64_MAX, error));
    OK(dps_message_set_expiry_time(message, 4102444800, error));
    OK(dps_hub_send(hub, message, 20000, error));
    dps_message_free(message);

    order.hub = hub;
    for (index = 0; index < 300; index++)
    {
        char text[32];
        (void)snprintf(text, sizeof text, "number %d", index);
        message = text_message(text);
        order.index[index] = index;
        OK(dps_hub_submit(hub, message, confirm, &order.index[index], error));
        dps_message_free(message);
    }
    OK(dps_hub_flush(hub, 30000, error));
    CHECK(order.next == 300);

    for (index = 0; index < 2; index++)
    {
        CHECK(pthread_create(&threads[index], NULL, send_ten, hub) == 0);
    }
    for (index = 0; index < 2; index++)
    {
        CHECK(pthread_join(threads[index], NULL) == 0);
    }

    message = text_message("the last");
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    OK(dps_hub_close(hub, 20000, error));
    CHECK(dps_hub_get_state(hub) == DPS_HUB_CLOSED);
    FAILS(DPS_CLOSED, "closed", dps_hub_send(hub, message, 1000, error));
    FAILS(DPS_CLOSED, "closed", dps_hub_submit(hub, message, NULL, NULL, error));
    dps_message_free(message);
    dps_hub_free(hub);
}

static void errors(dps_identity *identity)
{
    dps_identity *none = NULL;
    dps_assignment *assignment = NULL;
    dps_options *options = dps_options_new();
    dps_error *error = NULL;
    char *key = read_whole(variable("KEY"));
    char *chain = read_whole(variable("CHAIN"));

    FAILS(DPS_FILE_NOT_READABLE, "no-such-file",
          dps_identity_from_pem_files("no-such-file", variable("KEY"), NULL, &none, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "swapped",
          dps_identity_from_pem((const uint8_t *)key, strlen(key), (const uint8_t *)chain,
                                strlen(chain), NULL, &none, error));
    FAILS(DPS_PASSPHRASE_REQUIRED, "encrypted",
          dps_identity_from_pem_files(variable("CHAIN"), variable("ENCRYPTED_KEY"), NULL, &none, error));
    FAILS(DPS_PASSPHRASE_WRONG, "passphrase",
          dps_identity_from_pem_files(variable("CHAIN"), variable("ENCRYPTED_KEY"), "no", &none, error));
    FAILS(DPS_KEY_MISMATCH, "does not belong",
          dps_identity_from_pem_files(variable("CHAIN"), variable("OTHER_KEY"), NULL, &none, error));
    CHECK(none == NULL);
    OK(dps_identity_from_pem_files(variable("CHAIN"), variable("ENCRYPTED_KEY"), "1234", &none, error));
    dps_identity_free(none);

    FAILS(DPS_INVALID_ARGUMENT, "JSON", dps_options_set_payload(options, "{", error));
    FAILS(DPS_INVALID_ARGUMENT, "UTF-8", dps_options_set_host(options, "\xff", error));
    OK(dps_options_set_registration_id(options, "another-device", error));
    FAILS(DPS_REGISTRATION_ID_MISMATCH, "another-device",
          dps_register("0ne00000A0A", identity, options, NULL, NULL, &assignment, error));

    /* The service's own words and numbers. */
    CHECK(dps_register("0ne00000BAD", identity, NULL, NULL, NULL, &assignment, &error) == DPS_UNAUTHORIZED);
    CHECK(dps_error_service_status(error) == 401);
    CHECK(strcmp(dps_error_operation(error), "register") == 0);
    CHECK(!dps_error_retryable(error) && dps_error_message(error) != NULL);
    CHECK(assignment == NULL);
    dps_error_free(error);

    dps_options_free(options);
    free(key);
    free(chain);
}

static void chains(void)
{
    dps_key *key = NULL, *device_key = NULL, *again = NULL;
    dps_authority *root = NULL, *intermediate = NULL;
    dps_chain *chain = NULL;
    dps_identity *identity = NULL;
    char *root_pem = NULL, *chain_pem = NULL, *key_pem = NULL, *code_pem = NULL;

    OK(dps_key_generate(DPS_KEY_EC_P256, &key, error));
    OK(dps_key_generate(DPS_KEY_EC_P384, &device_key, error));
    FAILS(DPS_INVALID_ARGUMENT, "type of key", dps_key_generate(77, &again, error));
    OK(dps_authority_create_root("Root", key, 30, &root, error));
    OK(dps_authority_create_intermediate(root, "Intermediate", key, 30, &intermediate, error));
    OK(dps_authority_certificate(root, &root_pem, error));
    OK(dps_authority_issue_device(intermediate, "device-77", device_key, 30, &chain_pem, error));
    OK(dps_authority_issue_verification(root, "CODE", device_key, 30, &code_pem, error));
    FAILS(DPS_REGISTRATION_ID_INVALID, "device 77",
          dps_authority_issue_device(intermediate, "device 77", device_key, 30, &chain_pem, error));
    FAILS(DPS_INVALID_ARGUMENT, "0 days",
          dps_authority_create_root("Root", key, 0, &root, error));

    OK(dps_chain_from_pem((const uint8_t *)chain_pem, strlen(chain_pem), &chain, error));
    CHECK(dps_chain_length(chain) == 2);
    CHECK(strcmp(dps_chain_subject(chain, 0), "CN=device-77") == 0);
    CHECK(strcmp(dps_chain_issuer(chain, 1), "CN=Root") == 0);
    CHECK(strlen(dps_chain_sha1(chain, 0)) == 40 && strlen(dps_chain_sha256(chain, 1)) == 64);
    CHECK(dps_chain_not_before(chain, 0) < dps_chain_not_after(chain, 0));
    CHECK(dps_chain_subject(chain, 2) == NULL && dps_chain_not_after(chain, 2) == 0);
    OK(dps_chain_check_validity(chain, error));
    OK(dps_chain_check_reaches(chain, (const uint8_t *)root_pem, strlen(root_pem), error));
    FAILS(DPS_ISSUER_MISSING, "Root",
          dps_chain_check_reaches(chain, (const uint8_t *)code_pem, strlen(code_pem), error));

    OK(dps_key_to_pem(device_key, "1234", &key_pem, error));
    FAILS(DPS_PASSPHRASE_WRONG, "passphrase",
          dps_key_from_pem((const uint8_t *)key_pem, strlen(key_pem), "no", &again, error));
    OK(dps_key_from_pem((const uint8_t *)key_pem, strlen(key_pem), "1234", &again, error));
    dps_string_free(key_pem);
    OK(dps_key_to_pem(again, NULL, &key_pem, error));
    OK(dps_identity_from_pem((const uint8_t *)chain_pem, strlen(chain_pem), (const uint8_t *)key_pem,
                             strlen(key_pem), NULL, &identity, error));
    CHECK(strcmp(dps_identity_registration_id(identity), "device-77") == 0);

    dps_identity_free(identity);
    dps_string_free(root_pem);
    dps_string_free(chain_pem);
    dps_string_free(key_pem);
    dps_string_free(code_pem);
    dps_chain_free(chain);
    dps_authority_free(intermediate);
    dps_authority_free(root);
    dps_key_free(again);
    dps_key_free(device_key);
    dps_key_free(key);
}

static void symmetric(void)
{
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    char *device_key = NULL;

    /* The example of Microsoft's documentation. */
    OK(dps_derive_device_key(
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", &device_key, error));
    CHECK(strcmp(device_key, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=") == 0);
    dps_string_free(device_key);

    FAILS(DPS_KEY_MALFORMED, "base64",
          dps_identity_from_symmetric_key("device-sym", "???", &identity, error));
    OK(dps_identity_from_group_key("device-sym", variable("GROUP_KEY"), &identity, error));
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(strcmp(dps_assignment_device_id(assignment), "device-sym") == 0);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

int main(void)
{
    char seen[8] = "";
    int lines = 0;
    dps_identity *identity = pem_identity();
    dps_assignment *assignment = NULL;

    OK(dps_log_set(DPS_LOG_DEBUG, count_log, &lines, error));
    CHECK(strcmp(dps_identity_registration_id(identity), "device-01") == 0);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, note_status, seen, &assignment, error));
    CHECK(strcmp(seen, "1234") == 0);
    CHECK(strcmp(dps_assignment_device_id(assignment), "device-01") == 0);
    CHECK(strcmp(dps_assignment_registration_id(assignment), "device-01") == 0);
    CHECK(strncmp(dps_assignment_operation_id(assignment), "4.", 2) == 0);
    CHECK(strcmp(dps_assignment_substatus(assignment), "initialAssignment") == 0);
    CHECK(dps_assignment_created(assignment) != NULL && dps_assignment_etag(assignment) != NULL);
    CHECK(dps_assignment_payload(assignment) == NULL);
    CHECK(__atomic_load_n(&lines, __ATOMIC_SEQ_CST) > 0);
    OK(dps_log_set(DPS_LOG_ERROR, NULL, NULL, error));

    telemetry(assignment, identity);
    errors(identity);
    chains();
    symmetric();

    dps_assignment_free(assignment);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

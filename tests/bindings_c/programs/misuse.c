/* What a program does wrong: lengths, sizes, orders of freeing, a queue without end. */
#include "support.h"

static int told;

static void count(void *userdata, dps_status status, const dps_error *error)
{
    (void)userdata;
    CHECK(status == DPS_OK || error != NULL);
    told += 1;
}

static void lengths(void)
{
    const uint8_t *somewhere = (const uint8_t *)"x";
    dps_message *message = NULL;
    dps_identity *identity = NULL;
    dps_chain *chain = NULL;
    dps_key *key = NULL;
    dps_options *options = dps_options_new();

    FAILS(DPS_INVALID_ARGUMENT, "payload is NULL", dps_message_new(NULL, 5, &message, error));
    FAILS(DPS_INVALID_ARGUMENT, "bytes", dps_message_new(somewhere, (size_t)-1, &message, error));
    FAILS(DPS_INVALID_ARGUMENT, "bytes", dps_chain_from_pem(somewhere, ((size_t)-1) / 2 + 1, &chain, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "empty", dps_chain_from_pem(NULL, 0, &chain, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_key_from_pem(somewhere, 1, NULL, &key, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_identity_from_pem(somewhere, 1, somewhere, 1, NULL, &identity, error));
    FAILS(DPS_INVALID_ARGUMENT, "identity is NULL",
          dps_identity_from_pem(somewhere, 1, somewhere, 1, NULL, NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "99", dps_log_set(99, NULL, NULL, error));
    CHECK(message == NULL && identity == NULL && chain == NULL && key == NULL);
    /* Without a place for the error nothing leaks. */
    CHECK(dps_message_new(NULL, 5, &message, NULL) == DPS_INVALID_ARGUMENT);
    /* An empty message is a message. */
    OK(dps_message_new(NULL, 0, &message, error));
    dps_message_free(message);
    dps_options_free(options);
}

static void signer_lengths(void)
{
    static const dps_signature_algorithm unknown[] = { 99 };
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, NULL, 0, NULL, NULL };
    dps_identity *identity = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "sign is NULL", dps_identity_from_signer(&signer, &identity, error));
    signer.sign = (dps_sign_function)(size_t)1; /* Never called: everything else is wrong first. */
    FAILS(DPS_INVALID_ARGUMENT, "certificate_chain", dps_identity_from_signer(&signer, &identity, error));
    signer.certificate_chain = "no chain";
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_identity_from_signer(&signer, &identity, error));
    signer.algorithms_len = 3;
    FAILS(DPS_INVALID_ARGUMENT, "fit", dps_identity_from_signer(&signer, &identity, error));
    signer.algorithms = unknown;
    signer.algorithms_len = (size_t)-1;
    FAILS(DPS_INVALID_ARGUMENT, "fit", dps_identity_from_signer(&signer, &identity, error));
    signer.algorithms_len = 1;
    FAILS(DPS_INVALID_ARGUMENT, "99", dps_identity_from_signer(&signer, &identity, error));
}

/* What the options hold is judged where it is used; NULL and what is no text at once. */
static void settings(dps_identity *identity)
{
    static const char HOST[] = "contoso-hub-2.azure-devices.net";
    dps_options *options = dps_options_new();
    dps_message *message = text_message("from a user");
    dps_assignment *assignment = NULL;
    dps_error *error = NULL;
    dps_hub *hub = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "options is NULL", dps_options_set_keep_alive_ms(NULL, 1000, error));
    FAILS(DPS_INVALID_ARGUMENT, "options is NULL", dps_options_set_token_lifetime_ms(NULL, 1000, error));
    FAILS(DPS_INVALID_ARGUMENT, "options is NULL", dps_options_set_api_version(NULL, "2021-06-01", error));
    FAILS(DPS_INVALID_ARGUMENT, "api_version is NULL", dps_options_set_api_version(options, NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "UTF-8", dps_options_set_api_version(options, "\xff", error));
    FAILS(DPS_INVALID_ARGUMENT, "message is NULL", dps_message_set_user_id(NULL, "u", error));
    FAILS(DPS_INVALID_ARGUMENT, "id is NULL", dps_message_set_user_id(message, NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "UTF-8", dps_message_set_user_id(message, "\xff", error));
    FAILS(DPS_INVALID_ARGUMENT, "message is NULL", dps_message_set_expiry_time(NULL, 0, error));
    FAILS(DPS_INVALID_ARGUMENT, "message is NULL", dps_message_set_security_message(NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "name is NULL", dps_message_set_output_name(message, NULL, error));
    CHECK(dps_assignment_unknown_fields(NULL) == NULL);

    OK(dps_options_set_keep_alive_ms(options, 0, error));
    FAILS(DPS_INVALID_ARGUMENT, "keep-alive",
          dps_hub_connect(HOST, "device-01", identity, options, &hub, error));
    OK(dps_options_set_keep_alive_ms(options, 30000, error));
    OK(dps_options_set_token_lifetime_ms(options, 0, error));
    FAILS(DPS_INVALID_ARGUMENT, "token lifetime",
          dps_hub_connect(HOST, "device-01", identity, options, &hub, error));
    OK(dps_options_set_port(options, 0, error));
    FAILS(DPS_INVALID_ARGUMENT, "port 0",
          dps_register("0ne00000A0A", identity, options, NULL, NULL, &assignment, error));
    OK(dps_options_set_host(options, "https://x.example", error));
    CHECK(dps_register("0ne00000A0A", identity, options, NULL, NULL, &assignment, &error) == DPS_HOST_INVALID);
    CHECK(strcmp(dps_error_operation(error), "register") == 0);
    CHECK(strstr(dps_error_hint(error), "Write it as \"x.example\"") != NULL);
    dps_error_free(error);
    CHECK(hub == NULL && assignment == NULL);
    dps_message_free(message);
    dps_options_free(options);
}

/* A message that is changed and sent again takes the room that it has, not that of all changes. */
static void reused(dps_identity *identity)
{
    static char value[1001];
    dps_message *message = text_message("reused");
    dps_hub *hub = NULL;
    int change;
    (void)memset(value, 'v', sizeof value - 1);
    for (change = 0; change < 3000; change++)
    {
        OK(dps_message_set_property(message, "counter", value, error));
    }
    OK(dps_hub_start("contoso-hub-2.azure-devices.net", "device-01", identity, NULL, &hub, error));
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    dps_hub_free(hub);
    dps_message_free(message);
}

/* A hub that is fed and never polled takes 8 MiB, then says so; freed, it drops them all. */
static void no_room(dps_identity *identity)
{
    static uint8_t big[200 * 1024];
    dps_hub *hub = NULL;
    dps_message *message = NULL;
    dps_status status = DPS_OK;
    int taken = 0;
    OK(dps_hub_start("contoso-hub-2.azure-devices.net", "device-01", identity, NULL, &hub, error));
    OK(dps_message_new(big, sizeof big, &message, error));
    while ((status = dps_hub_submit(hub, message, count, NULL, NULL)) == DPS_OK)
    {
        taken += 1;
        CHECK(taken < 100);
    }
    CHECK(status == DPS_DEADLINE_EXCEEDED && taken == 40);
    OK(dps_hub_flush(hub, 30000, error));
    CHECK(told == 40);
    OK(dps_hub_submit(hub, message, count, NULL, error));
    dps_hub_free(hub);
    dps_message_free(message);
    CHECK(told == 40);
}

static void sizes(dps_identity *identity, dps_assignment *assignment)
{
    static uint8_t huge[300 * 1024];
    dps_hub *hub = NULL;
    dps_message *message = NULL;
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       NULL, &hub, error));
    OK(dps_message_new(huge, sizeof huge, &message, error));
    FAILS(DPS_MESSAGE_TOO_LARGE, "", dps_hub_send(hub, message, 10000, error));
    told = 0;
    OK(dps_hub_submit(hub, message, count, NULL, error));
    OK(dps_hub_flush(hub, 10000, error));
    CHECK(told == 1);
    dps_message_free(message);
    /* Freed with a message on its way, without being closed. */
    message = text_message("abandoned");
    OK(dps_hub_submit(hub, message, count, NULL, error));
    dps_hub_free(hub);
    dps_message_free(message);
    CHECK(told == 1);
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_options *options = dps_options_new();
    dps_registration *registration = NULL;
    dps_assignment *assignment = NULL;

    lengths();
    signer_lengths();
    /* Whatever something was made from may go first. */
    OK(dps_registration_start(variable("ID_SCOPE"), identity, options, NULL, NULL, &registration, error));
    dps_options_free(options);
    dps_identity_free(identity);
    OK(dps_registration_do_work(registration, NULL, error));
    dps_registration_free(registration);

    identity = pem_identity();
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    settings(identity);
    reused(identity);
    no_room(identity);
    sizes(identity, assignment);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

/* Hubs that are named by a device's connection string, blocking and polled. */
#include <time.h>

#include "support.h"

static char text[1024];

static const char *written(const char *host, const char *device_id, const char *proof)
{
    CHECK((size_t)snprintf(text, sizeof text, "HostName=%s;DeviceId=%s;%s", host, device_id, proof)
          < sizeof text);
    return text;
}

static void nap(void)
{
    struct timespec pause = { 0, 2000000L };
    (void)nanosleep(&pause, NULL);
}

/* Delivers one message in each form. */
static void deliver(const char *connection_string, const dps_identity *identity)
{
    dps_message *message = text_message("by a connection string");
    dps_hub *hub = NULL;
    OK(dps_hub_connect_by_connection_string(connection_string, identity, NULL, &hub, error));
    OK(dps_hub_send(hub, message, 20000, error));
    OK(dps_hub_close(hub, 20000, error));
    dps_hub_free(hub);

    OK(dps_hub_start_by_connection_string(connection_string, identity, NULL, &hub, error));
    /* The caller's copy may go. */
    text[0] = '\0';
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    OK(dps_hub_start_close(hub, 20000, error));
    while (dps_hub_get_state(hub) != DPS_HUB_CLOSED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        nap();
    }
    OK(dps_hub_close(hub, 0, error));
    dps_hub_free(hub);
    dps_message_free(message);
}

static void refused(const char *words, dps_status status, const char *connection_string,
                    const dps_identity *identity)
{
    dps_hub *hub = NULL;
    FAILS(status, words,
          dps_hub_connect_by_connection_string(connection_string, identity, NULL, &hub, error));
    FAILS(status, words,
          dps_hub_start_by_connection_string(connection_string, identity, NULL, &hub, error));
    CHECK(hub == NULL);
}

int main(void)
{
    dps_identity *x509 = pem_identity(), *keyed = NULL;
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    char proof[256], other[256];
    const char *host;

    OK(dps_register(variable("ID_SCOPE"), x509, NULL, NULL, NULL, &assignment, error));
    host = dps_assignment_hub(assignment);
    deliver(written(host, "device-01", "x509=true"), x509);

    OK(dps_identity_from_symmetric_key(variable("INDIVIDUAL_ID"), variable("INDIVIDUAL_KEY"), &keyed, error));
    dps_assignment_free(assignment);
    OK(dps_register(variable("ID_SCOPE"), keyed, NULL, NULL, NULL, &assignment, error));
    host = dps_assignment_hub(assignment);
    (void)snprintf(proof, sizeof proof, "SharedAccessKey=%s", variable("INDIVIDUAL_KEY"));
    deliver(written(host, variable("INDIVIDUAL_ID"), proof), NULL);

    refused("identity is NULL", DPS_INVALID_ARGUMENT, written(host, "device-01", "x509=true"), NULL);
    refused("holds a key", DPS_INVALID_ARGUMENT, written(host, "device-01", proof), x509);
    refused("holds a key", DPS_INVALID_ARGUMENT, written(host, variable("INDIVIDUAL_ID"), proof), keyed);
    refused("connection_string is NULL", DPS_INVALID_ARGUMENT, NULL, x509);
    refused("UTF-8", DPS_INVALID_ARGUMENT, "HostName=\xff", x509);
    refused("either", DPS_INVALID_ARGUMENT, "", x509);
    refused("DeviceId", DPS_INVALID_ARGUMENT, "HostName=hub.example.net;x509=true", x509);
    refused("not base64", DPS_KEY_MALFORMED, written(host, "device-01", "SharedAccessKey=?"), NULL);
    refused("a service or a hub", DPS_INVALID_ARGUMENT, written(host, "d", "SharedAccessKeyName=o"), NULL);

    /* The key of another device. */
    (void)snprintf(other, sizeof other, "SharedAccessKey=%s", variable("GROUP_KEY"));
    FAILS(DPS_UNAUTHORIZED, "",
          dps_hub_connect_by_connection_string(written(host, variable("INDIVIDUAL_ID"), other), NULL,
                                               NULL, &hub, error));
    dps_assignment_free(assignment);
    dps_identity_free(keyed);
    dps_identity_free(x509);
    (void)printf("done\n");
    return 0;
}

/*
 * Sends a message, and then the one at which the server cuts the connection; prints how long that
 * one took, from the call to its acknowledgement over the next connection.
 *
 *     reconnect HUB DEVICE_ID CHAIN KEY
 */
#include "meter.h"

int main(int argc, char **argv)
{
    static const uint8_t payload[] = "cut off";
    dps_error *error = NULL;
    dps_identity *identity = NULL;
    dps_message *message = NULL;
    dps_hub *hub = NULL;
    double start;

    if (argc != 5)
    {
        return 64;
    }
    check(dps_identity_from_pem_files(argv[3], argv[4], NULL, &identity, &error), error);
    check(dps_hub_connect(argv[1], argv[2], identity, NULL, &hub, &error), error);
    check(dps_message_new(payload, sizeof payload, &message, &error), error);
    check(dps_hub_send(hub, message, 60000, &error), error);
    start = meter_wall();
    check(dps_hub_send(hub, message, 60000, &error), error);
    (void)printf("{\"wall\": %.0f}\n", meter_wall() - start);
    dps_message_free(message);
    dps_hub_free(hub);
    dps_identity_free(identity);
    return 0;
}

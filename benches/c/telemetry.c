/*
 * Sends messages of 256 bytes, so many waiting for their acknowledgements at the same time, and
 * prints what each cost this process.
 *
 *     telemetry blocking|polling HUB DEVICE_ID CHAIN KEY MESSAGES AT_ONCE
 */
#include "meter.h"

static long confirmed;

static void confirm(void *userdata, dps_status status, const dps_error *error)
{
    (void)userdata;
    if (status != DPS_OK)
    {
        (void)fprintf(stderr, "%s\n", dps_error_text(error));
        exit(1);
    }
    confirmed += 1;
}

static void send_all(dps_hub *hub, const dps_message *message, long messages, long at_once)
{
    dps_error *error = NULL;
    long sent = 0;
    while (sent < messages)
    {
        long batch = messages - sent < at_once ? messages - sent : at_once;
        sent += batch;
        while (batch-- > 0)
        {
            check(dps_hub_submit(hub, message, confirm, NULL, &error), error);
        }
        check(dps_hub_flush(hub, 60000, &error), error);
    }
}

int main(int argc, char **argv)
{
    static uint8_t payload[256];
    dps_error *error = NULL;
    dps_identity *identity = NULL;
    dps_message *message = NULL;
    dps_hub *hub = NULL;
    long messages, at_once;
    double cpu, wall;

    if (argc != 8)
    {
        return 64;
    }
    messages = strtol(argv[6], NULL, 10);
    at_once = strtol(argv[7], NULL, 10);
    check(dps_identity_from_pem_files(argv[4], argv[5], NULL, &identity, &error), error);
    check(dps_message_new(payload, sizeof payload, &message, &error), error);
    check((strcmp(argv[1], "polling") == 0 ? dps_hub_start : dps_hub_connect)(
              argv[2], argv[3], identity, NULL, &hub, &error), error);
    send_all(hub, message, at_once, at_once);
    confirmed = 0;
    cpu = meter_cpu();
    wall = meter_wall();
    send_all(hub, message, messages, at_once);
    cpu = meter_cpu() - cpu;
    wall = meter_wall() - wall;
    (void)printf("{\"cpu\": %.0f, \"wall\": %.0f, \"cpu_us\": %.4f, \"per_s\": %.0f}\n", cpu, wall,
                 cpu / (double)confirmed, (double)confirmed * 1e6 / wall);
    check(dps_hub_close(hub, 20000, &error), error);
    dps_message_free(message);
    dps_hub_free(hub);
    dps_identity_free(identity);
    return 0;
}

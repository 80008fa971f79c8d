/*
 * The life of a simple device: opens its credential, registers, sends ten messages one at a time,
 * closes. Prints what it took: resident memory at its height and at the end, and the heap.
 *
 *     device ID_SCOPE CHAIN KEY
 */
#include <malloc.h>

#include "meter.h"

int main(int argc, char **argv)
{
    static uint8_t payload[256];
    dps_error *error = NULL;
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_message *message = NULL;
    dps_hub *hub = NULL;
    struct mallinfo2 heap;
    int index;

    if (argc != 4)
    {
        return 64;
    }
    check(dps_identity_from_pem_files(argv[2], argv[3], NULL, &identity, &error), error);
    check(dps_register(argv[1], identity, NULL, NULL, NULL, &assignment, &error), error);
    check(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                          NULL, &hub, &error), error);
    check(dps_message_new(payload, sizeof payload, &message, &error), error);
    for (index = 0; index < 10; index++)
    {
        check(dps_hub_send(hub, message, 20000, &error), error);
    }
    heap = mallinfo2();
    (void)printf("{\"peak_kb\": %ld, \"rss_kb\": %ld, \"threads\": %ld, \"heap_bytes\": %zu}\n",
                 meter_status("VmHWM:"), meter_status("VmRSS:"), meter_status("Threads:"), heap.uordblks);
    check(dps_hub_close(hub, 20000, &error), error);
    dps_message_free(message);
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    return 0;
}

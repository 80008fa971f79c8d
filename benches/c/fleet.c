/*
 * Registers and connects devices that then stay connected, 32 at the same time, in the polling form:
 * one thread for all of them. Prints what that used.
 *
 *     fleet ID_SCOPE FOLDER DEVICES
 */
#include "meter.h"

#define ABREAST 32

struct device
{
    dps_identity *identity;
    dps_registration *registration;
    dps_hub *hub;
};

static void begin(struct device *device, const char *id_scope, const char *folder, long number)
{
    char chain[4096], key[4096];
    dps_error *error = NULL;
    (void)snprintf(chain, sizeof chain, "%s/device-%05ld-full-chain.cert.pem", folder, number);
    (void)snprintf(key, sizeof key, "%s/device-%05ld.key.pem", folder, number);
    check(dps_identity_from_pem_files(chain, key, NULL, &device->identity, &error), error);
    check(dps_registration_start(id_scope, device->identity, NULL, NULL, NULL, &device->registration, &error), error);
}

/* Whether the device is connected to its hub. */
static int go_on(struct device *device)
{
    dps_error *error = NULL;
    uint32_t wait_ms = 0;
    if (device->registration != NULL)
    {
        dps_assignment *assignment;
        check(dps_registration_do_work(device->registration, &wait_ms, &error), error);
        assignment = dps_registration_assignment(device->registration);
        if (assignment == NULL)
        {
            return 0;
        }
        dps_registration_free(device->registration);
        device->registration = NULL;
        check(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment),
                            device->identity, NULL, &device->hub, &error), error);
        dps_assignment_free(assignment);
        dps_identity_free(device->identity);
    }
    check(dps_hub_do_work(device->hub, &wait_ms, &error), error);
    return dps_hub_get_state(device->hub) == DPS_HUB_CONNECTED;
}

/* Connects the devices from `first` to `end`. */
static void connect_all(struct device *devices, const char *id_scope, const char *folder, long first, long end)
{
    long under_way[ABREAST];
    long place, count = 0, next = first;
    struct timespec rest = {0, 200000};
    while (next < end || count > 0)
    {
        while (count < ABREAST && next < end)
        {
            begin(&devices[next], id_scope, folder, next);
            under_way[count++] = next++;
        }
        for (place = count - 1; place >= 0; place--)
        {
            if (go_on(&devices[under_way[place]]))
            {
                under_way[place] = under_way[--count];
            }
        }
        (void)nanosleep(&rest, NULL);
    }
}

int main(int argc, char **argv)
{
    struct device *devices;
    struct rlimit files;
    double cpu, wall;
    long rss, count;

    if (argc != 4)
    {
        return 64;
    }
    count = strtol(argv[3], NULL, 10);
    devices = calloc((size_t)count + 1, sizeof *devices);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    /* One more, which warms the process up. */
    connect_all(devices, argv[1], argv[2], count, count + 1);
    rss = meter_status("VmRSS:");
    cpu = meter_cpu();
    wall = meter_wall();
    connect_all(devices, argv[1], argv[2], 0, count);
    (void)printf("{\"cpu\": %.0f, \"wall\": %.0f, \"rss_before\": %ld, \"rss\": %ld, \"threads\": %ld}\n",
                 meter_cpu() - cpu, meter_wall() - wall, rss, meter_status("VmRSS:"), meter_status("Threads:"));
    while (count >= 0)
    {
        dps_hub_free(devices[count--].hub);
    }
    free(devices);
    return 0;
}

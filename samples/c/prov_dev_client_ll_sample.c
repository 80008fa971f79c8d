/*
 * Registers a device with the Device Provisioning Service and sends telemetry to its hub, in a
 * loop of the program's own: nothing happens outside the do_work calls.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "dps_core.h"
#include "dps_hsm_link.h"

#define MESSAGES_TO_SEND 2
#define TIME_BETWEEN_MESSAGES 2

static const char* global_prov_uri = "global.azure-devices-provisioning.net";
static const char* id_scope = "[ID Scope]";

static void registration_status_callback(void* user_context, dps_registration_status status)
{
    (void)user_context;
    if (status == DPS_REGISTRATION_CONNECTED)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED\n");
    }
    else if (status == DPS_REGISTRATION_ASSIGNING)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING\n");
    }
}

/* What became of the messages so far; they are told about in order. */
struct progress
{
    int acknowledged;
    int failed;
    dps_status last_failure;
};

static void confirmation_callback(void* user_context, dps_status status, const dps_error* error)
{
    struct progress* progress = (struct progress*)user_context;
    int number = progress->acknowledged + progress->failed + 1;
    if (status == DPS_OK)
    {
        progress->acknowledged += 1;
        (void)printf("Message [%d] was acknowledged by IoT Hub\n", number);
    }
    else
    {
        progress->failed += 1;
        progress->last_failure = status;
        (void)printf("Message [%d] was not delivered: %s\n", number, dps_error_text(error));
    }
}

/* Where firmware does its other work. */
static void rest(uint32_t milliseconds)
{
    struct timespec pause;
    if (milliseconds != DPS_NEVER)
    {
        pause.tv_sec = (time_t)(milliseconds / 1000);
        pause.tv_nsec = (long)(milliseconds % 1000) * 1000000L;
        (void)nanosleep(&pause, NULL);
    }
}

static dps_status register_device(const dps_identity* identity, const dps_options* options,
    dps_assignment** assignment, dps_error** error)
{
    dps_registration* registration = NULL;
    uint32_t wait_ms = 0;
    dps_status status = dps_registration_start(id_scope, identity, options,
        registration_status_callback, NULL, &registration, error);
    while (status == DPS_OK && wait_ms != DPS_NEVER)
    {
        status = dps_registration_do_work(registration, &wait_ms, error);
        if (status == DPS_OK)
        {
            rest(wait_ms);
        }
    }
    *assignment = dps_registration_assignment(registration);
    dps_registration_free(registration);
    return status;
}

static dps_status submit(dps_hub* hub, int number, struct progress* progress, dps_error** error)
{
    char text[64];
    dps_message* message = NULL;
    int length = snprintf(text, sizeof(text), "{ \"message_index\" : \"%d\" }", number);
    dps_status status = dps_message_new((const uint8_t*)text, (size_t)length, &message, error);
    if (status == DPS_OK)
    {
        status = dps_hub_submit(hub, message, confirmation_callback, progress, error);
    }
    if (status == DPS_OK)
    {
        (void)printf("IoTHubClient_LL_SendEventAsync accepted message [%d] for transmission to IoT Hub.\n", number);
    }
    dps_message_free(message);
    return status;
}

static dps_status send_telemetry(const dps_assignment* assignment, const dps_identity* identity,
    const dps_options* options, dps_error** error)
{
    dps_hub* hub = NULL;
    int submitted = 0;
    struct progress progress = { 0, 0, DPS_OK };
    uint32_t wait_ms = 0;
    time_t last = 0;
    dps_status status = dps_hub_start(dps_assignment_hub(assignment),
        dps_assignment_device_id(assignment), identity, options, &hub, error);
    while (status == DPS_OK && progress.acknowledged + progress.failed < MESSAGES_TO_SEND)
    {
        bool due = time(NULL) - last >= TIME_BETWEEN_MESSAGES;
        if (due && submitted < MESSAGES_TO_SEND && dps_hub_get_state(hub) == DPS_HUB_CONNECTED)
        {
            last = time(NULL);
            submitted += 1;
            status = submit(hub, submitted, &progress, error);
        }
        if (status == DPS_OK)
        {
            status = dps_hub_do_work(hub, &wait_ms, error);
            rest(wait_ms);
        }
    }
    if (status == DPS_OK)
    {
        status = dps_hub_close(hub, 10000, error);
    }
    dps_hub_free(hub);
    if (status == DPS_OK)
    {
        status = progress.last_failure;
    }
    return status;
}

int main(void)
{
    dps_identity* identity = NULL;
    dps_assignment* assignment = NULL;
    dps_error* error = NULL;
    dps_options* options = dps_options_new();
    dps_status status;

    (void)printf("Provisioning API Version: %s\n", dps_version());
    (void)printf("Iothub API Version: %s\n", dps_version());
    status = dps_options_set_host(options, global_prov_uri, &error);
    if (status == DPS_OK)
    {
        status = dps_identity_from_linked_hsm_x509(&identity, &error);
    }
    if (status == DPS_OK)
    {
        status = register_device(identity, options, &assignment, &error);
    }
    if (status == DPS_OK)
    {
        (void)printf("Registration Information received from service: %s!\n", dps_assignment_hub(assignment));
        (void)printf("Creating IoTHub Device handle\n");
        (void)printf("Sending %d messages to IoTHub every %d seconds for %d messages\n",
            1, TIME_BETWEEN_MESSAGES, MESSAGES_TO_SEND);
        status = send_telemetry(assignment, identity, options, &error);
    }
    if (status != DPS_OK)
    {
        const char* stage = assignment == NULL ? "registration" : "telemetry";
        (void)printf("Failure encountered on %s %s\n%s\n%s failed!\n", stage, dps_status_name(status),
            error != NULL ? dps_error_text(error) : dps_status_sentence(status), stage);
    }
    dps_error_free(error);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    dps_options_free(options);

    (void)printf("Press any enter to continue:\n");
    (void)getchar();
    return status == DPS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

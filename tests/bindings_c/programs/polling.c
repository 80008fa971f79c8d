/* The polling form: no thread, callbacks that call back in, frees in every place. */
#include <pthread.h>
#include <time.h>

#include "support.h"

static void nap(uint32_t milliseconds)
{
    struct timespec pause = { 0, 0 };
    pause.tv_nsec = (long)(milliseconds < 20 ? milliseconds : 20) * 1000000L;
    (void)nanosleep(&pause, NULL);
}

struct watch
{
    dps_registration *registration;
    int calls;
    int nested;
    int free_at;
};

/* Polls again from within, and may free what it is called for. */
static void watch_status(void *userdata, dps_registration_status status)
{
    struct watch *watch = (struct watch *)userdata;
    (void)status;
    watch->calls += 1;
    if (watch->registration != NULL && watch->nested++ < 3)
    {
        OK(dps_registration_do_work(watch->registration, NULL, error));
    }
    if (watch->calls == watch->free_at)
    {
        dps_registration_free(watch->registration);
        watch->registration = NULL;
    }
}

static dps_assignment *register_by_polling(dps_identity *identity)
{
    struct watch watch = { NULL, 0, 0, 0 };
    uint32_t wait_ms = 0;
    dps_assignment *assignment;
    OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, watch_status, &watch,
                              &watch.registration, error));
    CHECK(dps_registration_assignment(watch.registration) == NULL);
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(watch.registration, &wait_ms, error));
        CHECK(threads_of_this_process() == 1);
        nap(wait_ms);
    }
    CHECK(watch.calls == 4);
    assignment = dps_registration_assignment(watch.registration);
    dps_registration_free(watch.registration);
    CHECK(assignment != NULL && strcmp(dps_assignment_device_id(assignment), "device-01") == 0);
    return assignment;
}

/* Freed at each step: in the middle, and in the callback. */
static void free_early(dps_identity *identity)
{
    int turns, free_at;
    for (turns = 0; turns < 40; turns += 4)
    {
        int turn;
        dps_registration *registration = NULL;
        OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &registration, error));
        for (turn = 0; turn < turns; turn++)
        {
            OK(dps_registration_do_work(registration, NULL, error));
            nap(1);
        }
        dps_registration_free(registration);
    }
    for (free_at = 1; free_at <= 4; free_at++)
    {
        struct watch watch = { NULL, 0, 99, free_at };
        uint32_t wait_ms = 0;
        OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, watch_status, &watch,
                                  &watch.registration, error));
        while (watch.registration != NULL)
        {
            OK(dps_registration_do_work(watch.registration, &wait_ms, error));
            nap(5);
        }
        CHECK(watch.calls >= free_at);
    }
}

struct telemetry
{
    dps_hub *hub;
    int confirmed;
    int again;
};

/* Sends one more from within a confirmation. */
static void confirm(void *userdata, dps_status status, const dps_error *error)
{
    struct telemetry *telemetry = (struct telemetry *)userdata;
    CHECK(status == DPS_OK && error == NULL);
    telemetry->confirmed += 1;
    if (telemetry->again-- > 0)
    {
        dps_message *message = text_message("again");
        OK(dps_hub_submit(telemetry->hub, message, confirm, telemetry, error));
        OK(dps_hub_do_work(telemetry->hub, NULL, error));
        dps_message_free(message);
    }
}

static void free_hub(void *userdata, dps_status status, const dps_error *error)
{
    dps_hub **hub = (dps_hub **)userdata;
    CHECK(status == DPS_OK && error == NULL);
    dps_hub_free(*hub);
    *hub = NULL;
}

static void expect_failure(void *userdata, dps_status status, const dps_error *error)
{
    CHECK(dps_error_status(error) == status);
    *(uint32_t *)userdata = status;
}

static void *poll_it(void *hub)
{
    int turn;
    for (turn = 0; turn < 200; turn++)
    {
        dps_status status = dps_hub_do_work((dps_hub *)hub, NULL, NULL);
        CHECK(status == DPS_OK || status == DPS_INVALID_ARGUMENT);
    }
    return NULL;
}

static void send_by_polling(dps_assignment *assignment, dps_identity *identity)
{
    struct telemetry telemetry = { NULL, 0, 5 };
    dps_message *message = text_message("polled");
    dps_hub *early = NULL;
    pthread_t threads[2];
    int index;
    const char *host = dps_assignment_hub(assignment);
    const char *device_id = dps_assignment_device_id(assignment);

    OK(dps_hub_start(host, device_id, identity, NULL, &telemetry.hub, error));
    CHECK(dps_hub_get_state(telemetry.hub) == DPS_HUB_CONNECTING);
    /* Before the connection is there. */
    OK(dps_hub_submit(telemetry.hub, message, confirm, &telemetry, error));
    while (telemetry.confirmed < 6)
    {
        uint32_t wait_ms = 0;
        OK(dps_hub_do_work(telemetry.hub, &wait_ms, error));
        CHECK(threads_of_this_process() == 1);
        nap(wait_ms);
    }
    /* The blocking calls work on a polled hub too. */
    OK(dps_hub_send(telemetry.hub, message, 10000, error));
    for (index = 0; index < 2; index++)
    {
        CHECK(pthread_create(&threads[index], NULL, poll_it, telemetry.hub) == 0);
    }
    for (index = 0; index < 2; index++)
    {
        CHECK(pthread_join(threads[index], NULL) == 0);
    }
    FAILS(DPS_DEADLINE_EXCEEDED, "0 ms", dps_hub_send(telemetry.hub, message, 0, error));
    OK(dps_hub_flush(telemetry.hub, 10000, error));
    OK(dps_hub_close(telemetry.hub, 10000, error));
    dps_hub_free(telemetry.hub);

    /* Closed and freed while connecting; freed in a confirmation. */
    OK(dps_hub_start(host, device_id, identity, NULL, &early, error));
    OK(dps_hub_submit(early, message, NULL, NULL, error));
    OK(dps_hub_do_work(early, NULL, error));
    dps_hub_free(early);
    OK(dps_hub_start(host, device_id, identity, NULL, &early, error));
    OK(dps_hub_close(early, 1000, error));
    dps_hub_free(early);
    OK(dps_hub_start(host, device_id, identity, NULL, &early, error));
    OK(dps_hub_submit(early, message, free_hub, &early, error));
    while (early != NULL)
    {
        OK(dps_hub_do_work(early, NULL, error));
        nap(2);
    }

    /* A hub that cannot be reached says so on every call. */
    {
        uint32_t wait_ms = 7;
        dps_options *options = dps_options_new();
        dps_status status = DPS_OK;
        OK(dps_options_set_connect_to(options, "127.0.0.1:1", error));
        OK(dps_options_set_deadline_ms(options, 1, error));
        OK(dps_hub_start(host, device_id, identity, options, &early, error));
        while (status == DPS_OK)
        {
            status = dps_hub_do_work(early, &wait_ms, NULL);
            nap(2);
        }
        CHECK(status == DPS_CONNECTION_FAILED || status == DPS_DEADLINE_EXCEEDED);
        CHECK(dps_hub_do_work(early, NULL, NULL) == status);
        CHECK(dps_hub_get_state(early) == DPS_HUB_CLOSED);
        OK(dps_hub_submit(early, message, expect_failure, &wait_ms, error));
        OK(dps_hub_flush(early, 5000, error));
        CHECK(wait_ms == status);
        /* Everybody knows. */
        OK(dps_hub_close(early, 1000, error));
        CHECK(dps_hub_do_work(early, NULL, NULL) == status);
        dps_hub_free(early);
        dps_options_free(options);
    }
    dps_message_free(message);
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_assignment *assignment = register_by_polling(identity);
    free_early(identity);
    send_by_polling(assignment, identity);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

/* Closing a hub that is not connected yet, that refuses, and that never acknowledges. */
#include <pthread.h>
#include <time.h>

#include "support.h"

/* Messages of one hub, so that their fates take their time. */
enum { MANY = 1000 };

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct fate
{
    int calls;
    dps_status status;
};

static void note(void *userdata, dps_status status, const dps_error *error)
{
    struct fate *fate = (struct fate *)userdata;
    CHECK(dps_error_status(error) == status);
    fate->calls += 1;
    fate->status = status;
}

/* Connects on, and what waits is neither lost nor passed over in silence. */
static void while_connecting(const char *host, dps_identity *identity)
{
    dps_options *nowhere = dps_options_new();
    dps_message *message = text_message("early");
    struct fate fate = { 0, DPS_OK };
    dps_hub *hub = NULL;
    double started;

    OK(dps_options_set_connect_to(nowhere, "127.0.0.1:1", error));
    OK(dps_hub_start(host, "device-01", identity, nowhere, &hub, error));
    OK(dps_hub_submit(hub, message, note, &fate, error));
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    started = seconds();
    FAILS(DPS_NOT_DELIVERED, "2 messages", dps_hub_close(hub, 400, error));
    CHECK(seconds() - started >= 0.4);
    CHECK(fate.calls == 1 && fate.status == DPS_NOT_DELIVERED);
    CHECK(dps_hub_get_state(hub) == DPS_HUB_CLOSED);
    FAILS(DPS_NOT_DELIVERED, "2 messages", dps_hub_close(hub, 400, error));
    dps_hub_free(hub);

    /* Nothing waits: there is nothing to connect for. */
    OK(dps_hub_start(host, "device-01", identity, nowhere, &hub, error));
    OK(dps_hub_close(hub, DPS_NO_DEADLINE, error));
    dps_hub_free(hub);

    OK(dps_hub_start(host, "device-01", identity, NULL, &hub, error));
    OK(dps_hub_submit(hub, message, note, &fate, error));
    OK(dps_hub_close(hub, 20000, error));
    CHECK(fate.calls == 2 && fate.status == DPS_OK);
    dps_hub_free(hub);

    /* The hub does not know a device of this name. */
    OK(dps_hub_start(host, "nobody", identity, NULL, &hub, error));
    OK(dps_hub_submit(hub, message, note, &fate, error));
    FAILS(DPS_NOT_DELIVERED, "1 messages", dps_hub_close(hub, 20000, error));
    CHECK(fate.calls == 3 && fate.status == DPS_UNAUTHORIZED);
    FAILS(DPS_UNAUTHORIZED, "connect to hub", dps_hub_do_work(hub, NULL, error));
    dps_hub_free(hub);

    dps_message_free(message);
    dps_options_free(nowhere);
}

static void *close_patiently(void *hub)
{
    FAILS(DPS_NOT_DELIVERED, "not acknowledged", dps_hub_close((dps_hub *)hub, 120000, error));
    return NULL;
}

/* Two that close: whoever has the least patience decides for both. */
static void twice(void)
{
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_message *message = text_message("never acknowledged");
    dps_hub *hub = NULL;
    struct timespec pause = { 0, 1000000L };
    pthread_t patient;
    double started;

    OK(dps_identity_from_group_key("device-stalled", variable("GROUP_KEY"), &identity, error));
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    OK(dps_hub_connect(dps_assignment_hub(assignment), "device-stalled", identity, NULL, &hub, error));
    OK(dps_hub_submit(hub, message, NULL, NULL, error));
    CHECK(pthread_create(&patient, NULL, close_patiently, hub) == 0);
    /* The hub takes no more once the other thread closes it. */
    while (dps_hub_submit(hub, message, NULL, NULL, NULL) == DPS_OK)
    {
        (void)nanosleep(&pause, NULL);
    }
    started = seconds();
    FAILS(DPS_NOT_DELIVERED, "not acknowledged", dps_hub_close(hub, 300, error));
    CHECK(pthread_join(patient, NULL) == 0);
    CHECK(seconds() - started < 60);
    dps_hub_free(hub);
    dps_message_free(message);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

static void nap(void)
{
    struct timespec pause = { 0, 2000000L };
    (void)nanosleep(&pause, NULL);
}

static void work_until_closed(dps_hub *hub)
{
    uint32_t wait_ms = 0;
    while (dps_hub_get_state(hub) != DPS_HUB_CLOSED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        nap();
    }
    do
    {
        OK(dps_hub_do_work(hub, &wait_ms, error));
    } while (wait_ms != DPS_NEVER);
}

/* Closed by polling, whoever works for the hub; what became of it is told by a close that does not
   wait. */
static void by_polling(const char *host, dps_identity *identity)
{
    dps_message *message = text_message("last");
    dps_options *nowhere = dps_options_new();
    struct fate fate = { 0, DPS_OK };
    dps_hub *hub = NULL;
    int polled;

    for (polled = 0; polled < 2; polled++)
    {
        if (polled)
        {
            OK(dps_hub_start(host, "device-01", identity, NULL, &hub, error));
        }
        else
        {
            OK(dps_hub_connect(host, "device-01", identity, NULL, &hub, error));
        }
        OK(dps_hub_submit(hub, message, note, &fate, error));
        OK(dps_hub_start_close(hub, 60000, error));
        FAILS(DPS_CLOSED, "closed", dps_hub_submit(hub, message, note, &fate, error));
        work_until_closed(hub);
        CHECK(fate.calls == polled + 1 && fate.status == DPS_OK);
        OK(dps_hub_close(hub, 0, error));
        /* Once more is no mistake. */
        OK(dps_hub_start_close(hub, 0, error));
        dps_hub_free(hub);
    }

    /* Not connected when its time comes. */
    fate.calls = 0;
    OK(dps_options_set_connect_to(nowhere, "127.0.0.1:1", error));
    OK(dps_hub_start(host, "device-01", identity, nowhere, &hub, error));
    OK(dps_hub_submit(hub, message, note, &fate, error));
    OK(dps_hub_start_close(hub, 200, error));
    work_until_closed(hub);
    CHECK(fate.calls == 1 && fate.status == DPS_NOT_DELIVERED);
    FAILS(DPS_NOT_DELIVERED, "1 messages", dps_hub_close(hub, 0, error));
    dps_hub_free(hub);
    dps_options_free(nowhere);
    dps_message_free(message);
}

/* A hub that never acknowledges: closed at the deadline, or given up before it. */
static void given_up(void)
{
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_message *message = text_message("never acknowledged");
    dps_hub *hub = NULL;
    struct fate fate = { 0, DPS_OK };
    double started;
    int turn, polled;

    OK(dps_identity_from_group_key("device-stalled", variable("GROUP_KEY"), &identity, error));
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    OK(dps_hub_start(dps_assignment_hub(assignment), "device-stalled", identity, NULL, &hub, error));
    OK(dps_hub_submit(hub, message, note, &fate, error));
    while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        nap();
    }
    OK(dps_hub_start_close(hub, 300, error));
    work_until_closed(hub);
    CHECK(fate.calls == 1 && fate.status == DPS_NOT_DELIVERED);
    FAILS(DPS_NOT_DELIVERED, "not acknowledged", dps_hub_close(hub, 0, error));
    dps_hub_free(hub);

    fate.calls = 0;
    for (polled = 0; polled < 2; polled++)
    {
        if (polled)
        {
            OK(dps_hub_start(dps_assignment_hub(assignment), "device-stalled", identity, NULL, &hub, error));
        }
        else
        {
            OK(dps_hub_connect(dps_assignment_hub(assignment), "device-stalled", identity, NULL, &hub, error));
        }
        OK(dps_hub_submit(hub, message, note, &fate, error));
        started = seconds();
        OK(dps_hub_start_close(hub, 120000, error));
        for (turn = 0; turn < 100; turn++)
        {
            uint32_t wait_ms = DPS_NEVER;
            OK(dps_hub_do_work(hub, &wait_ms, error));
            CHECK(wait_ms <= 100 && dps_hub_get_state(hub) != DPS_HUB_CLOSED);
            nap();
        }
        dps_hub_free(hub);
        CHECK(seconds() - started < 60 && fate.calls == 0);
    }
    dps_message_free(message);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

/* The hub refuses the device when it comes back. Nobody waits for what does not come back: every
   call that works says why, after the callbacks. A close has nothing to add, unless a message had
   no callback: that is not passed over in silence. */
static void refused_later(void)
{
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_message *message = text_message("the last straw");
    dps_hub *hub = NULL;
    struct timespec moment = { 0, 20000L };
    int form, index;

    OK(dps_identity_from_group_key("device-refused", variable("GROUP_KEY"), &identity, error));
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    for (form = 0; form < 4; form++)
    {
        uint32_t wait_ms = 7;
        dps_status status = DPS_OK;
        struct fate fate = { 0, DPS_OK };
        int polled = form / 2, told = form % 2;
        if (polled)
        {
            OK(dps_hub_start(dps_assignment_hub(assignment), "device-refused", identity, NULL, &hub, error));
            while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
            {
                OK(dps_hub_do_work(hub, NULL, error));
                nap();
            }
        }
        else
        {
            OK(dps_hub_connect(dps_assignment_hub(assignment), "device-refused", identity, NULL, &hub, error));
        }
        for (index = 0; index < MANY; index++)
        {
            OK(dps_hub_submit(hub, message, told ? note : NULL, &fate, error));
        }
        while (status == DPS_OK)
        {
            CHECK(wait_ms != DPS_NEVER);
            status = dps_hub_do_work(hub, &wait_ms, NULL);
            (void)nanosleep(&moment, NULL);
        }
        CHECK(fate.calls == (told ? MANY : 0));
        CHECK(!told || fate.status == DPS_UNAUTHORIZED);
        CHECK(dps_hub_get_state(hub) == DPS_HUB_CLOSED);
        FAILS(DPS_UNAUTHORIZED, "connect to hub", dps_hub_do_work(hub, NULL, error));
        if (told)
        {
            OK(dps_hub_close(hub, 20000, error));
        }
        else
        {
            FAILS(DPS_UNAUTHORIZED, "", dps_hub_close(hub, 20000, error));
        }
        FAILS(DPS_UNAUTHORIZED, "", dps_hub_do_work(hub, NULL, error));
        dps_hub_free(hub);
    }
    dps_message_free(message);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_assignment *assignment = NULL;
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    while_connecting(dps_assignment_hub(assignment), identity);
    by_polling(dps_assignment_hub(assignment), identity);
    twice();
    given_up();
    refused_later();
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

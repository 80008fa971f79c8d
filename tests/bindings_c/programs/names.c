/* Names are looked up inside the polling calls, on their thread, and a port that was set is that of
   DPS and of the hub. A getaddrinfo of the program's own stands for /etc/hosts, since the real hosts
   and a name server are out of reach. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "support.h"

typedef int (*lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static pthread_t main_thread;
static int on_main_thread;
static int on_other_threads;
static const char *last_name;
static int unknown_names;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    static const char *const NAMES[] = { "localhost", "global.azure-devices-provisioning.net",
                                         "contoso-hub-2.azure-devices.net" };
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    lookup real;
    size_t index;
    CHECK(next != NULL && name != NULL);
    memcpy(&real, &next, sizeof real);
    if (pthread_equal(pthread_self(), main_thread))
    {
        on_main_thread += 1;
    }
    else
    {
        (void)__atomic_add_fetch(&on_other_threads, 1, __ATOMIC_SEQ_CST);
    }
    for (index = 0; index < sizeof NAMES / sizeof NAMES[0]; index++)
    {
        if (strcmp(name, NAMES[index]) == 0)
        {
            last_name = NAMES[index];
            return real("127.0.0.1", service, hints, found);
        }
    }
    (void)__atomic_add_fetch(&unknown_names, 1, __ATOMIC_SEQ_CST);
    return EAI_NONAME;
}

static void nap(void)
{
    struct timespec pause = { 0, 2000000L };
    (void)nanosleep(&pause, NULL);
}

/* Registers and connects to the hub in the polling form, which looks up one name for each. */
static void polled(dps_identity *identity, const dps_options *options, const char *dps, const char *hub_name)
{
    dps_registration *registration = NULL;
    dps_assignment *assignment;
    dps_hub *hub = NULL;
    uint32_t wait_ms = 0;
    int before = on_main_thread;

    OK(dps_registration_start(variable("ID_SCOPE"), identity, options, NULL, NULL, &registration, error));
    CHECK(on_main_thread == before);
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(registration, &wait_ms, error));
        CHECK(threads_of_this_process() == 1);
        nap();
    }
    CHECK(on_main_thread > before && strcmp(last_name, dps) == 0);
    assignment = dps_registration_assignment(registration);
    dps_registration_free(registration);

    before = on_main_thread;
    OK(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                     options, &hub, error));
    CHECK(on_main_thread == before);
    while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        CHECK(threads_of_this_process() == 1);
        nap();
    }
    CHECK(on_main_thread > before);
    CHECK(strcmp(last_name, hub_name == NULL ? dps_assignment_hub(assignment) : hub_name) == 0);
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    CHECK(on_other_threads == 0);
}

/* A name that nobody knows ends the work with its own status, without a thread. */
static void unknown(dps_identity *identity)
{
    dps_options *options = dps_options_new();
    dps_registration *registration = NULL;
    dps_hub *hub = NULL;
    dps_status status = DPS_OK;
    dps_error *error = NULL;

    OK(dps_options_set_connect_to(options, "nobody.example:8883", error));
    OK(dps_options_set_deadline_ms(options, 1500, error));
    OK(dps_registration_start(variable("ID_SCOPE"), identity, options, NULL, NULL, &registration, error));
    while ((status = dps_registration_do_work(registration, NULL, &error)) == DPS_OK)
    {
        CHECK(threads_of_this_process() == 1);
        nap();
    }
    CHECK(status == DPS_HOST_NOT_FOUND && strstr(dps_error_text(error), "nobody.example") != NULL);
    dps_error_free(error);
    CHECK(dps_registration_do_work(registration, NULL, NULL) == DPS_HOST_NOT_FOUND);
    dps_registration_free(registration);
    CHECK(unknown_names > 0);

    unknown_names = 0;
    OK(dps_hub_start("contoso-hub-2.azure-devices.net", "device-01", identity, options, &hub, error));
    while ((status = dps_hub_do_work(hub, NULL, &error)) == DPS_OK)
    {
        CHECK(threads_of_this_process() == 1);
        nap();
    }
    CHECK(status == DPS_HOST_NOT_FOUND && strstr(dps_error_text(error), "nobody.example") != NULL);
    dps_error_free(error);
    CHECK(unknown_names > 0 && on_other_threads == 0);
    dps_hub_free(hub);
    dps_options_free(options);
}

/* Blocking calls with the same options: the lookup may take a thread, the port is the same. */
static void blocking(dps_identity *identity, const dps_options *options)
{
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    dps_message *message = text_message("through a port that was set");
    OK(dps_register(variable("ID_SCOPE"), identity, options, NULL, NULL, &assignment, error));
    CHECK(strcmp(last_name, "global.azure-devices-provisioning.net") == 0);
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       options, &hub, error));
    CHECK(strcmp(last_name, dps_assignment_hub(assignment)) == 0);
    OK(dps_hub_send(hub, message, 60000, error));
    OK(dps_hub_close(hub, 60000, error));
    dps_hub_free(hub);
    dps_message_free(message);
    dps_assignment_free(assignment);
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_options *named = dps_options_new(), *with_port = dps_options_new();
    const char *port = strrchr(variable("DPS_CONNECT_TO"), ':');
    char place[64];

    main_thread = pthread_self();
    CHECK(port != NULL);
    (void)snprintf(place, sizeof place, "localhost%s", port);
    OK(dps_options_set_connect_to(named, place, error));
    polled(identity, named, "localhost", "localhost");
    unknown(identity);

    OK(dps_options_set_port(with_port, (uint16_t)strtoul(port + 1, NULL, 10), error));
    CHECK(unsetenv("DPS_CONNECT_TO") == 0);
    polled(identity, with_port, "global.azure-devices-provisioning.net", NULL);
    blocking(identity, with_port);

    dps_options_free(named);
    dps_options_free(with_port);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

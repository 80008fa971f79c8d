/* A fork: the child's inherited handles say so, its new ones work, and the parent's go on. */
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static int in_child;

/* What the child inherits of threads that it does not have is no leak of the child's. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return in_child;
}

static dps_hub *connect_hub(dps_identity *identity)
{
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       NULL, &hub, error));
    dps_assignment_free(assignment);
    return hub;
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_registration *registration = NULL;
    dps_message *message = text_message("forked");
    dps_hub *hub = connect_hub(identity);
    int outcome = 0;
    pid_t child;

    OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &registration, error));
    OK(dps_registration_do_work(registration, NULL, error));
    OK(dps_hub_send(hub, message, 20000, error));
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
    {
        dps_assignment *assignment = NULL;
        in_child = 1;
        FAILS(DPS_FORKED, "fork", dps_hub_send(hub, message, 20000, error));
        FAILS(DPS_FORKED, "fork", dps_hub_close(hub, 20000, error));
        FAILS(DPS_FORKED, "fork", dps_hub_start_close(hub, 20000, error));
        FAILS(DPS_FORKED, "fork", dps_registration_do_work(registration, NULL, error));
        CHECK(dps_hub_get_state(hub) == DPS_HUB_CLOSED);
        dps_hub_free(hub);
        dps_registration_free(registration);
        OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
        dps_assignment_free(assignment);
        exit(0);
    }
    CHECK(waitpid(child, &outcome, 0) == child);
    CHECK(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
    OK(dps_hub_send(hub, message, 20000, error));
    CHECK(dps_hub_get_state(hub) == DPS_HUB_CONNECTED);
    OK(dps_hub_close(hub, 20000, error));
    dps_hub_free(hub);
    dps_registration_free(registration);
    dps_message_free(message);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

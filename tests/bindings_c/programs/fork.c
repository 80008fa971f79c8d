/* A fork: the child's inherited handles say so, its new ones work, and the parent's go on. */
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
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

static int line_begun, line_may_end, lines_begun, lines_ended, silencing;

static int is_set(int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

static void nap(long milliseconds)
{
    struct timespec pause = { 0, 0 };
    pause.tv_nsec = milliseconds * 1000000L;
    (void)nanosleep(&pause, NULL);
}

static void wait_for(int *flag)
{
    while (!is_set(flag))
    {
        nap(1);
    }
}

static void hold_line(void *userdata, dps_log_level level, const char *target, const char *message)
{
    (void)userdata;
    (void)level;
    CHECK(target != NULL && message != NULL);
    if (in_child)
    {
        return;
    }
    (void)__atomic_add_fetch(&lines_begun, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&line_begun, 1, __ATOMIC_SEQ_CST);
    wait_for(&line_may_end);
    /* Whoever does not wait for this line is gone before its end. */
    nap(20);
    (void)__atomic_add_fetch(&lines_ended, 1, __ATOMIC_SEQ_CST);
}

static void *register_by_polling(void *identity)
{
    dps_registration *registration = NULL;
    uint32_t wait_ms = 0;
    OK(dps_registration_start(variable("ID_SCOPE"), (dps_identity *)identity, NULL, NULL, NULL,
                              &registration, error));
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(registration, &wait_ms, error));
    }
    dps_registration_free(registration);
    return NULL;
}

static void *turn_log_off(void *unused)
{
    __atomic_store_n(&silencing, 1, __ATOMIC_SEQ_CST);
    OK(dps_log_set(DPS_LOG_TRACE, NULL, NULL, error));
    CHECK(is_set(&lines_ended) == is_set(&lines_begun));
    return unused;
}

/* A thread of the parent is in the log callback: the child does not wait for it, the parent does. */
static void fork_in_log(dps_identity *identity)
{
    pthread_t logging, silencer;
    dps_assignment *assignment = NULL;
    int outcome = 0;
    pid_t child;

    OK(dps_log_set(DPS_LOG_TRACE, hold_line, NULL, error));
    CHECK(pthread_create(&logging, NULL, register_by_polling, identity) == 0);
    wait_for(&line_begun);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
    {
        in_child = 1;
        (void)alarm(60);
        /* The parent's callback, then none. */
        OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
        dps_assignment_free(assignment);
        OK(dps_log_set(DPS_LOG_TRACE, NULL, NULL, error));
        OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
        dps_assignment_free(assignment);
        exit(0);
    }
    CHECK(waitpid(child, &outcome, 0) == child);
    CHECK(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
    CHECK(pthread_create(&silencer, NULL, turn_log_off, NULL) == 0);
    wait_for(&silencing);
    __atomic_store_n(&line_may_end, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(silencer, NULL) == 0 && pthread_join(logging, NULL) == 0);
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
    fork_in_log(identity);
    dps_message_free(message);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

/* A symmetric key behind the sign hook: blocking and polled, slow, failing and endless, and who frees
   what. */
#include <pthread.h>
#include <time.h>

#define main sample_main
#include "custom_hsm_sign.c"
#undef main
#include "hmac.h"
#include "support.h"

struct hook
{
    int calls;
    int drops;
    int fail_from;
    int delay_ms;
    size_t length;
    pthread_t last_thread;
    volatile int *release;
    dps_hub *hub;
};

static void pause_for(int milliseconds)
{
    struct timespec pause = { milliseconds / 1000, (long)(milliseconds % 1000) * 1000000L };
    (void)nanosleep(&pause, NULL);
}

/* What a second thread, or a signer, asks of a hub that is being polled: refused, and not done. */
static void *meddle(void *hub)
{
    dps_message *message = text_message("refused");
    FAILS(DPS_INVALID_ARGUMENT, "polled already", dps_hub_send((dps_hub *)hub, message, 20000, error));
    FAILS(DPS_INVALID_ARGUMENT, "polled already", dps_hub_close((dps_hub *)hub, 20000, error));
    FAILS(DPS_INVALID_ARGUMENT, "polled already", dps_hub_flush((dps_hub *)hub, 20000, error));
    FAILS(DPS_INVALID_ARGUMENT, "polled already", dps_hub_do_work((dps_hub *)hub, NULL, error));
    dps_message_free(message);
    return NULL;
}

static int32_t hooked(void *userdata, const dps_sign_request *request, dps_sign_answer *answer)
{
    struct hook *hook = (struct hook *)userdata;
    int32_t code;
    int call = __atomic_add_fetch(&hook->calls, 1, __ATOMIC_SEQ_CST);
    hook->last_thread = pthread_self();
    CHECK(request->algorithm == DPS_SIGN_HMAC_SHA256);
    CHECK(request->digest == NULL && request->digest_len == 0);
    CHECK(request->message_len > 0 && answer->signature_capacity >= 32);
    if (hook->fail_from != 0 && call >= hook->fail_from)
    {
        (void)snprintf(answer->failure_text, answer->failure_text_capacity, "the token was pulled out");
        return -4711;
    }
    pause_for(hook->delay_ms);
    if (hook->hub != NULL)
    {
        pthread_t other;
        (void)meddle(hook->hub);
        CHECK(pthread_create(&other, NULL, meddle, hook->hub) == 0);
        CHECK(pthread_join(other, NULL) == 0);
    }
    while (hook->release != NULL && !__atomic_load_n(hook->release, __ATOMIC_SEQ_CST))
    {
        pause_for(1);
    }
    code = hmac((void *)(size_t)variable("INDIVIDUAL_KEY"), request, answer);
    CHECK(code != 0 || answer->signature_len == 32);
    if (hook->length != 0)
    {
        answer->signature_len = hook->length;
    }
    return code;
}

static void dropped(void *userdata)
{
    (void)__atomic_add_fetch(&((struct hook *)userdata)->drops, 1, __ATOMIC_SEQ_CST);
}

static int drops(struct hook *hook)
{
    return __atomic_load_n(&hook->drops, __ATOMIC_SEQ_CST);
}

/* The last reference may be a thread's that is about to end. */
static void await_drop(struct hook *hook)
{
    int turns = 0;
    while (drops(hook) == 0)
    {
        CHECK(turns++ < 20000);
        pause_for(1);
    }
    CHECK(drops(hook) == 1);
}

static dps_signer signer_of(struct hook *hook)
{
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, NULL, 0, hooked, dropped };
    signer.userdata = hook;
    return signer;
}

static dps_identity *hooked_identity(struct hook *hook)
{
    dps_signer signer = signer_of(hook);
    dps_identity *identity = NULL;
    OK(dps_identity_from_token_signer(variable("INDIVIDUAL_ID"), &signer, &identity, error));
    CHECK(strcmp(dps_identity_registration_id(identity), variable("INDIVIDUAL_ID")) == 0);
    return identity;
}

static void blocking(void)
{
    struct hook hook;
    dps_identity *identity;
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    dps_message *message = text_message("signed for");
    memset(&hook, 0, sizeof hook);
    identity = hooked_identity(&hook);
    CHECK(hook.calls == 0);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(hook.calls == 1 && !pthread_equal(hook.last_thread, pthread_self()));
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       NULL, &hub, error));
    CHECK(hook.calls == 2);
    /* The hub keeps the signer. */
    dps_identity_free(identity);
    OK(dps_hub_send(hub, message, 20000, error));
    CHECK(drops(&hook) == 0);
    OK(dps_hub_close(hub, 20000, error));
    dps_hub_free(hub);
    await_drop(&hook);
    dps_message_free(message);
    dps_assignment_free(assignment);
}

/* The hook runs on the thread that polls, at DPS and at the hub. */
static void polled(void)
{
    struct hook hook;
    dps_identity *identity;
    dps_registration *registration = NULL;
    dps_assignment *assignment;
    dps_message *message;
    dps_hub *hub = NULL;
    uint32_t wait_ms = 0;
    memset(&hook, 0, sizeof hook);
    hook.delay_ms = 100;
    identity = hooked_identity(&hook);
    OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &registration, error));
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(registration, &wait_ms, error));
        pause_for(2);
    }
    CHECK(hook.calls == 1 && pthread_equal(hook.last_thread, pthread_self()));
    assignment = dps_registration_assignment(registration);
    dps_registration_free(registration);

    OK(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                     NULL, &hub, error));
    CHECK(hook.calls == 1);
    hook.hub = hub;
    while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        pause_for(2);
    }
    hook.hub = NULL;
    CHECK(hook.calls == 2 && pthread_equal(hook.last_thread, pthread_self()));
    /* Nothing was begun that was refused: it takes messages, and delivers no others. */
    message = text_message("taken");
    OK(dps_hub_send(hub, message, 20000, error));
    OK(dps_hub_close(hub, 20000, error));
    dps_message_free(message);
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    CHECK(drops(&hook) == 1);
}

static void fails_to_register(struct hook *hook, const char *words, int64_t *code)
{
    dps_identity *identity = hooked_identity(hook);
    dps_assignment *assignment = NULL;
    dps_error *error = NULL;
    CHECK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, &error) == DPS_SIGNER);
    CHECK(strcmp(dps_error_operation(error), "register") == 0);
    CHECK(strstr(dps_error_text(error), words) != NULL && assignment == NULL);
    CHECK(dps_error_signer_code(error, code) == (code != NULL));
    dps_error_free(error);
    dps_identity_free(identity);
    await_drop(hook);
}

static void failures(void)
{
    static const size_t LENGTHS[] = { 20, 64, 2000 };
    static const char *const WORDS[] = { "20 bytes", "64 bytes", "2000 bytes" };
    struct hook hook;
    int64_t code = 0;
    size_t index;

    memset(&hook, 0, sizeof hook);
    hook.fail_from = 1;
    fails_to_register(&hook, "the token was pulled out", &code);
    CHECK(code == -4711);
    /* No HMAC-SHA256. */
    for (index = 0; index < 3; index++)
    {
        memset(&hook, 0, sizeof hook);
        hook.length = LENGTHS[index];
        fails_to_register(&hook, WORDS[index], NULL);
    }

    /* At the hub: the polled form says it on every call. */
    {
        dps_assignment *assignment = NULL;
        dps_hub *hub = NULL;
        dps_identity *identity;
        dps_status status = DPS_OK;
        memset(&hook, 0, sizeof hook);
        hook.fail_from = 2;
        identity = hooked_identity(&hook);
        OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
        OK(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment),
                         identity, NULL, &hub, error));
        while (status == DPS_OK)
        {
            status = dps_hub_do_work(hub, NULL, NULL);
            pause_for(1);
        }
        FAILS(DPS_SIGNER, "the token was pulled out", dps_hub_do_work(hub, NULL, error));
        dps_hub_free(hub);
        dps_assignment_free(assignment);
        dps_identity_free(identity);
        await_drop(&hook);
    }
}

/* What is refused is dropped once, except what was never taken. */
static void refused(void)
{
    struct hook hook;
    dps_signer signer = signer_of(&hook);
    dps_identity *identity = NULL;
    memset(&hook, 0, sizeof hook);

    FAILS(DPS_INVALID_ARGUMENT, "signer is NULL",
          dps_identity_from_token_signer("meter", NULL, &identity, error));
    signer.version = 2;
    FAILS(DPS_INVALID_ARGUMENT, "version 2",
          dps_identity_from_token_signer("meter", &signer, &identity, error));
    signer.version = DPS_SIGNER_VERSION;
    signer.sign = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "sign is NULL",
          dps_identity_from_token_signer("meter", &signer, &identity, error));
    CHECK(drops(&hook) == 0);

    signer.sign = hooked;
    FAILS(DPS_INVALID_ARGUMENT, "identity is NULL",
          dps_identity_from_token_signer("meter", &signer, NULL, error));
    CHECK(drops(&hook) == 1);
    FAILS(DPS_INVALID_ARGUMENT, "registration_id is NULL",
          dps_identity_from_token_signer(NULL, &signer, &identity, error));
    CHECK(drops(&hook) == 2);
    FAILS(DPS_INVALID_ARGUMENT, "a b",
          dps_identity_from_token_signer("a b", &signer, &identity, error));
    CHECK(drops(&hook) == 3);
    signer.certificate_chain = "-----BEGIN CERTIFICATE-----";
    FAILS(DPS_INVALID_ARGUMENT, "certificate_chain",
          dps_identity_from_token_signer("meter", &signer, &identity, error));
    CHECK(drops(&hook) == 4);
    CHECK(hook.calls == 0 && identity == NULL);

    /* A certificate's key makes no HMAC. */
    {
        static const dps_signature_algorithm hmac_only[] = { DPS_SIGN_HMAC_SHA256 };
        signer.algorithms = hmac_only;
        signer.algorithms_len = 1;
        FAILS(DPS_INVALID_ARGUMENT, "9 in dps_signer.algorithms",
              dps_identity_from_signer(&signer, &identity, error));
        CHECK(drops(&hook) == 5);
        signer.certificate_chain = NULL;
        FAILS(DPS_INVALID_ARGUMENT, "identity is NULL",
              dps_identity_from_token_signer("meter", &signer, NULL, error));
        CHECK(drops(&hook) == 6);
        /* Nor is a symmetric key asked for its algorithms. */
        OK(dps_identity_from_token_signer("meter", &signer, &identity, error));
        dps_identity_free(identity);
        CHECK(drops(&hook) == 7 && hook.calls == 0);
    }
}

/* A hub allows more in a device ID than DPS in a registration ID. */
static void for_a_hub(void)
{
    struct hook hook;
    dps_signer signer = signer_of(&hook);
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    memset(&hook, 0, sizeof hook);
    OK(dps_identity_from_token_signer("A*b,c", &signer, &identity, error));
    CHECK(dps_identity_registration_id(identity) == NULL);
    FAILS(DPS_REGISTRATION_ID_INVALID, "A*b,c",
          dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(hook.calls == 0);
    /* Its token is shown to the hub, which knows no such device. */
    FAILS(DPS_UNAUTHORIZED, "",
          dps_hub_connect("contoso-hub-2.azure-devices.net", "A*b,c", identity, NULL, &hub, error));
    CHECK(hook.calls == 1);
    dps_identity_free(identity);
    await_drop(&hook);
}

/* A signer that hangs stalls nobody else; freeing its handles returns; drop comes last. */
static void endless(void)
{
    struct hook hook, quick;
    volatile int release = 0;
    dps_options *options = dps_options_new();
    dps_assignment *assignment = NULL;
    dps_identity *identity;

    memset(&hook, 0, sizeof hook);
    memset(&quick, 0, sizeof quick);
    hook.release = &release;
    identity = hooked_identity(&hook);
    OK(dps_options_set_deadline_ms(options, 700, error));
    FAILS(DPS_DEADLINE_EXCEEDED, "",
          dps_register(variable("ID_SCOPE"), identity, options, NULL, NULL, &assignment, error));
    dps_identity_free(identity);
    identity = hooked_identity(&quick);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    dps_identity_free(identity);
    await_drop(&quick);
    CHECK(drops(&hook) == 0);
    __atomic_store_n(&release, 1, __ATOMIC_SEQ_CST);
    await_drop(&hook);
    dps_assignment_free(assignment);
    dps_options_free(options);
}

int main(void)
{
    blocking();
    failures();
    refused();
    for_a_hub();
    endless();
    polled();
    (void)printf("done\n");
    return 0;
}

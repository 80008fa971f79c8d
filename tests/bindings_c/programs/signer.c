/* The sign hook: every algorithm, slow and failing and endless signers, and who frees what. */
#include <pthread.h>
#include <time.h>

/* The sample's own hook signs, by the openssl command. */
#define main sample_main
#include "custom_hsm_sign.c"
#undef main
#undef CHECK
#include "support.h"

struct hook
{
    const char *key;
    int calls;
    int drops;
    int fail_from;
    int delay_ms;
    pthread_t last_thread;
    dps_signature_algorithm last_algorithm;
    volatile int *release;
};

static int32_t hooked(void *userdata, const dps_sign_request *request, dps_sign_answer *answer)
{
    struct hook *hook = (struct hook *)userdata;
    int call = __atomic_add_fetch(&hook->calls, 1, __ATOMIC_SEQ_CST);
    struct timespec pause = { 0, 0 };
    hook->last_thread = pthread_self();
    hook->last_algorithm = request->algorithm;
    CHECK(request->digest_len == 32 || request->digest_len == 48 || request->digest_len == 64);
    CHECK(request->message_len > 0 && answer->signature_capacity >= 1024);
    if (hook->fail_from != 0 && call >= hook->fail_from)
    {
        (void)snprintf(answer->failure_text, answer->failure_text_capacity, "the token was pulled out");
        return -4711;
    }
    pause.tv_sec = hook->delay_ms / 1000;
    pause.tv_nsec = (long)(hook->delay_ms % 1000) * 1000000L;
    (void)nanosleep(&pause, NULL);
    while (call >= 2 && hook->release != NULL && !__atomic_load_n(hook->release, __ATOMIC_SEQ_CST))
    {
        pause.tv_nsec = 1000000L;
        (void)nanosleep(&pause, NULL);
    }
    return sign((void *)(size_t)hook->key, request, answer);
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
    struct timespec pause = { 0, 1000000L };
    int turns = 0;
    while (drops(hook) == 0)
    {
        CHECK(turns++ < 20000);
        (void)nanosleep(&pause, NULL);
    }
}

static dps_identity *hooked_identity(struct hook *hook, const char *chain_file, const char *key,
                                     const dps_signature_algorithm *algorithms, size_t count)
{
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, NULL, 0, hooked, dropped };
    dps_identity *identity = NULL;
    char *chain = read_whole(chain_file);
    hook->key = key;
    signer.userdata = hook;
    signer.certificate_chain = chain;
    signer.algorithms = algorithms;
    signer.algorithms_len = count;
    OK(dps_identity_from_signer(&signer, &identity, error));
    free(chain);
    return identity;
}

static void provision(dps_identity *identity)
{
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    dps_message *message = text_message("signed");
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    OK(dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                       NULL, &hub, error));
    OK(dps_hub_send(hub, message, 20000, error));
    OK(dps_hub_close(hub, 20000, error));
    dps_hub_free(hub);
    dps_message_free(message);
    dps_assignment_free(assignment);
}

static void every_algorithm(void)
{
    static const dps_signature_algorithm ec[] = { DPS_SIGN_ECDSA_P256_SHA256 };
    dps_signature_algorithm algorithm;
    struct hook hook;
    dps_identity *identity;

    memset(&hook, 0, sizeof hook);
    identity = hooked_identity(&hook, variable("CHAIN"), variable("KEY"), ec, 1);
    CHECK(hook.calls == 1);
    provision(identity);
    CHECK(hook.calls >= 3 && !pthread_equal(hook.last_thread, pthread_self()));
    dps_identity_free(identity);
    await_drop(&hook);

    for (algorithm = DPS_SIGN_RSA_PSS_SHA256; algorithm <= DPS_SIGN_RSA_PKCS1_SHA512; algorithm++)
    {
        memset(&hook, 0, sizeof hook);
        identity = hooked_identity(&hook, variable("RSA_CHAIN"), variable("RSA_KEY"), &algorithm, 1);
        provision(identity);
        CHECK(hook.last_algorithm == algorithm);
        dps_identity_free(identity);
        await_drop(&hook);
    }

    /* All that the key's type can do, when nothing is named. */
    memset(&hook, 0, sizeof hook);
    identity = hooked_identity(&hook, variable("P384_CHAIN"), variable("P384_KEY"), NULL, 0);
    provision(identity);
    CHECK(hook.last_algorithm == DPS_SIGN_ECDSA_P384_SHA384);
    dps_identity_free(identity);
    await_drop(&hook);
}

static void failures(void)
{
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, NULL, 0, hooked, dropped };
    struct hook hook;
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_error *error = NULL;
    int64_t code = 0;
    char *chain = read_whole(variable("CHAIN"));

    /* At open. */
    memset(&hook, 0, sizeof hook);
    hook.fail_from = 1;
    signer.userdata = &hook;
    signer.certificate_chain = chain;
    CHECK(dps_identity_from_signer(&signer, &identity, &error) == DPS_SIGNER);
    CHECK(strstr(dps_error_text(error), "the token was pulled out") != NULL);
    CHECK(dps_error_signer_code(error, &code) && code == -4711);
    CHECK(drops(&hook) == 1 && identity == NULL);
    dps_error_free(error);

    /* In the handshake. */
    memset(&hook, 0, sizeof hook);
    hook.fail_from = 2;
    identity = hooked_identity(&hook, variable("CHAIN"), variable("KEY"), NULL, 0);
    error = NULL;
    CHECK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, &error) == DPS_SIGNER);
    CHECK(strstr(dps_error_text(error), "the token was pulled out") != NULL);
    code = 0;
    CHECK(dps_error_signer_code(error, &code) && code == -4711);
    dps_error_free(error);
    dps_identity_free(identity);
    await_drop(&hook);

    /* The key of another certificate. */
    memset(&hook, 0, sizeof hook);
    hook.key = variable("OTHER_KEY");
    identity = NULL;
    FAILS(DPS_KEY_MISMATCH, "test signature", dps_identity_from_signer(&signer, &identity, error));
    CHECK(drops(&hook) == 1);

    /* What is refused as a signer is not dropped: it was never taken. */
    memset(&hook, 0, sizeof hook);
    signer.version = 2;
    FAILS(DPS_INVALID_ARGUMENT, "version 2", dps_identity_from_signer(&signer, &identity, error));
    signer.version = DPS_SIGNER_VERSION;
    signer.sign = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "sign is NULL", dps_identity_from_signer(&signer, &identity, error));
    CHECK(drops(&hook) == 0);
    free(chain);
}

static void *register_quickly(void *identity)
{
    dps_assignment *assignment = NULL;
    OK(dps_register(variable("ID_SCOPE"), (dps_identity *)identity, NULL, NULL, NULL, &assignment, error));
    dps_assignment_free(assignment);
    return NULL;
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A signer that hangs stalls nobody else; freeing its handles returns; drop comes last. */
static void endless(void)
{
    struct hook hook;
    volatile int release = 0;
    dps_options *options = dps_options_new();
    dps_assignment *assignment = NULL;
    dps_identity *slow, *quick = pem_identity();
    double started;

    memset(&hook, 0, sizeof hook);
    hook.release = &release;
    slow = hooked_identity(&hook, variable("CHAIN"), variable("KEY"), NULL, 0);
    OK(dps_options_set_deadline_ms(options, 700, error));
    started = seconds();
    FAILS(DPS_DEADLINE_EXCEEDED, "", dps_register(variable("ID_SCOPE"), slow, options, NULL, NULL, &assignment, error));
    CHECK(seconds() - started < 5);
    dps_identity_free(slow);
    (void)register_quickly(quick);
    CHECK(drops(&hook) == 0);
    __atomic_store_n(&release, 1, __ATOMIC_SEQ_CST);
    await_drop(&hook);
    CHECK(drops(&hook) == 1);
    dps_identity_free(quick);
    dps_options_free(options);
}

/* Polled: the hook runs on the thread that polls, at DPS and at the hub. */
static void polled(void)
{
    struct hook hook;
    struct timespec pause = { 0, 2000000L };
    dps_registration *registration = NULL;
    dps_assignment *assignment;
    dps_hub *hub = NULL;
    int calls;
    uint32_t wait_ms = 0;
    dps_identity *identity;
    memset(&hook, 0, sizeof hook);
    identity = hooked_identity(&hook, variable("CHAIN"), variable("KEY"), NULL, 0);
    hook.delay_ms = 100;
    OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &registration, error));
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(registration, &wait_ms, error));
        CHECK(pthread_equal(hook.last_thread, pthread_self()));
        (void)nanosleep(&pause, NULL);
    }
    assignment = dps_registration_assignment(registration);
    dps_registration_free(registration);

    calls = hook.calls;
    OK(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                     NULL, &hub, error));
    CHECK(hook.calls == calls);
    while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        CHECK(pthread_equal(hook.last_thread, pthread_self()));
        (void)nanosleep(&pause, NULL);
    }
    CHECK(hook.calls > calls);
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    CHECK(drops(&hook) == 1);
}

int main(void)
{
    every_algorithm();
    failures();
    polled();
    endless();
    (void)printf("done\n");
    return 0;
}

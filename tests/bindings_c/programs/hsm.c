/* The mirrored HSM interface: memory, order, counting, two HSMs at once, and each function failing. */
#include <time.h>

#include "support.h"
#include "dps_hsm_link.h"

/* What the HSM did, as one letter each. */
static char trace[256];
static int fail_at;
static int open_memory;
static const char *chain_of_hsm;
static const char *key_of_hsm;
static const char *name_of_hsm;
/* What it was told to hold. */
static char set_name[129];
static char set_key[129];

static int step(char letter)
{
    size_t length = strlen(trace);
    CHECK(length + 1 < sizeof trace);
    trace[length] = letter;
    return fail_at != 0 && fail_at == (int)letter;
}

static char *give(const char *text)
{
    char *copy = (char *)malloc(strlen(text) + 1);
    CHECK(copy != NULL);
    strcpy(copy, text);
    open_memory += 1;
    return copy;
}

/* The sanitizer's own (sanitizer/allocator_interface.h, which some compilers leave out). */
size_t __sanitizer_get_allocated_size(const volatile void *memory);

/* Whatever comes back has been wiped, to its end. */
static void take(void *memory)
{
    size_t place, length = __sanitizer_get_allocated_size(memory);
    CHECK(length > 0);
    for (place = 0; place < length; place++)
    {
        CHECK(((char *)memory)[place] == '\0');
    }
    open_memory -= 1;
    free(memory);
}

static int x509_init(void) { return step('i') ? 1 : 0; }
static void x509_deinit(void) { (void)step('d'); }
static int tpm_init(void) { return step('t') ? 1 : 0; }
static void tpm_deinit(void) { (void)step('e'); }
static void *create(void) { return step('c') ? NULL : malloc(1); }
static void destroy(void *handle) { (void)step('x'); free(handle); }
static char *get_cert(void *handle) { CHECK(handle != NULL); return step('C') ? NULL : give(chain_of_hsm); }
static char *get_key(void *handle) { CHECK(handle != NULL); return step('K') ? NULL : give(key_of_hsm); }
static char *get_name(void *handle) { CHECK(handle != NULL); return step('N') ? NULL : give(name_of_hsm); }
static int set_info(void *handle, const char *name, const char *key)
{
    CHECK(handle != NULL && name != NULL && key != NULL);
    CHECK(strlen(name) < sizeof set_name && strlen(key) < sizeof set_key);
    name_of_hsm = strcpy(set_name, name);
    key_of_hsm = strcpy(set_key, key);
    return step('S') ? 9 : 0;
}

static HSM_CLIENT_X509_INTERFACE x509_table = { create, destroy, get_cert, get_key, get_name };
static HSM_CLIENT_KEY_INTERFACE key_table = { create, destroy, get_key, get_name, set_info };
static const HSM_CLIENT_X509_INTERFACE *x509_interface(void) { return step('X') ? NULL : &x509_table; }
static const HSM_CLIENT_KEY_INTERFACE *key_interface(void) { return step('Y') ? NULL : &key_table; }
static const HSM_CLIENT_TPM_INTERFACE *no_tpm(void) { return NULL; }

static dps_hsm_source source(void)
{
    dps_hsm_source source = { sizeof source, x509_interface, no_tpm, key_interface,
                              x509_init, x509_deinit, tpm_init, tpm_deinit, take };
    return source;
}

static void x509(void)
{
    static const char STEPS[] = "iXcNCK";
    const char *failing;
    dps_hsm_source hsm = source();
    dps_identity *identity = NULL, *second = NULL;

    trace[0] = '\0';
    memset(trace, 0, sizeof trace);
    OK(dps_identity_from_hsm_x509(&hsm, &identity, error));
    CHECK(strcmp(trace, "itXcNCK") == 0);
    CHECK(open_memory == 0);
    CHECK(strcmp(dps_identity_registration_id(identity), "device-01") == 0);
    /* The same functions again: no second init, and one deinit, with the last. */
    OK(dps_identity_from_hsm_x509(&hsm, &second, error));
    CHECK(strcmp(trace, "itXcNCKXcNCK") == 0);
    dps_identity_free(identity);
    CHECK(strcmp(trace, "itXcNCKXcNCKx") == 0);
    dps_identity_free(second);
    CHECK(strcmp(trace, "itXcNCKXcNCKxxde") == 0);

    for (failing = STEPS; *failing != '\0'; failing++)
    {
        memset(trace, 0, sizeof trace);
        fail_at = *failing;
        identity = NULL;
        FAILS(DPS_SIGNER, "custom HSM", dps_identity_from_hsm_x509(&hsm, &identity, error));
        CHECK(identity == NULL && open_memory == 0);
        /* What was begun was ended. */
        CHECK((strchr(trace, 'N') != NULL) == (strchr(trace, 'x') != NULL));
        CHECK((*failing == 'i') == (strchr(trace, 'd') == NULL));
    }
    /* A TPM that is not there hinders no X.509. */
    memset(trace, 0, sizeof trace);
    fail_at = 't';
    OK(dps_identity_from_hsm_x509(&hsm, &identity, error));
    dps_identity_free(identity);
    CHECK(strchr(trace, 'e') == NULL);
    fail_at = 0;

    name_of_hsm = "device-99";
    FAILS(DPS_REGISTRATION_ID_MISMATCH, "device-99", dps_identity_from_hsm_x509(&hsm, &identity, error));
    name_of_hsm = "device-01";
    key_of_hsm = "no key";
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_identity_from_hsm_x509(&hsm, &identity, error));
    key_of_hsm = "";
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_identity_from_hsm_x509(&hsm, &identity, error));
    CHECK(open_memory == 0);
}

static void holes(void)
{
    dps_hsm_source hsm = source();
    HSM_CLIENT_X509_INTERFACE whole = x509_table;
    dps_identity *identity = NULL;
    x509_table.hsm_client_get_key = NULL;
    FAILS(DPS_SIGNER, "get_key", dps_identity_from_hsm_x509(&hsm, &identity, error));
    x509_table = whole;
    hsm.size = 8;
    FAILS(DPS_INVALID_ARGUMENT, "size is 8", dps_identity_from_hsm_x509(&hsm, &identity, error));
    hsm = source();
    hsm.free = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "free is NULL", dps_identity_from_hsm_x509(&hsm, &identity, error));
    hsm = source();
    hsm.x509_interface = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "x509_interface", dps_identity_from_hsm_x509(&hsm, &identity, error));
    hsm = source();
    FAILS(DPS_UNSUPPORTED, "TPM", dps_identity_from_hsm_tpm(&hsm, &identity, error));
    /* An HSM that has only what it needs. */
    hsm.tpm_interface = NULL;
    hsm.tpm_init = NULL;
    hsm.tpm_deinit = NULL;
    hsm.x509_init = NULL;
    hsm.x509_deinit = NULL;
    hsm.key_interface = NULL;
    key_of_hsm = read_whole(variable("KEY"));
    OK(dps_identity_from_hsm_x509(&hsm, &identity, error));
    dps_identity_free(identity);
    free((void *)(size_t)key_of_hsm);
}

/* The device registers under its name and sends one message. */
static void deliver(dps_identity *identity, const char *id)
{
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    dps_message *message = text_message("from an HSM");
    CHECK(strcmp(dps_identity_registration_id(identity), id) == 0);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    CHECK(strcmp(dps_assignment_device_id(assignment), id) == 0);
    OK(dps_hub_connect(dps_assignment_hub(assignment), id, identity, NULL, &hub, error));
    OK(dps_hub_send(hub, message, 60000, error));
    OK(dps_hub_close(hub, 60000, error));
    dps_hub_free(hub);
    dps_message_free(message);
    dps_assignment_free(assignment);
}

static void symmetric(void)
{
    static const char STEPS[] = "YcSNK";
    const char *failing;
    dps_hsm_source hsm = source();
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    dps_hub *hub = NULL;
    const char *id = variable("SYMMETRIC_ID"), *key = variable("SYMMETRIC_KEY");

    memset(trace, 0, sizeof trace);
    OK(dps_identity_from_hsm_symmetric_key(&hsm, id, key, &identity, error));
    CHECK(strcmp(trace, "itYcSNK") == 0);
    deliver(identity, id);
    dps_identity_free(identity);
    /* The key of an enrollment of the device's own. */
    OK(dps_identity_from_hsm_symmetric_key(&hsm, variable("INDIVIDUAL_ID"), variable("INDIVIDUAL_KEY"),
                                           &identity, error));
    CHECK(strcmp(set_key, variable("INDIVIDUAL_KEY")) == 0);
    deliver(identity, variable("INDIVIDUAL_ID"));
    dps_identity_free(identity);
    OK(dps_identity_from_hsm_symmetric_key(&hsm, id, key, &identity, error));
    dps_identity_free(identity);
    /* It holds them by now. */
    memset(trace, 0, sizeof trace);
    OK(dps_identity_from_hsm_symmetric_key(&hsm, NULL, NULL, &identity, error));
    CHECK(strcmp(trace, "itYcNK") == 0);
    dps_identity_free(identity);
    /* For a hub alone, which allows more in a device ID than DPS in a registration ID. */
    OK(dps_identity_from_hsm_symmetric_key(&hsm, "A*b,c", key, &identity, error));
    CHECK(dps_identity_registration_id(identity) == NULL);
    FAILS(DPS_REGISTRATION_ID_INVALID, "A*b,c",
          dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    FAILS(DPS_UNAUTHORIZED, "",
          dps_hub_connect("contoso-hub-2.azure-devices.net", "A*b,c", identity, NULL, &hub, error));
    dps_identity_free(identity);
    FAILS(DPS_INVALID_ARGUMENT, "together",
          dps_identity_from_hsm_symmetric_key(&hsm, id, NULL, &identity, error));
    for (failing = STEPS; *failing != '\0'; failing++)
    {
        memset(trace, 0, sizeof trace);
        fail_at = *failing;
        FAILS(DPS_SIGNER, "custom HSM", dps_identity_from_hsm_symmetric_key(&hsm, id, key, &identity, error));
        CHECK(open_memory == 0);
    }
    fail_at = 0;
}

/* Polled, the key that the HSM gave signs where it is: no thread, at DPS and at the hub. */
static void symmetric_polled(void)
{
    struct timespec pause = { 0, 2000000L };
    dps_hsm_source hsm = source();
    dps_identity *identity = NULL;
    dps_registration *registration = NULL;
    dps_assignment *assignment;
    dps_hub *hub = NULL;
    uint32_t wait_ms = 0;

    memset(trace, 0, sizeof trace);
    OK(dps_identity_from_hsm_symmetric_key(&hsm, variable("SYMMETRIC_ID"), variable("SYMMETRIC_KEY"),
                                           &identity, error));
    OK(dps_registration_start(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &registration, error));
    while (wait_ms != DPS_NEVER)
    {
        OK(dps_registration_do_work(registration, &wait_ms, error));
        CHECK(threads_of_this_process() == 1);
        (void)nanosleep(&pause, NULL);
    }
    assignment = dps_registration_assignment(registration);
    OK(dps_hub_start(dps_assignment_hub(assignment), dps_assignment_device_id(assignment), identity,
                     NULL, &hub, error));
    while (dps_hub_get_state(hub) != DPS_HUB_CONNECTED)
    {
        OK(dps_hub_do_work(hub, NULL, error));
        CHECK(threads_of_this_process() == 1);
        (void)nanosleep(&pause, NULL);
    }
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    dps_registration_free(registration);
    dps_identity_free(identity);
}

/* A second HSM: functions, handles and a device of its own, and only an X.509 part. */
static int second_created;
static char *second_chain;
static char *second_key;

static int second_init(void) { return step('I') ? 1 : 0; }
static void second_deinit(void) { (void)step('D'); }
static void *second_create(void) { (void)step('n'); return &second_created; }
static void second_destroy(void *handle) { CHECK(handle == &second_created); (void)step('z'); }
static char *second_get_cert(void *handle) { CHECK(handle == &second_created); return give(second_chain); }
static char *second_get_key(void *handle) { CHECK(handle == &second_created); return give(second_key); }
static char *second_get_name(void *handle) { CHECK(handle == &second_created); return give("device-02"); }
static const HSM_CLIENT_X509_INTERFACE second_table = { second_create, second_destroy, second_get_cert,
                                                        second_get_key, second_get_name };
static const HSM_CLIENT_X509_INTERFACE *second_interface(void) { return &second_table; }

/* Both at once: each is initialised and ended for itself, whichever goes first, and the one that
   stays goes on. */
static void two_at_once(void)
{
    dps_hsm_source first_source = source();
    dps_hsm_source second_source = { sizeof second_source, second_interface, NULL, NULL,
                                     second_init, second_deinit, NULL, NULL, take };
    int first_goes_first;
    second_chain = read_whole(variable("SECOND_CHAIN"));
    second_key = read_whole(variable("SECOND_KEY"));
    for (first_goes_first = 0; first_goes_first < 2; first_goes_first++)
    {
        dps_identity *first = NULL, *second = NULL, *again = NULL;
        memset(trace, 0, sizeof trace);
        OK(dps_identity_from_hsm_x509(&first_source, &first, error));
        OK(dps_identity_from_hsm_x509(&second_source, &second, error));
        CHECK(strcmp(trace, "itXcNCKIn") == 0);
        OK(dps_identity_from_hsm_x509(&second_source, &again, error));
        CHECK(strcmp(trace, "itXcNCKInn") == 0);
        dps_identity_free(again);
        CHECK(strcmp(trace, "itXcNCKInnz") == 0);
        deliver(first, "device-01");
        deliver(second, "device-02");

        memset(trace, 0, sizeof trace);
        dps_identity_free(first_goes_first ? first : second);
        CHECK(strcmp(trace, first_goes_first ? "xde" : "zD") == 0);
        memset(trace, 0, sizeof trace);
        deliver(first_goes_first ? second : first, first_goes_first ? "device-02" : "device-01");
        CHECK(trace[0] == '\0');
        dps_identity_free(first_goes_first ? second : first);
        CHECK(strcmp(trace, first_goes_first ? "zD" : "xde") == 0);
    }
    CHECK(open_memory == 0);
    free(second_chain);
    free(second_key);
}

/* The linked HSM, which is the sample's. */
static void linked(void)
{
    dps_identity *identity = NULL;
    dps_assignment *assignment = NULL;
    OK(dps_identity_from_linked_hsm_x509(&identity, error));
    CHECK(strcmp(dps_identity_registration_id(identity), "device-02") == 0);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    FAILS(DPS_UNSUPPORTED, "TPM", dps_identity_from_linked_hsm_tpm(&identity, error));
    OK(dps_identity_from_linked_hsm_symmetric_key(variable("SYMMETRIC_ID"), variable("SYMMETRIC_KEY"),
                                                  &identity, error));
    dps_identity_free(identity);
}

int main(void)
{
    char *chain = read_whole(variable("CHAIN"));
    char *key = read_whole(variable("KEY"));
    chain_of_hsm = chain;
    key_of_hsm = key;
    name_of_hsm = "device-01";
    x509();
    holes();
    symmetric_polled();
    symmetric();
    key_of_hsm = key;
    name_of_hsm = "device-01";
    two_at_once();
    linked();
    free(chain);
    free(key);
    (void)printf("done\n");
    return 0;
}

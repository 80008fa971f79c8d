/* One NULL at a time between valid neighbours: the calls of nulls_calls.h, which nulls.rs makes from
   the header, with what is valid in each place. */
#include "dps_hsm_link.h"

/* The sample's own hook signs, by the openssl command. */
#define main sample_main
#include "custom_hsm_sign.c"
#undef main
#include "support.h"

struct blob
{
    uint8_t *bytes;
    size_t length;
};

/* What a call may be given. */
static struct
{
    const char *folder;
    dps_key *key;
    dps_authority *authority;
    dps_chain *chain;
    dps_identity *identity;
    dps_assignment *assignment;
    dps_options *options;
    dps_doctor *doctor;
    dps_message *message;
    dps_error *error;
    dps_signer signer;
    dps_signer token_signer;
    dps_hsm_source hsm_source;
    char connection_string[256];
    /* Made anew for each call. */
    dps_hub *hub;
    dps_registration *registration;
    /* The device's files and its CA's; own_pem is of the authority above, which has the same key. */
    struct blob chain_pem, key_pem, authority_pem, own_pem, roots_pem, request_pem, public_key, pfx;
} valid;

/* Where a call writes. */
struct outputs
{
    dps_key *key;
    dps_authority *authority;
    dps_chain *chain;
    dps_identity *identity;
    dps_assignment *assignment;
    dps_hub *hub;
    dps_registration *registration;
    dps_message *message;
    dps_report *report;
    char *text, *second_text;
    uint8_t *bytes;
    size_t length;
    uint32_t wait_ms;
    int64_t code;
    dps_error *error;
};

static struct outputs out;

static bool on_batch(void *userdata, const char *registration_id, dps_batch_outcome outcome,
                     uint64_t done, uint64_t total)
{
    (void)userdata;
    (void)outcome;
    return registration_id != NULL && done <= total;
}

static void on_hub(void *userdata, dps_status status, const dps_error *error)
{
    (void)userdata;
    (void)status;
    (void)error;
}

static void on_log(void *userdata, dps_log_level level, const char *target, const char *message)
{
    (void)userdata;
    (void)level;
    CHECK(target != NULL && message != NULL);
}

static void on_registration(void *userdata, dps_registration_status status)
{
    (void)userdata;
    (void)status;
}

/* Fresh handles for what a call ends or uses up, and nothing written yet. */
static void prepare(void)
{
    memset(&out, 0, sizeof out);
    dps_hub_free(valid.hub);
    dps_registration_free(valid.registration);
    OK(dps_hub_start(dps_assignment_hub(valid.assignment), "device-01", valid.identity, NULL,
                     &valid.hub, error));
    OK(dps_registration_start(variable("ID_SCOPE"), valid.identity, NULL, NULL, NULL,
                              &valid.registration, error));
}

/* Whether a call has written nothing but its error. */
static bool is_untouched(void)
{
    const unsigned char *bytes = (const unsigned char *)&out;
    size_t place;
    for (place = 0; place < offsetof(struct outputs, error); place++)
    {
        if (bytes[place] != 0)
        {
            return false;
        }
    }
    return true;
}

static void free_outputs(void)
{
    dps_key_free(out.key);
    dps_authority_free(out.authority);
    dps_chain_free(out.chain);
    dps_identity_free(out.identity);
    dps_assignment_free(out.assignment);
    dps_hub_free(out.hub);
    dps_registration_free(out.registration);
    dps_message_free(out.message);
    dps_report_free(out.report);
    dps_string_free(out.text);
    dps_string_free(out.second_text);
    dps_bytes_free(out.bytes);
    dps_error_free(out.error);
}

/* words is what the refusal says; NULL where there is no place for an error. */
static void expect(const char *call, dps_status status, dps_status wanted, const char *words)
{
    bool said = words == NULL
                || (dps_error_status(out.error) == wanted
                    && strstr(dps_error_text(out.error), words) != NULL);
    if (status != wanted || !said || (wanted != DPS_OK && !is_untouched()))
    {
        (void)fprintf(stderr, "%s gave %s, not %s (%s): %s%s\n", call, dps_status_name(status),
                      dps_status_name(wanted), words == NULL ? "" : words,
                      out.error == NULL ? "" : dps_error_text(out.error),
                      is_untouched() ? "" : "; something was written");
        exit(1);
    }
    free_outputs();
}

#define DONE DPS_OK, NULL
#define UNSUPPORTED DPS_UNSUPPORTED, NULL
#define REFUSED(words) DPS_INVALID_ARGUMENT, words
#define EXPECT(call, status, wanted, words) expect(call, status, wanted, words)
#define CALL(expected, call)                                                                    \
    do                                                                                          \
    {                                                                                           \
        dps_status call_status;                                                                 \
        prepare();                                                                              \
        call_status = (call);                                                                   \
        EXPECT(#call, call_status, expected);                                                   \
    } while (0)

#include "nulls_calls.h"

static int32_t refuse(void *userdata, const dps_sign_request *request, dps_sign_answer *answer)
{
    (void)userdata;
    (void)request;
    (void)answer;
    return -4711;
}

static struct blob content(const char *name)
{
    struct blob blob;
    blob.bytes = (uint8_t *)read_bytes(variable(name), &blob.length);
    return blob;
}

static void make_valid(void)
{
    static const dps_signature_algorithm algorithms[] = { DPS_SIGN_ECDSA_P256_SHA256 };
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, algorithms, 1, sign, NULL };
    char *pem = NULL;
    valid.chain_pem = content("CHAIN");
    valid.key_pem = content("KEY");
    valid.authority_pem = content("AUTHORITIES");
    valid.roots_pem = content("SSL_CERT_FILE");
    valid.pfx = content("EMPTY_PASSPHRASE_PFX");
    OK(dps_key_from_pem(valid.key_pem.bytes, valid.key_pem.length, NULL, &valid.key, error));
    OK(dps_key_public_key(valid.key, &valid.public_key.bytes, &valid.public_key.length, error));
    OK(dps_key_certificate_request(valid.key, "device-09", &pem, error));
    valid.request_pem.bytes = (uint8_t *)pem;
    valid.request_pem.length = strlen(pem);
    OK(dps_authority_create_root("Root", valid.key, 30, &valid.authority, error));
    OK(dps_authority_certificate(valid.authority, &pem, error));
    valid.own_pem.bytes = (uint8_t *)pem;
    valid.own_pem.length = strlen(pem);
    OK(dps_chain_from_pem_file(variable("CHAIN"), &valid.chain, error));
    valid.identity = pem_identity();
    OK(dps_register(variable("ID_SCOPE"), valid.identity, NULL, NULL, NULL, &valid.assignment, error));
    valid.options = dps_options_new();
    valid.doctor = dps_doctor_new();
    OK(dps_doctor_set_certificate_file(valid.doctor, variable("CHAIN"), error));
    valid.message = text_message("valid");
    signer.certificate_chain = (const char *)valid.chain_pem.bytes;
    signer.userdata = (void *)(size_t)variable("KEY");
    valid.signer = signer;
    valid.hsm_source = dps_linked_hsm();
    signer.sign = refuse;
    valid.token_signer = signer;
    valid.token_signer.certificate_chain = NULL;
    (void)snprintf(valid.connection_string, sizeof valid.connection_string,
                   "HostName=%s;DeviceId=device-01;x509=true", dps_assignment_hub(valid.assignment));
    CHECK(dps_identity_from_signer(&signer, &out.identity, &valid.error) == DPS_SIGNER);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    valid.folder = argv[1];
    make_valid();
    every_null();

    dps_hub_free(valid.hub);
    dps_registration_free(valid.registration);
    dps_message_free(valid.message);
    dps_doctor_free(valid.doctor);
    dps_options_free(valid.options);
    dps_assignment_free(valid.assignment);
    dps_identity_free(valid.identity);
    dps_chain_free(valid.chain);
    dps_authority_free(valid.authority);
    dps_key_free(valid.key);
    dps_error_free(valid.error);
    dps_string_free((char *)valid.own_pem.bytes);
    dps_string_free((char *)valid.request_pem.bytes);
    dps_bytes_free(valid.public_key.bytes);
    free(valid.chain_pem.bytes);
    free(valid.key_pem.bytes);
    free(valid.authority_pem.bytes);
    free(valid.roots_pem.bytes);
    free(valid.pfx.bytes);
    (void)printf("done\n");
    return 0;
}

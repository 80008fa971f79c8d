/* The C shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines. */
#include <poll.h>
#include <time.h>
#define main sample_main
#include "custom_hsm_sign.c" /* its sign() asks the openssl command */
#undef main
#include "hsm_client_data.h"
#define IS(name) (strcmp(flag, name) == 0)
#define OF(form) (strcmp(value, form) == 0)
#define TRY(call) do { if ((call) != DPS_OK) return report(error); } while (0)
static const char *set[64][2];
static int sets, calls;
static size_t length; /* of the last file that was read */
static const char *get(const char *name) { int i = sets; while (i-- > 0) if (strcmp(set[i][0], name) == 0) return set[i][1]; return NULL; }
static uint32_t number(const char *name) { const char *text = get(name); return text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10); }
static void line(const char *name, const char *value) { if (value != NULL) (void)printf("%s: %s\n", name, value); }
static void count(const char *name, uint32_t value) { if (value != 0) (void)printf("%s: %u\n", name, value); }
static char *whole(const char *path) {
    FILE *file = fopen(path, "rb"); char *text = (char *)calloc(1, 1 << 20);
    if (file == NULL || text == NULL) exit(1);
    length = fread(text, 1, (1 << 20) - 1, file); (void)fclose(file); return text; }
static int report(const dps_error *error) {
    (void)printf("error: %s\ncode: %u\nretryable: %s\n", dps_status_name(dps_error_status(error)), dps_error_status(error), dps_error_retryable(error) ? "true" : "false");
    line("operation", dps_error_operation(error)); line("text", dps_error_text(error)); line("hint", dps_error_hint(error));
    count("service-status", dps_error_service_status(error)); count("service-code", dps_error_service_code(error)); line("service-message", dps_error_service_message(error));
    line("tracking-id", dps_error_tracking_id(error)); count("retry-after", dps_error_retry_after_ms(error));
    return 0; }
static int32_t slow_sign(void *key, const dps_sign_request *request, dps_sign_answer *answer) {
    struct timespec pause = { number("--sign-delay") / 1000, (long)(number("--sign-delay") % 1000) * 1000000L };
    if ((uint32_t)++calls == number("--sign-fails-at")) return fail(answer, -1, "the token was pulled out");
    (void)nanosleep(&pause, NULL);
    return sign(key, request, answer); }
static void *create(void) { return malloc(1); }
static char *certificate(void *handle) { (void)handle; return whole(get("--chain")); }
static char *key(void *handle) { (void)handle; return whole(get("--key")); }
static char *name(void *handle) { (void)handle; return strcpy((char *)malloc(strlen(get("--id")) + 1), get("--id")); }
static const HSM_CLIENT_X509_INTERFACE table = { create, free, certificate, key, name };
static const HSM_CLIENT_X509_INTERFACE *x509(void) { return &table; }
static void progress(void *none, dps_registration_status status) { static const char *names[] = { "", "connected", "registering", "assigning", "assigned" }; (void)none; line("progress", names[status]); }
static void fate(void *failed, dps_status status, const dps_error *error) { if (status != DPS_OK && (*(int *)failed)++ == 0) (void)report(error); }
static int ended(uint32_t ms) { struct pollfd input = { 0, POLLIN, 0 }; char byte; return poll(&input, 1, ms < 10 ? (int)ms : 10) == 1 && read(0, &byte, 1) == 0; }
int main(int argc, char **argv) {
    dps_options *options = dps_options_new(); dps_identity *identity = NULL; dps_assignment *it = NULL; dps_hub *hub = NULL;
    dps_registration *registration = NULL; dps_message *message = NULL; dps_error *error = NULL; int cancels = 0, failed = 0, i, n;
    for (i = 1; i + 1 < argc; i += 2) {
        const char *flag = argv[i]; char *value = argv[i + 1]; uint32_t ms = (uint32_t)strtoul(value, NULL, 10), wait = 0;
        if (IS("--connect-to")) TRY(dps_options_set_connect_to(options, value, &error));
        else if (IS("--roots")) { char *pem = whole(value); TRY(dps_options_set_roots_pem(options, (uint8_t *)pem, length, &error)); }
        else if (IS("--host")) TRY(dps_options_set_host(options, value, &error));
        else if (IS("--registration-id")) TRY(dps_options_set_registration_id(options, value, &error));
        else if (IS("--payload")) TRY(dps_options_set_payload(options, value, &error));
        else if (IS("--deadline")) TRY(dps_options_set_deadline_ms(options, ms, &error));
        else if (IS("--api-version")) TRY(dps_options_set_api_version(options, value, &error));
        else if (IS("--keep-alive")) TRY(dps_options_set_keep_alive_ms(options, ms, &error));
        else if (IS("--token-lifetime")) TRY(dps_options_set_token_lifetime_ms(options, ms, &error));
        else if (IS("--cancel")) cancels = 1;
        else if (IS("--credential")) {
            const char *pass = get("--passphrase"), *id = get("--id"), *chain = get("--chain"), *secret = get("--key");
            if (OF("pem-files")) TRY(dps_identity_from_pem_files(chain, secret, pass, &identity, &error));
            else if (OF("pem")) { char *c = whole(chain), *k = whole(secret); TRY(dps_identity_from_pem((uint8_t *)c, strlen(c), (uint8_t *)k, strlen(k), pass, &identity, &error)); }
            else if (OF("pkcs12-file")) TRY(dps_identity_from_pkcs12_file(chain, pass, &identity, &error));
            else if (OF("pkcs12")) { char *pfx = whole(chain); TRY(dps_identity_from_pkcs12((uint8_t *)pfx, length, pass, &identity, &error)); }
            else if (OF("symmetric-key")) TRY(dps_identity_from_symmetric_key(id, secret, &identity, &error));
            else if (OF("group-key")) TRY(dps_identity_from_group_key(id, secret, &identity, &error));
            else if (OF("signer")) { dps_signer signer = { DPS_SIGNER_VERSION, NULL, whole(chain), NULL, 0, slow_sign, NULL }; memcpy(&signer.userdata, &secret, sizeof secret); TRY(dps_identity_from_signer(&signer, &identity, &error)); }
            else if (OF("hsm")) { dps_hsm_source hsm = { sizeof hsm, x509, NULL, NULL, NULL, NULL, NULL, NULL, free }; TRY(dps_identity_from_hsm_x509(&hsm, &identity, &error)); }
            else return 89; /* not implemented */
        } else if (IS("--register")) {
            if (!cancels) TRY(dps_register(value, identity, options, progress, NULL, &it, &error));
            else {
                TRY(dps_registration_start(value, identity, options, progress, NULL, &registration, &error));
                while (wait != DPS_NEVER && cancels) { TRY(dps_registration_do_work(registration, &wait, &error)); cancels = !ended(wait); }
                it = dps_registration_assignment(registration); dps_registration_free(registration);
                if (!cancels) { line("cancelled", "yes"); continue; }
            }
            line("hub", dps_assignment_hub(it)); line("device-id", dps_assignment_device_id(it)); line("registration-id", dps_assignment_registration_id(it)); line("created", dps_assignment_created(it));
            line("last-updated", dps_assignment_last_updated(it)); line("etag", dps_assignment_etag(it)); line("substatus", dps_assignment_substatus(it)); line("payload", dps_assignment_payload(it)); line("unknown", dps_assignment_unknown_fields(it));
        } else if (IS("--connect")) {
            char *slash = strchr(value, '/'); const char *host = slash ? value : dps_assignment_hub(it), *device = slash ? slash + 1 : dps_assignment_device_id(it);
            if (slash != NULL) *slash = '\0';
            if (!cancels) { TRY(dps_hub_connect(host, device, identity, options, &hub, &error)); continue; }
            TRY(dps_hub_start(host, device, identity, options, &hub, &error));
            while (cancels && dps_hub_get_state(hub) != DPS_HUB_CONNECTED) { TRY(dps_hub_do_work(hub, &wait, &error)); cancels = !ended(wait); }
            if (!cancels) { dps_hub_free(hub); line("cancelled", "yes"); }
        } else if (IS("--body")) TRY(dps_message_new((uint8_t *)value, strlen(value), &message, &error));
        else if (IS("--size")) TRY(dps_message_new((uint8_t *)memset(malloc(ms + 1), 'x', ms), ms, &message, &error));
        else if (IS("--system")) { dps_status (*const setters[])(dps_message *, const char *, dps_error **) = { dps_message_set_message_id, dps_message_set_correlation_id, dps_message_set_user_id, dps_message_set_content_type, dps_message_set_content_encoding };
            for (n = 0, value = strtok(value, ","); n < 5; n++, value = strtok(NULL, ",")) TRY(setters[n](message, value, &error)); }
        else if (IS("--value")) TRY(dps_message_set_property(message, get("--property"), value, &error));
        else if (IS("--send") && cancels) { TRY(dps_hub_submit(hub, message, NULL, NULL, &error)); while (!ended(10)) {} dps_hub_free(hub); line("cancelled", "yes"); }
        else if (IS("--send") && ms == 1) { TRY(dps_hub_send(hub, message, DPS_NO_DEADLINE, &error)); line("sent", value); }
        else if (IS("--send")) {
            for (n = 1; n <= (int)ms; n++) { char body[12]; TRY(dps_message_new((uint8_t *)body, (size_t)sprintf(body, "%d", n), &message, &error)); TRY(dps_hub_submit(hub, message, fate, &failed, &error)); }
            TRY(dps_hub_flush(hub, DPS_NO_DEADLINE, &error)); line("sent", failed == 0 ? value : NULL);
        } else if (IS("--close")) { TRY(dps_hub_close(hub, ms, &error)); line("closed", "yes"); }
        else if (IS("--catalogue")) for (n = 1; n < (int)dps_status_count(); n++) { dps_status s = dps_status_at((size_t)n); (void)printf("%u: %s %s %s\n", s, dps_status_name(s), dps_status_retryable(s) ? "true" : "false", dps_status_sentence(s)); }
        else { set[sets][0] = flag; set[sets++][1] = value; } }
    return 0; }

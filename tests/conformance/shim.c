/* The C shim: README.md says what a shim reads and prints. Dense, to stay below 100 lines. */
#include <poll.h>
#include "hardware.h" /* the keys of the cases, and the settings */
#define IS(name) (strcmp(flag, name) == 0)
#define OF(form) (strcmp(value, form) == 0)
#define CANCELS (was = cancels, cancels = 0, was) /* for one step */
#define TRY(call) do { if ((call) != DPS_OK) return report(error); } while (0)
static const struct { const char *flag; dps_status (*set)(dps_options *, const char *, dps_error **); } texts[] = {
    { "--connect-to", dps_options_set_connect_to }, { "--host", dps_options_set_host }, { "--registration-id", dps_options_set_registration_id },
    { "--payload", dps_options_set_payload }, { "--api-version", dps_options_set_api_version } };
static const struct { const char *flag; dps_status (*set)(dps_options *, uint32_t, dps_error **); } times[] = {
    { "--deadline", dps_options_set_deadline_ms }, { "--keep-alive", dps_options_set_keep_alive_ms },
    { "--token-lifetime", dps_options_set_token_lifetime_ms } };
static dps_status (*const properties[])(dps_message *, const char *, dps_error **) = { dps_message_set_message_id, dps_message_set_correlation_id,
    dps_message_set_user_id, dps_message_set_content_type, dps_message_set_content_encoding, dps_message_set_output_name };
static void line(const char *name, const char *value) { if (value != NULL) (void)printf("%s: %s\n", name, value); }
static void count(const char *name, uint32_t value) { if (value != 0) (void)printf("%s: %u\n", name, value); }
static int report(const dps_error *error) { const char *retryable = dps_error_retryable(error) ? "true" : "false";
    (void)printf("error: %s\ncode: %u\nretryable: %s\n", dps_status_name(dps_error_status(error)), dps_error_status(error), retryable);
    line("operation", dps_error_operation(error)); line("text", dps_error_text(error)); line("hint", dps_error_hint(error));
    count("service-status", dps_error_service_status(error)); count("service-code", dps_error_service_code(error));
    line("service-message", dps_error_service_message(error)); line("tracking-id", dps_error_tracking_id(error));
    count("retry-after", dps_error_retry_after_ms(error)); return 0; }
static void assigned(const dps_assignment *it) {
    line("hub", dps_assignment_hub(it)); line("device-id", dps_assignment_device_id(it)); line("registration-id", dps_assignment_registration_id(it));
    line("created", dps_assignment_created(it)); line("last-updated", dps_assignment_last_updated(it)); line("etag", dps_assignment_etag(it));
    line("substatus", dps_assignment_substatus(it)); line("payload", dps_assignment_payload(it)); line("unknown", dps_assignment_unknown_fields(it)); }
static dps_status credential(const char *value, dps_identity **identity, dps_error **error) {
    const char *pass = get("--passphrase"), *id = get("--id"), *chain = get("--chain"), *secret = get("--key");
    if (OF("pem-files")) return dps_identity_from_pem_files(chain, secret, pass, identity, error);
    if (OF("pem")) { char *c = whole(chain), *k = whole(secret);
        return dps_identity_from_pem((uint8_t *)c, strlen(c), (uint8_t *)k, strlen(k), pass, identity, error); }
    if (OF("pkcs12-file")) return dps_identity_from_pkcs12_file(chain, pass, identity, error);
    if (OF("pkcs12")) { char *pfx = whole(chain); return dps_identity_from_pkcs12((uint8_t *)pfx, length, pass, identity, error); }
    if (OF("symmetric-key")) return dps_identity_from_symmetric_key(id, secret, identity, error);
    if (OF("group-key")) return dps_identity_from_group_key(id, secret, identity, error);
    if (OF("hsm")) return dps_identity_from_hsm_x509(&hsm, identity, error);
    if (OF("hsm-key")) return dps_identity_from_hsm_symmetric_key(&hsm, NULL, NULL, identity, error);
    if (OF("signer")) return dps_identity_from_signer(signer(whole(chain)), identity, error);
    if (OF("token-signer")) return dps_identity_from_token_signer(id, signer(NULL), identity, error);
    exit(89); }
static void progress(void *none, dps_registration_status status) {
    static const char *names[] = { "", "connected", "registering", "assigning", "assigned" }; (void)none; line("progress", names[status]); }
static void fate(void *failed, dps_status status, const dps_error *error) { if (status != DPS_OK && (*(int *)failed)++ == 0) (void)report(error); }
static int ended(uint32_t ms) { struct pollfd input = { 0, POLLIN, 0 }; char byte;
    return poll(&input, 1, ms < 10 ? (int)ms : 10) == 1 && read(0, &byte, 1) == 0; }
/* Works until the hub is in this state; gives it up where the input ends before. */
static dps_status reach(dps_hub **hub, dps_hub_state state, dps_error **error) {
    dps_status status = DPS_OK; uint32_t wait = 0;
    while (status == DPS_OK && dps_hub_get_state(*hub) != state && !ended(wait)) status = dps_hub_do_work(*hub, &wait, error);
    if (status == DPS_OK && dps_hub_get_state(*hub) != state) { dps_hub_free(*hub); *hub = NULL; line("cancelled", "yes"); }
    return status; }
int main(int argc, char **argv) {
    static dps_options *options; static dps_identity *identity; static dps_assignment *it; static dps_hub *hub; /* held at the end */
    static dps_registration *registration; static dps_message *message; static dps_error *error; int cancels = 0, was, failed = 0, i, n;
    for (options = dps_options_new(), i = 1; i + 1 < argc; i += 2) {
        const char *flag = argv[i], *path; char *value = argv[i + 1];
        uint32_t ms = (uint32_t)strtoul(value, NULL, 10), wait = 0; int known = is_setting(flag, value);
        for (n = 0; n < 5; n++) if (IS(texts[n].flag)) { known = 1; TRY(texts[n].set(options, value, &error)); }
        for (n = 0; n < 3; n++) if (IS(times[n].flag)) { known = 1; TRY(times[n].set(options, ms, &error)); }
        if (known) {}
        else if (IS("--roots")) { char *pem = whole(value); TRY(dps_options_set_roots_pem(options, (uint8_t *)pem, length, &error)); }
        else if (IS("--cancel")) cancels = 1;
        else if (IS("--credential")) { TRY(credential(value, &identity, &error)); path = get("--authorities");
            if (path != NULL) { value = whole(path); TRY(dps_identity_check_reaches(identity, (uint8_t *)value, length, &error)); }
        } else if (IS("--register")) { dps_assignment_free(it); it = NULL;
            if (!CANCELS) { TRY(dps_register(value, identity, options, progress, NULL, &it, &error)); assigned(it); continue; }
            TRY(dps_registration_start(value, identity, options, progress, NULL, &registration, &error));
            do TRY(dps_registration_do_work(registration, &wait, &error)); while (wait != DPS_NEVER && !ended(wait));
            it = dps_registration_assignment(registration); dps_registration_free(registration);
            if (it == NULL) line("cancelled", "yes"); else assigned(it);
        } else if (IS("--connect")) { dps_hub_free(hub); hub = NULL;
            char *slash = strchr(value, '/'), *device = slash ? slash + 1 : (char *)dps_assignment_device_id(it);
            const char *host = slash ? value : dps_assignment_hub(it); if (slash != NULL) *slash = '\0';
            TRY((CANCELS ? dps_hub_start : dps_hub_connect)(host, device, identity, options, &hub, &error)); if (was) TRY(reach(&hub, DPS_HUB_CONNECTED, &error));
        } else if (IS("--connection-string")) { dps_hub_free(hub); hub = NULL;
            const dps_identity *its = strstr(value, "x509=true") == NULL ? NULL : identity;
            TRY((CANCELS ? dps_hub_start_by_connection_string : dps_hub_connect_by_connection_string)(value, its, options, &hub, &error));
            if (was) TRY(reach(&hub, DPS_HUB_CONNECTED, &error));
        } else if (IS("--body") || IS("--size")) { dps_message_free(message); message = NULL;
            n = IS("--size") ? (int)ms : (int)strlen(value); if (IS("--size")) value = memset(kept(ms), 'x', ms);
            TRY(dps_message_new((uint8_t *)value, (size_t)n, &message, &error));
        } else if (IS("--system")) {
            for (n = 0, value = strtok(value, ","); n < 6; n++, value = strtok(NULL, ",")) TRY(properties[n](message, value, &error));
            TRY(dps_message_set_expiry_time(message, atol(value), &error)); TRY(dps_message_set_security_message(message, &error)); }
        else if (IS("--value")) TRY(dps_message_set_property(message, get("--property"), value, &error));
        else if (IS("--submit")) TRY(dps_hub_submit(hub, message, NULL, NULL, &error));
        else if (IS("--send") && CANCELS) { TRY(dps_hub_submit(hub, message, fate, &failed, &error)); TRY(reach(&hub, DPS_HUB_CLOSED, &error)); }
        else if (IS("--send") && ms == 1) { TRY(dps_hub_send(hub, message, DPS_NO_DEADLINE, &error)); line("sent", value); }
        else if (IS("--send")) {
            for (n = 1; n <= (int)ms; n++) { char body[12]; size_t digits = (size_t)sprintf(body, "%d", n); dps_message_free(message); message = NULL;
                TRY(dps_message_new((uint8_t *)body, digits, &message, &error)); TRY(dps_hub_submit(hub, message, fate, &failed, &error)); }
            TRY(dps_hub_flush(hub, DPS_NO_DEADLINE, &error)); line("sent", failed == 0 ? value : NULL);
        } else if (IS("--close")) {
            if (CANCELS) { TRY(dps_hub_start_close(hub, ms, &error)); TRY(reach(&hub, DPS_HUB_CLOSED, &error)); }
            if (hub != NULL) { TRY(dps_hub_close(hub, ms, &error)); line("closed", "yes"); } }
        else if (IS("--catalogue")) for (n = 1; n < (int)dps_status_count(); n++) {
            dps_status s = dps_status_at((size_t)n); const char *retryable = dps_status_retryable(s) ? "true" : "false";
            (void)printf("%u: %s %s %s\n", s, dps_status_name(s), retryable, dps_status_sentence(s)); }
        else return 89; /* not implemented */ } return 0; }

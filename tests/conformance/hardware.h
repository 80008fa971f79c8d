/*
 * What cases bring along in place of hardware: a signer and HSMs, slow where --delay says so, and
 * pulled out where --sign-fails-at or --hsm-fails does; and the settings that say so.
 */
#ifndef HARDWARE_H
#define HARDWARE_H

#include <time.h>

#define main sample_main
#include "custom_hsm_sign.c" /* its sign() asks the openssl command */
#undef main
#include "../bindings_c/programs/hmac.h"
#include "hsm_client_data.h"

/* The settings that were given: a flag and its value; the last one counts. */
static const char *given[64][2];
static int given_count;

static const char *get(const char *name)
{
    int i = given_count;
    while (i-- > 0) if (strcmp(given[i][0], name) == 0) return given[i][1];
    return NULL;
}

/* Whether the flag is one of theirs; its value is kept then. */
static int is_setting(const char *flag, const char *value)
{
    static const char *const settings[] = { "--id", "--chain", "--key", "--passphrase", "--authorities", "--delay",
        "--sign-fails-at", "--hsm-fails", "--property" };
    size_t n;
    for (n = 0; n < sizeof settings / sizeof *settings; n++) if (strcmp(settings[n], flag) == 0)
    {
        given[given_count][0] = flag;
        given[given_count++][1] = value;
        return 1;
    }
    return 0;
}

static uint32_t number(const char *name)
{
    const char *text = get(name);
    return text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
}

/* Memory that is held until the end, unless an HSM gives it away. */
static char *kept(size_t size)
{
    static char *blocks[64];
    static int count;
    if (count == 64 || (blocks[count] = (char *)calloc(1, size + 1)) == NULL) exit(1);
    return blocks[count++];
}

static size_t length; /* of the file that was read last */

static char *whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = kept(1 << 20);
    if (file == NULL) exit(1);
    length = fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    return text;
}

static void pause_a_while(void)
{
    struct timespec pause = { number("--delay") / 1000, (long)(number("--delay") % 1000) * 1000000L };
    (void)nanosleep(&pause, NULL);
}

static int32_t slow_sign(void *key, const dps_sign_request *request, dps_sign_answer *answer)
{
    static uint32_t calls;
    if (++calls == number("--sign-fails-at")) return fail(answer, -1, "the token was pulled out");
    pause_a_while();
    return request->algorithm == DPS_SIGN_HMAC_SHA256 ? hmac(key, request, answer) : sign(key, request, answer);
}

/* One that signs with the key of --key. */
static const dps_signer *signer(const char *certificate_chain)
{
    static dps_signer signer;
    signer.version = DPS_SIGNER_VERSION;
    signer.userdata = (void *)(size_t)get("--key");
    signer.certificate_chain = certificate_chain;
    signer.sign = slow_sign;
    return &signer;
}

/* Whether the HSM is there to be asked for this. */
static int hands_over(const char *what)
{
    const char *fails = get("--hsm-fails");
    pause_a_while();
    return fails == NULL || strcmp(fails, what) != 0;
}

static char *copy_of(const char *flag)
{
    return strcpy((char *)malloc(strlen(get(flag)) + 1), get(flag));
}

static void *create(void) { return malloc(1); }
static char *certificate(void *handle) { (void)handle; return hands_over("certificate") ? whole(get("--chain")) : NULL; }
static char *pem_key(void *handle) { (void)handle; return hands_over("key") ? whole(get("--key")) : NULL; }
static char *symmetric_key(void *handle) { (void)handle; return hands_over("key") ? copy_of("--key") : NULL; }
static char *name(void *handle) { (void)handle; return hands_over("name") ? copy_of("--id") : NULL; }

static const HSM_CLIENT_X509_INTERFACE x509_table = { create, free, certificate, pem_key, name };
static const HSM_CLIENT_KEY_INTERFACE key_table = { create, free, symmetric_key, name, NULL };
static const HSM_CLIENT_X509_INTERFACE *x509(void) { return &x509_table; }
static const HSM_CLIENT_KEY_INTERFACE *keyed(void) { return &key_table; }
static const dps_hsm_source hsm = { sizeof hsm, x509, NULL, keyed, NULL, NULL, NULL, NULL, free };

#endif

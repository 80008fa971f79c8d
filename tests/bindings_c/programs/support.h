/* What the test programs share: a check that names its line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dps_core.h"

#define CHECK(condition)                                                                        \
    do                                                                                          \
    {                                                                                           \
        if (!(condition))                                                                       \
        {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);               \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

/* Fails with the error's own words unless the call went well. */
#define OK(call)                                                                                \
    do                                                                                          \
    {                                                                                           \
        dps_error *ok_error = NULL;                                                             \
        dps_error **error = &ok_error;                                                          \
        if ((call) != DPS_OK)                                                                   \
        {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                 \
                          dps_error_text(ok_error));                                            \
            exit(1);                                                                            \
        }                                                                                       \
    } while (0)

/* Fails unless the call gives this status and an error that says so too. */
#define FAILS(wanted, words, call)                                                              \
    do                                                                                          \
    {                                                                                           \
        dps_error *failed_error = NULL;                                                         \
        dps_error **error = &failed_error;                                                      \
        dps_status failed_status = (call);                                                      \
        if (failed_status != (wanted) || dps_error_status(failed_error) != (wanted)             \
            || strstr(dps_error_text(failed_error), (words)) == NULL)                           \
        {                                                                                       \
            (void)fprintf(stderr, "%s:%d: %s gave %s: %s\n", __FILE__, __LINE__, #call,         \
                          dps_status_name(failed_status),                                       \
                          failed_error == NULL ? "" : dps_error_text(failed_error));            \
            exit(1);                                                                            \
        }                                                                                       \
        dps_error_free(failed_error);                                                           \
    } while (0)

static inline const char *variable(const char *name)
{
    const char *value = getenv(name);
    CHECK(value != NULL);
    return value;
}

/* The content of a file, with a NUL behind it. */
static inline char *read_bytes(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    CHECK(file != NULL);
    bytes = (char *)calloc(1, 1 << 20);
    CHECK(bytes != NULL);
    *length = fread(bytes, 1, (1 << 20) - 1, file);
    CHECK(*length > 0);
    (void)fclose(file);
    return bytes;
}

static inline char *read_whole(const char *path)
{
    size_t length = 0;
    return read_bytes(path, &length);
}

static inline int threads_of_this_process(void)
{
    char line[256];
    int threads = 0;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
    {
        (void)sscanf(line, "Threads: %d", &threads);
    }
    (void)fclose(status);
    return threads;
}

/* The device of the test, from PEM files. */
static inline dps_identity *pem_identity(void)
{
    dps_identity *identity = NULL;
    OK(dps_identity_from_pem_files(variable("CHAIN"), variable("KEY"), NULL, &identity, error));
    return identity;
}

static inline dps_message *text_message(const char *text)
{
    dps_message *message = NULL;
    OK(dps_message_new((const uint8_t *)text, strlen(text), &message, error));
    return message;
}

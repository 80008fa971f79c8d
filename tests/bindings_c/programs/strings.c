/* A string that its owner has cut, and bytes with a NUL in front, are wiped to their end before
   their memory is given back. */
#include "support.h"

/* The sanitizer's own (sanitizer/allocator_interface.h, which some compilers leave out). */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *memory);

static char secret[33];
static int watching;
static int seen;

static void ignore(const volatile void *memory, size_t size)
{
    (void)memory;
    (void)size;
}

static void look(const volatile void *memory)
{
    const char *bytes = (const char *)(size_t)memory;
    size_t length, place, wanted = sizeof secret - 1;
    if (!watching || memory == NULL)
    {
        return;
    }
    length = __sanitizer_get_allocated_size(memory);
    for (place = 0; place + wanted <= length; place++)
    {
        seen += memcmp(bytes + place, secret, wanted) == 0;
    }
}

int main(void)
{
    dps_key *key = NULL;
    char *pem = NULL;
    char *copy;
    uint8_t *der = NULL;
    size_t length = 0;

    CHECK(__sanitizer_install_malloc_and_free_hooks(ignore, look) != 0);
    OK(dps_key_generate(DPS_KEY_EC_P256, &key, error));
    OK(dps_key_to_pem(key, NULL, &pem, error));
    (void)memcpy(secret, pem + 60, sizeof secret - 1);

    /* The watch sees what is not wiped. */
    copy = (char *)malloc(strlen(pem) + 1);
    CHECK(copy != NULL);
    (void)memcpy(copy, pem, strlen(pem) + 1);
    watching = 1;
    free(copy);
    CHECK(seen == 1);

    seen = 0;
    pem[0] = '\0';
    dps_string_free(pem);
    watching = 0;
    CHECK(seen == 0);

    OK(dps_key_to_der(key, &der, &length, error));
    CHECK(length > 36 + sizeof secret);
    (void)memcpy(secret, der + 36, sizeof secret - 1);
    der[0] = 0;
    watching = 1;
    dps_bytes_free(der);
    watching = 0;
    CHECK(seen == 0);
    dps_key_free(key);
    (void)printf("done\n");
    return 0;
}

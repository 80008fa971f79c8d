/* The sample's sign hook, whose command is gone before it is written to. */
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static ssize_t late_write(int file, const void *bytes, size_t length);

#define main sample_main
#define write late_write
#include "custom_hsm_sign.c"
#undef write
#undef main

static int at_first;

/* How many files a command of this process finds open. */
static int inherited(void)
{
    int count = 0;
    FILE *command = popen("set -- /proc/self/fd/*; echo $#", "r");
    CHECK(command != NULL && fscanf(command, "%d", &count) == 1);
    CHECK(pclose(command) == 0 && count > 0);
    return count;
}

static ssize_t late_write(int file, const void *bytes, size_t length)
{
    siginfo_t ended;
    /* Another signer's command, started now, holds no end of these pipes. */
    CHECK(inherited() == at_first);
    CHECK(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT) == 0);
    return write(file, bytes, length);
}

int main(void)
{
    char *arguments[] = { "custom_hsm_sign", (char *)(size_t)variable("ID_SCOPE"),
                          (char *)(size_t)variable("CHAIN"), (char *)(size_t)variable("KEY"), NULL };
    at_first = inherited();
    /* There is no openssl command there. */
    CHECK(setenv("PATH", variable("CHAIN"), 1) == 0);
    CHECK(sample_main(4, arguments) == EXIT_FAILURE);
    return 0;
}

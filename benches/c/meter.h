/*
 * What a process has used, in the units of benches/meter.rs: microseconds and KiB.
 */
#ifndef METER_H
#define METER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "dps_core.h"

static inline void check(dps_status status, dps_error *error)
{
    if (status != DPS_OK)
    {
        (void)fprintf(stderr, "%s\n", dps_error_text(error));
        exit(1);
    }
}

static inline double meter_cpu(void)
{
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static inline double meter_wall(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* A number out of the kernel's account of this process (proc_pid_status(5)). */
static inline long meter_status(const char *name)
{
    char line[256];
    long value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
    {
        if (strncmp(line, name, strlen(name)) == 0)
        {
            value = strtol(line + strlen(name), NULL, 10);
        }
    }
    if (file != NULL)
    {
        (void)fclose(file);
    }
    return value;
}

#endif

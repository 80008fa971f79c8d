/* Prints every status, as the core's table is compared with it. */
#include "support.h"

int main(void)
{
    size_t index;
    for (index = 0; index < dps_status_count(); index++)
    {
        dps_status status = dps_status_at(index);
        (void)printf("%u %s %d %s\n", (unsigned)status, dps_status_name(status),
                     dps_status_retryable(status), dps_status_sentence(status));
    }
    CHECK(dps_status_name(100000) == NULL && dps_status_sentence(1) == NULL);
    CHECK(dps_status_at(dps_status_count()) == DPS_OK);
    CHECK(strcmp(dps_version(), DPS_VERSION) == 0);
    return 0;
}

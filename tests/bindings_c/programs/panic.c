/* A panic inside a call comes back as a status. */
#include "support.h"

dps_status dps_test_panic(dps_error **error);

int main(void)
{
    FAILS(DPS_INTERNAL, "forced by dps_test_panic", dps_test_panic(error));
    CHECK(dps_test_panic(NULL) == DPS_INTERNAL);
    (void)printf("done\n");
    return 0;
}

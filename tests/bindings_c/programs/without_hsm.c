/* Includes what plugs a linked HSM in, and is linked with none. */
#include "support.h"
#include "dps_hsm_link.h"

int main(void)
{
    (void)printf("%s\n", dps_status_name(DPS_SIGNER));
    return 0;
}

/* Opens the HSM that it is linked with. */
#include "support.h"
#include "dps_hsm_link.h"

int main(void)
{
    dps_identity *identity = NULL;
    OK(dps_identity_from_linked_hsm_x509(&identity, error));
    (void)printf("%s\n", dps_identity_registration_id(identity));
    dps_identity_free(identity);
    return 0;
}

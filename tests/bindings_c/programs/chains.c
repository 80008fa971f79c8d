/* Chains: CAs with path lengths, requests, re-issued leaves, PKCS#12, DER, constants, batches. The
   files that it leaves in argv[1] are the test's to check. */
#include <sys/stat.h>

/* The sample's own hook signs, by the openssl command. */
#define main sample_main
#include "custom_hsm_sign.c"
#undef main
#include "support.h"

static const char *folder;

static const char *in_folder(const char *name)
{
    static char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void save(const char *name, const void *bytes, size_t length)
{
    FILE *file = fopen(in_folder(name), "wb");
    CHECK(file != NULL && fwrite(bytes, 1, length, file) == length);
    CHECK(fclose(file) == 0);
}

static void save_text(const char *name, char *text)
{
    save(name, text, strlen(text));
    dps_string_free(text);
}

static void save_bytes(const char *name, uint8_t *bytes, size_t length)
{
    save(name, bytes, length);
    dps_bytes_free(bytes);
}

static dps_key *new_key(dps_key_type type)
{
    dps_key *key = NULL;
    OK(dps_key_generate(type, &key, error));
    return key;
}

static char *joined(const char *leaf_and_issuer, const dps_authority *root)
{
    char *above = NULL, *whole;
    OK(dps_authority_certificate(root, &above, error));
    whole = (char *)calloc(1, strlen(leaf_and_issuer) + strlen(above) + 1);
    CHECK(whole != NULL);
    (void)strcat(strcpy(whole, leaf_and_issuer), above);
    dps_string_free(above);
    return whole;
}

/* They belong together, and the device is this one. */
static void identifies(const char *chain, const dps_key *key, const char *id)
{
    char *pem = NULL;
    dps_identity *identity = NULL;
    OK(dps_key_to_pem(key, NULL, &pem, error));
    OK(dps_identity_from_pem((const uint8_t *)chain, strlen(chain), (const uint8_t *)pem, strlen(pem),
                             NULL, &identity, error));
    CHECK(strcmp(dps_identity_registration_id(identity), id) == 0);
    dps_identity_free(identity);
    dps_string_free(pem);
}

/* The Windows store's file of a CA, and the certificate that proves possession of its key. */
static void possessed(const dps_authority *authority, const dps_key *key, const char *pfx,
                      const char *proof)
{
    dps_key *fresh = new_key(DPS_KEY_EC_P256);
    dps_chain *chain = NULL;
    uint8_t *bytes = NULL;
    size_t length = 0;
    char *pem = NULL, *none = NULL;
    OK(dps_authority_certificate(authority, &pem, error));
    OK(dps_chain_from_pem((const uint8_t *)pem, strlen(pem), &chain, error));
    dps_string_free(pem);
    OK(dps_chain_to_pkcs12(chain, key, "1234", &bytes, &length, error));
    save_bytes(pfx, bytes, length);
    dps_chain_free(chain);

    OK(dps_authority_issue_verification(authority, "106A5SD242AF512B3498BD", fresh, 1, &pem, error));
    save_text(proof, pem);
    FAILS(DPS_INVALID_ARGUMENT, "verification code",
          dps_authority_issue_verification(authority, "", fresh, 1, &none, error));
    CHECK(none == NULL);
    dps_key_free(fresh);
}

static dps_authority *root_and_intermediate(dps_authority **root)
{
    dps_key *root_key = new_key(DPS_KEY_EC_P384), *key = new_key(DPS_KEY_EC_P256);
    dps_authority *intermediate = NULL, *none = NULL, *limited = NULL;
    char *pem = NULL;
    OK(dps_authority_create_root_with_path_length("Root", root_key, 30, 1, root, error));
    OK(dps_authority_create_intermediate_with_path_length(*root, "Line 1", key, 30, 0, &intermediate, error));
    FAILS(DPS_INVALID_ARGUMENT, "pathlen:0",
          dps_authority_create_intermediate_with_path_length(*root, "Line 2", key, 30, 1, &none, error));
    FAILS(DPS_INVALID_ARGUMENT, "pathlen:0",
          dps_authority_create_intermediate(intermediate, "Line 3", key, 30, &none, error));
    FAILS(DPS_INVALID_ARGUMENT, "0 days",
          dps_authority_create_root_with_path_length("Root", root_key, 0, 1, &none, error));
    FAILS(DPS_INVALID_ARGUMENT, "256",
          dps_authority_create_root_with_path_length("Root", root_key, 30, 256, &none, error));
    CHECK(none == NULL);
    /* What the root leaves is passed on by itself. */
    OK(dps_authority_create_intermediate(*root, "Line 4", key, 30, &limited, error));
    OK(dps_authority_certificate(limited, &pem, error));
    save_text("limited.pem", pem);
    dps_authority_free(limited);
    OK(dps_authority_certificate(*root, &pem, error));
    save_text("certs/root.cert.pem", pem);
    OK(dps_authority_certificate(intermediate, &pem, error));
    save_text("intermediate.pem", pem);
    possessed(*root, root_key, "root.pfx", "root.proof.pem");
    possessed(intermediate, key, "intermediate.pfx", "intermediate.proof.pem");
    dps_key_free(root_key);
    dps_key_free(key);
    return intermediate;
}

static void requests(const dps_authority *issuer)
{
    dps_key *key = new_key(DPS_KEY_EC_P384);
    char *request = NULL, *chain = NULL, *ignored = NULL, *foreign;
    size_t length = 0;
    OK(dps_key_certificate_request(key, "requested-01", &request, error));
    OK(dps_authority_issue_requested(issuer, (const uint8_t *)request, strlen(request), 30, &chain,
                                     &ignored, error));
    CHECK(strcmp(ignored, "[]") == 0);
    identifies(chain, key, "requested-01");
    dps_string_free(ignored);
    save_text("requested-01.csr.pem", request);
    save_text("requested-01.pem", chain);

    /* One of the openssl command, which asks for more than it gets. */
    foreign = read_bytes(in_folder("foreign.csr.pem"), &length);
    OK(dps_authority_issue_requested(issuer, (const uint8_t *)foreign, length, 30, &chain, &ignored, error));
    CHECK(strcmp(ignored, "[\"subject organizationName=Contoso \\\"North\\\"\",\"extension subjectAltName\"]") == 0);
    dps_string_free(ignored);
    save_text("foreign.pem", chain);
    OK(dps_authority_issue_requested(issuer, (const uint8_t *)foreign, length, 30, &chain, NULL, error));
    dps_string_free(chain);

    chain = ignored = request = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "40000 days",
          dps_authority_issue_requested(issuer, (const uint8_t *)foreign, length, 40000, &chain, &ignored, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "empty",
          dps_authority_issue_requested(issuer, NULL, 0, 30, &chain, &ignored, error));
    FAILS(DPS_INVALID_ARGUMENT, "common name", dps_key_certificate_request(key, "", &request, error));
    FAILS(DPS_INVALID_ARGUMENT, "key is NULL", dps_key_certificate_request(NULL, "x", &request, error));
    FAILS(DPS_INVALID_ARGUMENT, "pem is NULL", dps_key_certificate_request(key, "x", NULL, error));
    CHECK(chain == NULL && ignored == NULL && request == NULL);
    free(foreign);
    dps_key_free(key);
}

static int drops;

static void dropped(void *userdata)
{
    CHECK(userdata != NULL);
    drops += 1;
}

static int32_t out_of_order(void *userdata, const dps_sign_request *request, dps_sign_answer *answer)
{
    (void)userdata;
    (void)request;
    return fail(answer, -4711, "the token was pulled out");
}

static void request_of_a_signer(const dps_authority *issuer)
{
    static const dps_signature_algorithm p256[] = { DPS_SIGN_ECDSA_P256_SHA256 };
    static const dps_signature_algorithm pss[] = { DPS_SIGN_RSA_PSS_SHA256 };
    const char *path = variable("KEY");
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, p256, 1, sign, dropped };
    dps_key *key = NULL, *other = new_key(DPS_KEY_EC_P256);
    char *pem = read_whole(path), *request = NULL, *chain = NULL;
    uint8_t *public_key = NULL;
    size_t length = 0;
    OK(dps_key_from_pem((const uint8_t *)pem, strlen(pem), NULL, &key, error));
    OK(dps_key_public_key(key, &public_key, &length, error));
    signer.userdata = (void *)(size_t)path;

    OK(dps_signer_certificate_request(&signer, public_key, length, "signed-01", &request, error));
    CHECK(drops == 1);
    OK(dps_authority_issue_requested(issuer, (const uint8_t *)request, strlen(request), 30, &chain, NULL, error));
    identifies(chain, key, "signed-01");
    save_text("signed-01.csr.pem", request);
    dps_string_free(chain);

    request = chain = NULL;
    signer.sign = out_of_order;
    FAILS(DPS_SIGNER, "pulled out",
          dps_signer_certificate_request(&signer, public_key, length, "x", &request, error));
    CHECK(drops == 2);
    signer.algorithms = pss;
    FAILS(DPS_KEY_UNSUPPORTED, "PKCS#1",
          dps_signer_certificate_request(&signer, public_key, length, "x", &request, error));
    CHECK(drops == 3);
    signer.algorithms_len = 0;
    FAILS(DPS_INVALID_ARGUMENT, "algorithms",
          dps_signer_certificate_request(&signer, public_key, length, "x", &request, error));
    CHECK(drops == 4);
    signer.algorithms = p256;
    signer.algorithms_len = 1;
    FAILS(DPS_INVALID_ARGUMENT, "public_key is NULL",
          dps_signer_certificate_request(&signer, NULL, 5, "x", &request, error));
    FAILS(DPS_KEY_UNSUPPORTED, "",
          dps_signer_certificate_request(&signer, public_key, length / 2, "x", &request, error));
    CHECK(drops == 6);
    signer.sign = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "sign is NULL",
          dps_signer_certificate_request(&signer, public_key, length, "x", &request, error));
    FAILS(DPS_INVALID_ARGUMENT, "signer is NULL",
          dps_signer_certificate_request(NULL, public_key, length, "x", &request, error));
    CHECK(drops == 6 && request == NULL);

    /* The public part of another key. */
    dps_bytes_free(public_key);
    OK(dps_key_public_key(other, &public_key, &length, error));
    signer.sign = sign;
    FAILS(DPS_KEY_MISMATCH, "public key",
          dps_signer_certificate_request(&signer, public_key, length, "x", &request, error));
    CHECK(request == NULL);
    dps_bytes_free(public_key);
    dps_key_free(other);
    dps_key_free(key);
    free(pem);
}

/* The device's chain, with its key. */
static char *reissued(const dps_authority *issuer, const dps_authority *root, dps_key *key)
{
    dps_key *second = new_key(DPS_KEY_RSA_2048);
    char *first = NULL, *same = NULL, *renewed = NULL, *whole, *none = NULL, *ca = NULL;
    OK(dps_authority_issue_device(issuer, "renewed-01", key, 1, &first, error));
    OK(dps_authority_reissue_device(issuer, (const uint8_t *)first, strlen(first), NULL, 30, &same, error));
    CHECK(strcmp(first, same) != 0);
    identifies(same, key, "renewed-01");
    OK(dps_authority_reissue_device(issuer, (const uint8_t *)same, strlen(same), second, 30, &renewed, error));
    identifies(renewed, second, "renewed-01");

    OK(dps_authority_certificate(issuer, &ca, error));
    FAILS(DPS_INVALID_ARGUMENT, "CA certificate",
          dps_authority_reissue_device(issuer, (const uint8_t *)ca, strlen(ca), NULL, 30, &none, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_authority_reissue_device(issuer, NULL, 0, NULL, 30, &none, error));
    FAILS(DPS_INVALID_ARGUMENT, "authority is NULL",
          dps_authority_reissue_device(NULL, (const uint8_t *)same, strlen(same), NULL, 30, &none, error));
    CHECK(none == NULL);
    whole = joined(same, root);
    save_text("renewed-01.pem", same);
    save_text("renewed-02.pem", renewed);
    dps_string_free(ca);
    dps_string_free(first);
    dps_key_free(second);
    return whole;
}

static void forms(const char *pem, const dps_key *key)
{
    dps_chain *chain = NULL, *read = NULL;
    dps_key *read_key = NULL, *other = new_key(DPS_KEY_EC_P256);
    uint8_t *bytes = NULL;
    size_t length = 0;
    char *text = NULL, *foreign;
    OK(dps_chain_from_pem((const uint8_t *)pem, strlen(pem), &chain, error));
    OK(dps_chain_to_pkcs12(chain, key, "Pass-Phrase 1", &bytes, &length, error));
    OK(dps_chain_from_pkcs12(bytes, length, "Pass-Phrase 1", &read, &read_key, error));
    OK(dps_chain_to_pem(read, &text, error));
    CHECK(strcmp(text, pem) == 0);
    identifies(text, read_key, "renewed-01");
    dps_string_free(text);
    dps_chain_free(read);
    dps_key_free(read_key);
    read = NULL;
    read_key = NULL;
    OK(dps_chain_from_pkcs12(bytes, length, "Pass-Phrase 1", &read, NULL, error));
    CHECK(dps_chain_length(read) == 3);
    dps_chain_free(read);

    read = NULL;
    FAILS(DPS_PASSPHRASE_REQUIRED, "", dps_chain_from_pkcs12(bytes, length, NULL, &read, &read_key, error));
    FAILS(DPS_PASSPHRASE_WRONG, "", dps_chain_from_pkcs12(bytes, length, "no", &read, &read_key, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_chain_from_pkcs12(bytes, length / 2, "no", &read, &read_key, error));
    FAILS(DPS_INVALID_ARGUMENT, "chain is NULL", dps_chain_from_pkcs12(bytes, length, "x", NULL, &read_key, error));
    CHECK(read == NULL && read_key == NULL);
    save_bytes("renewed-01.pfx", bytes, length);
    bytes = NULL;
    length = 7;
    FAILS(DPS_KEY_MISMATCH, "renewed-01", dps_chain_to_pkcs12(chain, other, "x", &bytes, &length, error));
    FAILS(DPS_INVALID_ARGUMENT, "passphrase is NULL",
          dps_chain_to_pkcs12(chain, key, NULL, &bytes, &length, error));
    FAILS(DPS_INVALID_ARGUMENT, "bytes_len is NULL",
          dps_chain_to_pkcs12(chain, key, "x", &bytes, NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "index 3", dps_chain_to_der(chain, 3, &bytes, &length, error));
    FAILS(DPS_INVALID_ARGUMENT, "key is NULL", dps_key_to_der(NULL, &bytes, &length, error));
    CHECK(bytes == NULL && length == 7);

    /* One of the openssl command. */
    foreign = read_bytes(in_folder("foreign.pfx"), &length);
    OK(dps_chain_from_pkcs12((const uint8_t *)foreign, length, "1234", &read, &read_key, error));
    OK(dps_chain_to_pem(read, &text, error));
    identifies(text, read_key, "device-01");
    dps_string_free(text);
    dps_chain_free(read);
    dps_key_free(read_key);
    free(foreign);

    OK(dps_chain_to_der(chain, 0, &bytes, &length, error));
    save_bytes("renewed-01.der", bytes, length);
    OK(dps_key_to_der(key, &bytes, &length, error));
    /* What C writes into it does not matter to the free. */
    save("renewed-01.key.der", bytes, length);
    bytes[0] = 0;
    dps_bytes_free(bytes);
    OK(dps_key_public_key(key, &bytes, &length, error));
    save_bytes("renewed-01.pub.der", bytes, length);
    dps_bytes_free(NULL);
    dps_key_free(other);
    dps_chain_free(chain);
}

static void constants(const char *pem)
{
    char *text = NULL;
    OK(dps_pem_to_c_string((const uint8_t *)pem, strlen(pem), &text, error));
    save_text("constant.c.txt", text);
    OK(dps_pem_to_java_string((const uint8_t *)pem, strlen(pem), &text, error));
    save_text("constant.java.txt", text);
    save("constant.pem", pem, strlen(pem));
    text = NULL;
    FAILS(DPS_WRONG_FILE_CONTENT, "PEM", dps_pem_to_c_string((const uint8_t *)"x", 1, &text, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_pem_to_java_string(NULL, 0, &text, error));
    FAILS(DPS_INVALID_ARGUMENT, "pem is NULL", dps_pem_to_java_string(NULL, 9, &text, error));
    CHECK(text == NULL);
}

struct batch
{
    uint64_t stop_after, calls, made, present, total;
    char last[130];
};

static bool step(void *userdata, const char *registration_id, dps_batch_outcome outcome, uint64_t done,
                 uint64_t total)
{
    struct batch *batch = (struct batch *)userdata;
    batch->calls += 1;
    batch->made += outcome == DPS_BATCH_MADE;
    batch->present += outcome == DPS_BATCH_PRESENT;
    batch->total = total;
    (void)snprintf(batch->last, sizeof batch->last, "%s", registration_id);
    CHECK(done == batch->calls);
    return done != batch->stop_after;
}

static bool saw(const struct batch *batch, uint64_t made, uint64_t present, const char *last)
{
    return batch->made == made && batch->present == present && strcmp(batch->last, last) == 0;
}

static void batches(const dps_authority *issuer)
{
    static const char bad[] = "c-01\nc 02\n", devices[] = "line,registrationId\n1,c-01\n2,c-02\n";
    const dps_key_type p256 = DPS_KEY_EC_P256;
    struct batch stopped = { 2, 0, 0, 0, 0, "" }, resumed = { 0, 0, 0, 0, 0, "" }, csv = resumed;
    char *before, *after, csv_path[4096], path[4096];

    FAILS(DPS_CANCELLED, "2 of 5",
          dps_batch_make_range(issuer, "d-08..d-12", folder, p256, 30, false, step, &stopped, error));
    CHECK(saw(&stopped, 2, 0, "d-09") && stopped.total == 5);
    (void)strcpy(path, in_folder("certs/d-09-full-chain.cert.pem"));
    before = read_whole(path);
    OK(dps_batch_make_range(issuer, "d-08..d-12", folder, p256, 30, false, step, &resumed, error));
    CHECK(saw(&resumed, 3, 2, "d-12"));
    after = read_whole(path);
    CHECK(strcmp(before, after) == 0);
    free(after);
    OK(dps_batch_make_range(issuer, "d-09..d-09", folder, p256, 30, true, NULL, NULL, error));
    after = read_whole(path);
    CHECK(strcmp(before, after) != 0);
    free(after);
    free(before);

    /* A bad row is found before anything is made. */
    (void)strcpy(csv_path, in_folder("bad.csv"));
    save("bad.csv", bad, strlen(bad));
    FAILS(DPS_REGISTRATION_ID_INVALID, "line 2",
          dps_batch_make_csv(issuer, csv_path, folder, p256, 30, false, step, &csv, error));
    CHECK(csv.calls == 0);
    (void)strcpy(csv_path, in_folder("devices.csv"));
    save("devices.csv", devices, strlen(devices));
    OK(dps_batch_make_csv(issuer, csv_path, folder, p256, 30, false, step, &csv, error));
    CHECK(saw(&csv, 2, 0, "c-02") && csv.total == 2);

    FAILS(DPS_FILE_NOT_READABLE, "no-such-file",
          dps_batch_make_csv(issuer, "no-such-file", folder, p256, 30, false, step, &csv, error));
    FAILS(DPS_FILE_NOT_WRITABLE, "devices.csv",
          dps_batch_make_range(issuer, "d-1..d-2", csv_path, p256, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "ends before",
          dps_batch_make_range(issuer, "d-2..d-1", folder, p256, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "99 is no type",
          dps_batch_make_range(issuer, "d-1..d-2", folder, 99, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "folder is NULL",
          dps_batch_make_range(issuer, "d-1..d-2", NULL, p256, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "range is NULL",
          dps_batch_make_range(issuer, NULL, folder, p256, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "csv_path is NULL",
          dps_batch_make_csv(issuer, NULL, folder, p256, 30, false, step, &csv, error));
    FAILS(DPS_INVALID_ARGUMENT, "issuer is NULL",
          dps_batch_make_csv(NULL, csv_path, folder, p256, 30, false, step, &csv, error));
    CHECK(csv.calls == 2);
}

int main(int argc, char **argv)
{
    dps_authority *root = NULL, *issuer;
    dps_key *key = new_key(DPS_KEY_EC_P256);
    char *chain;
    CHECK(argc == 2);
    folder = argv[1];
    CHECK(mkdir(in_folder("certs"), 0755) == 0);
    issuer = root_and_intermediate(&root);
    requests(issuer);
    request_of_a_signer(issuer);
    chain = reissued(issuer, root, key);
    forms(chain, key);
    constants(chain);
    batches(issuer);
    free(chain);
    dps_key_free(key);
    dps_authority_free(issuer);
    dps_authority_free(root);
    (void)printf("done\n");
    return 0;
}

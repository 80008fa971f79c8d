/* The doctor: a good device in its three reaches, broken ones, an error's own words, the getters. */
#include "support.h"

static dps_report *examine(const char *chain, const char *key, const char *passphrase,
                           dps_doctor_reach reach, const dps_options *options)
{
    dps_doctor *doctor = dps_doctor_new();
    dps_report *report = NULL;
    OK(dps_doctor_set_certificate_file(doctor, chain, error));
    if (key != NULL || passphrase != NULL)
    {
        OK(dps_doctor_set_key_file(doctor, key, passphrase, error));
    }
    OK(dps_doctor_set_authorities_file(doctor, variable("AUTHORITIES"), error));
    OK(dps_doctor_run(doctor, reach, reach == DPS_DOCTOR_SERVICE ? variable("ID_SCOPE") : NULL,
                      options, &report, error));
    dps_doctor_free(doctor);
    return report;
}

/* Every getter, at and beyond the end. */
static void nothing_at(const dps_report *report, size_t index)
{
    CHECK(dps_report_id(report, index) == NULL && dps_report_sentence(report, index) == NULL);
    CHECK(dps_report_evidence(report, index) == NULL && dps_report_fix(report, index) == NULL);
    CHECK(dps_report_page(report, index) == NULL && dps_report_severity(report, index) == 0);
}

static void holds(dps_report *report)
{
    if (dps_report_len(report) != 0)
    {
        (void)fprintf(stderr, "%s\n", dps_report_json(report));
    }
    CHECK(dps_report_len(report) == 0 && dps_report_exit_code(report) == 0);
    nothing_at(report, 0);
    nothing_at(report, (size_t)-1);
    dps_report_free(report);
}

/* One error with this ID and these words. */
static dps_report *finds(dps_report *report, const char *id, const char *words)
{
    CHECK(dps_report_len(report) == 1 && dps_report_exit_code(report) == 2);
    CHECK(strcmp(dps_report_id(report, 0), id) == 0);
    CHECK(dps_report_severity(report, 0) == DPS_SEVERITY_ERROR);
    CHECK(strstr(dps_report_sentence(report, 0), words) != NULL);
    CHECK(dps_report_evidence(report, 0)[0] != '\0' && dps_report_fix(report, 0)[0] != '\0');
    CHECK(strstr(dps_report_page(report, 0), "#dps-") != NULL);
    nothing_at(report, 1);
    return report;
}

typedef dps_status (*enrolled)(dps_doctor *doctor, const char *path, dps_error **error);

/* The device, beside the certificate that its enrollment holds. */
static dps_report *compare(enrolled set, const char *path)
{
    dps_doctor *doctor = dps_doctor_new();
    dps_report *report = NULL;
    OK(dps_doctor_set_certificate_file(doctor, variable("CHAIN"), error));
    OK(dps_doctor_set_key_file(doctor, variable("KEY"), NULL, error));
    OK(set(doctor, path, error));
    OK(dps_doctor_run(doctor, DPS_DOCTOR_FILES, NULL, NULL, &report, error));
    dps_doctor_free(doctor);
    return report;
}

static void enrollments(void)
{
    const enrolled group = dps_doctor_set_group_certificate_file;
    const enrolled individual = dps_doctor_set_individual_certificate_file;
    const char *leaf = variable("LEAF"), *intermediate = variable("INTERMEDIATE");
    holds(compare(group, intermediate));
    dps_report_free(finds(compare(group, leaf), "DPS-C025", "wrong kind"));
    dps_report_free(finds(compare(group, variable("SSL_CERT_FILE")), "DPS-S003", "No certificate"));
    holds(compare(individual, leaf));
    dps_report_free(finds(compare(individual, intermediate), "DPS-C025", "wrong kind"));
    dps_report_free(finds(compare(individual, variable("OTHER_LEAF")), "DPS-C026", "another certificate"));
}

/* Files in other forms than plain PEM. */
static void forms(const char *chain, const char *key)
{
    dps_report *report;
    size_t index, words = 0;
    holds(examine(chain, variable("LEGACY_KEY"), "1234", DPS_DOCTOR_FILES, NULL));
    holds(examine(chain, variable("DER_KEY"), NULL, DPS_DOCTOR_FILES, NULL));
    holds(examine(chain, variable("PFX"), "1234", DPS_DOCTOR_FILES, NULL));
    dps_report_free(finds(examine(chain, variable("LEGACY_KEY"), NULL, DPS_DOCTOR_FILES, NULL),
                          "DPS-K003", "no passphrase"));
    report = finds(examine(variable("NO_MAC"), NULL, "1234", DPS_DOCTOR_FILES, NULL), "DPS-C001",
                   "cannot be read");
    CHECK(strstr(dps_report_evidence(report, 0), "no MAC") != NULL);
    dps_report_free(report);

    /* Pasted values are understood, and each oddity is mentioned. */
    report = examine(variable("PASTED_CHAIN"), key, NULL, DPS_DOCTOR_FILES, NULL);
    CHECK(dps_report_len(report) == 3 && dps_report_exit_code(report) == 1);
    for (index = 0; index < 3; index += 1)
    {
        const char *evidence = dps_report_evidence(report, index);
        CHECK(strcmp(dps_report_id(report, index), "DPS-C024") == 0);
        CHECK(dps_report_severity(report, index) == DPS_SEVERITY_WARNING);
        words += strstr(evidence, "byte order mark") != NULL;
        words += strstr(evidence, "two characters \\n") != NULL;
        words += strstr(evidence, "quotation marks") != NULL;
    }
    CHECK(words == 3);
    dps_report_free(report);
}

/* The test compares its JSON with the command's. */
static void print(dps_report *report)
{
    (void)printf("%s\n", dps_report_json(report));
    dps_report_free(report);
}

static void refusals(void)
{
    dps_doctor *doctor = dps_doctor_new();
    dps_report *report = NULL;
    FAILS(DPS_INVALID_ARGUMENT, "", dps_doctor_run(doctor, DPS_DOCTOR_FILES, NULL, NULL, &report, error));
    FAILS(DPS_INVALID_ARGUMENT, "both NULL", dps_doctor_set_key_file(doctor, NULL, NULL, error));
    FAILS(DPS_INVALID_ARGUMENT, "UTF-8", dps_doctor_set_certificate_file(doctor, "\xff", error));
    FAILS(DPS_INVALID_ARGUMENT, "path is NULL", dps_doctor_set_certificate_file(doctor, NULL, error));
    OK(dps_doctor_set_certificate_file(doctor, variable("CHAIN"), error));
    FAILS(DPS_INVALID_ARGUMENT, "9", dps_doctor_run(doctor, 9, NULL, NULL, &report, error));
    FAILS(DPS_INVALID_ARGUMENT, "ID scope",
          dps_doctor_run(doctor, DPS_DOCTOR_SERVICE, NULL, NULL, &report, error));
    OK(dps_doctor_set_authorities_file(doctor, "no-such-file", error));
    FAILS(DPS_FILE_NOT_READABLE, "no-such-file",
          dps_doctor_run(doctor, DPS_DOCTOR_FILES, NULL, NULL, &report, error));
    FAILS(DPS_INVALID_ARGUMENT, "text is NULL", dps_doctor_decode(NULL, &report, error));
    CHECK(report == NULL);
    dps_doctor_free(doctor);
}

static void inspection(void)
{
    size_t length = 0;
    char *chain = read_bytes(variable("CHAIN"), &length);
    char *json = NULL;
    OK(dps_chain_inspect((const uint8_t *)chain, length, NULL, &json, error));
    (void)printf("%s\n", json);
    dps_string_free(json);
    free(chain);
    chain = read_bytes(variable("PFX"), &length);
    json = NULL;
    FAILS(DPS_PASSPHRASE_WRONG, "", dps_chain_inspect((const uint8_t *)chain, length, "no", &json, error));
    FAILS(DPS_WRONG_FILE_CONTENT, "", dps_chain_inspect((const uint8_t *)"x", 1, NULL, &json, error));
    CHECK(json == NULL);
    OK(dps_chain_inspect((const uint8_t *)chain, length, "1234", &json, error));
    CHECK(strstr(json, "CN=device-01") != NULL);
    dps_string_free(json);
    free(chain);
}

int main(void)
{
    const char *chain = variable("CHAIN"), *key = variable("KEY");
    dps_options *options = dps_options_new();
    dps_report *report = NULL;

    holds(examine(chain, key, NULL, DPS_DOCTOR_FILES, NULL));
    holds(examine(chain, key, NULL, DPS_DOCTOR_NETWORK, NULL));
    holds(examine(chain, key, NULL, DPS_DOCTOR_SERVICE, NULL));
    holds(examine(variable("PFX"), NULL, "1234", DPS_DOCTOR_FILES, NULL));

    /* Its evidence names the time of day. */
    dps_report_free(finds(examine(variable("EXPIRED_CHAIN"), variable("EXPIRED_KEY"), NULL,
                                  DPS_DOCTOR_FILES, NULL),
                          "DPS-C022", "expired"));
    print(finds(examine(chain, variable("OTHER_KEY"), NULL, DPS_DOCTOR_FILES, NULL), "DPS-K006",
                "does not belong"));
    OK(dps_doctor_decode("401002 CA certificate not found.", &report, error));
    print(finds(report, "DPS-S001", "no CA"));
    inspection();

    /* It heeds the options: the name that the device is to have. */
    OK(dps_options_set_registration_id(options, "another-device", error));
    report = examine(chain, key, NULL, DPS_DOCTOR_FILES, options);
    CHECK(dps_report_exit_code(report) == 2);
    CHECK(strstr(dps_report_evidence(report, 0), "another-device") != NULL);
    dps_report_free(report);
    dps_options_free(options);

    enrollments();
    forms(chain, key);
    refusals();
    return 0;
}

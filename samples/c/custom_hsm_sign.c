/*
 * The tutorial's device with a key that this process never sees: each signature is made by another
 * process, the openssl command, in the place of an HSM, and only digests and signatures pass.
 *
 *     custom_hsm_sign ID_SCOPE CHAIN_FILE KEY_FILE
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dps_core.h"

static const char* const global_prov_uri = "global.azure-devices-provisioning.net";

/* How openssl calls the hash of an algorithm, and the padding, where there is one. */
static int openssl_words(dps_signature_algorithm algorithm, const char** digest, const char** padding)
{
    *padding = NULL;
    switch (algorithm)
    {
        case DPS_SIGN_RSA_PSS_SHA256: *padding = "rsa_padding_mode:pss"; *digest = "digest:sha256"; return 0;
        case DPS_SIGN_RSA_PSS_SHA384: *padding = "rsa_padding_mode:pss"; *digest = "digest:sha384"; return 0;
        case DPS_SIGN_RSA_PSS_SHA512: *padding = "rsa_padding_mode:pss"; *digest = "digest:sha512"; return 0;
        case DPS_SIGN_RSA_PKCS1_SHA256: *padding = "rsa_padding_mode:pkcs1"; *digest = "digest:sha256"; return 0;
        case DPS_SIGN_RSA_PKCS1_SHA384: *padding = "rsa_padding_mode:pkcs1"; *digest = "digest:sha384"; return 0;
        case DPS_SIGN_RSA_PKCS1_SHA512: *padding = "rsa_padding_mode:pkcs1"; *digest = "digest:sha512"; return 0;
        case DPS_SIGN_ECDSA_P256_SHA256: *digest = "digest:sha256"; return 0;
        case DPS_SIGN_ECDSA_P384_SHA384: *digest = "digest:sha384"; return 0;
        default: return 1;
    }
}

static int32_t fail(dps_sign_answer* answer, int32_t code, const char* text)
{
    (void)snprintf(answer->failure_text, answer->failure_text_capacity, "%s", text);
    return code;
}

/* A pipe that no other command inherits: one that held its writing end would keep its reader waiting. */
static int private_pipe(int ends[2])
{
    if (pipe(ends) != 0)
    {
        return 1;
    }
    (void)fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

static void close_both(const int ends[2])
{
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Starts a command that reads from one pipe and writes to the other; -1 where it cannot. */
static pid_t start(const char* const* command, int to_child[2], int from_child[2])
{
    pid_t child;
    if (private_pipe(to_child) != 0)
    {
        return -1;
    }
    if (private_pipe(from_child) != 0)
    {
        close_both(to_child);
        return -1;
    }
    child = fork();
    if (child == 0)
    {
        (void)dup2(to_child[0], STDIN_FILENO);
        (void)dup2(from_child[1], STDOUT_FILENO);
        (void)execvp(command[0], (char* const*)command);
        _exit(127);
    }
    if (child < 0)
    {
        close_both(to_child);
        close_both(from_child);
    }
    return child;
}

/* Runs a command that reads the input and writes the signature. */
static int32_t ask(const char* const* command, const uint8_t* input, size_t input_len, dps_sign_answer* answer)
{
    /* Two signatures may be asked for at once: no command starts while a pipe is not private yet. */
    static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
    int to_child[2], from_child[2], outcome = 0;
    ssize_t written, length;
    size_t total = 0;
    pid_t child;

    (void)pthread_mutex_lock(&starting);
    child = start(command, to_child, from_child);
    (void)pthread_mutex_unlock(&starting);
    if (child < 0)
    {
        return fail(answer, 2, "the command cannot be started");
    }
    (void)close(to_child[0]);
    (void)close(from_child[1]);
    written = write(to_child[1], input, input_len);
    (void)close(to_child[1]);
    while ((length = read(from_child[0], answer->signature + total, answer->signature_capacity - total)) > 0)
    {
        total += (size_t)length;
    }
    (void)close(from_child[0]);
    if (waitpid(child, &outcome, 0) != child)
    {
        return fail(answer, 3, "what became of the command is not known");
    }
    if (written != (ssize_t)input_len || !WIFEXITED(outcome) || WEXITSTATUS(outcome) != 0)
    {
        return fail(answer, 4, "the command did not sign");
    }
    answer->signature_len = total;
    return 0;
}

/* The sign hook; userdata is the path of the key. */
static int32_t sign(void* userdata, const dps_sign_request* request, dps_sign_answer* answer)
{
    const char *command[16], *digest, *padding;
    int count = 0;

    if (openssl_words(request->algorithm, &digest, &padding) != 0)
    {
        return fail(answer, 1, "the algorithm is unknown");
    }
    command[count++] = "openssl";
    command[count++] = "pkeyutl";
    command[count++] = "-sign";
    command[count++] = "-inkey";
    command[count++] = (const char*)userdata;
    command[count++] = "-pkeyopt";
    command[count++] = digest;
    if (padding != NULL)
    {
        command[count++] = "-pkeyopt";
        command[count++] = padding;
        if (strcmp(padding, "rsa_padding_mode:pss") == 0)
        {
            command[count++] = "-pkeyopt";
            command[count++] = "rsa_pss_saltlen:digest";
        }
    }
    command[count] = NULL;
    return ask(command, request->digest, request->digest_len, answer);
}

static char* read_file(const char* path)
{
    char* text = NULL;
    long size;
    FILE* file = fopen(path, "rb");
    if (file == NULL)
    {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0
        && (text = (char*)malloc((size_t)size + 1)) != NULL)
    {
        text[fread(text, 1, (size_t)size, file)] = '\0';
    }
    (void)fclose(file);
    return text;
}

static void registration_status_callback(void* user_context, dps_registration_status status)
{
    (void)user_context;
    if (status == DPS_REGISTRATION_CONNECTED)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED\n");
    }
    else if (status == DPS_REGISTRATION_ASSIGNING)
    {
        (void)printf("Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING\n");
    }
}

static dps_status send_hello(dps_hub* hub, dps_error** error)
{
    static const char TEXT[] = "Hello world";
    dps_message* message = NULL;
    dps_status status = dps_message_new((const uint8_t*)TEXT, sizeof(TEXT) - 1, &message, error);
    if (status == DPS_OK)
    {
        status = dps_hub_send(hub, message, 10000, error);
    }
    if (status == DPS_OK)
    {
        status = dps_hub_close(hub, 10000, error);
    }
    dps_message_free(message);
    return status;
}

int main(int argc, char** argv)
{
    dps_signer signer = { DPS_SIGNER_VERSION, NULL, NULL, NULL, 0, sign, NULL };
    dps_identity* identity = NULL;
    dps_options* options = dps_options_new();
    dps_assignment* assignment = NULL;
    dps_hub* hub = NULL;
    dps_error* error = NULL;
    char* chain;
    dps_status status;

    if (argc != 4)
    {
        (void)fprintf(stderr, "usage: %s ID_SCOPE CHAIN_FILE KEY_FILE\n", argv[0]);
        dps_options_free(options);
        return 64;
    }
    /* A command that ends before it has read gives an error and not a signal. */
    (void)signal(SIGPIPE, SIG_IGN);
    chain = read_file(argv[2]);
    signer.certificate_chain = chain;
    signer.userdata = argv[3];

    (void)printf("Provisioning API Version: %s\n", dps_version());
    (void)printf("\nRegistering Device\n\n");
    status = dps_identity_from_signer(&signer, &identity, &error);
    if (status == DPS_OK)
    {
        status = dps_options_set_host(options, global_prov_uri, &error);
    }
    if (status == DPS_OK)
    {
        status = dps_register(argv[1], identity, options, registration_status_callback, NULL, &assignment, &error);
    }
    if (status == DPS_OK)
    {
        (void)printf("\nRegistration Information received from service: %s, deviceId: %s\n",
            dps_assignment_hub(assignment), dps_assignment_device_id(assignment));
        status = dps_hub_connect(dps_assignment_hub(assignment), dps_assignment_device_id(assignment),
            identity, options, &hub, &error);
    }
    if (status == DPS_OK)
    {
        status = send_hello(hub, &error);
    }
    if (status == DPS_OK)
    {
        (void)printf("Message delivered\n");
    }
    else
    {
        (void)printf("\nFailure: %s\n%s\n", dps_status_name(status), dps_error_text(error));
    }
    dps_hub_free(hub);
    dps_assignment_free(assignment);
    dps_options_free(options);
    dps_identity_free(identity);
    dps_error_free(error);
    free(chain);
    return status == DPS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

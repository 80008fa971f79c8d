/* A symmetric key that signs, by the openssl command in the place of an HSM. Comes after
   custom_hsm_sign.c, whose ask() runs it. */

/* The hook; userdata is the key in base64. */
static int32_t hmac(void *userdata, const dps_sign_request *request, dps_sign_answer *answer)
{
    const char *const command[] = {
        "sh", "-c",
        "exec openssl dgst -sha256 -mac HMAC -binary -macopt"
        " \"hexkey:$(printf %s \"$0\" | base64 -d | od -An -v -tx1 | tr -d ' \\n')\"",
        (const char *)userdata, NULL
    };
    return ask(command, request->message, request->message_len, answer);
}

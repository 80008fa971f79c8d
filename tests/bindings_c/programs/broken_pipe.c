/* A connection that breaks while it is written to ends no program, whatever the program does with
   SIGPIPE: the message is delivered over the next one. */
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"

/* From here on a write to the hub is a write to a pipe that is broken. Nothing but a write tells
   so: the library hears no more of its own socket. */
static void break_connection(void)
{
    int file, broken = 0, pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(close(pair[1]) == 0);
    for (file = 3; file < 256; file++)
    {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        if (getpeername(file, (struct sockaddr *)&peer, &length) == 0
            && (peer.ss_family == AF_INET || peer.ss_family == AF_INET6))
        {
            CHECK(dup2(pair[0], file) == file);
            broken += 1;
        }
    }
    CHECK(close(pair[0]) == 0);
    CHECK(broken > 0);
}

static int raised(void)
{
    sigset_t waiting;
    CHECK(sigpending(&waiting) == 0);
    return sigismember(&waiting, SIGPIPE);
}

int main(void)
{
    dps_identity *identity = pem_identity();
    dps_assignment *assignment = NULL;
    dps_message *message = text_message("over the next connection");
    sigset_t only_sigpipe;
    int form;

    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    OK(dps_register(variable("ID_SCOPE"), identity, NULL, NULL, NULL, &assignment, error));
    for (form = 0; form < 3; form++)
    {
        dps_hub *hub = NULL;
        if (form == 0)
        {
            OK(dps_hub_connect(dps_assignment_hub(assignment), "device-01", identity, NULL, &hub, error));
        }
        else
        {
            OK(dps_hub_start(dps_assignment_hub(assignment), "device-01", identity, NULL, &hub, error));
        }
        if (form == 2)
        {
            /* The program's own mask is left as it is, and nothing is left waiting behind it. */
            CHECK(sigemptyset(&only_sigpipe) == 0 && sigaddset(&only_sigpipe, SIGPIPE) == 0);
            CHECK(pthread_sigmask(SIG_BLOCK, &only_sigpipe, NULL) == 0);
        }
        OK(dps_hub_send(hub, message, 30000, error));
        break_connection();
        OK(dps_hub_send(hub, message, 30000, error));
        CHECK(!raised());
        OK(dps_hub_close(hub, 30000, error));
        dps_hub_free(hub);
    }
    dps_message_free(message);
    dps_assignment_free(assignment);
    dps_identity_free(identity);
    (void)printf("done\n");
    return 0;
}

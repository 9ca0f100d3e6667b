/* The receive routine of the protocol page, and a program around it for the test. */

/* begin of the page's part */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ISOD_PACKET_BYTES = 65536, ISOD_LEASE_FDS = 250 };

/* At the end of a connection recvmsg() returns 0, as it does for an empty packet; but only at the
 * end has the other side hung up. */
static int isod_hung_up(int sock)
{
    struct pollfd state = { .fd = sock, .events = POLLRDHUP };

    return poll(&state, 1, 0) == 1;
}

/* Receive one packet and its fds, which are close-on-exec and in the order of result.fds.
 *
 * Returns the length of the packet, 0 at the end of the connection, or -1 with errno:
 *   EMFILE    fds were lost: the limit of open files is too low (or there were more than 250)
 *   EMSGSIZE  the packet was longer than 64 KiB
 *   EBADMSG   the packet was empty
 *   EAGAIN    nothing there yet (non-blocking sockets): nothing was taken
 * or any other that recvmsg() has. After all but EAGAIN close the connection. Whatever is returned,
 * *count fds are yours to close; it is 0 unless a packet was returned. */
ssize_t isod_receive(int sock, char data[ISOD_PACKET_BYTES], int fds[ISOD_LEASE_FDS],
                     size_t *count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * ISOD_LEASE_FDS)];
    } control;
    struct iovec part = { .iov_base = data, .iov_len = ISOD_PACKET_BYTES };
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &control,
        /* Not CMSG_SPACE: its padding can make room for one fd more. */
        .msg_controllen = CMSG_LEN(sizeof(int) * ISOD_LEASE_FDS),
    };
    int resets = 0, problem = 0;
    ssize_t length;

    *count = 0;
    /* ECONNRESET comes once, when isod left with packets of ours unread, and ahead of what isod
     * had sent before. */
    do
        length = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    while (length < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    if (length < 0)
        return -1;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL;
         head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
            size_t bytes = head->cmsg_len - CMSG_LEN(0);

            memcpy(fds + *count, CMSG_DATA(head), bytes);
            *count += bytes / sizeof(int);
        }
    }

    if (message.msg_flags & MSG_CTRUNC)
        problem = EMFILE;
    else if (message.msg_flags & MSG_TRUNC)
        problem = EMSGSIZE;
    else if (length == 0 && !isod_hung_up(sock))
        problem = EBADMSG;
    if (problem != 0 || length == 0) {
        while (*count > 0)
            close(fds[--*count]);
        errno = problem;
        return problem != 0 ? -1 : 0;
    }
    return length;
}
/* end of the page's part */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static int open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (folder == NULL)
        return -1;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* Receive from the socket that is fd 0 until the end, and tell each packet or error in a line. */
int main(void)
{
    static char data[ISOD_PACKET_BYTES];
    int fds[ISOD_LEASE_FDS], before = open_files();
    size_t count;

    for (;;) {
        ssize_t length = isod_receive(0, data, fds, &count);

        if (length < 0) {
            printf("error %d", errno);
        } else {
            printf("packet %zd fds %zu", length, count);
            for (size_t place = 0; place < count; place++) {
                char link[64], target[256];
                ssize_t size;

                snprintf(link, sizeof link, "/proc/self/fd/%d", fds[place]);
                size = readlink(link, target, sizeof target);
                if (place < 3)
                    printf(" %.*s%s", (int)(size < 0 ? 0 : size), target,
                           fcntl(fds[place], F_GETFD) & FD_CLOEXEC ? "" : " INHERITED");
                close(fds[place]);
            }
        }
        printf(" leaked %d\n", open_files() - before);
        fflush(stdout);
        if (length == 0)
            return EXIT_SUCCESS;
    }
}

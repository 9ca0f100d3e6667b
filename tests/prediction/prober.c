/*
 * A client of VFIO that does what it is told and says what the kernel answered.
 *
 * Reads commands from standard input, one a line, and prints one JSON object a line for each. Fds
 * have names; all are closed when the input ends. Nothing of isod is used here, and isod uses none
 * of this: what both say of a hot reset is compared.
 *
 *   container C              open /dev/vfio/vfio
 *   group G NODE             open a group's node
 *   attach G C               put the group into the container
 *   iommu C [noiommu]        set the container's IOMMU: type 1 v2, or none
 *   device D G NAME...       get the device NAME ("BDF", "BDF vf_token=UUID") of the group
 *   iommufd I                open /dev/iommu
 *   cdev D NODE              open a device's own node
 *   bind D I [UUID]          bind it to an iommufd, with a VF token or without
 *   info D                   VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
 *   reset D [G...]           VFIO_DEVICE_PCI_HOT_RESET with the fds of these groups
 *   close N                  close an fd
 *   clear                    close all
 *
 * "errno" is 0 where the kernel said yes. A reset that says EAGAIN or EBUSY is tried again, since
 * others may hold a lock of the kernel's for a moment; "tries" counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NAMES 64
#define WORDS 72
#define FUNCTIONS 512
#define TRIES 1000

static struct {
    char name[32];
    int fd;
} opened[NAMES];

/* -1, which the kernel answers with EBADF, for what could not be opened. */
static int find(const char *name)
{
    for (int i = 0; i < NAMES; i++)
        if (opened[i].name[0] && !strcmp(opened[i].name, name))
            return opened[i].fd;
    return -1;
}

/* Remember an fd under a name; returns the errno of its making. */
static int keep(const char *name, int fd)
{
    int error = errno;

    if (fd < 0)
        return error;
    for (int i = 0; i < NAMES; i++) {
        if (opened[i].name[0])
            continue;
        snprintf(opened[i].name, sizeof(opened[i].name), "%s", name);
        opened[i].fd = fd;
        return 0;
    }
    fprintf(stderr, "prober: too many fds\n");
    exit(2);
}

static int forget(const char *name)
{
    int fd = find(name);

    for (int i = 0; i < NAMES; i++)
        if (!strcmp(opened[i].name, name))
            opened[i].name[0] = 0;
    return close(fd) ? errno : 0;
}

static int forget_all(void)
{
    int error = 0;

    for (int i = 0; i < NAMES; i++) {
        if (opened[i].name[0] && close(opened[i].fd))
            error = errno;
        opened[i].name[0] = 0;
    }
    return error;
}

static int bind_device(int device, int iommufd, const char *token)
{
    struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
    uint8_t uuid[16];

    if (token) {
        const char *digit = token;

        for (int i = 0; i < 16; i++) {
            unsigned int byte;

            while (*digit == '-')
                digit++;
            if (sscanf(digit, "%2x", &byte) != 1) {
                fprintf(stderr, "prober: no token: %s\n", token);
                exit(2);
            }
            uuid[i] = byte;
            digit += 2;
        }
        bind.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
        bind.token_uuid_ptr = (uintptr_t)uuid;
    } else {
        /* Without a token this is the structure of kernels that know none. */
        bind.argsz = offsetof(struct vfio_device_bind_iommufd, out_devid) + sizeof(bind.out_devid);
    }
    return ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) ? errno : 0;
}

static void info(const char *name)
{
    size_t size = sizeof(struct vfio_pci_hot_reset_info) +
                  FUNCTIONS * sizeof(struct vfio_pci_dependent_device);
    struct vfio_pci_hot_reset_info *found = calloc(1, size);

    found->argsz = size;
    int error = ioctl(find(name), VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, found) ? errno : 0;

    printf("{\"do\":\"info\",\"name\":\"%s\",\"errno\":%d,\"flags\":%u,\"functions\":[", name, error,
           error ? 0 : found->flags);
    for (unsigned int i = 0; !error && i < found->count; i++) {
        struct vfio_pci_dependent_device *one = &found->devices[i];

        printf("%s[\"%04x:%02x:%02x.%x\",%d]", i ? "," : "", one->segment, one->bus, one->devfn >> 3,
               one->devfn & 7, (int)one->devid);
    }
    printf("]}\n");
    free(found);
}

static void reset(const char *name, char **groups, int count)
{
    struct vfio_pci_hot_reset *asked =
        calloc(1, sizeof(*asked) + (count + 1) * sizeof(asked->group_fds[0]));
    int device = find(name), error, tries = 0;

    asked->argsz = sizeof(*asked) + count * sizeof(asked->group_fds[0]);
    asked->count = count;
    for (int i = 0; i < count; i++)
        asked->group_fds[i] = find(groups[i]);
    do {
        if (tries++)
            sched_yield();
        error = ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, asked) ? errno : 0;
    } while ((error == EAGAIN || error == EBUSY) && tries < TRIES);
    printf("{\"do\":\"reset\",\"name\":\"%s\",\"errno\":%d,\"tries\":%d}\n", name, error, tries);
    free(asked);
}

static void run(char **words, int count)
{
    const char *what = words[0], *name = count > 1 ? words[1] : "";
    int error;

    if (!strcmp(what, "info"))
        return info(name);
    if (!strcmp(what, "reset"))
        return reset(name, words + 2, count - 2);
    if (!strcmp(what, "container")) {
        error = keep(name, open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
    } else if (!strcmp(what, "iommufd")) {
        error = keep(name, open("/dev/iommu", O_RDWR | O_CLOEXEC));
    } else if ((!strcmp(what, "group") || !strcmp(what, "cdev")) && count > 2) {
        error = keep(name, open(words[2], O_RDWR | O_CLOEXEC));
    } else if (!strcmp(what, "attach") && count > 2) {
        int container = find(words[2]);

        error = ioctl(find(name), VFIO_GROUP_SET_CONTAINER, &container) ? errno : 0;
    } else if (!strcmp(what, "iommu")) {
        unsigned long type = count > 2 ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU;

        error = ioctl(find(name), VFIO_SET_IOMMU, type) ? errno : 0;
    } else if (!strcmp(what, "device") && count > 3) {
        char wanted[128];

        snprintf(wanted, sizeof(wanted), "%s%s%s", words[3], count > 4 ? " " : "",
                 count > 4 ? words[4] : "");
        error = keep(name, ioctl(find(words[2]), VFIO_GROUP_GET_DEVICE_FD, wanted));
    } else if (!strcmp(what, "bind") && count > 2) {
        error = bind_device(find(name), find(words[2]), count > 3 ? words[3] : NULL);
    } else if (!strcmp(what, "close")) {
        error = forget(name);
    } else if (!strcmp(what, "clear")) {
        error = forget_all();
    } else {
        fprintf(stderr, "prober: what is %s?\n", what);
        exit(2);
    }
    printf("{\"do\":\"%s\",\"name\":\"%s\",\"errno\":%d}\n", what, name, error);
}

int main(void)
{
    static char line[4096];

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        char *words[WORDS];
        int count = 0;

        for (char *word = strtok(line, " \n"); word && count < WORDS; word = strtok(NULL, " \n"))
            words[count++] = word;
        if (count)
            run(words, count);
    }
    return 0;
}

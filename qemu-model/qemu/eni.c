/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The paired NIC (adapter.md 1.1, wire.md 1.2). */
#include "shim.h"

#define EXAMPLE "-netdev user,id=eni0 -device virtio-net-pci,netdev=eni0 -device erdma,eni=eni0"

/* As long as an IPv4 packet may be, with room for its headers. */
#define LONGEST_SEGMENT 65000

/* A backend that moves frames past QEMU would move them past the adapter too (wire.md 1.2). */
static bool bypasses_qemu(NetClientState *backend)
{
    return erdma_compat_is_netdev(backend, "vhost-user") || erdma_compat_is_netdev(backend, "vhost-vdpa") ||
           get_vhost_net(backend) != NULL;
}

/* Backends that carry a frame of any length to another QEMU, whatever MTU the guests have set. */
static bool carries_long_frames(const NetClientState *backend)
{
    return erdma_compat_is_netdev(backend, "socket") || erdma_compat_is_netdev(backend, "stream") ||
           erdma_compat_is_netdev(backend, "dgram");
}

bool erdma_eni_find(const char *id, struct erdma_eni *eni, Error **errp)
{
    NetClientState *queues[MAX_QUEUE_NUM] = {NULL};
    NetClientState *backend;
    NICState *nic;
    int count;

    if (!id || !*id) {
        error_setg(errp, "erdma: property 'eni' must name the netdev of a NIC");
        error_append_hint(errp, "For example: " EXAMPLE "\n");
        return false;
    }
    count = qemu_find_net_clients_except(id, queues, NET_CLIENT_DRIVER_NIC, MAX_QUEUE_NUM);
    if (count < 1) {
        error_setg(errp, "erdma: property 'eni': there is no netdev with id '%s'", id);
        error_append_hint(errp, "Write the id of a -netdev, not that of a -device. For example: " EXAMPLE "\n");
        return false;
    }
    if (count > 1) {
        error_setg(errp, "erdma: property 'eni': netdev '%s' has %d queues, the adapter sees only one", id, count);
        error_append_hint(errp, "Leave out queues= (or fds=) on that -netdev.\n");
        return false;
    }
    backend = queues[0];
    if (!backend->peer || backend->peer->info->type != NET_CLIENT_DRIVER_NIC) {
        error_setg(errp, "erdma: property 'eni': no NIC is attached to netdev '%s'", id);
        error_append_hint(errp,
                          "Put -device virtio-net-pci,netdev=%s before -device erdma,eni=%s "
                          "(devices are created in the order of the command line).\n",
                          id, id);
        return false;
    }
    if (bypasses_qemu(backend)) {
        error_setg(errp, "erdma: property 'eni': netdev '%s' hands its frames to vhost, where no adapter can see them",
                   id);
        error_append_hint(errp, "Write vhost=off on that -netdev, or take another kind of netdev.\n");
        return false;
    }

    nic = qemu_get_nic(backend->peer);
    eni->mac = nic->conf->macaddr;
    eni->segment_bytes = carries_long_frames(backend) ? LONGEST_SEGMENT : 0;
    return true;
}

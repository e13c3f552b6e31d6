/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything that differs between QEMU versions.  The rest of the shim uses
 * QEMU's headers only through this file and through functions that have kept
 * their shape since 7.2.
 *
 * ERDMA_QEMU_MAJOR and ERDMA_QEMU_MINOR come from the generated
 * erdma-built-for.h, as does the build's own name (ERDMA_BUILT_FOR).
 */
#ifndef ERDMA_QEMU_COMPAT_H
#define ERDMA_QEMU_COMPAT_H

#include "qemu/osdep.h"

#include "erdma-built-for.h"

#define ERDMA_QEMU_AT_LEAST(major, minor)                                                                              \
    (ERDMA_QEMU_MAJOR > (major) || (ERDMA_QEMU_MAJOR == (major) && ERDMA_QEMU_MINOR >= (minor)))

/* Headers that moved: to system/ by 10.2, to hw/core/ after it. */
#if __has_include("system/memory.h")
#include "system/memory.h"
#else
#include "exec/memory.h"
#endif
#if __has_include("hw/core/qdev-properties.h")
#include "hw/core/qdev-properties.h"
#else
#include "hw/qdev-properties.h"
#endif
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/pci/pcie.h"
#include "migration/blocker.h"
#include "net/filter.h"
#include "net/net.h"
#include "net/vhost_net.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-control.h"
#include "qapi/visitor.h"
#include "qemu/iov.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/notify.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_net.h"
#if ERDMA_QEMU_AT_LEAST(8, 1)
#include "hw/pci/pci_device.h"
#endif
#if ERDMA_QEMU_AT_LEAST(10, 0)
#include "system/runstate.h"
#else
#include "sysemu/runstate.h"
#endif

#if !ERDMA_QEMU_AT_LEAST(7, 2)
#error "the ERDMA model needs QEMU 7.2 or later"
#endif

/* Properties end with a sentinel before 10.0, and are constant and counted from then on. */
#if ERDMA_QEMU_AT_LEAST(10, 0)
#define ERDMA_PROPERTY const Property
#define ERDMA_PROP_END
#else
#define ERDMA_PROPERTY Property
#define ERDMA_PROP_END DEFINE_PROP_END_OF_LIST(),
#endif

/* class_init's second argument became const in 10.1. */
#if ERDMA_QEMU_AT_LEAST(10, 1)
#define ERDMA_CLASS_DATA const void *
#else
#define ERDMA_CLASS_DATA void *
#endif

static inline void erdma_compat_set_reset(DeviceClass *dc, void (*reset)(DeviceState *))
{
#if ERDMA_QEMU_AT_LEAST(9, 2)
    device_class_set_legacy_reset(dc, reset);
#else
    dc->reset = reset;
#endif
}

/* Whether a function of QEMU puts the reset of a class that is not in use where erdma_compat_set_reset() does. */
static inline bool erdma_compat_fills_reset(DeviceClass *dc, void (*reset)(DeviceState *))
{
#if ERDMA_QEMU_AT_LEAST(9, 2)
    (void)dc;
    (void)reset;
    return true; /* it is that function */
#else
    DeviceReset before;

    device_class_set_parent_reset(dc, reset, &before);
    return dc->reset == reset;
#endif
}

/* Whether a write to the region can be done through a pointer. */
static inline bool erdma_compat_writes_are_direct(MemoryRegion *region, MemTxAttrs attrs)
{
#if ERDMA_QEMU_AT_LEAST(10, 0)
    return memory_access_is_direct(region, true, attrs);
#else
    (void)attrs;
    return memory_access_is_direct(region, true);
#endif
}

/* By name: the numbers depend on what else QEMU was configured with. */
static inline bool erdma_compat_is_netdev(const NetClientState *client, const char *driver)
{
    return strcmp(NetClientDriver_str(client->info->type), driver) == 0;
}

static inline bool erdma_compat_flr_init(PCIDevice *pci)
{
    pcie_cap_flr_init(pci);
    return true;
}

/* Takes over *blocker; on failure it is freed and *blocker is NULL. */
static inline bool erdma_compat_block_migration(Error **blocker, Error **errp)
{
#if ERDMA_QEMU_AT_LEAST(8, 2)
    return migrate_add_blocker(blocker, errp) >= 0;
#else
    if (migrate_add_blocker(*blocker, errp) < 0) {
        error_free(*blocker);
        *blocker = NULL;
        return false;
    }
    return true;
#endif
}

static inline void erdma_compat_unblock_migration(Error **blocker)
{
    if (!*blocker) {
        return;
    }
#if ERDMA_QEMU_AT_LEAST(8, 2)
    migrate_del_blocker(blocker);
#else
    migrate_del_blocker(*blocker);
    error_free(*blocker);
    *blocker = NULL;
#endif
}

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the running QEMU lays its structures out as the headers say that this
 * object was compiled with.  They are QEMU's private matter: a distribution's
 * update within one upstream release keeps them nearly always, and a field that
 * a correction adds would make the model write into the wrong place.
 *
 * QEMU exports functions and tables to its own modules, and these tell:
 *
 *   places in structures  from the tables of properties and of migration state;
 *                         what follows an embedded structure tells its size
 *   sizes, other places   from small functions of QEMU that fill or read a
 *                         structure which is not in use
 *   values in classes     of built-in types, which are known
 *   numbers of QAPI       by their names
 *
 * A field added, removed, moved or resized before one that the shim uses changes
 * its place or the size of the whole.  What stays unseen is two changes that
 * cancel each other, and a new meaning in the old place; updates within a release
 * do neither.  The functions' prototypes and the constant tables that a device
 * hands over (TypeInfo, Property, MemoryRegionOps) are the interface between QEMU
 * and its own modules and change with releases only.
 */
#include "shim.h"

#include "hw/pci/pcie_port.h"
#include "migration/vmstate.h"

/* Longer than any structure that is filled here, in every version. */
#define SCRATCH_BYTES (64 * KiB)
#define UNTOUCHED 0xa5
#define Q35_BRIDGE_ID 0x29c0

/* A test finds the number behind the name of fixed length in the file, and changes it: it is not to be folded away. */
struct expected {
    char name[24];
    volatile uint64_t value;
};

#define PLACE(type, field)                                                                                             \
    {                                                                                                                  \
#type "." #field, offsetof(type, field)                                                                        \
    }

/*
 * Of properties, by their names.  The state of a device, its bus, interrupts and
 * memory regions are part of PCIDevice, which is the first part of PCIEPort.
 */
static const struct {
    const char *type, *property;
    struct expected place;
} properties[] = {
    {TYPE_PCI_DEVICE, "addr", PLACE(PCIDevice, devfn)},
    {TYPE_PCI_DEVICE, "multifunction", PLACE(PCIDevice, cap_present)},
    {TYPE_PCI_DEVICE, "romfile", PLACE(PCIDevice, romfile)},
    {TYPE_PCIE_PORT, "port", PLACE(PCIEPort, port)},
};

static const struct {
    const char *field;
    struct expected place;
} states[] = {
    {"config", PLACE(PCIDevice, config)},
    {"irq_state", PLACE(PCIDevice, irq_state)},
    {"version_id", PLACE(PCIDevice, version_id)},
};

static const struct expected filter_size = {"NetFilterState", sizeof(NetFilterState)};
static const struct expected client_size = {"NetClientState", sizeof(NetClientState)};

static char *compare(const struct expected *expected, uint64_t found)
{
    return found == expected->value
               ? NULL
               : g_strdup_printf("%s is %" PRIu64 " instead of %" PRIu64, expected->name, found, expected->value);
}

static const Property *property_of(const char *type, const char *name)
{
    ObjectClass *class = object_class_by_name(type);
    ObjectProperty *property = class ? object_class_property_find(class, name) : NULL;

    return property ? property->opaque : NULL;
}

static char *check_properties(void)
{
    const Property *first = property_of(TYPE_PCI_DEVICE, "addr");
    const Property *second = property_of(TYPE_PCI_DEVICE, "romfile");
    char *problem = NULL;

    /* Two neighbours in one table. */
    if (!first || !second || (uintptr_t)second - (uintptr_t)first != sizeof(Property)) {
        return g_strdup("tables of properties differ");
    }
    for (size_t i = 0; i < ARRAY_SIZE(properties) && !problem; i++) {
        const Property *property = property_of(properties[i].type, properties[i].property);

        problem = compare(&properties[i].place, property ? (uint64_t)property->offset : 0);
    }
    return problem;
}

static char *check_states(void)
{
    char *problem = NULL;

    for (const VMStateField *field = vmstate_pci_device.fields; field->name && !problem; field++) {
        for (size_t i = 0; i < ARRAY_SIZE(states) && !problem; i++) {
            if (strcmp(field->name, states[i].field) == 0) {
                problem = compare(&states[i].place, field->offset);
            }
        }
    }
    return problem;
}

static char *check_express(void *scratch)
{
    enum { WRONG = 0x40, RIGHT = 0x80 };
    static uint8_t config[PCIE_CONFIG_SPACE_SIZE];
    PCIDevice *pci = scratch;

    /* Whatever byte QEMU takes for the capability's offset, it points into config. */
    memset(scratch, WRONG, SCRATCH_BYTES);
    pci->config = config;
    pci->exp.exp_cap = RIGHT;
    pci_set_word(config + RIGHT + PCI_EXP_FLAGS, PCI_EXP_TYPE_RC_END << ctz32(PCI_EXP_FLAGS_TYPE));
    return pcie_cap_get_type(pci) == PCI_EXP_TYPE_RC_END ? NULL : g_strdup("PCIDevice.exp.exp_cap is elsewhere");
}

static void never_realized(DeviceState *device, Error **errp)
{
    (void)device;
    (void)errp;
}

static void never_reset(DeviceState *device)
{
    (void)device;
}

/* The host bridge of machine q35: its numbers stand behind the functions that a device sets. */
static char *check_device_classes(void *scratch)
{
    DeviceClass *class = memset(scratch, 0, SCRATCH_BYTES);
    PCIDeviceClass *bridge = (PCIDeviceClass *)object_class_by_name("mch");
    DeviceRealize before;

    device_class_set_parent_realize(class, never_realized, &before);
    if (class->realize != never_realized) {
        return g_strdup("DeviceClass.realize is elsewhere");
    }
    if (!erdma_compat_fills_reset(class, never_reset)) {
        return g_strdup("DeviceClass.reset is elsewhere");
    }
    if (!bridge || !bridge->realize || bridge->vendor_id != PCI_VENDOR_ID_INTEL || bridge->device_id != Q35_BRIDGE_ID ||
        bridge->class_id != PCI_CLASS_BRIDGE_HOST) {
        return g_strdup("PCIDeviceClass differs");
    }
    return NULL;
}

/* The type of all filters has a function of its own, those of buffers add the rest; and the size of an instance. */
static char *check_filter(void *scratch)
{
    static const TypeInfo probe = {.name = "erdma-layout-probe", .parent = TYPE_NETFILTER};
    const NetFilterClass *all = (const NetFilterClass *)object_class_by_name(TYPE_NETFILTER);
    const NetFilterClass *buffer = (const NetFilterClass *)object_class_by_name("filter-buffer");
    const uint8_t *bytes = memset(scratch, UNTOUCHED, SCRATCH_BYTES);
    const NetFilterState *filter = scratch;
    size_t size = SCRATCH_BYTES;
    char *problem;

    if (!all || all->setup || all->cleanup || all->status_changed || !all->handle_event || all->receive_iov ||
        !buffer || !buffer->setup || !buffer->cleanup || !buffer->status_changed || !buffer->receive_iov) {
        return g_strdup("NetFilterClass differs");
    }
    type_register_static(&probe);
    object_initialize(scratch, SCRATCH_BYTES, probe.name);
    while (size && bytes[size - 1] == UNTOUCHED) {
        size--;
    }
    problem = compare(&filter_size, size);
    if (!problem && !filter->on) {
        problem = g_strdup("NetFilterState.on is elsewhere");
    }
    object_unref(scratch);
    return problem;
}

static void heard_length(NetClientState *client, int length)
{
    (void)client;
    (void)length;
}

static char *check_net_client(void *scratch)
{
    enum { HEADER = 12 };
    static NetClientInfo info = {.set_vnet_hdr_len = heard_length};
    NetClientState *client = memset(scratch, 0, SCRATCH_BYTES);
    NICState nic = {.ncs = NULL};
    NetClientState peer;
    char *problem = compare(&client_size, (uintptr_t)qemu_get_subqueue(&nic, 1));

    if (problem) {
        return problem;
    }
    client->info = &info;
    client->peer = &peer;
    if (qemu_get_peer(client, 0) != &peer) {
        return g_strdup("NetClientState.peer is elsewhere");
    }
    qemu_set_vnet_hdr_len(client, HEADER);
    if (client->vnet_hdr_len != HEADER) {
        return g_strdup("NetClientState.vnet_hdr_len is elsewhere");
    }
    if (strcmp(NetClientDriver_str(NET_CLIENT_DRIVER_NIC), "nic") != 0) {
        return g_strdup("NetClientDriver has other numbers");
    }
    return NULL;
}

static char *check_memory_region(void *scratch)
{
    MemoryRegion *region = memset(scratch, 0, SCRATCH_BYTES);

    region->ram_device = true;
    return memory_region_is_ram_device(region) ? NULL : g_strdup("MemoryRegion.ram_device is elsewhere");
}

char *erdma_layout_difference(void)
{
    void *scratch = g_malloc0(SCRATCH_BYTES);
    char *problem = check_properties();

    problem = problem ? problem : check_states();
    problem = problem ? problem : check_express(scratch);
    problem = problem ? problem : check_device_classes(scratch);
    problem = problem ? problem : check_filter(scratch);
    problem = problem ? problem : check_net_client(scratch);
    problem = problem ? problem : check_memory_region(scratch);
    g_free(scratch);
    return problem;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The adapter as a QEMU PCI device: configuration space, BARs, MSI-X, DMA,
 * clock, properties and what QMP sees.  Everything behind the registers is in
 * the folders beside this one, reached through capi.h.  All of this runs under
 * the big lock.
 */
#include "shim.h"

#include "qemu/cutils.h"
#include "qemu/queue.h"
#include "trace-erdma.h"

#define TYPE_ERDMA "erdma"
OBJECT_DECLARE_SIMPLE_TYPE(ErdmaState, ERDMA)

/* adapter.md 1.1 and 1.2 */
#define ERDMA_VENDOR_ID 0x1ded
#define ERDMA_DEVICE_ID 0x107f
#define ERDMA_CLASS_ID 0x0280 /* network controller, other */
#define ERDMA_REVISION 1
#define ERDMA_REGISTER_BAR 0
#define ERDMA_MSIX_BAR 2
#define ERDMA_MSIX_BAR_SIZE (8 * KiB)
#define ERDMA_MSIX_PBA_OFFSET (4 * KiB)

/* Properties whose text the core reads, also at run time; before realize it is kept here. */
enum { TEXT_FAULTS, TEXT_LINK, TEXT_CHECK_DELAY, TEXT_CHECK, TEXT_COUNT };

struct ErdmaState {
    PCIDevice parent_obj;

    char *eni_id;
    char *segment_bytes; /* text of the property */
    char *protocol;      /* the same */
    struct erdma_config config;
    char *initial_text[TEXT_COUNT];

    struct erdma_dev *dev;
    EniFilter *filter;
    MemoryRegion registers;
    MemoryRegion msix;
    QEMUBH *bh;
    QEMUTimer *timer;
    VMChangeStateEntry *run_state;
    Notifier wakeup;
    bool timer_waits; /* it fired while the machine was stopped */
    Error *migration_blocker;
    bool msix_ready;
    QLIST_ENTRY(ErdmaState) next;
    bool listed;
};

static QLIST_HEAD(, ErdmaState) adapters = QLIST_HEAD_INITIALIZER(adapters);

/*
 * Every tunable of struct erdma_config: type, field, property, description with
 * range.  Defaults and the check of ranges belong to the core.
 */
#define ERDMA_TUNABLES(X)                                                                                              \
    X(uint32, vectors, "vectors", "MSI-X vectors, 2..32")                                                              \
    X(uint32, direct_wqe_groups, "direct-wqe-groups",                                                                  \
      "direct-WQE credit groups (register GRP_NUM), 0..255; less than 4 switches direct WQEs off")                     \
    X(uint32, qblock, "qblock", "blocks of 1024 queue pairs, 1..64")                                                   \
    X(uint32, max_cqe_log, "max-cqe-log", "log2 of the entries of a completion queue, 6..20")                          \
    X(uint32, max_recv_wr_log, "max-recv-wr-log", "log2 of the receive work requests of a queue pair, 6..15")          \
    X(uint32, max_mr_size_log, "max-mr-size-log", "log2 of the bytes of a memory region, 20..48")                      \
    X(uint32, default_cc, "default-cc", "number of the default congestion control, 0..4")                              \
    X(uint32, firmware_version, "firmware-version",                                                                    \
      "firmware version word: major [31:16], medium [15:8], minor [7:0]")                                              \
    X(bool, atomic, "atomic", "capability: remote atomic operations")                                                  \
    X(bool, multilevel_mtt, "multilevel-mtt", "capability: multi-level page tables")                                   \
    X(bool, extended_doorbells, "extended-doorbells", "capability: doorbell pages handed out by ALLOC_DB")             \
    X(bool, ipv6, "ipv6", "capability: connections over IPv6")                                                         \
    X(uint32, pair_timeout_ms, "pair-timeout-ms",                                                                      \
      "wait for the other end of a loopback connection, milliseconds, 1..600000")                                      \
    X(uint32, rnr_hold_ms, "rnr-hold-ms",                                                                              \
      "hold a message that finds no receive buffer, milliseconds, 0..600000; 0 holds it for ever")                     \
    X(uint32, ord, "ord", "reads and atomics of a queue pair outstanding at a time, 1..128; more wait")                \
    X(uint32, ird, "ird", "reads and atomics of a peer outstanding at a time, 1..128; one more ends the connection")   \
    X(uint32, buffer_bytes, "buffer-bytes", "receive and send buffer of a connection, bytes, 65536..4194304")          \
    X(uint32, total_buffer_bytes, "total-buffer-bytes",                                                                \
      "what all connections may buffer together, bytes, 4194304..2147483648")                                          \
    X(uint32, ack_delay_ms, "ack-delay-ms", "longest wait before data is acknowledged, milliseconds, 0..499")          \
    X(uint32, ack_segments, "ack-segments", "segments that are acknowledged at once when so many wait, 1..64")         \
    X(uint32, rto_min_ms, "rto-min-ms", "smallest retransmission timeout, milliseconds, 10..1000")                     \
    X(uint32, give_up_ms, "give-up-ms", "a peer that answers nothing for so long is dead, milliseconds, 1000..600000") \
    X(uint32, keep_idle_ms, "keep-idle-ms", "silence before the first keepalive probe, milliseconds, 1000..7200000")   \
    X(uint32, keep_interval_ms, "keep-interval-ms", "between keepalive probes, milliseconds, 100..600000")             \
    X(uint32, keep_probes, "keep-probes", "unanswered keepalive probes that end a connection, 1..100")                 \
    X(uint32, first_fpdu_ms, "first-fpdu-ms",                                                                          \
      "the passive end of a connection speaks first after so many milliseconds, 0..60000; 0: never")                   \
    X(uint32, time_wait_ms, "time-wait-ms", "TIME_WAIT of a closed connection, milliseconds, 100..120000")             \
    X(uint32, roce_pmtu, "roce-pmtu",                                                                                  \
      "RoCEv2: path MTU of queue pairs that are not told one, 256..4096; 0: the largest for the interface")            \
    X(bool, roce_cnp, "roce-cnp", "RoCEv2: a packet with a congestion mark is answered with a CNP")                    \
    X(bool, mpa_crc, "mpa-crc", "capability: CRCs on connections whose MPA frames ask for them")                       \
    X(bool, rfc7306, "rfc7306",                                                                                        \
      "capability: immediate data and atomics with standard iWARP peers, which all must know them")                    \
    X(bool, complete_queued, "complete-queued",                                                                        \
      "sends complete when they are in the send buffer, not when the peer acknowledged them")

static const char *adapter_name(const ErdmaState *s)
{
    const DeviceState *device = &s->parent_obj.qdev;

    return device->id ? device->id : TYPE_ERDMA;
}

/* Host side of the model (capi.h) */

/* .memory: RAM only, so that an address which a guest made up never calls a device model, ours least of all. */
static const MemTxAttrs dma_attrs = {.memory = 1};

static bool host_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
    ErdmaState *s = opaque;

    return address_space_rw(pci_get_address_space(&s->parent_obj), addr, dma_attrs, buf, len, false) == MEMTX_OK;
}

static bool host_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
    ErdmaState *s = opaque;

    return address_space_rw(pci_get_address_space(&s->parent_obj), addr, dma_attrs, (void *)buf, len, true) == MEMTX_OK;
}

static bool host_dma_atomic64(void *opaque, uint64_t addr, enum erdma_atomic_op op, uint64_t operand, uint64_t compare,
                              uint64_t *old)
{
    ErdmaState *s = opaque;
    AddressSpace *space = pci_get_address_space(&s->parent_obj);
    hwaddr length = sizeof(uint64_t);
    hwaddr offset;
    MemoryRegion *region;
    uint64_t *cell;

    if (addr % sizeof(uint64_t)) {
        return false;
    }

    RCU_READ_LOCK_GUARD();
    /* address_space_map() would give a bounce buffer for anything but RAM: ask first. */
    region = address_space_translate(space, addr, &offset, &length, true, dma_attrs);
    if (length < sizeof(uint64_t) || !erdma_compat_writes_are_direct(region, dma_attrs)) {
        return false;
    }
    length = sizeof(uint64_t);
    cell = address_space_map(space, addr, &length, true, dma_attrs);
    if (!cell) {
        return false;
    }
    if (length < sizeof(uint64_t)) {
        address_space_unmap(space, cell, length, true, 0);
        return false;
    }

    if (op == ERDMA_ATOMIC_ADD) {
#if HOST_BIG_ENDIAN
#error "the model runs on little-endian hosts only"
#endif
        *old = __atomic_fetch_add(cell, operand, __ATOMIC_SEQ_CST);
    } else {
        uint64_t expected = compare;

        __atomic_compare_exchange_n(cell, &expected, operand, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *old = expected;
    }
    address_space_unmap(space, cell, length, true, sizeof(uint64_t));
    return true;
}

static void host_dma_barrier(void *opaque)
{
    (void)opaque;
    smp_wmb();
}

static void host_raise_vector(void *opaque, unsigned vector)
{
    ErdmaState *s = opaque;

    /* A masked vector is latched in the pending bits by QEMU and sent when it is unmasked. */
    if (s->msix_ready && vector < s->config.vectors && msix_enabled(&s->parent_obj)) {
        /* The message goes where the guest aimed it, to a slot that unplugs this device for one. */
        object_ref(OBJECT(s));
        msix_notify(&s->parent_obj, vector);
        object_unref(OBJECT(s));
    }
}

static uint64_t host_now_ns(void *opaque)
{
    (void)opaque;
    return (uint64_t)qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static void host_arm_timer(void *opaque, uint64_t deadline_ns)
{
    ErdmaState *s = opaque;

    if (deadline_ns == ERDMA_TIMER_OFF) {
        timer_del(s->timer);
    } else {
        timer_mod_ns(s->timer, (int64_t)MIN(deadline_ns, (uint64_t)INT64_MAX));
    }
}

static void host_schedule(void *opaque)
{
    ErdmaState *s = opaque;

    qemu_bh_schedule(s->bh);
}

static void host_send_frame(void *opaque, enum erdma_side side, const void *frame, size_t len,
                            const struct erdma_offload *offload)
{
    ErdmaState *s = opaque;

    if (s->filter) {
        erdma_eni_send(s->filter, side, frame, len, offload);
    }
}

static void host_trace(void *opaque, enum erdma_trace_kind kind, const uint64_t args[3], const char *text)
{
    const char *id = adapter_name(opaque);

    text = text ? text : "";
    switch (kind) {
    case ERDMA_TRACE_BRINGUP:
        trace_erdma_bringup(id, args[0], args[1], text);
        break;
    case ERDMA_TRACE_COMMAND:
        trace_erdma_command(id, text, args[0] >> 8, args[0] & 0xff, args[1], args[2]);
        break;
    case ERDMA_TRACE_QP_STATE:
        trace_erdma_qp_state(id, args[0], args[1], args[2], text);
        break;
    case ERDMA_TRACE_ERROR:
        trace_erdma_error(id, args[0], args[1], text);
        break;
    case ERDMA_TRACE_EVENT:
        trace_erdma_event(id, args[0], args[1], args[2], text);
        break;
    }
}

static void host_guest_error(void *opaque, const char *text)
{
    qemu_log_mask(LOG_GUEST_ERROR, "erdma %s: %s\n", adapter_name(opaque), text);
}

static const struct erdma_host_ops host_ops = {
    .dma_read = host_dma_read,
    .dma_write = host_dma_write,
    .dma_atomic64 = host_dma_atomic64,
    .dma_barrier = host_dma_barrier,
    .raise_vector = host_raise_vector,
    .now_ns = host_now_ns,
    .arm_timer = host_arm_timer,
    .schedule = host_schedule,
    .send_frame = host_send_frame,
    .trace = host_trace,
    .guest_error = host_guest_error,
};

/*
 * The model calls nothing of QEMU that may come back while it runs (capi.h),
 * but what it asks for at the end of a call may unplug this very device.
 *
 * While the machine is stopped its memory stands still: turns, timers and
 * frames wait until it goes on.
 */
static void run_model(void *opaque)
{
    ErdmaState *s = opaque;

    if (!s->dev || !runstate_is_running()) {
        return; /* go_on() makes up for it */
    }
    object_ref(OBJECT(s));
    erdma_dev_run(s->dev);
    object_unref(OBJECT(s));
}

static void timer_fired(void *opaque)
{
    ErdmaState *s = opaque;

    if (!s->dev) {
        return;
    }
    if (!runstate_is_running()) {
        s->timer_waits = true;
        return;
    }
    object_ref(OBJECT(s));
    erdma_dev_timer(s->dev);
    object_unref(OBJECT(s));
}

/* The machine runs again. */
static void go_on(ErdmaState *s)
{
    qemu_bh_schedule(s->bh);
    if (s->timer_waits) {
        s->timer_waits = false;
        timer_mod_ns(s->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL));
    }
    if (s->filter) {
        erdma_eni_resume(s->filter);
    }
}

static void run_state_changed(void *opaque, bool running, RunState state)
{
    (void)state;
    if (running) {
        go_on(opaque);
    }
}

/* From sleep (S3), in and out of which no run state is announced. */
static void woken(Notifier *notifier, void *reason)
{
    (void)reason;
    go_on(container_of(notifier, ErdmaState, wakeup));
}

/* Registers */

static uint64_t registers_read(void *opaque, hwaddr offset, unsigned size)
{
    ErdmaState *s = opaque;

    return s->dev ? erdma_dev_mmio_read(s->dev, offset, size) : 0;
}

static void registers_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    ErdmaState *s = opaque;

    if (s->dev) {
        object_ref(OBJECT(s));
        erdma_dev_mmio_write(s->dev, offset, value, size);
        object_unref(OBJECT(s));
    }
}

/* The model wants each access as the guest made it: width and alignment are its business. */
static const MemoryRegionOps register_ops = {
    .read = registers_read,
    .write = registers_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
    .impl = {.min_access_size = 1, .max_access_size = 8, .unaligned = true},
};

/* Properties that exist while the device is realized */

static void get_counter(Object *object, Visitor *visitor, const char *name, void *opaque, Error **errp)
{
    ErdmaState *s = ERDMA(object);
    uint64_t value = s->dev ? erdma_dev_counter(s->dev, (size_t)(uintptr_t)opaque) : 0;

    visit_type_uint64(visitor, name, &value, errp);
}

static void get_counters(Object *object, Visitor *visitor, const char *name, void *opaque, Error **errp)
{
    ErdmaState *s = ERDMA(object);

    (void)opaque;
    if (!visit_start_struct(visitor, name, NULL, 0, errp)) {
        return;
    }
    for (size_t i = 0; s->dev && i < erdma_counter_count(); i++) {
        uint64_t value = erdma_dev_counter(s->dev, i);

        if (!visit_type_uint64(visitor, erdma_counter_name(i), &value, errp)) {
            break;
        }
    }
    visit_end_struct(visitor, NULL);
}

static char *get_mac(Object *object, Error **errp)
{
    const uint8_t *mac = ERDMA(object)->config.mac;

    (void)errp;
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static char *get_connections(Object *object, Error **errp)
{
    ErdmaState *s = ERDMA(object);
    char *text = s->dev ? erdma_dev_connections(s->dev) : NULL;
    char *copy = g_strdup(text ? text : "[]");

    (void)errp;
    free(text);
    return copy;
}

static char *get_findings(Object *object, Error **errp)
{
    ErdmaState *s = ERDMA(object);
    char *text = s->dev ? erdma_dev_findings(s->dev) : NULL;
    char *copy = g_strdup(text ? text : "{}");

    (void)errp;
    free(text);
    return copy;
}

static char *counter_property(size_t index)
{
    return g_strdup_printf("counter-%s", erdma_counter_name(index));
}

static void add_state_properties(ErdmaState *s)
{
    Object *object = OBJECT(s);

    object_property_add_str(object, "mac", get_mac, NULL);
    object_property_set_description(object, "mac", "address of the paired NIC");
    object_property_add_str(object, "connections", get_connections, NULL);
    object_property_set_description(object, "connections", "every connection to another adapter, as JSON text");
    object_property_add_str(object, "findings", get_findings, NULL);
    object_property_set_description(object, "findings", "what check mode has found, as JSON text");
    object_property_add(object, "counters", "struct", get_counters, NULL, NULL, NULL);
    object_property_set_description(object, "counters", "every counter of the adapter");
    for (size_t i = 0; i < erdma_counter_count(); i++) {
        g_autofree char *name = counter_property(i);

        object_property_add(object, name, "uint64", get_counter, NULL, NULL, (void *)(uintptr_t)i);
    }
}

static void remove_state_properties(ErdmaState *s)
{
    Object *object = OBJECT(s);

    if (!object_property_find(object, "mac")) {
        return;
    }
    object_property_del(object, "mac");
    object_property_del(object, "connections");
    object_property_del(object, "findings");
    object_property_del(object, "counters");
    for (size_t i = 0; i < erdma_counter_count(); i++) {
        g_autofree char *name = counter_property(i);

        object_property_del(object, name);
    }
}

/* Texts that the core reads */

static const struct text_property {
    const char *name;
    const char *description;
    const char *example;
    char *(*set)(struct erdma_dev *dev, const char *text);
    const char *(*get)(const struct erdma_dev *dev);
} text_properties[TEXT_COUNT] = {
    [TEXT_FAULTS] =
        {"faults",
         "faults to inject, separated by ';', also at run time: "
         "cmd-drop=SUB/OP[+SKIP][*COUNT], cmd-fail=SUB/OP:STATUS[+SKIP][*COUNT], "
         "cmd-slow=SUB/OP:MS[+SKIP][*COUNT], irq-lose=VECTOR[+SKIP][*COUNT], db-lose=sq|rq|cq|eq|cmd[+SKIP][*COUNT], "
         "post=aeq|eqN|cqN|cmd:WORD,...[*COUNT], init-stuck, dead (default: none)",
         "cmd-fail=0/1:12*3;cmd-drop=0/any;init-stuck", erdma_dev_set_faults, erdma_dev_faults},
    [TEXT_LINK] =
        {"link",
         "trouble on the link, also at run time: SIDE:ITEM,...;seed=N with SIDE to-wire, to-guest or both and "
         "ITEM loss=P%, delay=TIME, jitter=TIME, reorder=P%, duplicate=P%, corrupt=P%, rate=RATE, cut "
         "(default: none)",
         "both:loss=1%,delay=50ms;to-wire:rate=100mbit;seed=7", erdma_dev_set_link, erdma_dev_link},
    [TEXT_CHECK_DELAY] =
        {"check-delay",
         "how long check mode holds work back at most, also at run time: TIME[;seed=N] (default: 300us;seed=1)",
         "2ms;seed=7", erdma_dev_set_check_delay, erdma_dev_check_delay},
    [TEXT_CHECK] = {"check",
                    "look for mistakes of the programs that use the adapter, also at run time: on or off; the "
                    "property 'findings' has them (default: off)",
                    "on", erdma_dev_set_check, erdma_dev_check},
};

static bool apply_text(ErdmaState *s, const struct text_property *property, const char *text, Error **errp)
{
    char *problem = property->set(s->dev, text);

    if (problem) {
        error_setg(errp, "erdma: property '%s': %s", property->name, problem);
        error_append_hint(errp, "Write for example %s=%s or nothing to clear all.\n", property->name,
                          property->example);
        free(problem);
        return false;
    }
    return true;
}

static bool apply_initial_texts(ErdmaState *s, Error **errp)
{
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        if (s->initial_text[i] && !apply_text(s, &text_properties[i], s->initial_text[i], errp)) {
            return false;
        }
    }
    return true;
}

static void get_text(Object *object, Visitor *visitor, const char *name, void *opaque, Error **errp)
{
    ErdmaState *s = ERDMA(object);
    const struct text_property *property = opaque;
    const char *text = s->dev ? property->get(s->dev) : s->initial_text[property - text_properties];
    g_autofree char *copy = g_strdup(text ? text : "");

    visit_type_str(visitor, name, &copy, errp);
}

static void set_text(Object *object, Visitor *visitor, const char *name, void *opaque, Error **errp)
{
    ErdmaState *s = ERDMA(object);
    const struct text_property *property = opaque;
    char **initial = &s->initial_text[property - text_properties];
    g_autofree char *text = NULL;

    if (!visit_type_str(visitor, name, &text, errp)) {
        return;
    }
    if (s->dev) {
        apply_text(s, property, text, errp);
        return;
    }
    g_free(*initial);
    *initial = g_steal_pointer(&text);
}

static void add_text_properties(ObjectClass *class)
{
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        const struct text_property *property = &text_properties[i];

        object_class_property_add(class, property->name, "string", get_text, set_text, NULL, (void *)property);
        object_class_property_set_description(class, property->name, property->description);
    }
}

/* Life of a device */

static bool choose_segment_bytes(ErdmaState *s, uint32_t of_netdev, Error **errp)
{
    const char *text = s->segment_bytes;

    if (!text || strcmp(text, "auto") == 0) {
        s->config.segment_bytes = of_netdev;
        return true;
    }
    if (!g_ascii_isdigit(text[0]) || qemu_strtoui(text, NULL, 10, &s->config.segment_bytes) < 0) {
        error_setg(errp, "erdma: property 'segment-bytes': '%s' is neither a number nor auto", text);
        return false;
    }
    return true; /* the core checks the range */
}

static bool choose_protocol(ErdmaState *s, Error **errp)
{
    const char *text = s->protocol;

    if (!text || strcmp(text, "iwarp") == 0) {
        s->config.protocol = ERDMA_PROTOCOL_IWARP;
    } else if (strcmp(text, "rocev2") == 0) {
        s->config.protocol = ERDMA_PROTOCOL_ROCEV2;
    } else {
        error_setg(errp, "erdma: property 'protocol': '%s' is neither iwarp nor rocev2", text);
        return false;
    }
    return true;
}

static bool claim_eni(ErdmaState *s, Error **errp)
{
    struct erdma_eni eni;
    ErdmaState *other;

    if (!erdma_eni_find(s->eni_id, &eni, errp)) {
        return false;
    }
    QLIST_FOREACH (other, &adapters, next) {
        if (strcmp(other->eni_id, s->eni_id) == 0) {
            error_setg(errp, "erdma: property 'eni': the NIC on netdev '%s' is already paired with adapter '%s'",
                       s->eni_id, adapter_name(other));
            error_append_hint(errp, "Each adapter needs a NIC of its own; add another -netdev and NIC.\n");
            return false;
        }
    }
    memcpy(s->config.mac, eni.mac.a, sizeof(s->config.mac));
    if (!choose_segment_bytes(s, eni.segment_bytes, errp) || !choose_protocol(s, errp)) {
        return false;
    }
    QLIST_INSERT_HEAD(&adapters, s, next);
    s->listed = true;
    return true;
}

static char *replace_word(char *text, const char *from, const char *to)
{
    g_auto(GStrv) parts = g_strsplit(text, from, -1);

    g_free(text);
    return g_strjoinv(to, parts);
}

static bool create_model(ErdmaState *s, Error **errp)
{
    char *problem = NULL;

    s->dev = erdma_dev_create(&s->config, &host_ops, s, &problem);
    if (!s->dev) {
        char *text = g_strdup(problem ? problem : "out of memory");

        free(problem);
        /* The core speaks of its fields; people write properties. */
#define RENAME(type, field, property, description) text = replace_word(text, #field, property);
        ERDMA_TUNABLES(RENAME)
#undef RENAME
        text = replace_word(text, "segment_bytes", "segment-bytes");
        error_setg(errp, "erdma: %s", text);
        error_append_hint(errp, "Every property with its range and default: -device erdma,help\n");
        g_free(text);
        return false;
    }
    return apply_initial_texts(s, errp);
}

static bool join_wire(ErdmaState *s, Error **errp)
{
    const struct erdma_eni_user user = {.dev = &s->dev, .device = DEVICE(s), .id = adapter_name(s)};

    return erdma_eni_attach(OBJECT(s), s->eni_id, &user, &s->filter, errp);
}

static bool add_bars(ErdmaState *s, Error **errp)
{
    PCIDevice *pci = &s->parent_obj;
    const uint8_t type = PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64;

    /* Drivers refuse a function with any memory resource but BARs 0 and 2 (adapter.md 1.2). */
    if (pci->romfile && *pci->romfile) {
        error_setg(errp, "erdma: the adapter has no option ROM; leave out 'romfile'");
        return false;
    }
    memory_region_init_io(&s->registers, OBJECT(s), &register_ops, s, "erdma-registers", ERDMA_BAR0_SIZE);
    pci_register_bar(pci, ERDMA_REGISTER_BAR, type, &s->registers);

    memory_region_init(&s->msix, OBJECT(s), "erdma-msix", ERDMA_MSIX_BAR_SIZE);
    pci_register_bar(pci, ERDMA_MSIX_BAR, type, &s->msix);
    if (msix_init(pci, (unsigned short)s->config.vectors, &s->msix, ERDMA_MSIX_BAR, 0, &s->msix, ERDMA_MSIX_BAR,
                  ERDMA_MSIX_PBA_OFFSET, 0, errp) < 0) {
        return false;
    }
    for (unsigned i = 0; i < s->config.vectors; i++) {
        msix_vector_use(pci, i);
    }
    s->msix_ready = true;
    return true;
}

static bool add_pcie_capability(ErdmaState *s, Error **errp)
{
    PCIDevice *pci = &s->parent_obj;

    /* On a conventional bus there is none, and so no function-level reset. */
    if (!pci_is_express(pci)) {
        return true;
    }
    if (pcie_endpoint_cap_init(pci, 0) < 0) {
        error_setg(errp, "erdma: the PCI Express capability cannot be added");
        return false;
    }
    return erdma_compat_flr_init(pci);
}

static bool block_migration(ErdmaState *s, Error **errp)
{
    error_setg(&s->migration_blocker,
               "erdma: the connections of adapter '%s' cannot be migrated or saved; unplug the adapter first "
               "(device_del %s)",
               adapter_name(s), DEVICE(s)->id ? DEVICE(s)->id : "with the device's QOM path");
    return erdma_compat_block_migration(&s->migration_blocker, errp);
}

/* Undoes what realize has done so far, in reverse; safe at any point of it. */
static void tear_down(ErdmaState *s)
{
    remove_state_properties(s);
    erdma_compat_unblock_migration(&s->migration_blocker);
    if (s->msix_ready) {
        msix_uninit(&s->parent_obj, &s->msix, &s->msix);
        s->msix_ready = false;
    }
    if (pci_is_express(&s->parent_obj) && s->parent_obj.exp.exp_cap) {
        pcie_cap_exit(&s->parent_obj);
    }
    if (s->dev) {
        struct erdma_dev *dev = s->dev;

        s->dev = NULL;
        erdma_dev_destroy(dev);
    }
    if (s->filter) {
        erdma_eni_detach(s->filter);
    }
    if (s->run_state) {
        qemu_del_vm_change_state_handler(s->run_state);
        s->run_state = NULL;
        notifier_remove(&s->wakeup);
    }
    if (s->timer) {
        timer_free(s->timer);
        s->timer = NULL;
    }
    if (s->bh) {
        qemu_bh_delete(s->bh);
        s->bh = NULL;
    }
    if (s->listed) {
        QLIST_REMOVE(s, next);
        s->listed = false;
    }
}

static void erdma_realize(PCIDevice *pci, Error **errp)
{
    ErdmaState *s = ERDMA(pci);

    s->bh = qemu_bh_new(run_model, s);
    s->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, timer_fired, s);
    s->run_state = qemu_add_vm_change_state_handler(run_state_changed, s);
    s->wakeup.notify = woken;
    qemu_register_wakeup_notifier(&s->wakeup);
    if (!claim_eni(s, errp) || !create_model(s, errp) || !join_wire(s, errp) || !add_bars(s, errp) ||
        !add_pcie_capability(s, errp) || !block_migration(s, errp)) {
        tear_down(s);
        return;
    }
    add_state_properties(s);

    g_autofree char *mac = get_mac(OBJECT(s), NULL);

    trace_erdma_paired(adapter_name(s), s->eni_id, mac);
}

static void erdma_unrealize(PCIDevice *pci)
{
    tear_down(ERDMA(pci));
}

static void erdma_reset(DeviceState *device)
{
    ErdmaState *s = ERDMA(device);

    trace_erdma_reset(adapter_name(s));
    if (s->dev) {
        object_ref(OBJECT(s));
        erdma_dev_reset(s->dev);
        object_unref(OBJECT(s));
    }
}

static void erdma_config_write(PCIDevice *pci, uint32_t address, uint32_t value, int length)
{
    pci_default_write_config(pci, address, value, length);
    if (pci_is_express(pci) && pci->exp.exp_cap) {
        pcie_cap_flr_write_config(pci, address, value, length);
    }
}

/* Fields that no property sets keep the core's defaults. */
static void erdma_instance_init(Object *object)
{
    erdma_config_defaults(&ERDMA(object)->config);
}

static void erdma_finalize(Object *object)
{
    ErdmaState *s = ERDMA(object);

    for (size_t i = 0; i < TEXT_COUNT; i++) {
        g_free(s->initial_text[i]);
    }
}

/* Type */

/* Of the parent's class; the model's own adds nothing to that, whose size is QEMU's matter. */
static DeviceRealize pci_realize;

/* Both bus kinds are possible; the configuration space is sized before realize, by this flag. */
static void erdma_device_realize(DeviceState *device, Error **errp)
{
    PCIDevice *pci = PCI_DEVICE(device);

    if (pci_bus_is_express(pci_get_bus(pci))) {
        pci->cap_present |= QEMU_PCI_CAP_EXPRESS;
    }
    pci_realize(device, errp);
}

#define PROPERTY(type, field, property, description)                                                                   \
    DEFINE_PROP(property, ErdmaState, config.field, qdev_prop_##type, PROPERTY_TYPE_##type),
#define PROPERTY_TYPE_uint32 uint32_t
#define PROPERTY_TYPE_bool bool

/* clang-format off */
static ERDMA_PROPERTY erdma_properties[] = {
    DEFINE_PROP_STRING("eni", ErdmaState, eni_id),
    DEFINE_PROP_STRING("segment-bytes", ErdmaState, segment_bytes),
    DEFINE_PROP_STRING("protocol", ErdmaState, protocol),
    ERDMA_TUNABLES(PROPERTY)
    ERDMA_PROP_END
};
/* clang-format on */

static void set_default_uint32(ObjectProperty *property, uint32_t value)
{
    object_property_set_default_uint(property, value);
}

static void set_default_bool(ObjectProperty *property, bool value)
{
    object_property_set_default_bool(property, value);
}

static void erdma_class_init(ObjectClass *class, ERDMA_CLASS_DATA data)
{
    DeviceClass *device_class = DEVICE_CLASS(class);
    PCIDeviceClass *pci_class = PCI_DEVICE_CLASS(class);
    struct erdma_config defaults;

    (void)data;
    pci_class->realize = erdma_realize;
    pci_class->exit = erdma_unrealize;
    pci_class->config_write = erdma_config_write;
    pci_class->vendor_id = ERDMA_VENDOR_ID;
    pci_class->device_id = ERDMA_DEVICE_ID;
    pci_class->subsystem_vendor_id = ERDMA_VENDOR_ID;
    pci_class->subsystem_id = ERDMA_DEVICE_ID;
    pci_class->class_id = ERDMA_CLASS_ID;
    pci_class->revision = ERDMA_REVISION;

    device_class->desc = "Elastic RDMA Adapter";
    set_bit(DEVICE_CATEGORY_NETWORK, device_class->categories);
    erdma_compat_set_reset(device_class, erdma_reset);
    device_class_set_parent_realize(device_class, erdma_device_realize, &pci_realize);

    device_class_set_props(device_class, erdma_properties);
    object_class_property_set_description(class, "eni",
                                          "id of the netdev whose NIC shares its address with the adapter (required)");
    erdma_config_defaults(&defaults);
#define DESCRIBE(type, field, property, description)                                                                   \
    object_class_property_set_description(class, property, description);                                               \
    set_default_##type(object_class_property_find(class, property), defaults.field);
    ERDMA_TUNABLES(DESCRIBE)
#undef DESCRIBE

    object_class_property_set_description(class, "segment-bytes",
                                          "payload of the largest TCP segment between two adapters: 0 for what the "
                                          "connection's handshake says, 1460..65000, or auto, which is as long as the "
                                          "netdev surely carries (default: auto)");
    object_class_property_set_description(class, "protocol",
                                          "what the adapter speaks: iwarp or rocev2 (default: iwarp)");
    add_text_properties(class);
}

static const TypeInfo erdma_type = {
    .name = TYPE_ERDMA,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(ErdmaState),
    .instance_init = erdma_instance_init,
    .instance_finalize = erdma_finalize,
    .class_init = erdma_class_init,
    .interfaces =
        (InterfaceInfo[]){
            {INTERFACE_PCIE_DEVICE},
            {INTERFACE_CONVENTIONAL_PCI_DEVICE},
            {},
        },
};

void erdma_register_types(void)
{
    type_register_static(&erdma_type);
}

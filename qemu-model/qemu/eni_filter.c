/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The adapter's place between the paired NIC and the network backend
 * (wire.md 1.2): a net filter on the netdev, which sees every frame in both
 * directions.  Frames that the model does not want pass as they are, without
 * being copied.
 *
 * Filters that were on the netdev before the adapter came (those of the
 * command line, filter-dump for one) are on the side of the wire and see what
 * the adapter sends and receives there.
 *
 * Who removes the filter: the adapter when it leaves, or QEMU when the netdev
 * goes first.
 */
#include "shim.h"

#include "trace-erdma.h"

#define TYPE_ERDMA_ENI_FILTER "erdma-eni-filter"
OBJECT_DECLARE_SIMPLE_TYPE(EniFilter, ERDMA_ENI_FILTER)

/* The largest frame: Ethernet header, two VLAN tags, the largest IP packet. */
#define FRAME_MAX (14 + 2 * 4 + 65535)
#define FRAME_MIN 60

/* Frames that came while the machine was stopped; more are lost, as on any overrun interface. */
#define WAITING_MAX_FRAMES 1024
#define WAITING_MAX_OCTETS (16 * MiB)
/* Shown to the model in one turn: what fits into this time, each frame being bounded by itself. */
#define CATCH_UP_FRAMES 64
#define CATCH_UP_NS (SCALE_MS / 2)

/* Frames that the netdev or the NIC does not take yet stay in QEMU's queue of it; more are lost. */
#define QUEUED_MAX_FRAMES 10000
#define QUEUED_MAX_OCTETS (16 * MiB)

struct waiting_frame {
    QSIMPLEQ_ENTRY(waiting_frame) next;
    enum erdma_side side;
    unsigned flags;
    size_t header; /* octets of the virtio-net header in front */
    size_t length; /* with header */
    uint8_t data[];
};

struct EniFilter {
    NetFilterState parent_obj;

    struct erdma_eni_user user;
    EniFilter **place; /* where the adapter keeps its pointer to this; NULL: the adapter has left */
    QEMUBH *bh;
    QSIMPLEQ_HEAD(, waiting_frame) waiting;
    bool of_hub; /* the netdev's frames are also another NIC's */
    unsigned waiting_frames;
    size_t waiting_octets;
    struct {
        GQueue lengths; /* of the frames, in order */
        size_t octets;
    } queued[2]; /* by side */
    /*
     * Who sends to the backend, for QEMU's queue of it: the NIC may be unplugged while its frames are in there, and not
     * every one takes them out.
     */
    NetClientState wire_sender;
    bool shown; /* frames since the last erdma_dev_frames_end() */
    uint8_t frame[FRAME_MAX];
};

static struct erdma_dev *model_of(EniFilter *f)
{
    return f->place ? *f->user.dev : NULL;
}

/* struct virtio_net_hdr; the host and its x86 guests are little-endian, and so is the header. */
static void read_offload(const struct iovec *iov, int iovcnt, size_t header, struct erdma_offload *offload)
{
    struct virtio_net_hdr raw;

    memset(offload, 0, sizeof(*offload));
    if (header < sizeof(raw) || iov_to_buf(iov, iovcnt, 0, &raw, sizeof(raw)) < sizeof(raw)) {
        return;
    }
    offload->needs_checksum = raw.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    offload->data_valid = raw.flags & VIRTIO_NET_HDR_F_DATA_VALID;
    offload->gso_type = raw.gso_type;
    offload->header_bytes = le16_to_cpu(raw.hdr_len);
    offload->segment_bytes = raw.gso_type == VIRTIO_NET_HDR_GSO_NONE ? 0 : le16_to_cpu(raw.gso_size);
    offload->checksum_start = le16_to_cpu(raw.csum_start);
    offload->checksum_offset = le16_to_cpu(raw.csum_offset);
}

static void write_offload(const struct erdma_offload *offload, struct virtio_net_hdr *raw)
{
    raw->flags = (offload->needs_checksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0) |
                 (offload->data_valid ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
    raw->gso_type = offload->gso_type;
    raw->hdr_len = cpu_to_le16(offload->header_bytes);
    raw->gso_size = cpu_to_le16(offload->segment_bytes);
    raw->csum_start = cpu_to_le16(offload->checksum_start);
    raw->csum_offset = cpu_to_le16(offload->checksum_offset);
}

/*
 * The frame in one piece that nobody else can change: the NIC's frames lie in
 * guest memory, and a hub hands those of another NIC on.
 */
static const void *in_one_piece(EniFilter *f, enum erdma_side side, size_t header, size_t length,
                                const struct iovec *iov, int iovcnt)
{
    if (side == ERDMA_TO_GUEST && iovcnt == 1 && !f->of_hub) {
        return (const uint8_t *)iov[0].iov_base + header;
    }
    iov_to_buf(iov, iovcnt, header, f->frame, length);
    return f->frame;
}

/* Whether the model must see the frame. */
static bool wanted(EniFilter *f, enum erdma_side side, size_t header, const struct iovec *iov, int iovcnt)
{
    struct erdma_dev *dev = model_of(f);
    uint8_t head[ERDMA_FRAME_HEAD];
    size_t head_length = iov_to_buf(iov, iovcnt, header, head, sizeof(head));

    return dev && erdma_dev_wants_frame(dev, side, head, head_length, iov_size(iov, iovcnt) - header);
}

/* Shows a frame to the model.  true: the model took it. */
static bool offer(EniFilter *f, enum erdma_side side, size_t header, const struct iovec *iov, int iovcnt)
{
    struct erdma_dev *dev = model_of(f);
    size_t length = iov_size(iov, iovcnt) - header;
    Object *device = OBJECT(f->user.device);
    struct erdma_offload offload;
    bool taken;

    read_offload(iov, iovcnt, header, &offload);
    /* What the model does in return may unplug the device, and the filter with it. */
    object_ref(device);
    object_ref(OBJECT(f));
    taken = erdma_dev_frame(dev, side, in_one_piece(f, side, header, length, iov, iovcnt), length, &offload);
    if (!f->shown && model_of(f)) {
        f->shown = true;
        qemu_bh_schedule(f->bh);
    }
    trace_erdma_frame(f->user.id, side, length, taken ? "taken" : "seen");
    object_unref(OBJECT(f));
    object_unref(device);
    return taken;
}

/* The first one; it is the caller's now. */
static void take_waiting(EniFilter *f, struct waiting_frame *frame)
{
    QSIMPLEQ_REMOVE_HEAD(&f->waiting, next);
    f->waiting_frames--;
    f->waiting_octets -= frame->length;
}

static void wait_for_machine(EniFilter *f, enum erdma_side side, unsigned flags, size_t header, const struct iovec *iov,
                             int iovcnt)
{
    size_t length = iov_size(iov, iovcnt);
    struct waiting_frame *frame;

    if (f->waiting_frames >= WAITING_MAX_FRAMES || f->waiting_octets + length > WAITING_MAX_OCTETS) {
        trace_erdma_frame(f->user.id, side, length, "lost: too many wait");
        return;
    }
    frame = g_malloc(sizeof(*frame) + length);
    frame->side = side;
    frame->flags = flags;
    frame->header = header;
    frame->length = length;
    iov_to_buf(iov, iovcnt, 0, frame->data, length);
    QSIMPLEQ_INSERT_TAIL(&f->waiting, frame, next);
    f->waiting_frames++;
    f->waiting_octets += length;
}

/* NULL: it has gone since the frame was sent. */
static EniFilter *filter_of(const NetClientState *backend)
{
    NetFilterState *nf;

    QTAILQ_FOREACH (nf, &backend->filters, next) {
        if (object_dynamic_cast(OBJECT(nf), TYPE_ERDMA_ENI_FILTER)) {
            return ERDMA_ENI_FILTER(nf);
        }
    }
    return NULL;
}

/* A frame left QEMU's queue, or was thrown away there. */
static void dequeued(EniFilter *f, enum erdma_side side)
{
    if (!g_queue_is_empty(&f->queued[side].lengths)) {
        f->queued[side].octets -= GPOINTER_TO_SIZE(g_queue_pop_head(&f->queued[side].lengths));
    }
}

static void dequeued_to_wire(NetClientState *sender, ssize_t ret)
{
    (void)ret;
    dequeued(container_of(sender, EniFilter, wire_sender), ERDMA_TO_WIRE);
}

/* The sender is the backend. */
static void dequeued_to_guest(NetClientState *sender, ssize_t ret)
{
    EniFilter *f = filter_of(sender);

    (void)ret;
    if (f) {
        dequeued(f, ERDMA_TO_GUEST);
    }
}

/* The last step of pass_on(). */
static void enqueue(EniFilter *f, enum erdma_side side, NetClientState *sender, unsigned flags, const struct iovec *iov,
                    int iovcnt)
{
    size_t length = iov_size(iov, iovcnt);
    NetPacketSent *sent = dequeued_to_guest;
    NetClientState *to = sender->peer;

    if (!to) { /* gone meanwhile */
        return;
    }
    if (g_queue_get_length(&f->queued[side].lengths) >= QUEUED_MAX_FRAMES ||
        f->queued[side].octets + length > QUEUED_MAX_OCTETS) {
        trace_erdma_frame(f->user.id, side, length, "lost: too many are queued");
        return;
    }
    if (side == ERDMA_TO_WIRE) {
        f->wire_sender.peer = to;
        sender = &f->wire_sender;
        sent = dequeued_to_wire;
    }
    if (!qemu_net_queue_send_iov(to->incoming_queue, sender, flags, iov, iovcnt, sent)) {
        g_queue_push_tail(&f->queued[side].lengths, GSIZE_TO_POINTER(length));
        f->queued[side].octets += length;
    }
}

/*
 * Onwards, past this filter, as qemu_netfilter_pass_to_next() does it; but that
 * lets QEMU's queue grow to 10000 frames of any size.  What the frame brings
 * about may remove the filter.
 */
static void pass_on(EniFilter *f, enum erdma_side side, unsigned flags, const struct iovec *iov, int iovcnt)
{
    NetFilterState *next = NETFILTER(f);
    NetClientState *backend = next->netdev;
    NetClientState *sender = side == ERDMA_TO_GUEST ? backend : backend->peer;
    NetFilterDirection direction = side == ERDMA_TO_GUEST ? NET_FILTER_DIRECTION_TX : NET_FILTER_DIRECTION_RX;
    bool taken = false;

    if (!sender || !sender->peer) {
        return;
    }
    object_ref(OBJECT(f));
    while (!taken && (next = side == ERDMA_TO_GUEST ? QTAILQ_NEXT(next, next) : QTAILQ_PREV(next, next))) {
        taken = qemu_netfilter_receive(next, direction, sender, flags, iov, iovcnt, NULL) != 0;
    }
    if (!taken) {
        enqueue(f, side, sender, flags, iov, iovcnt);
    }
    object_unref(OBJECT(f));
}

static ssize_t eni_filter_receive(NetFilterState *nf, NetClientState *sender, unsigned flags, const struct iovec *iov,
                                  int iovcnt, NetPacketSent *sent_cb)
{
    EniFilter *f = ERDMA_ENI_FILTER(nf);
    enum erdma_side side = sender == nf->netdev ? ERDMA_TO_GUEST : ERDMA_TO_WIRE;
    /* QEMU's own frames (announcements) come without a header. */
    size_t header = flags & QEMU_NET_PACKET_FLAG_RAW ? 0 : (size_t)nf->netdev->vnet_hdr_len;
    size_t total = iov_size(iov, iovcnt);

    (void)sent_cb;
    if (!model_of(f) || total <= header || total - header > FRAME_MAX) {
        return 0;
    }
    if (!wanted(f, side, header, iov, iovcnt)) {
        return 0;
    }
    if (!runstate_is_running() || !QSIMPLEQ_EMPTY(&f->waiting)) {
        wait_for_machine(f, side, flags, header, iov, iovcnt);
        if (runstate_is_running()) { /* behind those that wait: they are on their way */
            qemu_bh_schedule(f->bh);
        }
        return (ssize_t)total;
    }
    return offer(f, side, header, iov, iovcnt) ? (ssize_t)total : 0;
}

/* The first of those that waited. */
static void show_waiting(EniFilter *f)
{
    struct waiting_frame *frame = QSIMPLEQ_FIRST(&f->waiting);
    struct iovec iov = {.iov_base = frame->data, .iov_len = frame->length};

    take_waiting(f, frame);
    if (!wanted(f, frame->side, frame->header, &iov, 1) || !offer(f, frame->side, frame->header, &iov, 1)) {
        pass_on(f, frame->side, frame->flags, &iov, 1);
    }
    g_free(frame);
}

/* What a frame brings about may stop the machine, or unplug the adapter, which empties the list. */
static bool may_show_waiting(EniFilter *f)
{
    return model_of(f) && runstate_is_running() && !QSIMPLEQ_EMPTY(&f->waiting);
}

static void catch_up(void *opaque)
{
    EniFilter *f = opaque;
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + CATCH_UP_NS;
    Object *device;

    if (!model_of(f) || !runstate_is_running()) {
        return; /* erdma_eni_resume() makes up for it */
    }
    device = OBJECT(f->user.device);
    object_ref(device);
    object_ref(OBJECT(f));
    for (unsigned count = 0;
         may_show_waiting(f) && count < CATCH_UP_FRAMES && qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end; count++) {
        show_waiting(f);
    }
    if (may_show_waiting(f)) {
        qemu_bh_schedule(f->bh);
    } else if (f->shown && model_of(f) && runstate_is_running()) {
        f->shown = false;
        erdma_dev_frames_end(model_of(f));
    }
    object_unref(OBJECT(f));
    object_unref(device);
}

void erdma_eni_resume(EniFilter *f)
{
    qemu_bh_schedule(f->bh);
}

void erdma_eni_send(EniFilter *f, enum erdma_side side, const void *frame, size_t len,
                    const struct erdma_offload *offload)
{
    static const uint8_t padding[FRAME_MIN];
    struct {
        struct virtio_net_hdr raw;
        uint8_t rest[64 - sizeof(struct virtio_net_hdr)]; /* of the longer forms: the NIC fills it or nobody looks */
    } header = {};
    NetFilterState *nf = NETFILTER(f);
    NetClientState *backend = nf->netdev;
    struct iovec iov[3];
    int count = 0;
    const char *lost = NULL;

    if (!nf->on) {
        lost = "lost: the filter is off";
    } else if (!backend->peer || backend->peer->link_down || backend->link_down) {
        lost = "lost: no link";
    } else if ((size_t)backend->vnet_hdr_len > sizeof(header) ||
               (!backend->vnet_hdr_len && (offload->needs_checksum || offload->segment_bytes))) {
        /* A held frame of before the NIC was reset: nobody would finish it.  TCP sends again. */
        lost = "lost: no one finishes its checksum";
    }
    trace_erdma_frame(f->user.id, side, len, lost ? lost : "sent");
    if (lost) {
        return;
    }

    if (backend->vnet_hdr_len) {
        write_offload(offload, &header.raw);
        iov[count++] = (struct iovec){&header, (size_t)backend->vnet_hdr_len};
    }
    iov[count++] = (struct iovec){(void *)frame, len};
    if (side == ERDMA_TO_GUEST && len < FRAME_MIN && net_peer_needs_padding(backend)) {
        iov[count++] = (struct iovec){(void *)padding, FRAME_MIN - len};
    }
    pass_on(f, side, QEMU_NET_PACKET_FLAG_NONE, iov, count);
}

bool erdma_eni_attach(Object *owner, const char *netdev, const struct erdma_eni_user *user, EniFilter **place,
                      Error **errp)
{
    Object *object = object_new_with_props(TYPE_ERDMA_ENI_FILTER, owner, "filter", errp, "netdev", netdev, NULL);
    EniFilter *f;

    if (!object) {
        return false;
    }
    f = ERDMA_ENI_FILTER(object);
    f->user = *user;
    f->of_hub = erdma_compat_is_netdev(NETFILTER(f)->netdev, "hubport");
    f->bh = qemu_bh_new(catch_up, f);
    f->place = place;
    *place = f;
    return true;
}

void erdma_eni_detach(EniFilter *f)
{
    struct waiting_frame *frame;

    object_ref(OBJECT(f));
    *f->place = NULL;
    f->place = NULL;
    /* The adapter is gone: what waits for it is ordinary traffic now. */
    while ((frame = QSIMPLEQ_FIRST(&f->waiting))) {
        struct iovec iov = {.iov_base = frame->data, .iov_len = frame->length};

        take_waiting(f, frame);
        pass_on(f, frame->side, frame->flags, &iov, 1);
        g_free(frame);
    }
    object_unparent(OBJECT(f));
    object_unref(OBJECT(f));
}

static void eni_filter_init(Object *object)
{
    EniFilter *f = ERDMA_ENI_FILTER(object);

    QSIMPLEQ_INIT(&f->waiting);
    g_queue_init(&f->queued[ERDMA_TO_WIRE].lengths);
    g_queue_init(&f->queued[ERDMA_TO_GUEST].lengths);
}

static void eni_filter_cleanup(NetFilterState *nf)
{
    EniFilter *f = ERDMA_ENI_FILTER(nf);

    struct waiting_frame *frame;

    while ((frame = QSIMPLEQ_FIRST(&f->waiting))) {
        take_waiting(f, frame);
        g_free(frame);
    }
    if (f->wire_sender.peer) {
        qemu_net_queue_purge(nf->netdev->incoming_queue, &f->wire_sender);
    }
    g_queue_clear(&f->queued[ERDMA_TO_WIRE].lengths);
    g_queue_clear(&f->queued[ERDMA_TO_GUEST].lengths);
    if (f->bh) {
        qemu_bh_delete(f->bh);
    }
    if (f->place) {
        *f->place = NULL;
    }
}

static void eni_filter_class_init(ObjectClass *class, ERDMA_CLASS_DATA data)
{
    NetFilterClass *filter_class = NETFILTER_CLASS(class);

    (void)data;
    filter_class->receive_iov = eni_filter_receive;
    filter_class->cleanup = eni_filter_cleanup;
}

static const TypeInfo eni_filter_type = {
    .name = TYPE_ERDMA_ENI_FILTER,
    .parent = TYPE_NETFILTER,
    .instance_size = sizeof(EniFilter),
    .instance_init = eni_filter_init,
    .class_init = eni_filter_class_init,
};

void erdma_register_filter_type(void)
{
    type_register_static(&eni_filter_type);
}

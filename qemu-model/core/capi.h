/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the device model (C++, no QEMU header) and its host (the
 * QEMU shim in ../qemu, or a test).
 *
 * Every function is called with the host's big lock held (QEMU: the BQL), or
 * from one thread in a test; the model itself is single-threaded and takes no
 * lock.  No function blocks.  The model never calls a host callback after
 * erdma_dev_destroy() returned.
 */
#ifndef ERDMA_MODEL_CAPI_H
#define ERDMA_MODEL_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ERDMA_BAR0_SIZE 0x100000u /* 1 MiB: registers, doorbells, extended doorbell pages */
#define ERDMA_MAX_VECTORS 32u
#define ERDMA_TIMER_OFF UINT64_MAX

enum erdma_atomic_op { ERDMA_ATOMIC_ADD = 0, ERDMA_ATOMIC_SWAP_IF_EQUAL = 1 };

/* Trace categories; the shim turns each into a QEMU trace event. */
enum erdma_trace_kind {
    ERDMA_TRACE_BRINGUP = 0, /* args: register offset, value */
    ERDMA_TRACE_COMMAND,     /* args: sub-module << 8 | opcode, status, cookie; text: name */
    ERDMA_TRACE_QP_STATE,    /* args: QPN, old state, new state; text: reason */
    ERDMA_TRACE_ERROR,       /* args: QPN or CQN, syndrome or AEQE type; text: what */
    ERDMA_TRACE_EVENT,       /* args: vector, EQ number, producer index */
};

/* The paired NIC (wire.md 1.2): the direction in which a frame travels, and what its virtio-net header says. */
enum erdma_side { ERDMA_TO_WIRE = 0, ERDMA_TO_GUEST = 1 };

struct erdma_offload {      /* all zero without a header */
    bool needs_checksum;    /* the TCP or UDP checksum holds the pseudo header only */
    bool data_valid;        /* somebody checked the checksum */
    uint8_t gso_type;       /* VIRTIO_NET_HDR_GSO_* as it stood, 0: none */
    uint16_t header_bytes;  /* hdr_len */
    uint16_t segment_bytes; /* gso_size; 0: ordinary frame */
    uint16_t checksum_start, checksum_offset;
};

struct erdma_host_ops {
    /* Guest physical (bus) memory; RAM only.  false: some byte is not RAM or DMA is off. */
    bool (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
    bool (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
    /* Little-endian u64 at a naturally aligned address, atomic towards guest CPUs. */
    bool (*dma_atomic64)(void *opaque, uint64_t addr, enum erdma_atomic_op op, uint64_t operand, uint64_t compare,
                         uint64_t *old);
    /* MSI-X message of this vector; the host latches it while masked. */
    void (*raise_vector)(void *opaque, unsigned vector);
    /* Monotonic guest-visible clock, nanoseconds. */
    uint64_t (*now_ns)(void *opaque);
    /* One-shot timer: call erdma_dev_timer() at or after the deadline.  ERDMA_TIMER_OFF cancels. */
    void (*arm_timer)(void *opaque, uint64_t deadline_ns);
    /* Call erdma_dev_run() soon from the main loop (idempotent until then). */
    void (*schedule)(void *opaque);
    void (*trace)(void *opaque, enum erdma_trace_kind kind, const uint64_t args[3], const char *text);
    /* Something the guest should not have done; rate limited by the model. */
    void (*guest_error)(void *opaque, const char *text);
    /*
     * An Ethernet frame of the model, its own or one that it held, continues to `side`.  Consumed before return.  Frames
     * that reach the filter from inside this call are the host's to queue or drop: the model takes none.  May be NULL
     * when erdma_dev_frame() is never called.
     */
    void (*send_frame)(void *opaque, enum erdma_side side, const void *frame, size_t len,
                       const struct erdma_offload *offload);
};

/* Everything configurable.  Fill with erdma_config_defaults() first. */
struct erdma_config {
    uint8_t mac[6];             /* of the paired NIC */
    uint32_t vectors;           /* MSI-X vectors, 2..32 (32) */
    uint32_t direct_wqe_groups; /* register GRP_NUM, 0..255 (24); < 4 switches direct WQEs off */
    uint32_t qblock;            /* blocks of 1024 QPs, 1..64 (4) */
    uint32_t max_cqe_log;       /* 6..20 (20) */
    uint32_t max_recv_wr_log;   /* 6..15 (15) */
    uint32_t max_mr_size_log;   /* 20..48 (36) */
    uint32_t default_cc;        /* congestion control number, 0..4 (1) */
    uint32_t firmware_version;  /* (0x00000225) */
    bool atomic;                /* capability ATOMIC (true) */
    bool multilevel_mtt;        /* capability MTT_VA (true) */
    bool extended_doorbells;    /* capability EXTEND_DB (false) */
    uint32_t pair_timeout_ms;   /* wait for the other end of a loopback connection, 1..600000 (15000) */
    uint32_t rnr_hold_ms;       /* wait for a receive buffer, 0 = forever, ..600000 (30000) */
    uint32_t ord;               /* own Reads and atomics outstanding per QP, more wait, 1..128 (128) */
    uint32_t ird;               /* the same of a peer, one more ends the connection, 1..128 (128) */
    /* Connections over the paired NIC (wire.md appendix A). */
    uint32_t segment_bytes;    /* payload of a TCP segment between two adapters, 0 or 1460..65000; 0: as MSS says (0) */
    uint32_t buffer_bytes;     /* receive and send buffer of a connection, 65536..4194304 (1048576) */
    uint32_t ack_delay_ms;     /* longest wait before data is acknowledged, 0..500 (40) */
    uint32_t ack_segments;     /* acknowledged at once when so many wait, 1..64 (2) */
    uint32_t rto_min_ms;       /* smallest retransmission timeout, 10..1000 (200) */
    uint32_t give_up_ms;       /* a peer that answers nothing for so long is dead, 1000..600000 (30000) */
    uint32_t keep_idle_ms;     /* silence before the first keepalive probe, 1000..7200000 (60000) */
    uint32_t keep_interval_ms; /* between probes, 100..600000 (10000) */
    uint32_t keep_probes;      /* unanswered ones that end the connection, 1..100 (6) */
    uint32_t first_fpdu_ms;    /* a passive end speaks first after so long, 0: never, ..60000 (1000) */
    uint32_t time_wait_ms;     /* 100..120000 (4000) */
    bool complete_queued;      /* sends complete when they are in the send buffer, not when acknowledged (false) */
};

struct erdma_dev;

void erdma_config_defaults(struct erdma_config *config);
/*
 * Checks every field.  Returns NULL and a malloc()ed message naming field, value and range in *error (the
 * caller frees) on bad configuration.  ops is copied; opaque is handed to every callback.
 */
struct erdma_dev *erdma_dev_create(const struct erdma_config *config, const struct erdma_host_ops *ops, void *opaque,
                                   char **error);
void erdma_dev_destroy(struct erdma_dev *dev);

/* BAR 0.  size 1, 2, 4 or 8; anything unaligned or unassigned reads 0 and is ignored on write. */
uint64_t erdma_dev_mmio_read(struct erdma_dev *dev, uint64_t offset, unsigned size);
void erdma_dev_mmio_write(struct erdma_dev *dev, uint64_t offset, uint64_t value, unsigned size);

/* Function-level, bus or system reset: as the RESET register, and RESET_DONE clears (adapter.md 2.5). */
void erdma_dev_reset(struct erdma_dev *dev);
void erdma_dev_run(struct erdma_dev *dev);
void erdma_dev_timer(struct erdma_dev *dev);

/* ---- the paired NIC ---- */

/*
 * A function of an adapter of this process that may send frames is on the stack: what is offered to any of them now is
 * lost.
 */
bool erdma_busy(void);
/* Ethernet, VLAN tags, IPv4 and TCP header, key of an MPA request, with room for some options. */
#define ERDMA_FRAME_HEAD 128
/*
 * Cheap test on the first octets of a frame (ERDMA_FRAME_HEAD are enough) on its way to `side`; frame_len is that of all
 * of it.  false: the frame goes on untouched and need not be shown to erdma_dev_frame().
 */
bool erdma_dev_wants_frame(struct erdma_dev *dev, enum erdma_side side, const void *head, size_t head_len,
                           size_t frame_len);
/*
 * A whole frame, without virtio-net header, on its way to `side`.  true: taken (dropped, kept, or another form of it is
 * sent); false: it goes on.
 */
bool erdma_dev_frame(struct erdma_dev *dev, enum erdma_side side, const void *frame, size_t len,
                     const struct erdma_offload *offload);
/* No further frame is waiting: what was received is acknowledged. */
void erdma_dev_frames_end(struct erdma_dev *dev);
/*
 * Impaired link (run time; grammar in ../wire/impairment.h, empty: clean).  Returns NULL, or a malloc()ed message
 * (caller frees); then nothing changed.
 */
char *erdma_dev_set_link(struct erdma_dev *dev, const char *text);
/* The impairment in force in the same grammar; valid until the next call on this device. */
const char *erdma_dev_link(const struct erdma_dev *dev);
/* Connections on the wire as a JSON array of objects, malloc()ed (caller frees). */
char *erdma_dev_connections(struct erdma_dev *dev);

/* Counters: names are stable, index 0..count-1, values are per device. */
size_t erdma_counter_count(void);
const char *erdma_counter_name(size_t index);
uint64_t erdma_dev_counter(const struct erdma_dev *dev, size_t index);

/*
 * Fault injection (run time).  Text grammar, several separated by ';', empty clears all:
 *   cmd-drop=SUB/OP[+SKIP][*COUNT]   the command is consumed and never completed (driver sees a time-out)
 *   cmd-fail=SUB/OP:STATUS[+SKIP][*COUNT]   the command completes with STATUS and has no effect
 *   cmd-slow=SUB/OP:MS[+SKIP][*COUNT]   the command is executed at once and its completion comes MS (1..600000) later,
 *                                 while fewer than 128 wait
 *   irq-lose=VECTOR[+SKIP][*COUNT]   an interrupt of this vector, or "any", is not sent
 *   db-lose=KIND[+SKIP][*COUNT]   a doorbell is not heard; KIND is sq, rq, cq, eq (CEQs, AEQ, command EQ) or cmd (its SQ)
 *   post=QUEUE:WORD,...[*COUNT]   once, now: an entry as it stands, but for the owner bit, goes to the end of a queue:
 *                                 aeq, eqN, cqN or cmd (command completions).  Up to 4 (EQ) or 8 hexadecimal words as
 *                                 the driver reads them; missing ones are 0.  Refused when there is no such queue
 *   init-stuck                    DEV_CTRL.INIT never reaches INIT_DONE
 *   dead                          every register reads all ones, writes are ignored
 * SUB, OP, MS, VECTOR, SKIP and N are decimal, OP and VECTOR may be "any"; as many as SKIP pass before.
 * Returns NULL, or a malloc()ed message (caller frees); then nothing changed.
 */
char *erdma_dev_set_faults(struct erdma_dev *dev, const char *text);
/* The faults in force in the same grammar; valid until the next call on this device. */
const char *erdma_dev_faults(const struct erdma_dev *dev);

#ifdef __cplusplus
}
#endif
#endif

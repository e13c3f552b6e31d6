/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the device model (C++, no QEMU header) and its host (the
 * QEMU shim beside this file, or a test).
 *
 * Every function is called with the host's big lock held (QEMU: the BQL), or
 * from one thread in a test; the model itself is single-threaded and takes no
 * lock.  No function blocks.  The model never calls a host callback after
 * erdma_dev_destroy() returned.
 *
 * raise_vector and send_frame are called at the end of a call, when the model has done its work: both go wherever the
 * guest aimed them, and what comes back may call any function here, erdma_dev_destroy() of the same device included.
 * From inside the other callbacks only an IOMMU can lead back here (it reports a fault by a message); stores and frames
 * are then dropped, and a reset or destruction is completed when the work is done.
 */
#ifndef ERDMA_MODEL_CAPI_H
#define ERDMA_MODEL_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/seam.h"

#ifdef __cplusplus
extern "C" {
#endif

struct erdma_host_ops {
    /* Guest physical (bus) memory; RAM only.  false: some byte is not RAM or DMA is off. */
    bool (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
    bool (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
    /* Little-endian u64 at a naturally aligned address, atomic towards guest CPUs. */
    bool (*dma_atomic64)(void *opaque, uint64_t addr, enum erdma_atomic_op op, uint64_t operand, uint64_t compare,
                         uint64_t *old);
    /*
     * What was written with dma_write before is seen by the guest's processors before what is written after: an entry is
     * complete when its owner bit shows.
     */
    void (*dma_barrier)(void *opaque);
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
     * An Ethernet frame of the model, its own or one that it held, continues to `side`.  Consumed before return.  May be
     * NULL when erdma_dev_frame() is never called.
     */
    void (*send_frame)(void *opaque, enum erdma_side side, const void *frame, size_t len,
                       const struct erdma_offload *offload);
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
 * Impaired link (run time; grammar in ../lab/link_text.h, empty: clean).  Returns NULL, or a malloc()ed message
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

/*
 * Check mode (run time; docs/check.md): "on" forgets what was found and begins, "off" or nothing ends it.  The delay is
 * TIME[;seed=N] with ns, us, ms or s, 0: none; it holds from now on.  Return and errors as erdma_dev_set_faults().
 */
char *erdma_dev_set_check(struct erdma_dev *dev, const char *text);
const char *erdma_dev_check(const struct erdma_dev *dev);
char *erdma_dev_set_check_delay(struct erdma_dev *dev, const char *text);
const char *erdma_dev_check_delay(const struct erdma_dev *dev);
/* What was found, as JSON (docs/check.schema.json), malloc()ed (caller frees). */
char *erdma_dev_findings(struct erdma_dev *dev);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both sides of capi.h name: the parts of the model below it, and the shim above it. */
#ifndef ERDMA_MODEL_SEAM_H
#define ERDMA_MODEL_SEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ERDMA_BAR0_SIZE 0x1000000u /* 16 MiB: registers, doorbells, extended doorbell pages */
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

/* Register DEV_PROTO. */
enum erdma_protocol { ERDMA_PROTOCOL_IWARP = 0, ERDMA_PROTOCOL_ROCEV2 = 1 };

/* Everything configurable.  Fill with erdma_config_defaults() first. */
struct erdma_config {
    uint8_t mac[6];             /* of the paired NIC */
    uint32_t protocol;          /* enum erdma_protocol (ERDMA_PROTOCOL_IWARP) */
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
    bool extended_doorbells;    /* capability EXTEND_DB (true) */
    bool ipv6;                  /* capability IPV6 (true) */
    uint32_t pair_timeout_ms;   /* wait for the other end of a loopback connection, 1..600000 (15000) */
    uint32_t rnr_hold_ms;       /* wait for a receive buffer, 0 = forever, ..600000 (30000) */
    uint32_t ord;               /* own Reads and atomics outstanding per QP, more wait, 1..128 (128) */
    uint32_t ird;               /* the same of a peer, one more ends the connection, 1..128 (128) */
    /* Connections over the paired NIC (wire.md appendix A). */
    uint32_t segment_bytes; /* payload of a TCP segment between two adapters, 0 or 1460..65000; 0: as MSS says (0) */
    uint32_t buffer_bytes;  /* receive and send buffer of a connection, 65536..4194304 (1048576) */
    uint32_t total_buffer_bytes; /* of all connections together, 4194304..2147483648 (268435456) */
    uint32_t ack_delay_ms;       /* longest wait before data is acknowledged, 0..499 (40) */
    uint32_t ack_segments;       /* acknowledged at once when so many wait, 1..64 (2) */
    uint32_t rto_min_ms;         /* smallest retransmission timeout, 10..1000 (200) */
    uint32_t give_up_ms;         /* a peer that answers nothing for so long is dead, 1000..600000 (30000) */
    uint32_t keep_idle_ms;       /* silence before the first keepalive probe, 1000..7200000 (60000) */
    uint32_t keep_interval_ms;   /* between probes, 100..600000 (10000) */
    uint32_t keep_probes;        /* unanswered ones that end the connection, 1..100 (6) */
    uint32_t first_fpdu_ms;      /* a passive end speaks first after so long, 0: never, ..60000 (1000) */
    uint32_t time_wait_ms;       /* 100..120000 (4000) */
    bool mpa_crc;                /* capability MPA_CRC: CRCs of FPDUs where the MPA frames ask for them (true) */
    bool rfc7306;                /* capability RFC7306: immediate data and atomics with standard peers (false) */
    bool complete_queued;        /* sends complete when they are in the send buffer, not when acknowledged (false) */
    /* RoCEv2 (roce.md appendix A). */
    uint32_t roce_pmtu; /* of queue pairs that are not told a path MTU: 0, the interface's, or 256..4096 (0) */
    bool roce_cnp;      /* a packet with a congestion mark is answered with a CNP (false) */
};

#endif

// SPDX-License-Identifier: GPL-2.0-or-later
// One list of the model's counters: index, stable name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace erdma {

// clang-format off
#define ERDMA_COUNTERS(X) \
    X(TxRequests, "tx_reqs") X(TxPackets, "tx_packets") X(TxBytes, "tx_bytes") X(TxDrops, "tx_drops") \
    X(RxPackets, "rx_packets") X(RxBytes, "rx_bytes") X(RxDrops, "rx_drops") \
    X(Commands, "commands") X(CommandErrors, "command_errors") \
    X(Completions, "completions") X(CompletionErrors, "completion_errors") X(Flushes, "flushes") \
    X(CqEvents, "cq_events") X(AsyncEvents, "async_events") X(LostEvents, "lost_events") X(Interrupts, "interrupts") \
    X(SqDoorbells, "sq_doorbells") X(RqDoorbells, "rq_doorbells") X(CqDoorbells, "cq_doorbells") \
    X(BadDoorbells, "bad_doorbells") X(DirectWqes, "direct_wqes") X(DirectWqeFallbacks, "direct_wqe_fallbacks") \
    X(GuestErrors, "guest_errors") X(DmaErrors, "dma_errors") X(Resets, "resets") \
    X(MostReads, "most_reads") \
    X(Pairings, "pairings") X(PairTimeouts, "pair_timeouts") X(RnrHolds, "rnr_holds") X(RnrTimeouts, "rnr_timeouts") \
    X(LinkLost, "link_lost") X(LinkCut, "link_cut") X(LinkCorrupted, "link_corrupted") \
    X(LinkDuplicated, "link_duplicated") X(LinkReordered, "link_reordered") X(LinkDelayed, "link_delayed") \
    X(LinkOverflows, "link_overflows") X(LinkMarked, "link_marked") \
    X(Handovers, "handovers") X(HandoversRefused, "handovers_refused") X(HpccFallbacks, "hpcc_fallbacks") \
    X(TcpSegmentsOut, "tcp_segments_out") X(TcpSegmentsIn, "tcp_segments_in") \
    X(TcpRetransmissions, "tcp_retransmissions") X(TcpTimeouts, "tcp_timeouts") \
    X(TcpFastRecoveries, "tcp_fast_recoveries") X(TcpDuplicates, "tcp_duplicates") \
    X(TcpOutOfOrder, "tcp_out_of_order") X(TcpOutOfOrderDrops, "tcp_out_of_order_drops") \
    X(TcpMemoryDrops, "tcp_memory_drops") \
    X(TcpUnacceptable, "tcp_unacceptable") X(TcpChallenges, "tcp_challenges") X(TcpProbes, "tcp_probes") \
    X(BadChecksums, "bad_checksums") X(FpdusOut, "fpdus_out") X(FpdusIn, "fpdus_in") X(CrcErrors, "crc_errors") \
    X(TerminatesOut, "terminates_out") X(TerminatesIn, "terminates_in") \
    X(KernelSegments, "kernel_segments") X(KernelDrops, "kernel_drops") X(KernelMisplaced, "kernel_misplaced") \
    X(FlowsEvicted, "flows_evicted") X(FlowsExpired, "flows_expired") X(HeldFrames, "held_frames") \
    X(HoldTimeouts, "hold_timeouts") X(HoldDrops, "hold_drops") \
    X(RcGhosts, "rc_ghosts") X(RcDuplicates, "rc_duplicates") X(RcNaksIn, "rc_naks_in") X(RcNaksOut, "rc_naks_out") \
    X(RcRnrNaksIn, "rc_rnr_naks_in") X(RcRnrNaksOut, "rc_rnr_naks_out") X(RcRetriesNak, "rc_retries_nak") \
    X(RcRetriesImplicit, "rc_retries_implicit") X(RcTimeouts, "rc_timeouts") X(RcOverflows, "rc_overflows") \
    X(RoceClaimed, "roce_claimed") X(RoceBadLength, "roce_bad_length") X(RoceBadOpcode, "roce_bad_opcode") \
    X(RoceBadIcrc, "roce_bad_icrc") X(RoceNoQp, "roce_no_qp") X(RoceWrongState, "roce_wrong_state") \
    X(RoceWrongAddress, "roce_wrong_address") X(RoceBadPkey, "roce_bad_pkey") X(RoceBadQkey, "roce_bad_qkey") \
    X(RoceCnpsIn, "roce_cnps_in") X(RoceCnpsOut, "roce_cnps_out") \
    X(RoceUdNoBuffer, "roce_ud_no_buffer") X(RoceUdOversized, "roce_ud_oversized") \
    X(RoceGidMissing, "roce_gid_missing") \
    X(BufferedNow, "buffered_bytes") \
    X(FlowsNow, "flows") X(ConnectionsNow, "connections") \
    X(QpsNow, "qps") X(CqsNow, "cqs") X(EqsNow, "eqs") X(MrsNow, "mrs")
// clang-format on

enum class Counter : size_t {
#define ERDMA_X(id, name) id,
    ERDMA_COUNTERS(ERDMA_X)
#undef ERDMA_X
        Count
};

class Counters {
public:
    uint64_t& operator[](Counter c) { return values_[static_cast<size_t>(c)]; }
    uint64_t operator[](Counter c) const { return values_[static_cast<size_t>(c)]; }
    uint64_t at(size_t i) const { return i < values_.size() ? values_[i] : 0; }

private:
    std::array<uint64_t, static_cast<size_t>(Counter::Count)> values_{};
};

} // namespace erdma

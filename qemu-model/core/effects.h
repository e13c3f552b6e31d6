// SPDX-License-Identifier: GPL-2.0-or-later
// The host as an adapter sees it: memory, clock and log at once; what may lead back into the model only after the run
// (entry.h).
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "counters.h"
#include "entry.h"
#include "host.h"

namespace erdma {

class Effects final : public Host, private Publisher {
public:
    Effects(Host& host, Entrance& entrance, Counters& counters)
        : host_(host), entrance_(entrance), counters_(counters) {}
    ~Effects() override { entrance_.forget(*this); }
    Effects(const Effects&) = delete;
    Effects& operator=(const Effects&) = delete;

    bool read(uint64_t addr, Bytes out) override { return host_.read(addr, out); }
    bool write(uint64_t addr, ConstBytes in) override { return host_.write(addr, in); }
    std::optional<uint64_t> atomic64(uint64_t addr, erdma_atomic_op op, uint64_t operand, uint64_t compare) override {
        return host_.atomic64(addr, op, operand, compare);
    }
    void barrier() override { host_.barrier(); }
    uint64_t nowNs() override { return host_.nowNs(); }
    void armTimer(uint64_t deadlineNs) override { host_.armTimer(deadlineNs); }
    void trace(erdma_trace_kind kind, uint64_t a, uint64_t b, uint64_t c, const char* text) override {
        host_.trace(kind, a, b, c, text);
    }
    void guestError(const char* text) override { host_.guestError(text); }

    // Kept; the same vector twice is one interrupt.
    void raise(unsigned vector) override;
    void schedule() override;
    // A frame beyond kMostFrameBytes in one run is lost, as on any interface that is overrun.
    void sendFrame(erdma_side side, ConstBytes frame, const erdma_offload& offload) override;
    // The same for a frame of `bytes` octets that does not exist yet: `build` appends it to the octets that are sent.
    template <typename Build>
    void buildFrame(erdma_side side, size_t bytes, const erdma_offload& offload, Build build) {
        if (!entrance_.running()) {
            std::vector<std::byte> frame;
            build(frame);
            host_.sendFrame(side, frame, offload);
        } else if (admit(side, bytes, offload)) {
            build(frames_.octets);
        }
    }
    // Whether this adapter needs another turn, whatever it asked for meanwhile.
    void wantTurn(bool wanted);
    // Done first when the run is over.
    void afterRun(std::function<void()> action);
    // A device that was reset interrupts no more.
    void dropInterrupts() { vectors_ = 0; }
    // At once, from outside a run: an adapter that leaves.
    void publishNow() { publish(); }

    static constexpr size_t kMostFrameBytes = size_t{16} << 20;

private:
    struct Frame {
        erdma_side side;
        erdma_offload offload;
        size_t bytes;
    };
    struct Frames {
        std::vector<Frame> list;
        std::vector<std::byte> octets; // of one behind the other
        void clear() {
            list.clear();
            octets.clear();
        }
    };
    static constexpr size_t kKeptCapacity = size_t{5} << 20; // what one budget of long frames needs

    void publish() override;
    void askForTurn() override { host_.schedule(); }
    void note() { entrance_.note(*this); }
    bool admit(erdma_side side, size_t bytes, const erdma_offload& offload);
    void publishFrames();

    Host& host_;
    Entrance& entrance_;
    Counters& counters_;
    uint32_t vectors_ = 0; // a bit for each
    bool turn_ = false;
    Frames frames_;
    Frames spare_; // empty; its memory is used again
    std::vector<std::function<void()>> actions_;
};

} // namespace erdma

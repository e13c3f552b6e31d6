// SPDX-License-Identifier: GPL-2.0-or-later
// A simulated host with one adapter behind the C functions of capi.h.  It is as forgiving as a machine is, and strict
// with the adapter: each callback is checked against what the adapter promises.
#pragma once

#include <bitset>
#include <functional>
#include <string>
#include <vector>

#include "byteorder.h"
#include "capi.h"
#include "fuzz.h"
#include "host.h"

namespace erdma::fuzz {

// Guest memory: 1 MiB at bus address 0, and the same memory once more at kHigh.
class Ram {
public:
    static constexpr uint64_t kBytes = uint64_t{1} << 20, kPage = 4096, kHigh = uint64_t{1} << 40;

    // Null: some octet is not memory, or is blocked.
    std::byte* at(uint64_t address, size_t length);
    void clear();
    void block(uint64_t page, bool blocked) { blocked_[page % (kBytes / kPage)] = blocked; }

    void put(uint64_t address, std::span<const std::byte> octets);
    void put16(uint64_t address, uint16_t value);
    void put32(uint64_t address, uint32_t value);
    void put64(uint64_t address, uint64_t value);
    uint32_t get32(uint64_t address);
    uint64_t get64(uint64_t address);

private:
    std::vector<std::byte> bytes_ = std::vector<std::byte>(kBytes);
    std::bitset<kBytes / kPage> touched_, blocked_;
};

// Where the adapter may write; everything else of the memory is somebody else's.
struct Range {
    uint64_t address, length;
};

// What one entry into the adapter may do at most: what its budget allows (Budget in core/entry.h), of which a unit is
// a handful of callbacks or 1 KiB that is read once and written once, and as much again for what it looks at first.
struct WorkLimits {
    uint64_t calls = 100'000;
    uint64_t octets = 32u << 20;
};

class Machine {
public:
    // Of the two memories of this process; machines that live at the same time need different ones.
    Machine(unsigned slot, const erdma_config& config, uint64_t& clock);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    bool alive() const { return device_ != nullptr; }
    Ram& ram() { return ram_; }

    // ---- entries ----
    void write(uint64_t offset, uint64_t value, unsigned size = 8);
    uint64_t read(uint64_t offset, unsigned size);
    void run();
    // Once if it is due.
    bool timer();
    // Function-level reset.  Nothing may touch memory afterwards until quiet() is over.
    void reset();
    bool frame(erdma_side side, std::span<const std::byte> octets, const erdma_offload& offload = {});
    void framesEnd();
    // Complaints are thrown away; true: it was taken.
    bool setFaults(const char* text);
    bool setLink(const char* text);
    void startChecking(); // check mode
    void destroy();
    // As long as the adapter asks for it, `most` times.
    void settle(unsigned most = 64);

    uint64_t counter(const char* name) const;
    erdma_dev* device() { return device_; }

    // The adapter was reset and nobody has written INIT since.
    void quiet(bool on) { quiet_ = on; }
    // From here on the adapter writes only there.
    void seal(std::vector<Range> open) {
        open_ = std::move(open);
        sealed_ = true;
    }
    void open(const Range& range) { open_.push_back(range); }

    bool scheduled = false;
    bool busMaster = true;
    uint64_t timerAt = ERDMA_TIMER_OFF;
    unsigned interrupts = 0;
    // An interrupt message that is aimed at the adapter itself.
    std::function<void()> onInterrupt;
    std::function<void(erdma_side side, std::span<const std::byte> frame)> onFrame;
    std::function<void(uint64_t address, size_t length)> onWrite;

private:
    struct Callbacks;
    class Entry;
    std::byte* reach(uint64_t address, size_t length);
    void called(size_t octets);
    void checkSeal(uint64_t address, size_t length) const;

    Ram& ram_;
    uint64_t& clock_;
    erdma_dev* device_ = nullptr;
    bool destroyed_ = false;
    bool quiet_ = false;
    bool sealed_ = false;
    unsigned depth_ = 0;
    uint64_t calls_ = 0, octets_ = 0;
    std::vector<Range> open_;
};

} // namespace erdma::fuzz

// SPDX-License-Identifier: GPL-2.0-or-later
// The diagnostics device of the driver (src/erdma_ioctl.h), with C++ around it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "erdma_ioctl.h"

namespace eadm {

// Exit codes; documented in eadm(8).
enum class Exit : int {
    Ok = 0,
    Findings = 1, // doctor found something
    Usage = 2,
    NoDriver = 3,
    NoDevice = 4,
    NoObject = 5,
    NoRights = 6,
    Failed = 7,
    Partial = 8, // doctor found nothing, but could not examine everything
};

// What ends a command: a sentence for the user and the exit code.
class Error : public std::runtime_error {
public:
    Error(Exit exit, const std::string& text) : std::runtime_error(text), exit_(exit) {}
    Exit exit() const { return exit_; }

private:
    Exit exit_;
};

// A zero-terminated (or full) text from the driver, made safe for terminals and JSON: what is not printable ASCII
// becomes '?'.
std::string textOf(std::span<const uint8_t> bytes);

template <typename Entry> struct Page {
    std::vector<Entry> entries;
    uint64_t hidden = 0; // entries of other users that were left out
};

struct RingPart {
    std::vector<uint8_t> bytes;
    uint32_t entryBytes = 0;
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t depth = 0;
    std::optional<uint32_t> pi, ci;
};

class Recording;

// An open /dev/erdma, or what it said when a snapshot was taken.  All calls throw Error.
class Driver {
public:
    // `from`: the file of a snapshot, whose lists of that look answer; empty: the loaded driver.
    explicit Driver(const std::string& from = {}, unsigned look = 1);
    // The same with the file read already, or nothing.
    Driver(std::shared_ptr<const Recording> recording, unsigned look);
    ~Driver();
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // As the driver said when the node was opened.  Its text is safe for terminals only after textOf().
    const erdma_diag_version& version() const { return version_; }
    // Is it new enough for lists of this kind?
    bool knows(erdma_kind kind) const { return (version_.kinds & 1u << kind) != 0; }

    // All entries of a kind from `cursor` on, at most `most`.
    template <typename Entry>
    Page<Entry> list(erdma_kind kind, uint32_t device, uint64_t cursor = 0, uint32_t flags = 0,
                     uint64_t most = UINT64_MAX) const {
        Page<Entry> page;
        bool more = true;
        while (more && page.entries.size() < most) {
            const size_t before = page.entries.size();
            const auto room = static_cast<uint32_t>(std::min<uint64_t>(most - before, kPage));
            page.entries.resize(before + room);
            const uint32_t got = listPage(kind, device, cursor, flags, page.entries.data() + before,
                                          static_cast<uint32_t>(sizeof(Entry)), room, more, page.hidden);
            page.entries.resize(before + got);
        }
        return page;
    }

    // The object with exactly this number, with what the adapter knows; nothing: it does not exist or is hidden.
    template <typename Entry> std::optional<Entry> find(erdma_kind kind, uint32_t device, uint64_t number) const {
        const auto page = list<Entry>(kind, device, number, ERDMA_LIST_HARDWARE, 1);
        if (page.entries.empty() || page.entries.front().number != number)
            return std::nullopt;
        return page.entries.front();
    }

    RingPart dump(uint32_t device, erdma_ring ring, uint32_t number, uint32_t first, uint32_t count) const;
    void set(uint32_t device, std::string_view name, uint64_t value) const;

private:
    static constexpr uint64_t kPage = 256;
    uint32_t listPage(erdma_kind kind, uint32_t device, uint64_t& cursor, uint32_t flags, void* entries, uint32_t size,
                      uint32_t room, bool& more, uint64_t& hidden) const;
    void call(unsigned long request, void* argument, std::string_view what) const;
    // Ends the command when the driver is of another time; `bits` says what it knows of what is wanted.
    void demand(uint32_t bits, uint32_t wanted, std::string_view what) const;
    int fd_ = -1;
    erdma_diag_version version_{};
    std::shared_ptr<const Recording> recording_;
    unsigned look_ = 0;
};

} // namespace eadm

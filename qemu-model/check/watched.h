// SPDX-License-Identifier: GPL-2.0-or-later
// Memory of unfinished requests: what was in it, and who else has it.  By bus address, so that it does not matter by which
// region, process or queue pair memory is reached.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

#include "adapter.h"

namespace erdma::check {

enum class Use : uint8_t { Source, Receive, ReadSink, Served };

// By the adapter; the others are read.
constexpr bool isWritten(Use use) { return use == Use::Receive || use == Use::ReadSink; }

struct Buffer {
    Use use{};
    uint32_t qpn = 0;
    uint16_t index = 0; // of the work request; of a served read its message number
    uint32_t stag = 0;
    uint64_t address = 0;
    uint64_t length = 0;
    struct Extent {
        uint64_t bus;
        uint64_t length;
    };
    std::vector<Extent> extents; // of the part that is watched
    uint64_t hash = 0;
    bool hashed = false;  // `hash` says what the guest left there
    bool written = false; // by the adapter, since
};

class BufferSet {
public:
    // What is watched of one buffer: its first bytes.
    static constexpr uint64_t kMostBytes = 1u << 20;
    static constexpr size_t kMost = 65536;

    explicit BufferSet(Adapter& adapter) : adapter_(adapter) {}

    // 0: not watched (counted), because it cannot be reached, is empty, or there are too many.
    uint64_t add(const Buffer& facts, const MrAccess& access);
    void remove(uint64_t id);
    void clear();
    Buffer* find(uint64_t id);
    // All that share memory with this access, or with that buffer, each once, but for two buffers that are only read;
    // until `each` returns false.
    void overlapping(const MrAccess& access, const std::function<bool(uint64_t id, Buffer&)>& each);
    void overlapping(uint64_t id, const std::function<bool(uint64_t id, Buffer&)>& each);
    // All that use a region; until `each` returns false.
    void ofRegion(uint32_t stag, const std::function<bool(const Buffer&)>& each) const;
    // Takes what is there now.  Not done when the entry's budget is spent.
    void remember(Buffer& buffer);
    // The guest has changed it since remember().
    bool changed(const Buffer& buffer);
    // The same, and takes what is there now.
    bool changedSince(Buffer& buffer);
    uint64_t unchecked() const { return unchecked_; }

private:
    static constexpr unsigned kPageShift = 12;
    static constexpr size_t kMostOfPage = 1024; // so that none costs more than that to look through
    template <typename Each> static void eachPage(const std::vector<Buffer::Extent>& extents, Each each);
    std::vector<Buffer::Extent> extentsOf(const MrAccess& access) const;
    enum class Among : uint8_t { Sinks, All };
    using Pages = std::unordered_map<uint64_t, std::vector<uint64_t>>; // ids by page
    Pages& pagesOf(const Buffer& buffer) { return isWritten(buffer.use) ? sinks_ : sources_; }
    void overlapping(const std::vector<Buffer::Extent>& extents, Among among,
                     const std::function<bool(uint64_t, Buffer&)>& each);
    bool hashOf(const Buffer& buffer, uint64_t& hash);

    Adapter& adapter_;
    std::unordered_map<uint64_t, Buffer> buffers_;
    Pages sources_; // apart, because programs have many over the same memory, and they do not matter to each other
    Pages sinks_;
    std::unordered_map<uint32_t, uint32_t> users_; // how many buffers of a region
    uint64_t lastId_ = 0;
    uint64_t unchecked_ = 0;
    std::vector<std::byte> scratch_;
};

} // namespace erdma::check

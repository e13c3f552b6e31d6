// SPDX-License-Identifier: GPL-2.0-or-later
#include "driver.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "recording.h"

namespace eadm {

namespace {

constexpr const char* kNode = "/dev/" ERDMA_DIAG_NODE;

[[noreturn]] void refuse(int error, std::string_view what) {
    switch (error) {
    case EPERM:
    case EACCES:
        throw Error(Exit::NoRights,
                    fmt::format("{}: not permitted; this needs CAP_NET_ADMIN, run it as root or with sudo", what));
    case ENODEV:
        throw Error(Exit::NoDevice, fmt::format("{}: the adapter is gone", what));
    case ENOENT:
        throw Error(Exit::NoObject, fmt::format("{}: there is no such object", what));
    case EOPNOTSUPP:
        throw Error(Exit::Failed, fmt::format("{}: this adapter cannot do it", what));
    case ENOTTY:
    case E2BIG:
        throw Error(Exit::Failed, fmt::format("{}: the loaded driver is older than this eadm; update it", what));
    case EIO:
        throw Error(Exit::Failed,
                    fmt::format("{}: the adapter does not answer; 'eadm doctor' says more, reload the driver", what));
    default:
        throw Error(Exit::Failed, fmt::format("{}: {}", what, std::strerror(error)));
    }
}

} // namespace

std::string textOf(std::span<const uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes) {
        if (byte == 0)
            break;
        text += byte >= 0x20 && byte < 0x7F ? static_cast<char>(byte) : '?';
    }
    return text;
}

Driver::Driver(const std::string& from, unsigned look)
    : Driver(from.empty() ? nullptr : std::make_shared<Recording>(from), look) {}

Driver::Driver(std::shared_ptr<const Recording> recording, unsigned look)
    : recording_(std::move(recording)), look_(look) {
    if (recording_) {
        if (!recording_->driver())
            throw Error(Exit::NoDriver, "the driver was not loaded when the snapshot was taken");
        version_ = recording_->version();
        return;
    }
    fd_ = open(kNode, O_RDONLY | O_CLOEXEC);
    if (fd_ >= 0) {
        version_.size = sizeof(version_);
        try {
            call(ERDMA_DIAG_GET_VERSION, &version_, "version");
        } catch (...) {
            close(fd_);
            throw;
        }
        return;
    }
    if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
        throw Error(Exit::NoDriver, "the driver is not loaded; load it with 'modprobe erdma'");
    if (errno == EACCES || errno == EPERM)
        throw Error(
            Exit::NoRights,
            fmt::format("{} may not be opened; the udev rule of the packages makes it readable for everyone", kNode));
    refuse(errno, kNode);
}

Driver::~Driver() {
    if (fd_ >= 0)
        close(fd_);
}

void Driver::call(unsigned long request, void* argument, std::string_view what) const {
    int result;
    do
        result = ioctl(fd_, request, argument);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        refuse(errno, what);
}

void Driver::demand(uint32_t bits, uint32_t wanted, std::string_view what) const {
    if (version_.interface != ERDMA_DIAG_VERSION)
        throw Error(
            Exit::Failed,
            fmt::format("{}: the driver speaks version {} of its interface, this eadm version {}; update the {}", what,
                        version_.interface, ERDMA_DIAG_VERSION,
                        version_.interface < ERDMA_DIAG_VERSION ? "driver" : "eadm package"));
    if ((bits & 1u << wanted) == 0)
        throw Error(Exit::Failed, fmt::format("{}: the loaded driver does not know it; update the driver", what));
}

uint32_t Driver::listPage(erdma_kind kind, uint32_t device, uint64_t& cursor, uint32_t flags, void* entries,
                          uint32_t size, uint32_t room, bool& more, uint64_t& hidden) const {
    demand(version_.kinds, kind, "list");
    if (recording_)
        return recording_->page(look_, kind, device, cursor, entries, size, room, more, hidden);
    erdma_diag_list request{};
    request.size = sizeof(request);
    request.flags = flags;
    request.kind = kind;
    request.device = device;
    request.cursor = cursor;
    request.entries = reinterpret_cast<uintptr_t>(entries);
    request.entry_size = size;
    request.count = room;
    call(ERDMA_DIAG_GET_LIST, &request, "list");
    cursor = request.cursor;
    more = request.more != 0;
    hidden += request.hidden;
    return std::min(request.count, room);
}

RingPart Driver::dump(uint32_t device, erdma_ring ring, uint32_t number, uint32_t first, uint32_t count) const {
    constexpr uint32_t kLargestEntry = 128;
    demand(version_.rings, ring, "dump");
    if (recording_)
        throw Error(Exit::Usage, "dump: a snapshot has the indices of rings, not their content");
    RingPart part;
    part.bytes.resize(size_t{count} * kLargestEntry);
    erdma_diag_dump request{};
    request.size = sizeof(request);
    request.device = device;
    request.ring = ring;
    request.number = number;
    request.first = first;
    request.count = count;
    request.data = reinterpret_cast<uintptr_t>(part.bytes.data());
    request.data_bytes = static_cast<uint32_t>(part.bytes.size());
    call(ERDMA_DIAG_GET_DUMP, &request, "dump");
    part.entryBytes = request.entry_bytes;
    part.first = first;
    part.count = std::min(request.count, count);
    part.depth = request.depth;
    part.bytes.resize(size_t{part.count} * part.entryBytes);
    if ((request.known & ERDMA_KNOWN_SQ_PI) != 0)
        part.pi = request.pi;
    if ((request.known & ERDMA_KNOWN_SQ_CI) != 0)
        part.ci = request.ci;
    return part;
}

void Driver::set(uint32_t device, std::string_view name, uint64_t value) const {
    if (recording_)
        throw Error(Exit::Usage, "a snapshot cannot be changed");
    erdma_diag_set request{};
    if (name.empty() || name.size() >= sizeof(request.name))
        throw Error(Exit::Usage, fmt::format("there is no setting '{}'", name));
    request.size = sizeof(request);
    request.device = device;
    request.value = value;
    std::copy(name.begin(), name.end(), request.name);
    call(ERDMA_DIAG_SET_CONF, &request, name);
}

} // namespace eadm

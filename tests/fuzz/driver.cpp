// SPDX-License-Identifier: GPL-2.0-or-later
#include "driver.h"

namespace erdma::fuzz {

using test::Guest;

erdma_config smallConfig() {
    erdma_config config;
    erdma_config_defaults(&config);
    const std::array<uint8_t, 6> mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    std::copy(mac.begin(), mac.end(), config.mac);
    config.vectors = 4;
    config.qblock = 1;
    config.max_cqe_log = 10;
    config.max_recv_wr_log = 10;
    config.max_mr_size_log = 20;
    config.buffer_bytes = 65536;
    return config;
}

uint64_t Driver::allocate(uint64_t octets) {
    const uint64_t size = (octets + Ram::kPage - 1) / Ram::kPage * Ram::kPage;
    if (next_ + size > Ram::kBytes)
        next_ = 0x4000;
    const uint64_t at = next_;
    next_ += size;
    return at;
}

void Driver::bringUp() {
    const auto pair = [this](uint64_t high, uint64_t low, uint64_t value) {
        machine_.write(high, value >> 32, 4);
        machine_.write(low, value & 0xFFFFFFFF, 4);
    };
    commandSq = ring(kCommandDepth, 32);
    commandCq = ring(kCommandDepth, 32);
    commandEq = ring(kEventDepth, 16);
    aeq = ring(kEventDepth, 16);
    eventRings = {{commandCq.address, kCommandDepth * 32},
                  {commandEq.address, kEventDepth * 16},
                  {aeq.address, kEventDepth * 16}};
    pair(0x44, 0x40, aeq.address);
    machine_.write(0x48, kEventDepth, 4);
    pair(0x24, 0x20, commandSq.address);
    machine_.write(0x30, kCommandDepth, 4);
    pair(0x2C, 0x28, commandCq.address);
    pair(0x3C, 0x38, commandEq.address);
    machine_.write(0x34, kEventDepth, 4);
    machine_.write(0x10, 2, 4);
}

void Driver::stage(uint8_t sub, uint8_t opcode, Request request) {
    const uint32_t blocks = entryBytes_ / 32;
    storeLe64(request.bytes(), 0,
              uint64_t{blocks - 1} << 52 | uint64_t{sub} << 24 | uint64_t{opcode} << 16 |
                  ((commandSq.pi + blocks) & 0xFFFF));
    for (uint32_t i = 0; i < blocks; ++i)
        ram().put(commandSq.address + uint64_t{(commandSq.pi + i) % kCommandDepth} * 32,
                  request.bytes().subspan(size_t{i} * 32, 32));
    commandSq.pi += blocks;
}

std::optional<uint32_t> Driver::answer(uint64_t* resp0) {
    const uint64_t at = commandCq.address + uint64_t{commandCq.ci % kCommandDepth} * 32;
    const std::byte* raw = ram().at(at, 32);
    if (!raw)
        return std::nullopt;
    const uint32_t header = loadBe32({raw, 32}, 0);
    if ((header >> 31 != 0) != ((commandCq.ci & kCommandDepth) == 0))
        return std::nullopt;
    ++commandCq.ci;
    if (resp0)
        *resp0 = loadBe32({raw, 32}, 8) | uint64_t{loadBe32({raw, 32}, 12)} << 32;
    return header & 0xFF;
}

uint32_t Driver::command(uint8_t sub, uint8_t opcode, Request request, uint64_t* resp0) {
    stage(sub, opcode, request);
    ringCommands();
    return answer(resp0).value_or(UINT32_MAX);
}

bool Driver::createEq(uint8_t eqn) {
    const Ring events = ring(kEventDepth, 16);
    eventRings.push_back({events.address, kEventDepth * 16});
    return command(1, 0,
                   Request()
                       .u64(8, events.address)
                       .u8(16, eqn)
                       .u8(17, eqn)
                       .u8(18, static_cast<uint8_t>(std::countr_zero(kEventDepth)))
                       .u8(19, 1)) == 0;
}

bool Driver::createCq(uint32_t cqn, uint32_t depthLog, uint16_t page) {
    const Ring entries = ring(1u << depthLog, 32);
    eventRings.push_back({entries.address, uint64_t{32} << depthLog});
    if (cqRings.size() <= cqn)
        cqRings.resize(cqn + 1);
    cqRings[cqn] = entries;
    Request request = Guest::cqRequest(cqn, depthLog, 1, entries.address);
    if (page != 0)
        request.u32(20, loadLe32(request.bytes(), 20) | 1u << 11).u32(36, page);
    return command(0, 4, request) == 0;
}

bool Driver::createQp(Pair& pair, uint32_t sqLog, uint32_t rqLog, uint16_t sqPage, uint16_t rqPage, uint32_t type) {
    pair.sq = ring(1u << sqLog, 32);
    pair.rq = ring(1u << rqLog, 32);
    Request request =
        Guest::qpRequest(pair.qpn, pair.sendCqn, pair.recvCqn, sqLog, rqLog, pair.pd, pair.sq.address, pair.rq.address);
    request.u32(116, type);
    if (sqPage != 0)
        request.u32(16, loadLe32(request.bytes(), 16) | 1u << 25).u32(112, uint32_t{sqPage} << 16 | rqPage);
    return command(0, 1, request) == 0;
}

bool Driver::registerMr(uint32_t index, uint32_t pd, uint64_t start, uint64_t bus, uint32_t octets, bool table,
                        uint32_t access) {
    const uint64_t offset = start % Ram::kPage;
    const uint64_t count = (offset + octets + Ram::kPage - 1) / Ram::kPage;
    const uint64_t first = bus - offset;
    Request request = Guest::mrRequest(index, 0, access, pd, start, octets, 12, table ? 1 : 0, count);
    const uint64_t list = table ? allocate(count * 8) : 0;
    if (table)
        request.u64(32, list);
    for (uint64_t i = 0; i < count; ++i) {
        if (table)
            ram().put64(list + i * 8, first + i * Ram::kPage);
        else if (i < 4)
            request.u64(32 + i * 8, first + i * Ram::kPage);
    }
    return command(0, 8, request) == 0;
}

bool Driver::registerFast(uint32_t index, uint32_t pd, uint64_t table, uint32_t capacity) {
    return command(0, 8, Guest::mrRequest(index, 1, kWholeAccess, pd, 0, 0, 12, 1, capacity, false).u64(32, table)) ==
           0;
}

Request Driver::connectRequest(uint32_t qpn, const Tuple& tuple) {
    Request request;
    request.u32(8, 2u << 24 | uint32_t{tuple.congestion} << 20 | qpn)
        .u32(12, tuple.ownIp.isV4() ? tuple.cookie : tuple.cookie | 1u << 31)
        .be32(16, tuple.peerIp.v4())
        .be32(20, tuple.ownIp.v4())
        .be16(24, tuple.ownPort)
        .be16(26, tuple.peerPort)
        .u32(28, tuple.sendNxt)
        .u32(32, tuple.recvNxt);
    if (!tuple.ownIp.isV4()) {
        request.address(48, tuple.peerIp);
        request.address(64, tuple.ownIp);
    }
    return request;
}

void Driver::putSqe(Pair& pair, std::span<std::byte> sqe) {
    const auto blocks = static_cast<uint32_t>(sqe.size() / 32);
    const uint32_t first = pair.sq.pi;
    pair.sq.pi += blocks;
    const uint64_t keep = loadLe64(sqe, 0) & ~(uint64_t{0x7FFFFF} << 32 | 0xFFFF);
    storeLe64(sqe, 0, keep | uint64_t{blocks - 1} << 52 | uint64_t{pair.qpn} << 32 | (pair.sq.pi & 0xFFFF));
    for (uint32_t i = 0; i < blocks; ++i)
        ram().put(pair.sq.address + uint64_t{(first + i) % pair.sq.depth} * 32, sqe.subspan(size_t{i} * 32, 32));
}

void Driver::putRqe(Pair& pair, uint64_t address, uint32_t length, uint32_t stag) {
    const uint32_t index = pair.rq.pi++;
    std::array<std::byte, 32> rqe{};
    storeLe16(rqe, 0, static_cast<uint16_t>(pair.rq.pi));
    storeLe32(rqe, 4, pair.qpn);
    storeLe64(rqe, 16, address);
    storeLe32(rqe, 24, length);
    storeLe32(rqe, 28, stag);
    ram().put(pair.rq.address + uint64_t{index % pair.rq.depth} * 32, rqe);
}

} // namespace erdma::fuzz

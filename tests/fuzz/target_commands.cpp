// SPDX-License-Identifier: GPL-2.0-or-later
// Command entries alone: each is completed once, with its own index and opcode, does a bounded amount of work, and
// leaves an adapter that still answers.
#include "driver.h"

namespace erdma::fuzz {
namespace {

using test::Guest;

// Fields of requests that decide most; everything else is as the input says.
Request plausible(Input& in, Driver& driver, uint8_t sub, uint8_t opcode) {
    Request request(0);
    const bool noise = in.below(4) == 0;
    const auto raw = in.octets(noise ? 120 : 0);
    std::copy(raw.begin(), raw.end(), request.bytes().begin() + 8);
    const auto address = [&] {
        if (in.rarely(16))
            return in.edge64();
        const uint64_t page = in.u8();
        const uint64_t inside = in.below(4) == 0 ? in.u16() : 0;
        return page * Ram::kPage + inside;
    };
    const uint32_t number = in.rarely(16) ? in.edge32() : in.below(12);
    switch (sub << 8 | opcode) {
    case 1: { // CREATE_QP
        const uint32_t sqLog = in.below(17), rqLog = in.below(12);
        const uint32_t sendCqn = in.below(6), recvCqn = in.below(6), pd = in.below(3);
        const uint64_t sq = address(), rq = address();
        const uint32_t pageField = in.below(9), count = in.below(6);
        const bool level = in.below(2) != 0;
        request = Guest::qpRequest(number, sendCqn, recvCqn, sqLog, rqLog, pd, sq, rq, pageField, count, level);
        for (size_t i = 0; i < 3; ++i) {
            request.u64(64 + 8 * i, address());
            request.u64(88 + 8 * i, address());
        }
        const bool otherPages = in.rarely(8);
        request.u32(112, otherPages ? in.u32() : 0x00800081);
        break;
    }
    case 3: { // MODIFY_QP
        const uint32_t state = in.below(7), congestion = in.below(5);
        request.u32(8, state << 24 | congestion << 20 | (number & 0xFFFFF));
        for (const size_t ip : {16, 20})
            request.be32(ip, 0x0A000001 + in.below(2));
        for (const size_t port : {24, 26})
            request.be16(port, static_cast<uint16_t>(1 + in.below(3)));
        for (const size_t sequence : {28, 32})
            request.u32(sequence, in.below(2));
        break;
    }
    case 4: { // CREATE_CQ
        const uint32_t depthLog = in.below(24), eqn = in.below(5);
        const uint64_t at = address();
        const uint32_t count = in.below(6), pageField = in.below(16), offset = in.rarely(4) ? in.edge32() : 0;
        const bool level = in.below(2) != 0;
        request = Guest::cqRequest(number & 0xFFFFF, depthLog, eqn, at, count, pageField, offset, level);
        break;
    }
    case 8: { // REG_MR
        const uint32_t shift = 12 + in.below(20), level = in.below(4);
        const uint32_t type = in.below(4), access = in.below(64), pd = in.below(3);
        const uint64_t start = in.edge64();
        const uint32_t octets = in.edge32(), count = in.edge32();
        const bool valid = in.below(2) != 0;
        const uint8_t key = in.u8();
        const uint32_t version = in.below(3), tablePageField = in.below(8);
        request = Guest::mrRequest(number & 0xFFFFF, type, access, pd, start, octets, shift & 31, level, count, valid,
                                   key, version, tablePageField);
        for (size_t i = 0; i < 4; ++i)
            request.u64(32 + 8 * i, address());
        break;
    }
    case 0x100: // CREATE_EQ
        request.u64(8, address());
        for (const size_t which : {16, 17})
            request.u8(which, static_cast<uint8_t>(in.below(6)));
        request.u8(18, static_cast<uint8_t>(in.below(18)));
        request.u8(19, static_cast<uint8_t>(1 + in.rarely(8)));
        break;
    case 0x101: // DESTROY_EQ
        request.u8(16, static_cast<uint8_t>(number)).u8(17, static_cast<uint8_t>(number)).u8(19, 1);
        break;
    case 11: // the family that answers into memory
    case 12:
    case 0x104:
    case 0x106:
    case 0x10B:
    case 0x1C0:
        request.u32(12, number).u64(16, address());
        request.u32(24, in.below(4) == 0 ? in.edge32() : 256);
        break;
    case 0x105: // CONF_DEVICE
        request.u32(8, 1u << 31 | in.below(32));
        break;
    case 0x108: // ALLOC_DB, FREE_DB
    case 0x109:
        request.u32(8, in.below(8));
        for (const size_t page : {12, 14, 18})
            request.u16(page, static_cast<uint16_t>(0x80 + in.below(8)));
        break;
    case 6: // REFLUSH
        request.u32(8, number).u32(12, in.edge32());
        request.u32(16, in.edge32());
        break;
    default:
        request.u32(8, number);
        break;
    }
    const size_t most = driver.entryBytes();
    if (in.rarely(8)) { // one word is wrong
        const size_t at = 8 + in.below(static_cast<uint32_t>(most - 12)) / 4 * 4;
        storeLe32(request.bytes(), at, in.u32());
    }
    return request;
}

void play(Input& in) {
    erdma_config config = smallConfig();
    const uint8_t flags = in.u8();
    config.extended_doorbells = (flags & 1) != 0;
    config.multilevel_mtt = (flags & 2) == 0;
    config.max_mr_size_log = (flags & 8) != 0 ? 48 : 20;
    uint64_t clock = 1'000'000'000;
    Machine machine(0, config, clock);
    Driver driver(machine, (flags & 4) != 0 ? 64 : 128);
    driver.bringUp();
    if ((flags & 32) != 0)
        machine.startChecking();
    const bool atWork = (flags & 16) == 0;
    if (atWork) {
        FUZZ_CHECK(driver.createEq(1), "an event queue is refused");
        FUZZ_CHECK(driver.createCq(1, 4), "a completion queue is refused");
        Pair pair{.qpn = 1, .sendCqn = 1, .recvCqn = 1, .pd = 1, .sq = {}, .rq = {}};
        FUZZ_CHECK(driver.createQp(pair, 4, 4), "a queue pair is refused");
    }
    // Tables whose entries are pages, and tables of such tables.
    for (uint64_t page = 0; page < 2; ++page)
        for (uint64_t i = 0; i < 16; ++i)
            machine.ram().put64((200 + page) * Ram::kPage + i * 8, (page == 0 ? 210 + i : 200) * Ram::kPage);
    uint64_t answerAt = 0;
    unsigned hits = 0, usual = 0; // stores to where a completion is due
    machine.onWrite = [&](uint64_t address, size_t length) {
        address %= Ram::kHigh;
        hits += address < answerAt + 32 && answerAt < address + length ? 1 : 0;
    };

    for (int step = 0; step < 128 && !in.empty(); ++step) {
        static constexpr std::array<uint16_t, 23> known = {0,     1,     2,     3,     4,     5,     6,     8,
                                                           9,     11,    12,    0x100, 0x101, 0x102, 0x103, 0x104,
                                                           0x105, 0x106, 0x107, 0x108, 0x109, 0x10A, 0x10B};
        const uint8_t chosen = in.u8();
        constexpr uint16_t queryCheck = 0x1C0, queryFlow = 0x1C1;
        const uint16_t code = chosen < 0xF6    ? known[chosen % known.size()]
                              : chosen == 0xF6 ? queryFlow
                              : chosen == 0xF7 ? queryCheck
                                               : in.u16() & 0x3FF;
        const auto sub = static_cast<uint8_t>(code >> 8), opcode = static_cast<uint8_t>(code);
        const uint32_t index = driver.commandSq.pi;
        driver.stage(sub, opcode, plausible(in, driver, sub, opcode));
        answerAt = driver.commandCq.address + uint64_t{driver.commandCq.ci % Driver::kCommandDepth} * 32;
        hits = 0;
        driver.ringCommands();
        FUZZ_CHECK(hits != 0, "a command without completion");
        if (step == 0)
            usual = hits;
        // With more the command made the adapter write there for other reasons.
        if (hits == usual) {
            const ConstBytes raw(machine.ram().at(answerAt, 32), 32);
            const uint32_t header = loadBe32(raw, 0);
            FUZZ_CHECK((header >> 31 != 0) == ((driver.commandCq.ci & Driver::kCommandDepth) == 0),
                       "a completion with the wrong owner");
            FUZZ_CHECK((header >> 16 & 0x7F) == (opcode & 0x7Fu) && (header >> 8 & 0xFF) == 2,
                       "a completion that names another command");
            FUZZ_CHECK((loadBe32(raw, 4) & 0xFFFF) == (index & 0xFFFF), "a completion of another entry");
        }
        driver.commandCq.ci++;
        if (in.rarely(8)) {
            clock += uint64_t{1} << in.below(36);
            machine.timer();
        }
        machine.settle(4);
    }
    machine.write(0x10, 1, 4);
    machine.quiet(true);
    for (const char* gauge : {"qps", "cqs", "eqs", "mrs", "flows", "connections"})
        FUZZ_CHECK(machine.counter(gauge) == 0, "something is left after RESET");
    FUZZ_CHECK(machine.timerAt == ERDMA_TIMER_OFF, "a timer is left after RESET");
    machine.settle(2);
}

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::play(in);
    return 0;
}

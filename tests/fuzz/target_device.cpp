// SPDX-License-Identifier: GPL-2.0-or-later
// A guest's kernel that does with the adapter whatever a kernel can: registers in any order, doorbells of any size,
// commands, rings, page tables and memory that change under the adapter's eyes, lost bus mastering, interrupts that are
// aimed at the adapter, resets at any time.
#include "driver.h"
#include "known.h"
#include "work.h"

namespace erdma::fuzz {
namespace {

using test::Guest;

constexpr uint64_t kIova = 0x10000000;
constexpr uint32_t kBuffer = 8 * Ram::kPage;

class Scene {
public:
    explicit Scene(Input& in)
        : in_(in), flags_(in.u8()), machine_(0, configOf(flags_), clock_),
          driver_(machine_, (flags_ & 1) != 0 ? 64 : 128) {
        poster_ = {{{10u << 8, kIova, kBuffer}, {11u << 8, kIova, kBuffer}, {12u << 8 | 1, kIova, kBuffer}}, {}};
        poster_.remote = poster_.own;
        for (uint32_t i = 0; i < 2; ++i) // where rings would be
            pairs_[i] = {.qpn = i + 1, .sq = {.address = 0x60000, .depth = 16}, .rq = {.address = 0x61000, .depth = 8}};
        if ((flags_ & 0x80) == 0)
            bringUp();
    }

    void play() {
        for (int step = 0; step < 256 && !in_.empty(); ++step)
            act();
        machine_.settle();
        machine_.onInterrupt = nullptr;
        machine_.busMaster = true;
        machine_.setFaults("");
        machine_.write(0x10, 1, 4);
        machine_.quiet(true);
        FUZZ_CHECK(machine_.timerAt == ERDMA_TIMER_OFF, "a timer is left after RESET");
        for (const char* gauge : {"qps", "cqs", "eqs", "mrs", "flows", "connections"})
            FUZZ_CHECK(machine_.counter(gauge) == 0, "something is left after RESET");
        machine_.settle(4);
        // It is as good as new.
        machine_.ram().clear();
        machine_.quiet(false);
        driver_.bringUp();
        FUZZ_CHECK((machine_.read(0x14, 4) & 3) == 2, "no INIT_DONE after RESET and INIT");
        driver_.commandCq.ci = 0;
        FUZZ_CHECK(driver_.command(0, 0, Request()) == 0, "no answer after RESET and INIT");
    }

private:
    static erdma_config configOf(uint8_t flags) {
        erdma_config config = smallConfig();
        config.extended_doorbells = (flags & 2) != 0;
        config.direct_wqe_groups = (flags & 4) != 0 ? 0 : 24;
        config.rnr_hold_ms = (flags & 8) != 0 ? 0 : 50;
        config.ord = config.ird = (flags & 16) != 0 ? 1 : 8;
        return config;
    }

    void bringUp() {
        driver_.bringUp();
        driver_.createEq(1);
        for (uint32_t i = 0; i < 2; ++i) {
            pairs_[i] = {.qpn = i + 1, .sendCqn = i + 1, .recvCqn = i + 1, .pd = 1, .sq = {}, .rq = {}};
            driver_.createCq(i + 1, 5);
            driver_.createQp(pairs_[i], 4, 3);
            connect(i);
        }
        buffer_ = driver_.allocate(kBuffer);
        driver_.registerMr(10, 1, kIova, buffer_, kBuffer, true);
        driver_.registerMr(11, 1, kIova, buffer_, 4 * Ram::kPage);
        table_ = driver_.allocate(Ram::kPage);
        for (uint32_t i = 0; i < 8; ++i)
            machine_.ram().put64(table_ + 8 * i, buffer_ + i * Ram::kPage);
        driver_.registerFast(12, 1, table_, 8);
    }
    void connect(uint32_t i) {
        const uint16_t own = static_cast<uint16_t>(1000 + i), peer = static_cast<uint16_t>(1001 - i);
        driver_.connect(pairs_[i].qpn, {0x0A000001 + i, 0x0A000002 - i, own, peer, 77 + i, 78 - i, 2 - i, 1});
    }

    uint64_t address() {
        switch (in_.below(6)) {
        case 0:
            return in_.edge64();
        case 1: {
            const uint64_t base =
                in_.pick(std::array{table_, buffer_, driver_.commandSq.address, driver_.commandCq.address,
                                    driver_.aeq.address, pairs_[0].sq.address, pairs_[1].rq.address});
            const bool inside = in_.below(2) != 0;
            const uint64_t entry = in_.u8();
            return base + (inside ? entry * 8 : 0);
        }
        default:
            break;
        }
        const uint64_t page = in_.u8();
        const uint64_t inside = in_.below(3) == 0 ? in_.u16() % Ram::kPage : 0;
        const uint64_t high = in_.rarely(16) ? Ram::kHigh : 0;
        return page * Ram::kPage + inside + high;
    }

    void act() {
        Pair& pair = pairs_[in_.below(2)];
        switch (in_.below(20)) {
        case 0:
            anyStore();
            break;
        case 1: {
            const uint64_t offset = in_.u16() % 0x1010;
            machine_.read(offset, in_.pick(std::array{1u, 2u, 4u, 8u, 3u}));
            break;
        }
        case 2:
        case 3:
            command();
            break;
        case 4:
            if (in_.rarely(4))
                machine_.write(0x200, in_.u16());
            else
                driver_.ringCommands();
            while (driver_.answer())
                ;
            break;
        case 5:
        case 6:
        case 7: {
            std::vector<std::byte> sqe = makeSqe(in_, poster_);
            driver_.putSqe(pair, sqe);
            if (in_.below(2) == 0)
                machine_.write(0x5F000, Driver::sqDoorbell(pair));
            break;
        }
        case 8: {
            const Sge sge = makeSge(in_, poster_.own);
            driver_.putRqe(pair, sge.addr, sge.length, sge.stag);
            machine_.write(0x61000, Driver::rqDoorbell(pair));
            break;
        }
        case 9: {
            const uint64_t at = address();
            machine_.ram().put(at, in_.fewOctets(64));
            break;
        }
        case 10: // a table of pages
            for (uint64_t at = address(), n = in_.below(16); n > 0; --n, at += 8)
                machine_.ram().put64(at, address());
            break;
        case 11:
            machine_.settle(in_.below(8));
            break;
        case 12:
            clock_ += uint64_t{1} << in_.below(42);
            machine_.timer();
            break;
        case 13:
            control();
            break;
        case 14:
            faults();
            break;
        case 15: {
            const uint64_t page = in_.u8();
            machine_.ram().block(page, in_.below(2) != 0);
            machine_.busMaster = !in_.rarely(8);
            break;
        }
        case 16:
            directWqe(pair);
            break;
        case 17: { // arms
            const uint64_t number = in_.below(4);
            const uint64_t solicited = in_.below(2);
            machine_.write(0x79000 + number * 8, number << 32 | 1u << 31 | solicited << 30 | in_.u8());
            machine_.write(0x100 + 8 * number, 1u << 31 | in_.u8());
            machine_.write(0x50, 1u << 31 | in_.u8());
            machine_.write(0x300, 1u << 31 | in_.u8());
            break;
        }
        case 18:
            aimInterrupts();
            break;
        default:
            driver_.command(0, 3, Request().u32(8, in_.below(6) << 24 | pair.qpn));
            if (in_.below(2) == 0)
                connect(static_cast<uint32_t>(&pair - pairs_.data()));
            break;
        }
    }

    void anyStore() {
        static constexpr std::array<uint32_t, 22> registers = {0x10, 0x20, 0x24,  0x28,  0x2C,  0x30, 0x34, 0x38,
                                                               0x3C, 0x40, 0x44,  0x48,  0x50,  0x60, 0x68, 0x70,
                                                               0x78, 0x80, 0x200, 0x300, 0x100, 0x108};
        static constexpr std::array<uint32_t, 6> spaces = {0x1000, 0x5F000, 0x61000, 0x79000, 0x80000, 0xFF000};
        const unsigned size = in_.pick(std::array{8u, 4u, 8u, 4u, 2u, 1u, 3u, 16u});
        uint64_t offset = in_.below(2) == 0 ? in_.pick(registers) : in_.pick(spaces);
        if (offset >= spaces.front())
            offset += in_.u16() / 8 * 8 % 0x2000;
        uint64_t value = 0;
        if (in_.below(2) == 0) {
            value = address();
        } else {
            const uint64_t number = in_.below(4);
            value = number << 32 | in_.edge32();
        }
        if (in_.rarely(8)) // not aligned
            offset += in_.below(8);
        machine_.write(offset, value, size);
    }

    void command() {
        static constexpr std::array<uint16_t, 22> known = {0,     1,     2,     3,     4,     5,     6,     8,
                                                           9,     11,    12,    0x100, 0x101, 0x102, 0x103, 0x104,
                                                           0x105, 0x106, 0x107, 0x108, 0x109, 0x10B};
        const uint16_t code = in_.pick(known);
        const uint32_t number = in_.rarely(8) ? in_.edge32() & 0xFFFFF : in_.below(14);
        Request request;
        request.u32(8, number);
        switch (code) {
        case 1: {
            const uint32_t sendCqn = in_.below(4), recvCqn = in_.below(4), sqLog = in_.below(16), rqLog = in_.below(11),
                           pd = in_.below(3);
            const uint64_t sq = address(), rq = address();
            const uint32_t pageField = in_.below(9), count = in_.below(6);
            const bool level = in_.below(2) != 0;
            request = Guest::qpRequest(number, sendCqn, recvCqn, sqLog, rqLog, pd, sq, rq, pageField, count, level);
            break;
        }
        case 4: {
            const uint32_t depthLog = in_.below(11), eqn = in_.below(4);
            const uint64_t at = address();
            const uint32_t count = in_.below(5), pageField = in_.below(14), offset = in_.below(2) == 0 ? 0 : in_.u16();
            request = Guest::cqRequest(number, depthLog, eqn, at, count, pageField, offset, false);
            break;
        }
        case 8: {
            const uint32_t type = in_.below(3), access = in_.below(64),
                           octets = in_.below(4) == 0 ? in_.u32() : kBuffer, shift = 12 + in_.below(3),
                           level = in_.below(4), count = in_.below(12);
            const bool valid = in_.below(2) != 0;
            const uint32_t version = in_.below(2), tablePageField = in_.below(3);
            request = Guest::mrRequest(number, type, access, 1, kIova, octets, shift, level, count, valid, 0, version,
                                       tablePageField);
            request.u64(32, address());
            request.u64(40, in_.below(2) == 0 ? kBuffer : address());
            request.u64(48, address());
            break;
        }
        case 0x100:
            request.u64(8, address());
            for (const size_t which : {16, 17})
                request.u8(which, static_cast<uint8_t>(in_.below(5)));
            request.u8(18, static_cast<uint8_t>(in_.below(17))).u8(19, 1);
            break;
        case 11:
        case 12:
        case 0x104:
        case 0x106:
        case 0x10B:
            request.u32(12, number).u64(16, address());
            request.u32(24, in_.u16());
            break;
        default:
            break;
        }
        driver_.stage(static_cast<uint8_t>(code >> 8), static_cast<uint8_t>(code), request);
    }

    void control() {
        switch (in_.below(6)) {
        case 0:
            machine_.reset();
            machine_.quiet(true);
            break;
        case 1:
            machine_.write(0x10, 1, 4);
            machine_.quiet(!dead_);
            break;
        case 2:
            machine_.write(0x10, 2, 4);
            break;
        case 3:
            machine_.reset();
            bringUp();
            break;
        default:
            machine_.run();
            break;
        }
    }

    void faults() {
        static constexpr std::array<const char*, 10> texts = {
            "",           "cmd-drop=0/any*2",   "cmd-fail=0/1:12*1",     "cmd-slow=1/any:5*3",  "irq-lose=any*4",
            "db-lose=sq", "post=aeq:10000,1*3", "post=cq1:4,1,2,3,4*40", "post=cmd:20000,5*70", "dead"};
        const char* text = in_.pick(texts);
        if (machine_.setFaults(text))
            dead_ = std::strcmp(text, "dead") == 0;
    }

    void directWqe(Pair& pair) {
        std::vector<std::byte> sqe = makeSqe(in_, poster_);
        storeLe64(sqe, 0, loadLe64(sqe, 0) | 1u << 26);
        driver_.putSqe(pair, sqe);
        const uint64_t blocks = sqe.size() / 32;
        const uint64_t header = (loadLe64(sqe, 0) & ~(uint64_t{0x7FFFFF} << 32 | 0xFFFF)) | (blocks - 1) << 52 |
                                uint64_t{pair.qpn} << 32 | (pair.sq.pi & 0xFFFF);
        const uint64_t page = in_.below(3);
        const uint64_t slot = 0x1000 + page * Ram::kPage + in_.below(32) * 128;
        const unsigned step = in_.below(2) == 0 ? 8 : 4;
        for (size_t at = 0; at < sqe.size() && !in_.rarely(24); at += step) {
            const uint64_t word = at < 8 ? header >> (8 * at) : step == 8 ? loadLe64(sqe, at) : loadLe32(sqe, at);
            machine_.write(slot + at, step == 8 ? word : word & 0xFFFFFFFF, step);
        }
    }

    void aimInterrupts() {
        const uint64_t qpn = 1 + in_.below(2);
        const uint64_t value = qpn << 32 | in_.u8();
        const uint32_t what = in_.below(6);
        machine_.onInterrupt = nullptr;
        if (what == 0)
            return;
        machine_.onInterrupt = [this, value, what] {
            switch (what) {
            case 1:
                machine_.write(0x5F000, value, 8);
                break;
            case 2:
                machine_.write(0x200, driver_.commandSq.pi & 0xFFFF, 8);
                break;
            case 3:
                machine_.write(0x10, value & 3, 4);
                break;
            case 4:
                machine_.read(0x14, 4);
                break;
            default:
                machine_.reset();
                break;
            }
        };
    }

    Input& in_;
    const uint8_t flags_;
    uint64_t clock_ = 1'000'000'000;
    Machine machine_;
    Driver driver_;
    std::array<Pair, 2> pairs_;
    Poster poster_;
    uint64_t buffer_ = 0x40000, table_ = 0x50000;
    bool dead_ = false;
};

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::Scene(in).play();
    return 0;
}

// SPDX-License-Identifier: GPL-2.0-or-later
// Two processes of a guest.  One has two queue pairs, connected to each other over the loopback, its doorbell pages and
// the memory behind its rings, and does with them what it likes.  The other is a bystander: nothing of it changes, and
// its connection works afterwards.
#include "driver.h"
#include "known.h"
#include "work.h"

namespace erdma::fuzz {
namespace {

constexpr uint32_t kHostilePd = 1, kBystanderPd = 2;
constexpr uint32_t kBuffer = 4 * Ram::kPage;
constexpr uint32_t kSecretBytes = 256;
constexpr uint64_t kIova = 0x7F0000000010;
constexpr uint32_t kSqLog = 4, kRqLog = 3;

struct Pages {
    uint16_t sq = 0, rq = 0, cq = 0;
};

class Scene {
public:
    explicit Scene(Input& in) : in_(in), machine_(0, configOf(in), clock_), driver_(machine_) {
        driver_.bringUp();
        FUZZ_CHECK(driver_.createEq(1), "an event queue is refused");
        const Pages mine = pages(), theirs = pages();
        hostilePages_ = mine;
        bystanderPages_ = theirs;
        for (uint32_t i = 0; i < 4; ++i) {
            const Pages& of = i < 2 ? mine : theirs;
            Pair& pair = pairs_[i];
            pair.qpn = i + 1;
            pair.sendCqn = pair.recvCqn = i + 1;
            pair.pd = i < 2 ? kHostilePd : kBystanderPd;
            FUZZ_CHECK(driver_.createCq(i + 1, 6, of.cq), "a completion queue is refused");
            FUZZ_CHECK(driver_.createQp(pair, kSqLog, kRqLog, of.sq, of.rq), "a queue pair is refused");
            const uint32_t octets = i < 2 ? kBuffer : kSecretBytes;
            buffers_[i] = driver_.allocate(kBuffer + Ram::kPage) + kIova % Ram::kPage;
            // The first begins and ends within pages and lists them itself, the second has a table.
            FUZZ_CHECK(driver_.registerMr(10 + i, pair.pd, startOf(i), buffers_[i], octets - 32, i == 1),
                       "a region is refused");
        }
        FUZZ_CHECK(driver_.registerFast(20, kBystanderPd, driver_.allocate(Ram::kPage), 8), "a region is refused");
        connect(0, 1, 1000);
        connect(2, 3, 3000);
        machine_.settle();
        for (uint32_t i = 2; i < 4; ++i)
            for (uint32_t at = 0; at < kSecretBytes; ++at)
                *machine_.ram().at(buffers_[i] + at, 1) = static_cast<std::byte>(at * 7 + i);
        std::vector<Range> open = driver_.eventRings;
        for (uint32_t i = 0; i < 2; ++i)
            open.push_back({buffers_[i], kBuffer - 32});
        machine_.seal(std::move(open));
        for (uint32_t i = 0; i < 2; ++i)
            posters_[i] = {{{stagOf(i), startOf(i), kBuffer - 32}}, {{stagOf(1 - i), startOf(1 - i), kBuffer - 32}}};
        for (Poster& poster : posters_) {
            // Numbers that everybody can guess.
            poster.own.push_back({stagOf(2), startOf(2), kSecretBytes - 32});
            poster.remote.push_back({stagOf(3), startOf(3), kSecretBytes - 32});
            poster.own.push_back({20u << 8, startOf(0), kBuffer - 32});
            for (int i = 0; i < 5; ++i) { // mostly its own
                poster.own.push_back(poster.own.front());
                poster.remote.push_back(poster.remote.front());
            }
        }
    }

    void play() {
        for (int step = 0; step < 256 && !in_.empty(); ++step)
            act();
        machine_.settle();
        bystanderWorks();
    }

private:
    static erdma_config configOf(Input& in) {
        erdma_config config = smallConfig();
        const uint8_t flags = in.u8();
        config.extended_doorbells = true;
        config.atomic = (flags & 1) == 0;
        config.ord = (flags & 2) != 0 ? 2 : 16;
        config.ird = (flags & 4) != 0 ? 2 : 16;
        config.rnr_hold_ms = (flags & 8) != 0 ? 100 : 0;
        return config;
    }
    static uint32_t stagOf(uint32_t i) { return (10 + i) << 8; }
    static uint64_t startOf(uint32_t i) { return kIova + (uint64_t{i} << 32); }

    Pages pages() {
        uint64_t reply = 0;
        FUZZ_CHECK(driver_.command(1, 8, Request().u32(8, 7), &reply) == 0, "doorbell pages are refused");
        return {static_cast<uint16_t>(reply), static_cast<uint16_t>(reply >> 48), static_cast<uint16_t>(reply >> 32)};
    }
    void connect(uint32_t a, uint32_t b, uint16_t port) {
        const Driver::Tuple first{0x0A000001, 0x0A000002, port,          static_cast<uint16_t>(port + 1),
                                  77,         99,         pairs_[b].qpn, 1};
        const Driver::Tuple second{0x0A000002,    0x0A000001, static_cast<uint16_t>(port + 1), port, 99, 77,
                                   pairs_[a].qpn, 1};
        FUZZ_CHECK(driver_.connect(pairs_[a].qpn, first) && driver_.connect(pairs_[b].qpn, second),
                   "a connection is refused");
    }
    void store(uint16_t page, uint64_t inside, uint64_t value, unsigned size = 8) {
        machine_.write(uint64_t{page} * Ram::kPage + inside, value, size);
    }
    void ringSq(const Pages& pages, const Pair& pair, uint64_t value) { store(pages.sq, pair.qpn % 32 * 128, value); }
    void ringRq(const Pages& pages, const Pair& pair, uint64_t value) { store(pages.rq, pair.qpn % 128 * 32, value); }

    void act() {
        const uint32_t which = in_.below(2);
        Pair& pair = pairs_[which];
        switch (in_.below(16)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: {
            std::vector<std::byte> sqe = makeSqe(in_, posters_[which]);
            withoutLocalKey(sqe);
            driver_.putSqe(pair, sqe);
            break;
        }
        case 5:
        case 6: {
            const Sge sge = makeSge(in_, posters_[which].own);
            driver_.putRqe(pair, sge.addr, sge.length, withoutLocalKey(sge.stag));
            ringRq(hostilePages_, pair, Driver::rqDoorbell(pair));
            break;
        }
        case 7:
        case 8:
            ringSq(hostilePages_, pair, Driver::sqDoorbell(pair));
            break;
        case 9: // noise in a ring
            scribble(in_.below(2) == 0 ? pair.sq : pair.rq);
            break;
        case 10: { // any store into any page of its own
            const uint16_t page = in_.pick(std::array{hostilePages_.sq, hostilePages_.rq, hostilePages_.cq});
            const unsigned size = in_.pick(std::array{8u, 8u, 4u, 2u, 1u});
            const uint64_t inside = in_.u16() % Ram::kPage / size * size;
            store(page, inside, in_.u64(), size);
            break;
        }
        case 11: // a store with a plausible value; the bystander's numbers, too
            plausibleStore();
            break;
        case 12:
            machine_.settle(in_.below(8));
            break;
        case 13:
            clock_ += uint64_t{1} << in_.below(36);
            machine_.timer();
            break;
        case 14: // the connection manager of the process stops or destroys it
            if (in_.rarely(4))
                driver_.command(0, 2, Request().u32(8, pair.qpn));
            else
                driver_.command(0, 3, Request().u32(8, uint32_t{in_.below(6)} << 24 | pair.qpn));
            break;
        default:
            pair.sq.pi += in_.below(40);
            break;
        }
    }

    void plausibleStore() {
        const uint16_t page = in_.pick(std::array{hostilePages_.sq, hostilePages_.rq, hostilePages_.cq});
        const uint64_t inside = uint64_t{in_.u8()} * 8 % Ram::kPage;
        const uint64_t number = in_.below(6);
        const uint64_t top = in_.below(2) == 0 ? 1u << 31 : 0;
        store(page, inside, number << 32 | top | in_.u16());
    }
    void scribble(const Ring& ring) {
        const uint64_t at = uint64_t{in_.u16()} % (ring.depth * 32);
        const auto octets = in_.fewOctets(64);
        machine_.ram().put(ring.address + at, octets.first(std::min<size_t>(octets.size(), ring.depth * 32 - at)));
        if (std::byte* whole = machine_.ram().at(ring.address, ring.depth * 32))
            withoutLocalKey({whole, ring.depth * 32});
    }

    static uint32_t withoutLocalKey(uint32_t stag) {
        return kRingsAreTheKernels && stag == kLocalDmaKey ? stag ^ 0x100 : stag;
    }
    static void withoutLocalKey(std::span<std::byte> entry) {
        for (size_t at = 0; at + 4 <= entry.size(); at += 4)
            storeLe32(entry, at, withoutLocalKey(loadLe32(entry, at)));
    }

    void bystanderWorks() {
        for (uint32_t i = 2; i < 4; ++i)
            for (uint32_t at = 0; at < kSecretBytes; ++at)
                FUZZ_CHECK(*machine_.ram().at(buffers_[i] + at, 1) == static_cast<std::byte>(at * 7 + i),
                           "a bystander's memory changed");
        Pair& from = pairs_[2];
        Pair& to = pairs_[3];
        machine_.open({buffers_[3], 64});
        driver_.putRqe(to, startOf(3), 64, stagOf(3));
        ringRq(bystanderPages_, to, Driver::rqDoorbell(to));
        std::array<std::byte, 32> sqe{};
        storeLe64(sqe, 0, uint64_t{1} << 56 | uint64_t{2} << 27 | 1u << 22);
        storeLe32(sqe, 12, 64);
        storeLe64(sqe, 16, startOf(2));
        storeLe32(sqe, 24, 64);
        storeLe32(sqe, 28, stagOf(2));
        driver_.putSqe(from, sqe);
        ringSq(bystanderPages_, from, Driver::sqDoorbell(from));
        machine_.settle();
        for (uint32_t at = 0; at < 64; ++at)
            FUZZ_CHECK(*machine_.ram().at(buffers_[3] + at, 1) == static_cast<std::byte>(at * 7 + 2),
                       "a bystander's message did not arrive");
        for (const uint32_t cqn : {3u, 4u}) {
            const uint32_t header = loadBe32({machine_.ram().at(driver_.cqRings[cqn].address, 32), 32}, 0);
            FUZZ_CHECK(header >> 31 == 1 && (header & 0xFF) == 0, "a bystander's completion is missing or bad");
        }
    }

    uint64_t clock_ = 1'000'000'000;
    Input& in_;
    Machine machine_;
    Driver driver_;
    Pages hostilePages_, bystanderPages_;
    std::array<Pair, 4> pairs_;
    std::array<uint64_t, 4> buffers_{};
    std::array<Poster, 2> posters_;
};

} // namespace
} // namespace erdma::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    erdma::fuzz::Input in(data, size);
    erdma::fuzz::Scene(in).play();
    return 0;
}

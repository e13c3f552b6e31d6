// SPDX-License-Identifier: GPL-2.0-or-later
// What every fuzz target needs: its input as a stream of choices, and checks that end the run.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <span>

// The entry point that libFuzzer, OSS-Fuzz and standalone.cpp know.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace erdma::fuzz {

// A property that holds for every input does not hold for this one.  Ends the process, as a sanitizer does.
[[noreturn]] inline void broken(const char* what, const char* file, int line) {
    std::fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
    std::abort();
}

// The input, octet by octet, as the choices of a small program.  Behind its end everything is 0, so every input is a
// whole program and a mutation in the middle changes little of what comes before.
//
// An input means the same whatever compiler built the target, so no two draws share an expression in which C++ leaves
// their order open: draw into variables first.  tests/style/draws checks it.
class Input {
public:
    Input(const uint8_t* data, size_t size) : left_(data, size) {}

    bool empty() const { return left_.empty(); }
    size_t size() const { return left_.size(); }

    template <typename T> T number() {
        std::array<uint8_t, sizeof(T)> raw{};
        const auto piece = bytes(sizeof(T));
        std::copy(piece.begin(), piece.end(), raw.begin());
        return std::bit_cast<T>(raw);
    }
    uint8_t u8() { return number<uint8_t>(); }
    uint16_t u16() { return number<uint16_t>(); }
    uint32_t u32() { return number<uint32_t>(); }
    uint64_t u64() { return number<uint64_t>(); }

    // 0 to limit - 1.
    uint32_t below(uint32_t limit) { return limit <= 256 ? u8() % limit : u32() % limit; }
    // True in one of `limit` cases, and never behind the end.
    bool rarely(uint32_t limit) { return below(limit) == limit - 1; }
    template <typename Container> auto pick(const Container& from) {
        return std::data(from)[below(static_cast<uint32_t>(std::size(from)))];
    }
    // At most `most` octets; fewer near the end.
    std::span<const uint8_t> bytes(size_t most) {
        const auto piece = left_.first(std::min(most, left_.size()));
        left_ = left_.subspan(piece.size());
        return piece;
    }
    std::span<const std::byte> octets(size_t most) { return std::as_bytes(bytes(most)); }
    // 0 to limit - 1 octets.
    std::span<const std::byte> fewOctets(uint32_t limit) {
        const uint32_t most = below(limit);
        return octets(most);
    }
    // Around 0, or any distance.
    uint32_t distance() { return below(2) == 0 ? u8() - 128u : u32(); }
    // A number at the edges of what 32 bits hold, a small one, or any.
    uint32_t edge32() {
        static constexpr std::array<uint32_t, 12> edges = {0,      1,          2,          7,          8,      4095,
                                                           0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1000, 65536};
        switch (below(3)) {
        case 0:
            return pick(edges);
        case 1:
            return u16();
        default:
            return u32();
        }
    }
    uint64_t edge64() {
        static constexpr std::array<uint64_t, 8> edges = {0,
                                                          0xFFFFFFFF,
                                                          0x100000000,
                                                          UINT64_MAX,
                                                          UINT64_MAX - 4095,
                                                          uint64_t{1} << 63,
                                                          1u << 20,
                                                          (uint64_t{1} << 40) - 8};
        return below(2) == 0 ? pick(edges) : u64();
    }

private:
    std::span<const uint8_t> left_;
};

} // namespace erdma::fuzz

#define FUZZ_CHECK(condition, what)                                                                                    \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            erdma::fuzz::broken(what, __FILE__, __LINE__);                                                             \
    } while (false)

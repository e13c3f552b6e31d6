// SPDX-License-Identifier: GPL-2.0-or-later
// Integers in guest memory: explicit byte order, any alignment, on any build machine.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bytes.h"

namespace erdma {

template <std::unsigned_integral T> constexpr T byteSwapped(T value) {
    T out = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
        out = static_cast<T>(static_cast<T>(out << 7 << 1) | static_cast<T>(value & 0xFF));
        value = static_cast<T>(value >> 7 >> 1);
    }
    return out;
}

template <std::unsigned_integral T> constexpr T toOrder(T value, std::endian order) {
    return order == std::endian::native ? value : byteSwapped(value);
}

// The integer at `offset`; 0 when it does not lie inside: requests shorter than a field leave it undefined.
template <std::unsigned_integral T> T loadAs(ConstBytes from, size_t offset, std::endian order) {
    T value = 0;
    if (offset > from.size() || from.size() - offset < sizeof(T))
        return 0;
    std::memcpy(&value, from.data() + offset, sizeof(T));
    return toOrder(value, order);
}

// Stores only when it fits.
template <std::unsigned_integral T> void storeAs(Bytes to, size_t offset, T value, std::endian order) {
    if (offset > to.size() || to.size() - offset < sizeof(T))
        return;
    value = toOrder(value, order);
    std::memcpy(to.data() + offset, &value, sizeof(T));
}

inline uint8_t load8(ConstBytes from, size_t offset) { return loadAs<uint8_t>(from, offset, std::endian::little); }
inline uint16_t loadLe16(ConstBytes from, size_t offset) { return loadAs<uint16_t>(from, offset, std::endian::little); }
inline uint32_t loadLe32(ConstBytes from, size_t offset) { return loadAs<uint32_t>(from, offset, std::endian::little); }
inline uint64_t loadLe64(ConstBytes from, size_t offset) { return loadAs<uint64_t>(from, offset, std::endian::little); }
inline uint16_t loadBe16(ConstBytes from, size_t offset) { return loadAs<uint16_t>(from, offset, std::endian::big); }
inline uint32_t loadBe32(ConstBytes from, size_t offset) { return loadAs<uint32_t>(from, offset, std::endian::big); }

inline void store8(Bytes to, size_t offset, uint8_t v) { storeAs<uint8_t>(to, offset, v, std::endian::little); }
inline void storeLe16(Bytes to, size_t offset, uint16_t v) { storeAs<uint16_t>(to, offset, v, std::endian::little); }
inline void storeLe32(Bytes to, size_t offset, uint32_t v) { storeAs<uint32_t>(to, offset, v, std::endian::little); }
inline void storeLe64(Bytes to, size_t offset, uint64_t v) { storeAs<uint64_t>(to, offset, v, std::endian::little); }
inline void storeBe16(Bytes to, size_t offset, uint16_t v) { storeAs<uint16_t>(to, offset, v, std::endian::big); }
inline void storeBe32(Bytes to, size_t offset, uint32_t v) { storeAs<uint32_t>(to, offset, v, std::endian::big); }

} // namespace erdma

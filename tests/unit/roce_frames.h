// SPDX-License-Identifier: GPL-2.0-or-later
// The frames of roce.md 2.11, as they stand there, and what they say.
#pragma once

#include <string_view>
#include <vector>

#include "roce_packet.h"

namespace erdma::test {

// Octets in hexadecimal, blanks between them.
inline std::vector<std::byte> octets(std::string_view text) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::vector<std::byte> out;
    for (size_t i = 0; i + 1 < text.size(); i += 2) {
        if (text[i] == ' ')
            ++i;
        out.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
    }
    return out;
}

namespace frame {
// clang-format off
inline constexpr std::string_view kD1 =
    "52 54 00 00 00 02 52 54 00 00 00 01 08 00 45 00 00 34 12 34 40 00 40 11 13 e9 0a 4d 00 01 0a 4d "
    "00 02 c1 32 12 b7 00 20 00 00 04 70 ff ff 00 00 00 12 80 ab cd ef 68 65 6c 6c 6f 00 00 00 eb 6b "
    "d4 5f";
inline constexpr std::string_view kD2 =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 00 00 30 00 01 40 00 40 11 26 20 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 1c 00 00 11 40 ff ff 00 00 00 11 00 ab cd ef 1f 00 00 01 d2 7f 00 2b";
inline constexpr std::string_view kD3a =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 00 00 30 00 02 40 00 40 11 26 1f 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 1c 00 00 11 40 ff ff 00 00 00 11 00 ab cd f0 60 00 00 01 b0 d3 77 29";
inline constexpr std::string_view kD3b =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 00 00 30 00 03 40 00 40 11 26 1e 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 1c 00 00 11 40 ff ff 00 00 00 11 00 ab cd f0 2c 00 00 01 9c 3f 3c b6";
inline constexpr std::string_view kD4 =
    "52 54 00 00 00 02 52 54 00 00 00 01 08 00 45 00 00 48 12 35 40 00 40 11 13 d4 0a 4d 00 01 0a 4d "
    "00 02 c1 32 12 b7 00 34 00 00 0b c0 ff ff 00 00 00 12 80 ab cd f0 00 00 7f 00 00 00 10 00 00 00 "
    "0a 01 00 00 00 08 de ad be ef 00 01 02 03 04 05 06 07 61 2e dd ba";
inline constexpr std::string_view kD5 =
    "52 54 00 00 00 02 52 54 00 00 00 01 08 00 45 00 00 3c 12 36 40 00 40 11 13 df 0a 4d 00 01 0a 4d "
    "00 02 c1 32 12 b7 00 28 00 00 0c 40 ff ff 00 00 00 12 80 ab cd f1 00 00 7f 00 00 00 20 00 00 00 "
    "0b 02 00 00 09 c4 a3 d8 b0 3d";
inline constexpr std::string_view kD6 =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 00 00 34 00 04 40 00 40 11 26 19 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 20 00 00 10 50 ff ff 00 00 00 11 00 ab cd f4 1f 00 00 04 61 62 63 00 3b 74 "
    "d5 28";
inline constexpr std::string_view kD7 =
    "52 54 00 00 00 02 52 54 00 00 00 01 08 00 45 00 00 48 12 37 40 00 40 11 13 d2 0a 4d 00 01 0a 4d "
    "00 02 c1 32 12 b7 00 34 00 00 13 40 ff ff 00 00 00 12 80 ab cd f5 00 00 7f 00 00 00 40 00 00 00 "
    "0d 04 00 00 00 00 00 00 11 11 00 00 00 00 00 00 22 22 04 08 e1 dd";
inline constexpr std::string_view kD8 =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 00 00 38 00 05 40 00 40 11 26 14 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 24 00 00 12 40 ff ff 00 00 00 11 00 ab cd f5 1f 00 00 05 00 00 00 00 00 00 "
    "22 22 7d 42 3e 8b";
inline constexpr std::string_view kD9 =
    "52 54 00 00 00 02 52 54 00 00 00 01 08 00 45 00 00 34 12 38 40 00 40 11 13 e5 0a 4d 00 01 0a 4d "
    "00 02 c1 32 12 b7 00 20 00 00 17 40 ff ff 00 00 00 12 80 ab cd f6 00 01 23 45 69 6e 76 21 6a 05 "
    "2a ab";
inline constexpr std::string_view kD10 =
    "52 54 00 00 00 02 52 54 00 00 00 01 86 dd 60 00 00 00 00 24 11 40 fe 80 00 00 00 00 00 00 50 54 "
    "00 ff fe 00 00 01 fe 80 00 00 00 00 00 00 50 54 00 ff fe 00 00 02 c0 05 12 b7 00 24 00 00 64 40 "
    "ff ff 00 00 00 13 00 00 00 07 11 11 11 11 00 00 00 14 70 69 6e 67 e3 3b 13 05";
inline constexpr std::string_view kD11 =
    "52 54 00 00 00 01 52 54 00 00 00 02 08 00 45 c0 00 3c 00 06 40 00 40 11 25 4f 0a 4d 00 02 0a 4d "
    "00 01 c1 32 12 b7 00 28 00 00 81 00 ff ff 40 00 00 11 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
    "00 00 00 00 00 00 a2 cb c3 27";
// clang-format on
} // namespace frame

inline const Mac kMacA{0x52, 0x54, 0, 0, 0, 1}, kMacB{0x52, 0x54, 0, 0, 0, 2};
inline constexpr uint32_t kIpA = 0x0A4D0001, kIpB = 0x0A4D0002;

// From A to B, or back.
inline RoceRoute routeOfFrames(bool back = false) {
    RoceRoute route;
    route.destination = back ? kMacA : kMacB;
    route.source = back ? kMacB : kMacA;
    route.sourceGid = mappedGid(back ? kIpB : kIpA);
    route.destinationGid = mappedGid(back ? kIpA : kIpB);
    route.udpPort = 0xC132;
    return route;
}

} // namespace erdma::test

// SPDX-License-Identifier: GPL-2.0-or-later
// The property "link" as a text: trouble on the link.  Several parts separated by ';', empty for a clean link:
//   SIDE:ITEM,ITEM...   SIDE is to-wire, to-guest or both; ITEM one of
//       loss=P% duplicate=P% corrupt=P% reorder=P%   0% to 100%, up to four decimals
//       delay=TIME jitter=TIME   number with ns, us, ms or s, up to 60s; jitter not more than delay
//       rate=RATE                number with kbit, mbit or gbit a second
//       cut                      nothing passes
//       drop=PACKETS corrupt=PACKETS duplicate=PACKETS ecn=PACKETS delay=TIME/PACKETS   chosen packets of TCP connections
//           PACKETS is KIND[/FIELD=VALUE...][#FIRST[-[LAST]]], KIND any, data, ack or retransmission (PacketRule says what
//           each is); FIELD conn (number of the connection), opcode (name) or msn, and psn once there is RoCE; which of
//           those that match: the 5th, #5; the 5th to the 7th, #5-7; all from the 5th, #5-; without, all
//   seed=NUMBER         of the dice (1)
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "impairment.h"

namespace erdma {

// Each returns nothing, or the sentence for the user, and then nothing changed.
std::optional<std::string> parseLink(std::string_view text, Impairment::Plan& plan);
std::optional<std::string> setLink(Impairment& link, std::string_view text);

// In the same grammar, in one spelling; empty: clean.
std::string describeLink(const Impairment::Plan& plan);

} // namespace erdma

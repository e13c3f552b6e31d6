// SPDX-License-Identifier: GPL-2.0-or-later
// The driver's entries as JSON.  The names are an interface: scripts read them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "driver.h"
#include "render.h"

namespace eadm {

std::string addressText(std::span<const uint8_t, 16> address);
std::string macText(std::span<const uint8_t, 6> mac);
// QP states and endpoint states by name; unknown numbers stay numbers.
// How a connection talks: the revision of MPA it was opened with.
std::string dialect(uint32_t revision);
// Why it was not the revision that is tried first, a sentence; empty: it was, or nothing was tried.
std::string fallbackText(uint32_t fallback);
// Why the adapter stopped a queue pair, in words; empty: it does not tell.
std::string detailText(uint32_t detail);
std::string qpState(uint32_t state);
// What holds the sends of a queue pair (enum erdma_limit).
std::string limitName(uint32_t limit);
std::string cepState(uint32_t state);
std::string congestionControl(uint32_t number);
std::string firmwareText(uint32_t version);

Json toJson(const erdma_info_device& entry);
Json toJson(const erdma_info_qp& entry);
Json toJson(const erdma_info_cq& entry);
Json toJson(const erdma_info_eq& entry);
Json toJson(const erdma_info_mr& entry);
Json toJson(const erdma_info_pd& entry);
Json toJson(const erdma_info_ctx& entry);
Json toJson(const erdma_info_cep& entry);
Json toJson(const erdma_info_counter& entry);
Json toJson(const erdma_info_conf& entry);

// Columns of the table of each kind.
const std::vector<Column>& columnsOf(erdma_kind kind);

} // namespace eadm

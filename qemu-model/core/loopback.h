// SPDX-License-Identifier: GPL-2.0-or-later
// Transport between two queue pairs of this process: segments are handed over by call (wire.md 1.10, 7.11).
#pragma once

namespace erdma {

class QueuePair;

// Connects both for good; they become active.
void pairByLoopback(QueuePair& first, QueuePair& second);

} // namespace erdma

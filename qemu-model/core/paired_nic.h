// SPDX-License-Identifier: GPL-2.0-or-later
// The NIC that an adapter shares its address with, as the device sees it: frames pass through here on their way between
// guest and backend, and connections to other machines leave by it (wire.md 1.2, 1.7).  Implemented in ../net.
#pragma once

#include <cstdint>
#include <string>

#include "host.h"
#include "scheduler.h"

namespace erdma {

class QueuePair;

class PairedNic : public Timed {
public:
    // Cheap: whether frame() must see the frame that begins with `head`.
    virtual bool wants(erdma_side side, ConstBytes head, size_t frameBytes) const = 0;
    // True: taken.  False: it goes on unchanged.
    virtual bool frame(erdma_side side, ConstBytes frame, const erdma_offload& offload) = 0;
    virtual void endOfFrames() = 0;

    enum class Claim : uint8_t {
        Unknown,   // the handshake was not seen here
        Connected, // the queue pair has its transport
        Refused,   // the command fails
    };
    // A queue pair that reaches RTS (1.5, 1.6).
    virtual Claim connect(QueuePair& qp) = 0;
    virtual void setMtu(uint16_t mtu) = 0;

    // Does what queue pairs asked for and what must not be done from inside their calls.
    virtual void runPending() = 0;
    virtual bool anyPending() const = 0; // still
    // Device reset (7.10): every connection is reset on the wire and towards the guest, and forgotten.  Until then none
    // does anything.  False: call again, the budget is spent.
    [[nodiscard]] virtual bool reset() = 0;

    // JSON array.
    virtual std::string connections() const = 0;
};

} // namespace erdma

// SPDX-License-Identifier: GPL-2.0-or-later
// Register file: adapter.md chapter 2.
#pragma once

#include <cstdint>
#include <span>

#include "adapter.h"
#include "commands.h"

namespace erdma {

class RegisterFile {
public:
    // What DEV_CTRL does beyond the registers.
    class Control {
    public:
        virtual ~Control() = default;
        virtual void resetByRegister() = 0;
        // No DMA any more from now on, and every object is taken apart.
        virtual void stop() = 0;
        virtual bool dismantled() const = 0; // that is done
    };

    RegisterFile(Adapter& adapter, CommandProcessor& commands, Control& control)
        : adapter_(adapter), commands_(commands), control_(control) {}

    // 1, 2, 4 or 8 aligned bytes.
    uint64_t read(uint64_t offset, unsigned size) const;
    // Anything but 4 or 8 aligned bytes is an error of the guest.
    void write(uint64_t offset, uint64_t value, unsigned size);
    // All as after power-on, but for RESET_DONE.
    void clear(bool resetDone);
    // Control::dismantled() became true: an INIT that waited for it is carried out.
    void dismantled();

private:
    struct Row;     // of the register table
    struct Values { // as last written; latched at INIT
        uint64_t cmdSq = 0, cmdCq = 0, cmdEq = 0, aeq = 0;
        uint32_t cmdDepth = 0, cmdEqDepth = 0, aeqDepth = 0;
        uint64_t cmdSqRecord = 0, cmdCqRecord = 0, cmdEqRecord = 0, aeqRecord = 0;
    };
    static std::span<const Row> table();
    static const Row* find(uint64_t offset);
    uint32_t readWord(uint64_t offset) const;
    void writeRow(const Row& row, uint64_t value);
    void controlWritten(uint32_t value);
    void initWritten();
    bool initialise();

    Adapter& adapter_;
    CommandProcessor& commands_;
    Control& control_;
    Values regs_;
    bool resetDone_ = false; // with Control::dismantled()
    bool initWaits_ = false;
    uint64_t lowHalf_ = 0;       // of a 64-bit register written in two halves
    uint64_t lowHalfOffset_ = 0; // 0: none
};

} // namespace erdma

// SPDX-License-Identifier: GPL-2.0-or-later
// Who is at work.  The rule: an entry point runs; its effects are published after the outermost one has done its part.
//
// A call of the model into its host (a DMA, an interrupt message, a frame) may come back as another call into the model,
// for the same adapter or another.  What keeps such a call out:
// - The process has one Entrance (Fabric).  While it is taken, capi.cpp drops stores to registers and doorbells, and
//   frames.
// - Each adapter has its own.  While it is taken, the adapter drops stores and frames, and lets timers and turns pass:
//   the entry that is on the stack does their work when it ends.
// - The host: QEMU refuses accesses of a device to itself while its guard is taken (../qemu/qemu_compat.h), and the
//   filter keeps frames that arrive while erdma_busy() until a bottom half (../qemu/eni_filter.c).
// A reset is let in at any time.
#pragma once

namespace erdma {

class Entrance {
public:
    bool taken() const { return taken_; }

    // Taken until the end of the scope; nests.
    class Mark {
    public:
        explicit Mark(Entrance& entrance) : entrance_(entrance), before_(entrance.taken_) { entrance_.taken_ = true; }
        ~Mark() { entrance_.taken_ = before_; }
        Mark(const Mark&) = delete;
        Mark& operator=(const Mark&) = delete;

    private:
        Entrance& entrance_;
        const bool before_;
    };

private:
    bool taken_ = false;
};

class Effects {
public:
    virtual ~Effects() = default;
    // Does what queue pairs and connections asked for meanwhile, at most `budget` units of it, and sees to the rest.
    virtual void publish(unsigned budget) = 0;
};

// An entry of an adapter whose entrance is free: publishes at its end, still taken.
class Entry {
public:
    Entry(Entrance& entrance, Effects& effects, unsigned budget)
        : mark_(entrance), effects_(effects), budget_(budget) {}
    ~Entry() { effects_.publish(budget_); }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

private:
    Entrance::Mark mark_;
    Effects& effects_;
    const unsigned budget_;
};

} // namespace erdma

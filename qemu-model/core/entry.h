// SPDX-License-Identifier: GPL-2.0-or-later
// Who is at work.  The one rule: an entry point runs; its effects are published after the outermost one has returned.
//
// An interrupt message or a frame goes wherever the guest aimed it: at registers or doorbells of any adapter, at a
// configuration space that resets this one, at a slot that unplugs it, at a NIC whose answer is a frame for this filter.
// So no adapter of the process sends one while any of them runs.  They are kept (effects.h), and sent when no part of the
// model is on the stack any more; what then comes back is an entry like any other.
//
// - While an entry runs, nothing is let in.  Only a memory access can lead to such a call (an IOMMU that reports a fault by
//   a message); the adapter drops stores and frames, and keeps a reset until the run is over.
// - While effects are published, entries are let in.  They run and keep their effects; the publication that is on the stack
//   does not grow by them, they are published by turns of their own.  So the stack is never deeper than one publication and
//   one run, and no chain of messages that cause messages holds the host up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace erdma {

// What one entry may do, with all that come about in it, so that the host has its lock back within 2 ms.  Everything that a
// guest or a peer can make long is charged here in units of some 100 ns, and goes on in a later turn when nothing is left.
class Budget {
public:
    static constexpr uint32_t kUnits = 8192;
    bool spent() const { return left_ == 0; }
    void charge(uint64_t units) { left_ -= static_cast<uint32_t>(units < left_ ? units : left_); }
    void chargeOctets(size_t octets) { charge(4 + octets / 1024); }
    void refill() { left_ = kUnits; }

private:
    uint32_t left_ = kUnits;
};

// What an adapter keeps until it may be sent.
class Publisher {
public:
    virtual ~Publisher() = default;
    // Nothing of the model is on the stack but this.  May lead to any entry.
    virtual void publish() = 0;
    // For what came about during publication: asks the host for an entry.
    virtual void askForTurn() = 0;
    bool noted = false; // of the entrance
};

class Entrance {
public:
    // An entry is at work, of whatever adapter.
    bool running() const { return running_; }
    // As running(), or effects are being published.
    bool busy() const { return running_ || publishing_; }

    Budget budget; // of the outermost entry

    // Has something to publish.
    void note(Publisher& publisher) {
        if (!std::exchange(publisher.noted, true))
            noted_.push_back(&publisher);
    }
    void forget(Publisher& publisher) {
        std::erase(noted_, &publisher);
        std::erase(current_, &publisher);
    }
    // For what may not be destroyed while busy().
    void keep(std::shared_ptr<void> object) { kept_.push_back(std::move(object)); }

private:
    friend class Entry;

    void begin() {
        if (!publishing_)
            budget.refill();
        running_ = true;
    }
    void end() {
        running_ = false;
        if (publishing_) // the outer one asks for turns
            return;
        if (noted_.empty() && kept_.empty())
            return;
        publishing_ = true;
        current_.swap(noted_);
        while (!current_.empty()) {
            Publisher& next = *current_.front();
            current_.erase(current_.begin());
            next.noted = false;
            next.publish();
        }
        publishing_ = false;
        for (Publisher* publisher : noted_)
            publisher->askForTurn();
        const auto gone = std::exchange(kept_, {});
    }

    bool running_ = false;
    bool publishing_ = false;
    std::vector<Publisher*> noted_;
    std::vector<Publisher*> current_; // of the publication that is on the stack
    std::vector<std::shared_ptr<void>> kept_;
};

class Work {
public:
    virtual ~Work() = default;
    // The end of an entry: does what queue pairs and connections asked for, at most `budget` units of it, and sees to the
    // rest.
    virtual void finish(unsigned budget) = 0;
};

// An entry, while none is running.  At its end the work is finished, and if it is the outermost one, published; that may
// destroy the adapter.
class Entry {
public:
    Entry(Entrance& entrance, Work& work, unsigned budget) : entrance_(entrance), work_(work), budget_(budget) {
        entrance_.begin();
    }
    ~Entry() {
        work_.finish(budget_);
        entrance_.end();
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

private:
    Entrance& entrance_;
    Work& work_;
    const unsigned budget_;
};

} // namespace erdma

// SPDX-License-Identifier: GPL-2.0-or-later
// The C functions of capi.h: a Device with a Nic.
#include "capi.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "checker.h"
#include "config.h"
#include "device.h"
#include "loopback.h"
#include "fault_text.h"
#include "link_text.h"
#include "iwarp.h"
#include "iwarp_commands.h"
#include "nic.h"
#include "roce.h"
#include "roce_commands.h"

namespace erdma
{

namespace
{

// Adapters of one process find each other here.  The only thing that they share, and the only static of the model.
Fabric &processFabric()
{
    static LoopbackFabric fabric;
    return fabric;
}

Entrance &entrance()
{
    return processFabric().entrance;
}

bool runsOver(uint64_t addr, size_t length)
{
    return length != 0 && addr + (length - 1) < addr;
}

class CallbackHost final : public Host
{
public:
    CallbackHost(const erdma_host_ops &ops, void *opaque) : ops_(ops), opaque_(opaque)
    {
    }

    bool read(uint64_t addr, Bytes out) override
    {
        return !gone_ && !runsOver(addr, out.size()) && ops_.dma_read(opaque_, addr, out.data(), out.size());
    }
    bool write(uint64_t addr, ConstBytes in) override
    {
        return !gone_ && !runsOver(addr, in.size()) && ops_.dma_write(opaque_, addr, in.data(), in.size());
    }
    std::optional<uint64_t> atomic64(uint64_t addr, erdma_atomic_op op, uint64_t operand, uint64_t compare) override
    {
        uint64_t old = 0;
        if (gone_ || !ops_.dma_atomic64(opaque_, addr, op, operand, compare, &old))
            return std::nullopt;
        return old;
    }
    void barrier() override
    {
        if (!gone_)
            ops_.dma_barrier(opaque_);
    }
    void raise(unsigned vector) override
    {
        if (!gone_)
            ops_.raise_vector(opaque_, vector);
    }
    uint64_t nowNs() override
    {
        if (!gone_)
            now_ = ops_.now_ns(opaque_);
        return now_;
    }
    void armTimer(uint64_t deadlineNs) override
    {
        if (!gone_)
            ops_.arm_timer(opaque_, deadlineNs);
    }
    void schedule() override
    {
        if (!gone_)
            ops_.schedule(opaque_);
    }
    void trace(erdma_trace_kind kind, uint64_t a, uint64_t b, uint64_t c, const char *text) override
    {
        if (gone_ || !ops_.trace)
            return;
        const uint64_t args[3] = {a, b, c};
        ops_.trace(opaque_, kind, args, text ? text : "");
    }
    void guestError(const char *text) override
    {
        if (!gone_ && ops_.guest_error)
            ops_.guest_error(opaque_, text);
    }
    void sendFrame(erdma_side side, ConstBytes frame, const erdma_offload &offload) override
    {
        if (!gone_ && ops_.send_frame)
            ops_.send_frame(opaque_, side, frame.data(), frame.size(), &offload);
    }

    // From now on nothing is called any more, and no memory can be reached.
    void leave()
    {
        gone_ = true;
    }

private:
    erdma_host_ops ops_;
    void *opaque_;
    bool gone_ = false;
    uint64_t now_ = 0;
};

char *copyForCaller(const std::string &text)
{
    return strdup(text.c_str());
}

constexpr const char *kCounterNames[] = {
#define ERDMA_X(id, name) name,
    ERDMA_COUNTERS(ERDMA_X)
#undef ERDMA_X
};

} // namespace

} // namespace erdma

struct erdma_dev {
    erdma_dev(const erdma_config &config, const erdma_host_ops &ops, void *opaque)
        : host(ops, opaque), device(config, host, erdma::processFabric())
    {
        if (config.protocol == ERDMA_PROTOCOL_ROCEV2) {
            erdma::Roce &roce = attach<erdma::Roce>();
            device.setPersonality(std::make_unique<erdma::RoceCommands>(roce));
        } else {
            attach<erdma::Iwarp>();
            device.setPersonality(std::make_unique<erdma::IwarpCommands>(device.adapter().config));
        }
    }
    template <typename Protocol> Protocol &attach()
    {
        Protocol *protocol = nullptr;
        auto own = erdma::Nic::make(device.adapter(), protocol);

        nic = own.get();
        device.attachNic(std::move(own));
        return *protocol;
    }
    erdma::CallbackHost host;
    std::unique_ptr<erdma::check::Checker> checker; // made when it is first wanted; outlives the device
    erdma::check::Settings checkSettings;
    erdma::Device device;
    erdma::Nic *nic; // the device's
    // What was last asked for, alive until the next call.
    mutable std::string linkText, faultText, delayText;
};

void erdma_config_defaults(struct erdma_config *config)
{
    *config = erdma::defaultConfig();
}

struct erdma_dev *erdma_dev_create(const struct erdma_config *config, const struct erdma_host_ops *ops, void *opaque,
                                   char **error)
{
    if (const auto complaint = erdma::checkConfig(*config)) {
        if (error)
            *error = erdma::copyForCaller(*complaint);
        return nullptr;
    }
    return std::make_unique<erdma_dev>(*config, *ops, opaque).release();
}

void erdma_dev_destroy(struct erdma_dev *dev)
{
    std::shared_ptr<erdma_dev> owned(dev);
    erdma::Entrance &entrance = erdma::entrance();

    if (!entrance.busy())
        return;
    // From inside a call of the model, perhaps of this very device: what is on the stack still uses the objects.
    if (!entrance.running()) {
        dev->device.leave();
        dev->device.adapter().effects.publishNow();
    }
    dev->host.leave();
    entrance.keep(std::move(owned));
}

uint64_t erdma_dev_mmio_read(struct erdma_dev *dev, uint64_t offset, unsigned size)
{
    return dev->device.mmioRead(offset, size);
}

void erdma_dev_mmio_write(struct erdma_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
    dev->device.mmioWrite(offset, value, size);
}

void erdma_dev_reset(struct erdma_dev *dev)
{
    dev->device.reset();
}

void erdma_dev_run(struct erdma_dev *dev)
{
    dev->device.run();
}

void erdma_dev_timer(struct erdma_dev *dev)
{
    dev->device.timer();
}

bool erdma_dev_wants_frame(struct erdma_dev *dev, enum erdma_side side, const void *head, size_t head_len,
                           size_t frame_len)
{
    return dev->device.wantsFrame(side, {static_cast<const std::byte *>(head), head_len}, frame_len);
}

bool erdma_dev_frame(struct erdma_dev *dev, enum erdma_side side, const void *frame, size_t len,
                     const struct erdma_offload *offload)
{
    return dev->device.frame(side, {static_cast<const std::byte *>(frame), len}, *offload);
}

void erdma_dev_frames_end(struct erdma_dev *dev)
{
    dev->device.framesEnd();
}

char *erdma_dev_set_link(struct erdma_dev *dev, const char *text)
{
    const auto complaint = erdma::setLink(dev->nic->impairment(), text ? text : "");
    return complaint ? erdma::copyForCaller(*complaint) : nullptr;
}

const char *erdma_dev_link(const struct erdma_dev *dev)
{
    dev->linkText = erdma::describeLink(dev->nic->impairment().plan());
    return dev->linkText.c_str();
}

char *erdma_dev_connections(struct erdma_dev *dev)
{
    return erdma::copyForCaller(dev->nic->connections());
}

size_t erdma_counter_count(void)
{
    return std::size(erdma::kCounterNames);
}

const char *erdma_counter_name(size_t index)
{
    return index < std::size(erdma::kCounterNames) ? erdma::kCounterNames[index] : nullptr;
}

uint64_t erdma_dev_counter(const struct erdma_dev *dev, size_t index)
{
    return dev->device.counters().at(index);
}

char *erdma_dev_set_faults(struct erdma_dev *dev, const char *text)
{
    const auto complaint = erdma::setFaults(dev->device, text ? text : "");
    return complaint ? erdma::copyForCaller(*complaint) : nullptr;
}

const char *erdma_dev_faults(const struct erdma_dev *dev)
{
    dev->faultText = erdma::describeFaults(dev->device.faults());
    return dev->faultText.c_str();
}

char *erdma_dev_set_check(struct erdma_dev *dev, const char *text)
{
    const std::string_view wanted = text ? text : "";

    if (wanted == "on") {
        if (!dev->checker)
            dev->checker = std::make_unique<erdma::check::Checker>(dev->device.adapter());
        dev->checker->start(dev->checkSettings);
    } else if (wanted.empty() || wanted == "off") {
        if (dev->checker)
            dev->checker->stop();
    } else {
        return erdma::copyForCaller("\"" + std::string(wanted) + "\" is neither on nor off");
    }
    return nullptr;
}

const char *erdma_dev_check(const struct erdma_dev *dev)
{
    return dev->checker && dev->checker->on() ? "on" : "off";
}

char *erdma_dev_set_check_delay(struct erdma_dev *dev, const char *text)
{
    if (const auto complaint = erdma::check::parseDelay(text ? text : "", dev->checkSettings))
        return erdma::copyForCaller(*complaint);
    if (dev->checker)
        dev->checker->setDelay(dev->checkSettings);
    return nullptr;
}

const char *erdma_dev_check_delay(const struct erdma_dev *dev)
{
    dev->delayText = erdma::check::describeDelay(dev->checkSettings);
    return dev->delayText.c_str();
}

char *erdma_dev_findings(struct erdma_dev *dev)
{
    if (!dev->checker)
        return erdma::copyForCaller("{\"version\":1,\"check\":false}");
    return erdma::copyForCaller(dev->checker->report());
}

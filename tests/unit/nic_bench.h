// SPDX-License-Identifier: GPL-2.0-or-later
// Two complete machines on a simulated link: adapter with filter, a small kernel TCP and a connection manager each.
#pragma once

#include <deque>

#include "capi.h"
#include "iwarp.h"
#include "nic.h"
#include "timed_bench.h"

namespace erdma::test {

inline Octets mpaFrame(bool reply, uint8_t revision = 129, uint8_t flags = 0, size_t privateBytes = 0,
                       uint32_t cookie = 0x11) {
    Octets out;
    for (const char c : std::string(reply ? "MPA ID Rep Frame" : "MPA ID Req Frame"))
        out.push_back(static_cast<std::byte>(c));
    out.push_back(std::byte{flags});
    out.push_back(std::byte{revision});
    out.push_back(static_cast<std::byte>(privateBytes >> 8));
    out.push_back(static_cast<std::byte>(privateBytes));
    if (revision == 129) {
        out.resize(28);
        storeBe32(out, 20, cookie);
        storeBe32(out, 24, 1);
    }
    out.resize(out.size() + privateBytes, std::byte{0x5A});
    return out;
}

// As much TCP as a kernel's socket needs to open, to exchange MPA frames and to close.
class FakeKernel {
public:
    FakeKernel(const LinkSetup& setup, bool first, const uint64_t& now)
        : now_(now), setup_(setup), first_(first), iss(first ? setup.issA : setup.issB) {
        sndUna = sndNxt = iss;
    }

    void open() {
        opener_ = true;
        emit(tcp_flag::kSyn, sndNxt++, {});
        timerAt = now_ + kRepeat;
    }
    void send(const Octets& octets) {
        data_.insert(data_.end(), octets.begin(), octets.end());
        emit(tcp_flag::kAck | tcp_flag::kPsh, sndNxt, octets);
        sndNxt += static_cast<uint32_t>(octets.size());
        timerAt = now_ + kRepeat;
    }
    void close() {
        if (finSent || reset)
            return;
        finSent = true;
        emit(tcp_flag::kAck | tcp_flag::kFin, sndNxt++, {});
        timerAt = now_ + kRepeat;
    }
    void abort() {
        if (!reset)
            emit(tcp_flag::kRst | tcp_flag::kAck, sndNxt, {});
        gone();
    }
    void probe() { emit(tcp_flag::kAck, sndNxt - 1, {}); }

    void input(ConstBytes raw) {
        const Octets copy(raw.begin(), raw.end());
        const Frame frame = parseFrame(copy);
        ASSERT_EQ(frame.kind, Frame::Kind::Tcp) << "the kernel got something else";
        const TcpSegment& s = frame.tcp;
        ++segments;
        if (s.has(tcp_flag::kSyn) && !established) {
            rcvNxt = s.seq + 1;
            if (!opener_) {
                sndNxt = iss + 1;
                emit(tcp_flag::kSyn | tcp_flag::kAck, iss, {});
                timerAt = now_ + kRepeat;
                return;
            }
        } else if (opener_ && !established) {
            return;
        }
        if (reset)
            return;
        if (s.has(tcp_flag::kRst)) {
            if (s.seq == rcvNxt)
                gone();
            else
                emit(tcp_flag::kAck, sndNxt, {});
            return;
        }
        if (s.has(tcp_flag::kAck) && seqBefore(sndUna, s.ack) && seqAtOrBefore(s.ack, sndNxt)) {
            auto acked = static_cast<size_t>(s.ack - sndUna);
            if (sndUna == iss) {
                --acked;
                established = true;
            }
            data_.erase(data_.begin(), data_.begin() + static_cast<std::ptrdiff_t>(std::min(acked, data_.size())));
            sndUna = s.ack;
            timerAt = sndUna == sndNxt ? kNever : now_ + kRepeat;
        }
        if (s.length() == 0)
            return;
        const int32_t old = seqDiff(rcvNxt, s.seq);
        if (!s.has(tcp_flag::kSyn) && old >= 0 && old <= static_cast<int32_t>(s.payload.size())) {
            const ConstBytes fresh = s.payload.subspan(static_cast<size_t>(old));
            received.insert(received.end(), fresh.begin(), fresh.end());
            rcvNxt += static_cast<uint32_t>(fresh.size());
            if (s.has(tcp_flag::kFin) && !finReceived) {
                finReceived = true;
                ++rcvNxt;
            }
        }
        emit(tcp_flag::kAck, sndNxt, {});
    }
    void onTimer() {
        timerAt = kNever;
        if (reset || sndUna == sndNxt)
            return;
        if (sndUna == iss)
            emit(static_cast<uint8_t>(tcp_flag::kSyn | (opener_ ? 0 : tcp_flag::kAck)), iss, {});
        else
            emit(static_cast<uint8_t>(tcp_flag::kAck | (finSent ? tcp_flag::kFin : 0)), sndUna, data_);
        timerAt = now_ + kRepeat;
    }
    bool closed() const { return reset || (finSent && finReceived && sndUna == sndNxt); }

private:
    static constexpr uint64_t kRepeat = 200 * kMs;
    void gone() {
        reset = true;
        timerAt = kNever;
    }
    void emit(uint8_t flags, uint32_t seq, const Octets& payload) {
        TcpSegment s;
        s.seq = seq;
        s.flags = flags;
        s.ack = (flags & tcp_flag::kAck) != 0 ? rcvNxt : 0;
        const bool syn = (flags & tcp_flag::kSyn) != 0;
        const uint8_t scale = first_ ? setup_.scaleA : setup_.scaleB;
        s.window = syn ? uint16_t{65535} : static_cast<uint16_t>(65535 >> scale);
        if (syn) {
            s.options.mss = setup_.mss;
            if (scale != 0)
                s.options.windowScale = scale;
            s.options.sackPermitted = setup_.sack;
        }
        if (setup_.timestamps)
            s.options.timestamps =
                TcpTimestamps{static_cast<uint32_t>((first_ ? 5000 : 7000) + now_ / kMs), static_cast<uint32_t>(1)};
        s.payload = payload;
        Octets frame;
        buildTcpFrame(linkHeaderOf(first_), ipHeaderOf(first_, setup_.v6), s, frame);
        outbox.push_back(std::move(frame));
    }

    const uint64_t& now_;
    LinkSetup setup_;
    bool first_;
    bool opener_ = false;
    Octets data_; // not acknowledged

public:
    uint32_t iss, sndUna, sndNxt, rcvNxt = 0;
    bool established = false, finSent = false, finReceived = false, reset = false;
    Octets received;
    std::deque<Octets> outbox; // frames for the filter
    uint64_t timerAt = kNever;
    unsigned segments = 0;
};

struct NicOptions {
    BenchOptions bench{};
    LinkSetup link{};
    uint8_t revision = 129;
    uint8_t mpaFlags = 0;   // of the request
    uint8_t replyFlags = 0; // of the reply
    // IRD, ORD and what is beside them; not 0: both frames are enhanced ones of revision 2.
    uint32_t requestWord = 0, replyWord = 0;
    uint32_t seed = 1;
    bool connect = true;
    // The managers close the socket when the peer did, and stop the queue pair.
    bool managers = true;
};

// A opens, B listens.
class NicBench final : public TimedBench {
public:
    explicit NicBench(const NicOptions& options = {})
        : TimedBench(options.bench, options.seed), options_(options), kernelA(options.link, true, link.now),
          kernelB(options.link, false, link.now) {
        for (unsigned i = 0; i < 2; ++i) {
            Device& device = *side(i).device;
            side(i).link.ownIp = addressOf(i == 0, options.link.v6);
            side(i).link.peerIp = addressOf(i != 0, options.link.v6);
            auto nic = Nic::make(device.adapter(), iwarps[i]);
            nics[i] = nic.get();
            device.attachNic(std::move(nic));
            EXPECT_FALSE(device.frame(ERDMA_TO_WIRE, arpOf(i == 0), {}));
            side(i).host->onFrame = [this, i](erdma_side to, ConstBytes frame, const erdma_offload&) {
                if (to == ERDMA_TO_WIRE)
                    link.send(i, Octets(frame.begin(), frame.end()));
                else
                    kernel(i).input(frame);
            };
            link.receivers[i] = [this, i](ConstBytes frame) {
                const Octets copy(frame.begin(), frame.end());
                if (!side(i).device->wantsFrame(ERDMA_TO_GUEST,
                                                ConstBytes(copy).first(std::min<size_t>(ERDMA_FRAME_HEAD, copy.size())),
                                                copy.size()) ||
                    !side(i).device->frame(ERDMA_TO_GUEST, copy, {})) {
                    if (parseFrame(copy).kind == Frame::Kind::Tcp)
                        kernel(i).input(copy);
                }
                side(i).device->framesEnd();
            };
        }
        tick();
        if (options.connect)
            connect();
    }
    // Leave the devices before the kernels that they write to.
    ~NicBench() override {
        for (unsigned i = 0; i < 2; ++i)
            side(i).host->onFrame = nullptr;
    }

    void open() { kernelA.open(); }
    void connect() {
        open();
        EXPECT_TRUE(run([&] { return a.qp().active() && b.qp().active(); }, 20'000 * kMs));
    }
    Side& side(unsigned i) { return i == 0 ? a : b; }
    FakeKernel& kernel(unsigned i) { return i == 0 ? kernelA : kernelB; }

    void settle() override {
        bench.settle();
        manage();
        for (bool more = true; more;) {
            more = false;
            for (unsigned i = 0; i < 2; ++i) {
                while (!kernel(i).outbox.empty()) {
                    more = true;
                    const Octets frame = std::move(kernel(i).outbox.front());
                    kernel(i).outbox.pop_front();
                    if (!side(i).device->frame(ERDMA_TO_WIRE, frame, {}))
                        link.send(i, frame);
                }
            }
            bench.settle();
            manage();
        }
    }
    // Nothing of the connection is left in the filters.
    bool over() const { return iwarps[0]->owned() == 0 && iwarps[1]->owned() == 0; }

private:
    uint64_t timerAt() const override { return std::min(kernelA.timerAt, kernelB.timerAt); }
    void work() override {
        if (link.due() <= link.now)
            link.deliver();
        for (unsigned i = 0; i < 2; ++i)
            if (kernel(i).timerAt <= link.now)
                kernel(i).onTimer();
        bench.advanceMs(0);
    }

    Octets frame(bool reply) const {
        const uint8_t flags = reply ? options_.replyFlags : options_.mpaFlags;
        const uint32_t word = reply ? options_.replyWord : options_.requestWord;
        if (word == 0)
            return mpaFrame(reply, options_.revision, flags);
        Octets out = mpaFrame(reply, 2, flags | 0x10, 4);
        storeBe32(out, 20, word);
        return out;
    }

    // What the drivers do about their sockets.
    void manage() {
        if (kernelA.established && stepA_ == 0) {
            stepA_ = 1;
            for (unsigned i = 0; i < 2; ++i)
                if (handshakeForgotten[i])
                    iwarps[i]->reset();
            kernelA.send(frame(false));
        }
        const size_t bytes = frame(true).size();
        if (stepB_ == 0 && !foreignPeer && kernelB.received.size() >= bytes && b.alive()) {
            stepB_ = 1;
            Handover link = b.link;
            link.sendStart = kernelB.sndNxt + static_cast<uint32_t>(bytes) + wrongSequence;
            link.recvStart = kernelB.rcvNxt;
            acceptStatus = b.guest->connectQp(b.qpn, link).status;
            if (acceptStatus == 0 && sendReply)
                kernelB.send(frame(true));
        }
        if (stepA_ == 1 && kernelA.received.size() >= bytes && a.alive()) {
            stepA_ = 2;
            Handover link = a.link;
            link.sendStart = kernelA.sndNxt;
            link.recvStart = kernelA.rcvNxt;
            connectStatus = a.guest->connectQp(a.qpn, link).status;
        }
        for (unsigned i = 0; options_.managers && i < 2; ++i) {
            FakeKernel& k = kernel(i);
            if ((!k.finReceived && !k.reset) || told_[i])
                continue;
            told_[i] = true;
            ++disconnects[i];
            if (side(i).alive() && side(i).state() == QpState::Rts) {
                EXPECT_TRUE(side(i).guest->stopQp(side(i).qpn, QpState::Closing).ok());
            }
            k.close();
        }
    }

    NicOptions options_;
    int stepA_ = 0, stepB_ = 0;
    std::array<bool, 2> told_{};

public:
    FakeKernel kernelA, kernelB;
    std::array<Nic*, 2> nics{};
    std::array<Iwarp*, 2> iwarps{};
    std::array<unsigned, 2> disconnects{};
    uint32_t acceptStatus = UINT32_MAX, connectStatus = UINT32_MAX;
    uint32_t wrongSequence = 0;
    bool sendReply = true;
    std::array<bool, 2> handshakeForgotten{};
    bool foreignPeer = false; // B is no adapter: nobody takes its connection over
};

} // namespace erdma::test

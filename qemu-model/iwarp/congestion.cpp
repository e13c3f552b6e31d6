// SPDX-License-Identifier: GPL-2.0-or-later
#include "congestion.h"

#include <algorithm>
#include <cmath>

namespace erdma {

namespace {

constexpr uint64_t kInitialSegments = 10;

// RFC 5681, with appropriate byte counting (RFC 3465).
class NewReno final : public Congestion {
public:
    explicit NewReno(uint64_t segment) : Congestion(segment) {}

    void acknowledged(uint64_t octets, uint64_t, uint64_t) override {
        if (slowStart()) {
            growSlowly(octets);
            return;
        }
        counted_ += octets;
        if (counted_ >= window_) {
            counted_ -= window_;
            window_ += segment_;
        }
    }
    void lossDetected(uint64_t flight, uint64_t) override {
        threshold_ = std::max(flight / 2, 2 * segment_);
        window_ = threshold_;
        counted_ = 0;
    }
    void timedOut(uint64_t flight, bool first, uint64_t) override {
        if (first)
            threshold_ = std::max(flight / 2, 2 * segment_);
        window_ = segment_;
        counted_ = 0;
    }

private:
    uint64_t counted_ = 0; // acknowledged since the last growth
};

// RFC 9438.  Windows in segments inside.
class Cubic final : public Congestion {
public:
    explicit Cubic(uint64_t segment) : Congestion(segment) {}

    void acknowledged(uint64_t octets, uint64_t nowNs, uint64_t rttNs) override {
        if (slowStart()) {
            growSlowly(octets);
            return;
        }
        const double segment = static_cast<double>(segment_);
        const double now = static_cast<double>(window_) / segment;
        if (epoch_ == 0)
            begin(nowNs, now);
        friendly_ += kAlpha * static_cast<double>(octets) / segment / now;
        const double time = static_cast<double>(nowNs - epoch_ + rttNs) / 1e9 - period_;
        double target = kScale * time * time * time + maximum_;
        if (target < friendly_)
            target = friendly_;
        target = std::min(target, 1.5 * now);
        if (target > now)
            fraction_ += (target - now) / now * static_cast<double>(octets);
        const auto whole = static_cast<uint64_t>(fraction_);
        fraction_ -= static_cast<double>(whole);
        window_ += whole;
    }
    void lossDetected(uint64_t flight, uint64_t) override {
        reduce(flight);
        window_ = threshold_;
    }
    void timedOut(uint64_t flight, bool first, uint64_t) override {
        if (first)
            reduce(flight);
        window_ = segment_;
    }

private:
    static constexpr double kScale = 0.4, kBeta = 0.7, kAlpha = 3 * (1 - kBeta) / (1 + kBeta);

    void begin(uint64_t nowNs, double window) {
        epoch_ = std::max<uint64_t>(nowNs, 1);
        friendly_ = window;
        maximum_ = std::max(maximum_, window);
        period_ = std::cbrt((maximum_ - window) / kScale);
    }
    void reduce(uint64_t flight) {
        const double window = static_cast<double>(window_) / static_cast<double>(segment_);
        maximum_ = window < maximum_ ? window * (1 + kBeta) / 2 : window; // fast convergence
        const auto reduced = static_cast<uint64_t>(static_cast<double>(std::min(flight, window_)) * kBeta);
        threshold_ = std::max(reduced, 2 * segment_);
        epoch_ = 0;
        fraction_ = 0;
    }

    uint64_t epoch_ = 0; // start of the current growth; 0: none
    double maximum_ = 0; // window before the last reduction
    double period_ = 0;  // s from the epoch until it is reached again
    double friendly_ = 0;
    double fraction_ = 0; // octets of growth not applied yet
};

} // namespace

Congestion::Congestion(uint64_t segment) : segment_(segment), window_(kInitialSegments * segment) {}

void Congestion::growSlowly(uint64_t octets) { window_ += std::min(octets, 2 * segment_); }

void Congestion::idled() { window_ = std::min(window_, kInitialSegments * segment_); }

std::unique_ptr<Congestion> makeCongestion(CongestionControl algorithm, uint64_t segment) {
    if (algorithm == CongestionControl::NewReno)
        return std::make_unique<NewReno>(segment);
    return std::make_unique<Cubic>(segment);
}

} // namespace erdma

// SPDX-License-Identifier: GPL-2.0-or-later
#include "common.h"

namespace erdma {

namespace {

constexpr uint64_t kErrorWindowNs = 1'000'000'000;
constexpr uint32_t kErrorsPerWindow = 20;

} // namespace

void Common::guestError(const std::string& text) {
    ++counters[Counter::GuestErrors];
    const uint64_t now = host.nowNs();
    if (errorsInWindow_ == 0 || now - errorWindowStart_ >= kErrorWindowNs) {
        errorWindowStart_ = now;
        errorsInWindow_ = 0;
    }
    if (errorsInWindow_ >= kErrorsPerWindow)
        return;
    ++errorsInWindow_;
    host.guestError(text.c_str());
}

void Common::badDoorbell(const char* what) {
    ++counters[Counter::BadDoorbells];
    guestError(what);
}

} // namespace erdma

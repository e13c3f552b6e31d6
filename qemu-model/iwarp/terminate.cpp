// SPDX-License-Identifier: GPL-2.0-or-later
#include "terminate.h"

namespace erdma {

TerminateCode terminateCode(Refusal why) {
    switch (why) {
    case Refusal::Local:
        return {0, 0, 0};
    case Refusal::TargetStag:
        return {1, 1, 0};
    case Refusal::TargetBounds:
        return {1, 1, 1};
    case Refusal::TargetPd:
        return {1, 1, 2};
    case Refusal::TargetWrap:
        return {1, 1, 3};
    case Refusal::SourceStag:
        return {0, 1, 0};
    case Refusal::SourceBounds:
        return {0, 1, 1};
    case Refusal::SourcePd:
        return {0, 1, 3};
    case Refusal::SourceWrap:
        return {0, 1, 4};
    case Refusal::Rights:
        return {0, 1, 2};
    case Refusal::Invalidate:
        return {0, 1, 9};
    case Refusal::Unexpected:
        return {0, 2, 6};
    case Refusal::Misaligned:
        return {0, 2, 0xFF};
    case Refusal::NoBuffer:
        return {1, 2, 2};
    case Refusal::Sequence:
        return {1, 2, 3};
    case Refusal::Offset:
        return {1, 2, 4};
    case Refusal::TooLong:
        return {1, 2, 5};
    case Refusal::Gone:
        return {2, 0, 1};
    }
    return {};
}

Syndrome culpritSyndrome(TerminateCode code) {
    const bool rdmap = code.layer == 0 && code.type == 1;
    const bool tagged = code.layer == 1 && code.type == 1;
    if (!rdmap && !tagged)
        return Syndrome::General;
    switch (code.code) {
    case 0:
        return Syndrome::RecvStag;
    case 1:
        return Syndrome::RecvBounds;
    case 2:
        return rdmap ? Syndrome::RecvRights : Syndrome::RecvPd;
    case 3:
        return rdmap ? Syndrome::RecvPd : Syndrome::RecvWrap;
    case 4:
        return rdmap ? Syndrome::RecvWrap : Syndrome::General;
    case 9:
        return rdmap ? Syndrome::RecvStag : Syndrome::General;
    default:
        return Syndrome::General;
    }
}

} // namespace erdma

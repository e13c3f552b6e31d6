// SPDX-License-Identifier: GPL-2.0-or-later
#include "fault.h"

namespace erdma {

void FaultPlan::use(std::vector<Rule>::iterator rule) {
    if (!rule->left)
        return;
    if (--*rule->left == 0)
        rules_.erase(rule);
}

template <typename Predicate> std::vector<FaultPlan::Rule>::iterator FaultPlan::hit(Predicate matches) {
    for (auto rule = rules_.begin(); rule != rules_.end(); ++rule) {
        if (!matches(*rule))
            continue;
        if (rule->skip == 0)
            return rule;
        --rule->skip;
    }
    return rules_.end();
}

FaultPlan::CommandFate FaultPlan::onCommand(uint8_t sub, uint8_t opcode, uint32_t& value) {
    const auto rule = hit(
        [&](const Rule& r) { return isAboutCommands(r.kind) && r.sub == sub && (!r.number || *r.number == opcode); });
    if (rule == rules_.end())
        return CommandFate::None;
    const CommandFate fate = rule->kind == Kind::DropCommand   ? CommandFate::Drop
                             : rule->kind == Kind::FailCommand ? CommandFate::Fail
                                                               : CommandFate::Delay;
    value = rule->value;
    use(rule);
    return fate;
}

bool FaultPlan::take(Kind kind, uint32_t number) {
    const auto rule = hit([&](const Rule& r) { return r.kind == kind && (!r.number || *r.number == number); });
    if (rule == rules_.end())
        return false;
    use(rule);
    return true;
}

} // namespace erdma

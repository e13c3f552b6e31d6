// SPDX-License-Identifier: GPL-2.0-or-later
#include "commands.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <ctime>
#include <fstream>
#include <numeric>

#include <fmt/format.h>

#include "decode.h"
#include "filter.h"
#include "objects.h"

namespace eadm {

// ---- shared ----

namespace {

volatile std::sig_atomic_t signalled = 0;

// Of schema.json; raised when a name or a meaning in it changes.
constexpr int kJsonVersion = 2;

} // namespace

void stopOnSignals() {
    struct sigaction action {};
    action.sa_handler = [](int) { signalled = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

bool stopped() { return signalled != 0; }

void print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
        throw Error(Exit::Failed, "the output cannot be written");
}

void printJson(const Options& options, Json json) {
    Json whole;
    whole["json_version"] = kJsonVersion;
    if (options.line && !json.contains("time"))
        whole["time"] = timeText();
    whole.update(json);
    print(whole.dump(options.line ? -1 : 2) + '\n');
}

std::string timeText() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return timeText(int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec);
}

void sleepFor(double seconds) {
    const auto now = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    };
    const double end = now() + seconds;
    for (double rest = seconds; rest > 0 && !stopped(); rest = end - now()) {
        timespec time{};
        time.tv_sec = static_cast<time_t>(rest);
        time.tv_nsec = static_cast<long>((rest - static_cast<double>(time.tv_sec)) * 1e9);
        nanosleep(&time, nullptr);
    }
}

namespace {

Error noNumber(const std::string& text, std::string_view what) {
    return {Exit::Usage, fmt::format("'{}' is not a number of {}", text, what)};
}

} // namespace

double numberOf(const std::string& text, std::string_view what) {
    const auto value = decimal(text);
    if (!value || *value < 0)
        throw noNumber(text, what);
    return *value;
}

uint64_t wholeNumberOf(const std::string& text, std::string_view what) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        throw noNumber(text, what);
    return value;
}

std::string firstLine(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
    const auto distance = [](const std::string& a, const std::string& b) {
        std::vector<size_t> row(b.size() + 1);
        std::iota(row.begin(), row.end(), size_t{0});
        for (size_t i = 1; i <= a.size(); ++i) {
            size_t diagonal = row[0];
            row[0] = i;
            for (size_t j = 1; j <= b.size(); ++j) {
                const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
            }
        }
        return row.back();
    };
    std::string best;
    size_t least = std::max<size_t>(2, word.size() / 2) + 1; // farther is no likeness
    for (const std::string& candidate : known) {
        const bool begins = !word.empty() && candidate.compare(0, word.size(), word) == 0;
        const size_t far = begins ? 0 : distance(word, candidate);
        if (far < least) {
            least = far;
            best = candidate;
        }
    }
    return best;
}

std::vector<erdma_info_device> devicesOf(const Driver& driver) {
    return driver.list<erdma_info_device>(ERDMA_KIND_DEVICE, 0).entries;
}

bool isDevice(const erdma_info_device& device, const std::string& wanted) {
    const std::string pci = textOf(device.pci);
    return wanted == textOf(device.name) || wanted == pci || "0000:" + wanted == pci;
}

erdma_info_device chooseDevice(const Driver& driver, const std::string& wanted) {
    const auto devices = devicesOf(driver);
    if (devices.empty())
        throw Error(Exit::NoDevice, "the driver has no adapter; 'eadm doctor' looks for the reason");
    std::string names;
    for (const auto& device : devices) {
        if (wanted.empty() ? devices.size() == 1 : isDevice(device, wanted))
            return device;
        names += (names.empty() ? "" : ", ") + textOf(device.name);
    }
    if (wanted.empty())
        throw Error(Exit::Usage, fmt::format("there are several adapters, choose one with -d: {}", names));
    throw Error(Exit::NoDevice, fmt::format("there is no adapter '{}'; there is {}", wanted, names));
}

namespace {

Json headOf(const erdma_info_device& device) {
    Json json;
    json["device"] = textOf(device.name);
    json["pci"] = textOf(device.pci);
    return json;
}

// ---- info ----

struct Kind {
    const char* word;
    erdma_kind kind;
};

constexpr Kind kKinds[] = {{"qp", ERDMA_KIND_QP},  {"cq", ERDMA_KIND_CQ}, {"eq", ERDMA_KIND_EQ},
                           {"mr", ERDMA_KIND_MR},  {"pd", ERDMA_KIND_PD}, {"ctx", ERDMA_KIND_CTX},
                           {"cep", ERDMA_KIND_CEP}};

template <typename Entry>
Exit infoOf(const Options& options, const Driver& driver, const erdma_info_device& device, const Kind& kind,
            std::optional<uint64_t> number, const ListOptions& list) {
    Json json = headOf(device);
    if (number) {
        const auto entry = driver.find<Entry>(kind.kind, device.device, *number);
        if (!entry)
            throw Error(Exit::NoObject,
                        fmt::format("{} {} does not exist, or belongs to another user", kind.word, *number));
        json[kind.word] = toJson(*entry);
        if (options.json)
            printJson(options, json);
        else
            print(facts(json[kind.word]));
        return Exit::Ok;
    }
    const auto page = driver.list<Entry>(kind.kind, device.device);
    Json rows = Json::array();
    for (const Entry& entry : page.entries)
        rows.push_back(toJson(entry));
    const uint64_t beyond = choose(rows, toJson(Entry{}), list);
    if (options.json) {
        json[kind.word] = rows;
        json["hidden"] = page.hidden;
        json["beyond_limit"] = beyond;
        printJson(options, json);
        return Exit::Ok;
    }
    print(table(columnsOf(kind.kind), rows));
    if (beyond != 0)
        print(fmt::format("{} more beyond the limit\n", beyond));
    if (page.hidden != 0)
        print(fmt::format("{} of other users not shown; root sees all\n", page.hidden));
    return Exit::Ok;
}

} // namespace

Exit showInfo(const Options& options, const std::string& word, std::optional<uint64_t> number,
              const ListOptions& list) {
    const auto kind = std::ranges::find_if(kKinds, [&](const Kind& one) { return word == one.word; });
    if (kind == std::end(kKinds)) {
        std::vector<std::string> words;
        for (const Kind& one : kKinds)
            words.emplace_back(one.word);
        const std::string close = nearest(word, words);
        throw Error(Exit::Usage, fmt::format("'{}' is not a kind of object{}; there are qp, cq, eq, mr, pd, ctx, cep",
                                             word, close.empty() ? "" : fmt::format(", did you mean '{}'?", close)));
    }
    const Driver driver(options.from);
    const auto device = chooseDevice(driver, options.device);
    switch (kind->kind) {
    case ERDMA_KIND_QP:
        return infoOf<erdma_info_qp>(options, driver, device, *kind, number, list);
    case ERDMA_KIND_CQ:
        return infoOf<erdma_info_cq>(options, driver, device, *kind, number, list);
    case ERDMA_KIND_EQ:
        return infoOf<erdma_info_eq>(options, driver, device, *kind, number, list);
    case ERDMA_KIND_MR:
        return infoOf<erdma_info_mr>(options, driver, device, *kind, number, list);
    case ERDMA_KIND_PD:
        return infoOf<erdma_info_pd>(options, driver, device, *kind, number, list);
    case ERDMA_KIND_CTX:
        return infoOf<erdma_info_ctx>(options, driver, device, *kind, number, list);
    default:
        return infoOf<erdma_info_cep>(options, driver, device, *kind, number, list);
    }
}

// ---- version and devices ----

Exit showVersion(const Options& options) {
    Json json;
    json["eadm"] = EADM_VERSION;
    json["eadm_interface"] = ERDMA_DIAG_VERSION;
    json["driver"] = Json();
    json["driver_interface"] = Json();
    json["devices"] = Json::array();
    json["missing"] = Json::array();
    Exit exit = Exit::Ok;
    std::string why;
    try {
        const Driver driver(options.from);
        const auto& version = driver.version();
        json["driver"] = textOf(version.driver);
        json["driver_interface"] = version.interface;
        if (version.interface != ERDMA_DIAG_VERSION)
            json["missing"].push_back(fmt::format("the driver speaks version {} of the interface, eadm version {}",
                                                  version.interface, ERDMA_DIAG_VERSION));
        for (const Kind& kind : kKinds)
            if ((version.kinds & 1u << kind.kind) == 0)
                json["missing"].push_back(fmt::format("info {}: the driver does not know it", kind.word));
        for (const auto& device : json["missing"].empty() ? devicesOf(driver) : std::vector<erdma_info_device>{}) {
            Json one = headOf(device);
            one["firmware"] = firmwareText(device.firmware);
            json["devices"].push_back(one);
        }
    } catch (const Error& error) {
        why = error.what();
        exit = error.exit();
    }
    if (options.json) {
        printJson(options, json);
        return exit;
    }
    print(fmt::format("eadm      {}\n", EADM_VERSION));
    print(fmt::format("driver    {}\n", why.empty() ? plain(json["driver"]) : why));
    for (const Json& device : json["devices"])
        print(fmt::format("firmware  {} ({}, {})\n", plain(device["firmware"]), plain(device["device"]),
                          plain(device["pci"])));
    for (const Json& line : json["missing"])
        print(fmt::format("missing   {}\n", plain(line)));
    return exit;
}

// The GID table with what the kernel says of each entry.
Json gidsOf(const std::string& device) {
    Json gids = Json::object();
    const std::string port = "/sys/class/infiniband/" + device + "/ports/1/";
    for (const auto& [index, gid] : gidTable(device))
        gids[std::to_string(index)] = {{"gid", gid},
                                       {"type", firstLine(fmt::format("{}gid_attrs/types/{}", port, index))},
                                       {"netdev", firstLine(fmt::format("{}gid_attrs/ndevs/{}", port, index))}};
    return gids;
}

Exit showDevices(const Options& options) {
    const Driver driver(options.from);
    auto devices = devicesOf(driver);
    if (!options.device.empty())
        devices = {chooseDevice(driver, options.device)};
    Json rows = Json::array();
    for (const auto& device : devices) {
        Json row = toJson(device);
        // Of another machine's adapters nobody knows them here.
        if (row["protocol"] == "rocev2" && options.from.empty())
            row["gids"] = gidsOf(textOf(device.name));
        rows.push_back(std::move(row));
    }
    if (options.json)
        printJson(options, {{"devices", rows}});
    else if (!options.device.empty())
        print(facts(rows[0]));
    else
        print(table(columnsOf(ERDMA_KIND_DEVICE), rows));
    return Exit::Ok;
}

// ---- settings ----

Exit configure(const Options& options, const std::string& name, const std::string& value) {
    const Driver driver(options.from);
    const auto device = chooseDevice(driver, options.device);
    const auto settings = driver.list<erdma_info_conf>(ERDMA_KIND_CONF, device.device).entries;
    Json rows = Json::array();
    std::vector<erdma_info_conf> chosen;
    std::vector<std::string> names;
    for (const auto& setting : settings) {
        names.push_back(textOf(setting.name));
        if (!name.empty() && name != names.back())
            continue;
        chosen.push_back(setting);
        rows.push_back(toJson(setting));
    }
    if (rows.empty()) {
        const std::string close = nearest(name, names);
        throw Error(Exit::Usage, fmt::format("there is no setting '{}'{}", name,
                                             close.empty() ? "" : fmt::format(", did you mean '{}'?", close)));
    }
    if (!value.empty()) {
        erdma_info_conf& setting = chosen.front();
        const Json& row = rows[0];
        uint64_t number = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        bool valid = error == std::errc{} && end == value.data() + value.size();
        if (const auto at = std::ranges::find(row["names"], Json(value)); at != row["names"].end()) {
            number = static_cast<uint64_t>(at - row["names"].begin());
            valid = true;
        }
        if (!valid || number < setting.least || number > setting.most)
            throw Error(Exit::Usage,
                        fmt::format("{} must be a number from {} to {}{}", name, setting.least, setting.most,
                                    row["names"].empty() ? "" : fmt::format(" or one of {}", plain(row["names"]))));
        driver.set(device.device, name, number);
        setting.value = number;
        setting.flags &= ~ERDMA_CONF_FLAG_UNKNOWN;
        rows[0] = toJson(setting);
    }
    Json json = headOf(device);
    json["settings"] = rows;
    if (options.json)
        printJson(options, json);
    else if (!name.empty())
        print(fmt::format("{}\n", plain(rows[0]["value"])));
    else
        print(table(columnsOf(ERDMA_KIND_CONF), rows));
    return Exit::Ok;
}

// ---- rings ----

Exit dumpRing(const Options& options, const DumpOptions& dump) {
    auto shape = ringNamed(dump.ring);
    if (!shape)
        throw Error(Exit::Usage,
                    fmt::format("'{}' is not a ring; there are sq, rq, cq, eq, cmdq and cmdcq", dump.ring));
    const bool command = shape->ring == ERDMA_RING_CMD_SQ || shape->ring == ERDMA_RING_CMD_CQ;
    if (!command && !dump.number)
        throw Error(Exit::Usage, fmt::format("which {}? eadm dump {} NUMBER [INDEX[-INDEX]]", dump.ring, dump.ring));

    uint32_t first = 0;
    uint32_t last = UINT32_MAX;
    if (!dump.range.empty()) {
        const char* begin = dump.range.data();
        const char* end = begin + dump.range.size();
        auto got = std::from_chars(begin, end, first);
        last = first;
        if (got.ec == std::errc{} && got.ptr != end && *got.ptr == '-')
            got = std::from_chars(got.ptr + 1, end, last);
        if (got.ec != std::errc{} || got.ptr != end || last < first)
            throw Error(Exit::Usage, fmt::format("'{}' is no range of slots; write INDEX or INDEX-INDEX", dump.range));
    }

    const Driver driver(options.from);
    const auto device = chooseDevice(driver, options.device);
    const uint32_t number = dump.number.value_or(0);
    shape->asynchronous = number == 0;
    // The depth is not known before the first answer.
    const RingPart probe = driver.dump(device.device, shape->ring, number, first, 1);
    const uint32_t count = std::min(last, probe.depth - 1) - first + 1;
    RingPart part = count > 1 ? driver.dump(device.device, shape->ring, number, first, count) : probe;

    // Of a program's rings only the adapter knows both indices.
    std::optional<erdma_info_qp> qp;
    const bool send = shape->ring == ERDMA_RING_SQ;
    if (send || shape->ring == ERDMA_RING_RQ)
        qp = driver.find<erdma_info_qp>(ERDMA_KIND_QP, device.device, number);
    if (qp && (qp->known & ERDMA_KNOWN_HARDWARE) != 0 && !part.pi) {
        part.pi = send ? qp->hw.sq_pi : qp->hw.rq_pi;
        part.ci = send ? qp->hw.sq_ci : qp->hw.rq_ci;
    }

    Json json = headOf(device);
    json["ring"] = dump.ring;
    json["number"] = number;
    json["depth"] = part.depth;
    json["entry_bytes"] = part.entryBytes;
    json["pi"] = part.pi ? Json(*part.pi) : Json();
    json["ci"] = part.ci ? Json(*part.ci) : Json();
    json["entries"] = decodeRing(*shape, part, dump.hex);
    if (options.json) {
        printJson(options, json);
        return Exit::Ok;
    }
    print(fmt::format("{} {}: {} slots of {} bytes, PI {}, CI {}\n", dump.ring, number, part.depth, part.entryBytes,
                      plain(json["pi"]), plain(json["ci"])));
    for (const Json& entry : json["entries"])
        print(entryLine(entry));
    return Exit::Ok;
}

} // namespace eadm

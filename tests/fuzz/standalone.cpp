// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a fuzz target without a fuzzer: each file given, and each file of each folder given, once.
// It is how the checked-in inputs run as tests, and how one input is run in a debugger.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.h"

namespace {

namespace fs = std::filesystem;

// The slowest machine that runs the tests, with sanitizers, is no excuse for more: such an input is a finding.
constexpr std::chrono::seconds kSlow{5};

bool runFile(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    if (!file) {
        std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
        return false;
    }
    // Exactly as many octets as the input has, so that a sanitizer sees every access behind it.
    std::vector<uint8_t> input(bytes.begin(), bytes.end());
    input.shrink_to_fit();
    const auto begin = std::chrono::steady_clock::now();
    // Known before it ends: a crash tells nothing by itself.
    std::fprintf(stderr, "%s\n", path.c_str());
    LLVMFuzzerTestOneInput(input.data(), input.size());
    if (std::chrono::steady_clock::now() - begin > kSlow) {
        std::fprintf(stderr, "%s: took longer than %lld s\n", path.c_str(), static_cast<long long>(kSlow.count()));
        return false;
    }
    return true;
}

} // namespace

int main(int count, char** words) {
    std::vector<fs::path> files;
    for (int i = 1; i < count; ++i) {
        if (words[i][0] == '-') // an option of libFuzzer
            continue;
        if (!fs::is_directory(words[i])) {
            files.emplace_back(words[i]);
            continue;
        }
        for (const auto& entry : fs::directory_iterator(words[i]))
            if (entry.is_regular_file())
                files.push_back(entry.path());
    }
    bool good = !files.empty();
    for (const fs::path& path : files)
        good = runFile(path) && good;
    std::fprintf(stderr, "%zu inputs\n", files.size());
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include <stdlib.h>
#include <unistd.h>

// A file with this content, of a name that no other test has, for as long as it lives.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& text) : path(testing::TempDir() + "eadm-test-XXXXXX") {
        const int made = mkstemp(path.data());
        if (made < 0)
            throw std::runtime_error("no temporary file");
        close(made);
        std::ofstream(path) << text;
    }
    ~TemporaryFile() { std::remove(path.c_str()); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    std::string path;
};

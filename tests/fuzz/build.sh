#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the fuzz targets the way OSS-Fuzz does it: compilers and their flags come from CC, CXX, CFLAGS and CXXFLAGS,
# the engine from LIB_FUZZING_ENGINE, and the fuzzers go to OUT with a zip of inputs each.  Its base image needs cmake,
# libfmt-dev, nlohmann-json3-dev, libcli11-dev and zip.  By hand:
#
#   CC=clang CXX=clang++ CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address" CXXFLAGS="$CFLAGS" \
#       LIB_FUZZING_ENGINE=-fsanitize=fuzzer OUT=/tmp/out tests/fuzz/build.sh
set -eu

: "${CC:?}" "${CXX:?}" "${LIB_FUZZING_ENGINE:?}" "${OUT:?}"
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${WORK:-$root/build/oss-fuzz}

mkdir -p "$work" "$OUT"
# CMake takes the compilers and flags from the environment.
cmake -S "$root" -B "$work" -DERDMA_MODULE=OFF -DERDMA_MODEL=OFF -DERDMA_TESTS=OFF -DERDMA_NESTED=ON \
    "-DERDMA_FUZZ_ENGINE=$LIB_FUZZING_ENGINE"
cmake --build "$work" -j "$(nproc)" --target fuzz-targets
for program in "$work"/tests/fuzz/fuzz-*; do
    name=${program##*/fuzz-}
    cp "$program" "$OUT/fuzz-$name"
    printf '[libfuzzer]\nmax_len = 1024\ntimeout = 10\n' >"$OUT/fuzz-$name.options"
    if [ -d "$root/tests/fuzz/corpus/$name" ] && command -v zip >/dev/null; then
        (cd "$root/tests/fuzz/corpus/$name" && zip -q -r "$OUT/fuzz-${name}_seed_corpus.zip" .)
    fi
done

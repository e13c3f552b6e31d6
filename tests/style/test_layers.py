# SPDX-License-Identifier: GPL-2.0-or-later
"""The checker of layers on a made-up tree: what it lets pass, and that it sees each kind of offence."""

import os
import pathlib
import subprocess
import tempfile
import unittest

LAYERS = pathlib.Path(__file__).with_name("layers")
TABLE = "[tree]\nlow : low/* :\nhigh : high/* : low\n"
GOOD = {
    "low/low.h": "int low(void);\n",
    "low/low.c": '#include "low.h"\nint low(void) { return 1; }\n',
    "high/high.h": "int high(void);\n",
    "high/high.c": '#include "high.h"\n#include "low.h"\nint high(void) { return low(); }\n',
}


class Layers(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.top = pathlib.Path(self.scratch.name)

    def check(self, files=(), table=TABLE, compiled=False):
        """Exit code and output for the good tree with these files changed or added."""
        for name, text in [("tests/style/layers.txt", table)] + [(f"tree/{n}", t) for n, t in {**GOOD, **dict(files)}.items()]:
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [LAYERS, self.top]
        if compiled:
            for source in (self.top / "tree").rglob("*.c"):
                target = self.top / "objects" / (source.relative_to(self.top / "tree").as_posix() + ".o")
                target.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run([os.environ.get("CC", "cc"), "-I", source.parents[1] / "low", "-c", source, "-o", target],
                               check=True)
            command.append(f"tree={self.top / 'objects'}")
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def refused(self, *words, **how):
        code, output = self.check(**how)
        self.assertEqual(code, 1, output)
        for word in words:
            self.assertIn(word, output)

    def test_good_tree(self):
        self.assertEqual(self.check(), (0, ""))
        self.assertEqual(self.check(compiled=True), (0, ""))

    def test_include_upwards(self):
        self.refused("tree/low/low.c: low includes high/high.h of high", "What to do",
                     files={"low/low.c": '#include "../high/high.h"\n'})
        self.refused("tree/low/low.c: low includes high/high.h of high", files={"low/low.c": '#include "high.h"\n'})

    def test_call_upwards_without_include(self):
        sneaky = {"low/low.c": "int high(void);\nint low(void) { return high(); }\n"}
        self.assertEqual(self.check(files=sneaky), (0, ""))
        self.refused("tree/low/low.c: low uses high of high/high.c in high", files=sneaky, compiled=True)

    def test_objects_missing(self):
        code, output = self.check(compiled=True)
        self.assertEqual(code, 0, output)
        for path in (self.top / "objects").rglob("*.o"):
            path.unlink()
        done = subprocess.run([LAYERS, self.top, f"tree={self.top / 'objects'}"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("build first", done.stdout)

    def test_file_without_place(self):
        self.refused("tree/lost.h: is in no layer", files={"lost.h": ""})

    def test_file_with_two_places(self):
        self.refused("tree/low/low.h: is in low and also", table=TABLE + "also : low/low.h : low\n")

    def test_pattern_without_file(self):
        self.refused("pattern gone/*", table=TABLE + "gone : gone/* :\n")

    def test_layer_that_does_not_stand_above(self):
        self.refused("low uses high, which does not stand above it", table="[tree]\nlow : low/* : high\nhigh : high/* :\n")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The shells' completions offer what eadm knows, all of it and nothing else.

EADM is the program; what it knows is what its --help says.
"""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "eadm")
# The one argument whose words the help does not have: a file in which they are.
MANUAL = os.path.join(SOURCE, "..", "..", "docs", "eadm.8")


def output(*command, **keywords):
    return subprocess.run(command, check=True, text=True, timeout=60, stdout=subprocess.PIPE, **keywords).stdout


class Help:
    """What --help says of a command, or without one of eadm."""

    def __init__(self, *command):
        text = output(os.environ["EADM"], *command, "--help")
        self.options, self.with_file, self.with_value, self.commands, self.words, self.files = set(), set(), set(), [], [], False
        part = None
        for line in text.splitlines():
            heading = re.fullmatch(r"([A-Z]\w+):", line)
            if heading:
                part = heading[1].lower()
            elif not line.strip() or not re.match(r" {1,4}\S", line):
                continue
            elif part == "options":
                names, kind = re.match(r"\s+(-[\w,\s-]*--?[\w-]+)(?: ([A-Z[]\S*))?", line).groups()
                names = set(re.findall(r"--?\w[\w-]*", names))
                self.options |= names
                if kind == "FILE":
                    self.with_file |= names
                elif kind and not re.fullmatch(r"\[.*\]", kind):
                    self.with_value |= names
                if kind == "GROUP":
                    self.groups = self.listed(line)
            elif part == "subcommands":
                self.commands.append(line.split()[0])
            elif part == "positionals":
                self.files |= " FILE " in line
                self.words += self.listed(line)

    @staticmethod
    def listed(line):
        """The words of "one, two or three" at a line's end."""
        found = re.search(r" ((?:\w+, )+\w+ or \w+)$", line)
        return re.split(r", | or ", found[1]) if found else []


class Completions(unittest.TestCase):
    def setUp(self):
        self.general = Help()
        self.assertGreater(len(self.general.commands), 10)
        self.own = {command: Help(command) for command in self.general.commands}
        # Of the words below, these are the reader's check that the help was understood.
        self.assertEqual(self.own["info"].words, ["qp", "cq", "eq", "mr", "pd", "ctx", "cep"])
        self.assertIn("--output", self.own["metrics"].with_file)
        self.assertIn("--pid", self.own["top"].with_value)
        self.assertNotIn("--live", self.own["stat"].with_value)
        with open(MANUAL, encoding="utf-8") as text:
            conf = re.search(r"(?ms)^\.SS conf\n(.*?)^\.PP\n(.*?)^They last", text.read())[2]
        self.settings = set(re.findall(r"(?m)^\.BR? (\w+)", conf))

    def options_of(self, command):
        return (self.own[command].options | self.general.options) - {"-V", "--version"}


class Bash(Completions):
    def complete(self, *words):
        """What is offered for the last word."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _eadm; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "a file"), "wb").close()
            return set(filter(None, output("bash", "--norc", "-c", script, "bash",
                                           os.path.join(SOURCE, "eadm.bash-completion"), "eadm", *words,
                                           cwd=folder).splitlines()))

    def test_commands(self):
        self.assertEqual({word for word in self.complete("") if not word.startswith("-")}, set(self.general.commands))
        self.assertEqual(self.complete("--ver"), {"--version"})
        self.assertEqual(self.complete("-d", "erdma_0", "inf"), {"info"})

    def test_options(self):
        self.assertEqual(self.complete("-"), self.general.options)
        for command in self.general.commands:
            self.assertEqual(self.complete(command, "-"), self.options_of(command), command)

    def test_words(self):
        for command, described in self.own.items():
            offered = {word for word in self.complete(command, "") if not word.startswith("-")}
            if described.files:
                self.assertEqual(offered, {"a file"}, command)
            elif command != "conf":
                self.assertEqual(offered, set(described.words), command)
        self.assertEqual(self.complete("top", "--by", ""), set(self.own["top"].groups))

    def test_values(self):
        for command, described in self.own.items():
            for option in sorted(described.with_file | self.general.with_file):
                self.assertEqual(self.complete(command, option, ""), {"a file"}, f"{command} {option}")
            for option in sorted((described.with_value | self.general.with_value) - {"--by", "-d", "--device"}):
                self.assertEqual(self.complete(command, option, ""), set(), f"{command} {option}")
        # A word that belongs to an option is not the command.
        self.assertEqual(self.complete("-w", "stat", "inf"), {"info"})


STUBS = r"""
compdef() { }
_arguments() { print -rl -- "$@" }
_describe() { print -rl -- "${(@P)2}" }
"""


@unittest.skipUnless(shutil.which("zsh"), "zsh is missing; install zsh")
class Zsh(Completions):
    """The functions run in zsh, with stand-ins for those of its completion system that get the lists."""

    def zsh(self, script, *arguments):
        return output("zsh", "-f", "-c", f"{STUBS}\nsource $1; shift\n{script}", "zsh",
                      os.path.join(SOURCE, "eadm.zsh-completion"), *arguments).splitlines()

    def specifications(self, command=None):
        script = 'words=($1); _eadm_arguments() { }; _eadm' if command is None else \
            'functions[real]=$functions[_eadm_arguments]; _arguments() { [[ $1 != -C ]] && print -rl -- "$@"; state=arguments };' \
            ' words=($1); _eadm'
        return self.zsh(script, command or "")

    @staticmethod
    def options_in(specifications):
        found = {}
        for line in specifications:
            match = re.match(r"(?:\([^)]*\))?(--?\w[\w-]*)(?:\[[^]]*\])?(.*)", line)
            if match:
                found[match[1]] = match[2]
        return found

    def test_commands(self):
        self.assertEqual([line.split(":")[0] for line in self.zsh("_eadm_commands")], self.general.commands)
        self.assertEqual(set(self.options_in(self.specifications())) - {"-C"}, self.general.options)

    def test_options(self):
        for command, described in self.own.items():
            offered = self.options_in(self.specifications(command))
            self.assertEqual(set(offered), self.options_of(command), command)
            for option, value in offered.items():
                if option in described.with_file | self.general.with_file:
                    self.assertTrue(value.endswith(":_files"), f"{command} {option}")
                self.assertEqual(value.startswith(":") and not value.startswith("::"),
                                 option in described.with_file | described.with_value | self.general.with_file
                                 | self.general.with_value, f"{command} {option}")

    def test_words(self):
        for command, described in self.own.items():
            first = [line for line in self.specifications(command) if line.startswith("1:")]
            if described.files:
                self.assertTrue(first[0].endswith(":_files"), command)
            elif described.words:
                self.assertEqual(re.search(r"\((.*)\)", first[0])[1].split(), described.words, command)


class Settings(Completions):
    def test_both_shells_know_the_settings(self):
        """As the manual page has them, and the names that eadm has for ways of congestion control."""
        with open(os.path.join(SOURCE, "objects.cpp"), encoding="utf-8") as text:
            controls = re.search(r"kCongestionControls = \{([^}]*)\}", text.read())[1]
        for name, pattern in (("eadm.bash-completion", r'(?s)conf\)\s+words="([^"]*)"\s+\[\[ \$prev == cc \]\] && words="([^"]*)"'),
                              ("eadm.zsh-completion", r"(?s)_values '[^']*' ([^;]*?) ;;.*'1:setting:\(([^)]*)\)'")):
            with open(os.path.join(SOURCE, name), encoding="utf-8") as text:
                lists = [set(words.split()) for words in re.search(pattern, text.read()).groups()]
            self.assertIn(self.settings, lists, name)
            self.assertIn(set(re.findall(r"\w+", controls)), lists, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the common part of rdma-core's own test suite (Debian: python3-pyverbs) on one RDMA device.

Usage: pyverbs_suite.py DEVICE [PATTERN]

Prints one line for each test: its outcome (pass, skip, fail, error, hang), its name, and for all but passed ones the
reason.  Ends 0 when all were run, whatever came out.
"""

import fnmatch
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import unittest

SUITE = "/usr/share/doc/rdma-core/tests"
# Tests of other vendors' interfaces.
OTHERS = ("test_mlx5", "test_efa", "test_cuda")
SECONDS = int(os.environ.get("PYVERBS_SECONDS", "30"))  # for one test


class Hang(BaseException):
    """Not an Exception: tests catch those."""


def unpack(folder):
    """The package has the larger files compressed; the suite wants to be a package named 'tests'."""
    target = os.path.join(folder, "tests")
    os.mkdir(target)
    for name in os.listdir(SUITE):
        source = os.path.join(SUITE, name)
        if name.startswith(OTHERS) or not name.endswith((".py", ".py.gz")):
            continue
        if name.endswith(".gz"):
            with gzip.open(source) as packed, open(os.path.join(target, name[:-3]), "wb") as plain:
                shutil.copyfileobj(packed, plain)
        else:
            shutil.copy(source, target)


def reason(error):
    """The last line that says something."""
    lines = [line.strip() for line in "".join(traceback.format_exception_only(*error[:2])).splitlines() if line.strip()]
    return lines[-1][:200]


class Report(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.outcome = None
        signal.alarm(SECONDS)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        outcome, why = self.outcome or ("pass", "")
        print(outcome, test.id(), why, flush=True)

    def note(self, outcome, why=""):
        if self.outcome is None:
            self.outcome = outcome, why

    def addSkip(self, test, why):
        self.note("skip", why.replace("\n", " "))

    def addFailure(self, test, error):
        self.note("fail", reason(error))

    def addError(self, test, error):
        self.note("hang" if issubclass(error[0], Hang) else "error", reason(error))

    def addSubTest(self, test, subtest, error):
        if error:
            self.note("fail", reason(error))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def addresses(device):
    """IPv4 and MAC address of the netdev that the kernel names as the RDMA device's."""
    links = json.loads(subprocess.check_output(["rdma", "-j", "link", "show"]))
    netdev = next(link["netdev"] for link in links if link["ifname"] == device)
    nic, = json.loads(subprocess.check_output(["ip", "-j", "-4", "address", "show", "dev", netdev]))
    mac, = json.loads(subprocess.check_output(["ip", "-j", "link", "show", "dev", netdev]))
    return nic["addr_info"][0]["local"], mac["address"]


def expired(_number, _frame):
    raise Hang(f"longer than {SECONDS} s")


def main(device, pattern="*"):
    with tempfile.TemporaryDirectory() as folder:
        unpack(folder)
        sys.path[:0] = [folder, os.path.join(folder, "tests")]
        sys.argv = ["run_tests.py", "--dev", device]
        from args_parser import parser  # the suite's own
        parser.parse_args()
        import tests
        from tests.base import RDMATestCase
        # The suite takes a GID that ends in zeros for an empty one.  On iWARP devices that is what a GID looks like.
        RDMATestCase.ZERO_GID = "never"
        # It also expects the netdev below the RDMA device's PCI device; the adapter shares another one's.
        ip_address, mac = addresses(device)

        def add_port(self, dev, port, index):
            self.args.append([dev, port, index, ip_address, mac])

        RDMATestCase._get_ip_mac = add_port
        signal.signal(signal.SIGALRM, expired)
        loader = unittest.TestLoader()
        report = Report()
        for test in flatten(loader.loadTestsFromModule(tests)):
            if fnmatch.fnmatch(test.id(), pattern):
                try:
                    test.run(report)
                except Hang as hang:
                    print("hang", test.id(), hang, flush=True)
    return 0


if __name__ == "__main__":
    # Threads of a test that hung must not keep the interpreter.
    status = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)

# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths, errors and small helpers that every part of the lab uses."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

PACKAGE = os.path.dirname(os.path.abspath(__file__))
GUEST_FILES = os.path.join(PACKAGE, "guest")


def places():
    """(checkout or None, its build directory, the directory for logs and caches).

    Within a checkout everything is there.  Where this package was installed by pip, ERDMA_DIR names a checkout or its
    build directory; without it the driver, the model and eadm are those of the installed packages.  What is written
    then goes to ERDMA_LAB_DIR, by default .erdma-lab in the directory of the program that uses the lab.
    """
    inside = os.path.join("tools", "lab", "erdmalab")
    if PACKAGE.endswith(os.sep + inside):
        top = PACKAGE[:-len(os.sep + inside)]
        return top, os.path.join(top, "build"), os.path.join(top, "build", "lab")
    lab = os.path.abspath(os.environ.get("ERDMA_LAB_DIR") or ".erdma-lab")
    named = os.environ.get("ERDMA_DIR")
    if not named:
        return None, lab, lab
    named = os.path.abspath(named)
    if os.path.exists(os.path.join(named, inside)):
        return named, os.path.join(named, "build"), lab
    return os.path.dirname(named), named, lab


CHECKOUT, BUILD, LAB = places()
ROOT = CHECKOUT or PACKAGE
# The process that holds a run's guests for others holds this file of its directory locked.
HOLDER = "holder.lock"
START = time.monotonic()


class LabError(Exception):
    """A failure that is told to the user in plain words, without a traceback."""


class LabTimeout(LabError):
    """Something did not happen within its time."""


def say(text):
    """Progress line with the seconds since the lab started."""
    print(f"[{time.monotonic() - START:7.1f}s] {text}", file=sys.stderr, flush=True)


class Steps:
    """Numbered steps that each report how long they took."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.times = []

    def run(self, title, function, *arguments, **keywords):
        self.done += 1
        say(f"{self.done}/{self.total} {title} ...")
        begin = time.monotonic()
        try:
            result = function(*arguments, **keywords)
        except BaseException:
            say(f"{self.done}/{self.total} {title}: FAILED after {time.monotonic() - begin:.1f} s")
            raise
        taken = time.monotonic() - begin
        self.times.append((title, taken))
        say(f"{self.done}/{self.total} {title}: done in {taken:.1f} s")
        return result


def kill_group(process):
    """End a process that was started in a session of its own, with its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass
        try:
            process.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            continue


def call(command, timeout, cwd=None, env=None, log=None, quiet=False):
    """Run a host command to its end and return its exit code.

    Output goes to standard error, unless log (a path, appended to) or quiet is given:
    standard output belongs to what the user asked to run.
    On timeout or any exception the command and its children are ended.
    """
    sink = open(log, "ab") if log else subprocess.DEVNULL if quiet else sys.stderr
    try:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                                   stdout=sink, stderr=sink,
                                   start_new_session=True)
        try:
            return process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LabTimeout(f"'{' '.join(command)}' took longer than {timeout} s") from None
        finally:
            if process.poll() is None:
                kill_group(process)
    finally:
        if log:
            sink.close()


@contextlib.contextmanager
def alone(path):
    """Within this block, no other process is in one that names the same file; several tests run at a time."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def held(path):
    """True while a process holds that lock file, as alone() does."""
    try:
        with open(path, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def tail(path, lines=30):
    """Last lines of a text file, for error messages."""
    try:
        with open(path, encoding="utf-8", errors="replace") as text:
            return "".join(text.readlines()[-lines:]).rstrip()
    except OSError as error:
        return f"({error})"


def stop_on_signals():
    """Turn SIGTERM and SIGHUP into an exception, so that clean-up code runs."""
    def handler(number, _frame):
        raise SystemExit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)

#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Process 1 of a lab guest: runs commands for the lab over virtio-serial.

Single-threaded around one selector.  As process 1 it also collects orphans, and
it cannot be killed by anything a test does in the guest.
"""

import errno
import fcntl
import json
import os
import pty
import resource
import selectors
import signal
import struct
import sys
import termios

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402  (beside this file, found through the line above)

CHUNK = 65536
BACKLOG = 4 << 20  # bytes waiting for the lab before reading from programs pauses


class Port:
    """One virtio-serial port; the other end may come and go."""

    def __init__(self, agent, path):
        self.agent = agent
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.fd, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_ASYNC)
        self.splitter = frames.Splitter()
        self.out = bytearray()
        self.listening = 0
        self.listen()

    def listen(self):
        """Adjust what the selector waits for; a closed other end is told by SIGIO."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)
        if self.listening == 0:
            self.agent.selector.register(self.fd, wanted, self)
        elif self.listening != wanted:
            self.agent.selector.modify(self.fd, wanted, self)
        self.listening = wanted

    def hang_up(self):
        if self.listening:
            self.agent.selector.unregister(self.fd)
            self.listening = 0
        self.out.clear()
        self.splitter = frames.Splitter()
        for job in list(self.agent.jobs.values()):
            if job.port is self:
                job.kill(signal.SIGKILL)

    def send(self, kind, job, payload=b""):
        self.out += frames.pack(kind, job, payload)
        self.flush()

    def flush(self):
        try:
            while self.out:
                done = os.write(self.fd, self.out[:CHUNK])
                del self.out[:done]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENODEV, errno.EIO):
                raise
            self.out.clear()
        if self.listening:
            self.listen()

    def ready(self, events):
        if events & selectors.EVENT_WRITE:
            self.flush()
        if events & selectors.EVENT_READ:
            try:
                data = os.read(self.fd, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.hang_up()
                return
            for frame in self.splitter.feed(data):
                self.agent.handle(self, *frame)


class Stream:
    """Output of a job: a pipe or a pseudo terminal."""

    def __init__(self, job, fd, kind):
        self.job, self.fd, self.kind = job, fd, kind
        os.set_blocking(fd, False)
        job.agent.selector.register(fd, selectors.EVENT_READ, self)

    def ready(self, _events):
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.job.port.send(self.kind, self.job.number, data)
        else:
            self.close()

    def close(self):
        self.job.agent.selector.unregister(self.fd)
        os.close(self.fd)
        self.job.streams.remove(self)
        self.job.finish()


class Job:
    """One program with its streams, in a session of its own."""

    def __init__(self, agent, port, number, order):
        self.agent, self.port, self.number = agent, port, number
        self.streams = []
        self.input = None
        self.waiting = bytearray()
        self.ending = False
        self.reported = False
        self.code = None
        self.terminal = None
        argv = order.get("argv") or ["/bin/sh", "-c", order["shell"]]
        environment = dict(agent.environment)
        environment.update(order.get("env") or {})
        cwd = order.get("cwd") or "/"
        if not os.path.isdir(cwd):
            raise OSError(errno.ENOENT, "no such directory in the guest", cwd)
        if order.get("pty"):
            self.start_terminal(argv, environment, cwd)
        else:
            self.start_pipes(argv, environment, cwd)

    def start_pipes(self, argv, environment, cwd):
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            self.pid = self.spawn(argv, environment, cwd, (in_read, out_write, err_write))
        except OSError:
            for fd in (in_write, out_read, err_read):
                os.close(fd)
            raise
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        self.input = in_write
        os.set_blocking(in_write, False)
        self.streams.append(Stream(self, out_read, b"O"))
        self.streams.append(Stream(self, err_read, b"E"))

    def start_terminal(self, argv, environment, cwd):
        master, slave = pty.openpty()
        try:
            self.pid = self.spawn(argv, environment, cwd, (slave, slave, slave), terminal=True)
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self.terminal = master
        self.input = os.dup(master)
        os.set_blocking(self.input, False)
        self.streams.append(Stream(self, master, b"O"))

    @staticmethod
    def spawn(argv, environment, cwd, fds, terminal=False):
        status_read, status_write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(status_write)
            with os.fdopen(status_read, "rb") as status:
                problem = status.read()
            if problem:
                os.waitpid(pid, 0)
                number = int(problem)
                raise OSError(number, os.strerror(number), argv[0])
            return pid
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGIO, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            os.chdir(cwd)
            os.execvpe(argv[0], argv, environment)
        except OSError as error:
            os.write(status_write, str(error.errno).encode())
        finally:
            os._exit(127)

    def feed(self, data):
        if self.input is None:
            return
        if not data:
            self.waiting += b"\x04" if self.terminal is not None else b""
            self.ending = True
        self.waiting += data
        self.push()

    def push(self):
        selector = self.agent.selector
        registered = self.input in selector.get_map()
        try:
            while self.waiting:
                done = os.write(self.input, self.waiting[:4096])
                del self.waiting[:done]
        except BlockingIOError:
            if not registered:
                selector.register(self.input, selectors.EVENT_WRITE, self)
            return
        except OSError:
            self.waiting.clear()
            self.ending = True
        if registered:
            selector.unregister(self.input)
        if self.ending and self.terminal is None:
            os.close(self.input)
            self.input = None

    def ready(self, _events):
        self.push()

    def resize(self, rows, columns):
        if self.terminal is not None and self.streams:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def kill(self, number):
        """Signal the whole session's process group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def exited(self, code):
        self.code = code
        self.finish()

    def finish(self, force=False):
        """Report the end once the program is gone and its output is read.

        A background child may keep the pipes open; after the program's end the
        lab waits only for what is already in them.
        """
        if self.code is None or self.reported:
            return
        if self.streams and not force:
            self.agent.lingering.add(self)
            return
        self.reported = True
        self.agent.lingering.discard(self)
        if self.input is not None:
            if self.input in self.agent.selector.get_map():
                self.agent.selector.unregister(self.input)
            os.close(self.input)
            self.input = None
        self.agent.jobs.pop((self.port, self.number), None)
        self.port.send(b"X", self.number, json.dumps({"code": self.code}).encode())


class Agent:
    def __init__(self, paths):
        self.selector = selectors.DefaultSelector()
        self.jobs = {}
        self.lingering = set()
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": "linux",
            "LAB_SHARE": "/share", "LAB_GUEST": os.uname().nodename,
        }
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        for number in (signal.SIGCHLD, signal.SIGIO):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.selector.register(self.wake_read, selectors.EVENT_READ, None)
        self.ports = [Port(self, path) for path in paths]

    def handle(self, port, kind, number, payload):
        if kind == b"P":
            port.send(b"H", 0, json.dumps({"version": 1}).encode())
            return
        body = payload if kind == b"I" else json.loads(payload)
        if kind == b"R":
            try:
                self.jobs[(port, number)] = Job(self, port, number, body)
            except OSError as error:
                port.send(b"X", number, json.dumps({"error": str(error)}).encode())
            return
        job = self.jobs.get((port, number))
        if job is None:
            return
        if kind == b"I":
            job.feed(body)
        elif kind == b"K":
            job.kill(body["signal"])
        elif kind == b"W":
            job.resize(body["rows"], body["columns"])

    def collect(self):
        """Take the exit status of every process that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for job in list(self.jobs.values()):
                if job.pid == pid:
                    job.exited(code)

    def woken(self):
        try:
            os.read(self.wake_read, CHUNK)
        except BlockingIOError:
            pass
        self.collect()
        for port in self.ports:
            port.listen()

    def run(self):
        while True:
            busy = sum(len(port.out) for port in self.ports) > BACKLOG
            # Of those that end meanwhile the output may not have been asked for yet.
            lingering = list(self.lingering)
            ready = self.selector.select(0.2 if lingering else None)
            for key, events in ready:
                if key.data is None:
                    self.woken()
                elif busy and isinstance(key.data, Stream):
                    continue
                else:
                    key.data.ready(events)
            if lingering and not any(isinstance(key.data, Stream) for key, _ in ready):
                for job in lingering:
                    job.finish(force=True)


def main():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    os.umask(0o022)
    Agent(sys.argv[1:]).run()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""Command line of ./lab."""

import argparse
import fcntl
import glob
import json
import os
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
import traceback
import tty

from . import (bench, check, demo, fuzz, kernel as kernels, kernel_driver, matrix, network, packages, qemu_tree, roots, runs,
               scenario, scenario_check, scenario_file, staying, testing, vm as machines)
from .channel import Channel, shell_code
from .common import BUILD, LAB, LabError, LabTimeout, say, stop_on_signals
from .watch import GuestTrouble

EPILOG = """\
Logs of each run are kept in build/lab/, the last one's in build/lab/latest/.
KERNEL is a version installed on this machine (see ls /boot), a directory in which
a distribution's kernel packages were unpacked, "debug" (see ./lab kernel debug), or
one of the supported kernels 5.10, 6.1, 6.12, 7.2, which is fetched when needed.
docs/lab.md tells more.
"""
PROTOCOLS = ("iwarp", "rocev2")


def parser():
    top = argparse.ArgumentParser(
        prog="./lab", description="Build, boot and test the ERDMA driver and device model.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, text, **keywords):
        sub = commands.add_parser(name, help=text, description=text, **keywords)
        sub.add_argument("--no-install", action="store_true", help="go on with the packages that are there")
        return sub

    def boot_options(sub):
        sub.add_argument("--kernel", metavar="KERNEL", help="guest kernel (default: newest installed with headers)")
        sub.add_argument("--vms", type=int, default=1, metavar="N",
                         help="boot vm1 to vmN on one network (default 1): two on a cable, more on a VDE switch")
        sub.add_argument("--mtu", type=int, default=1500, metavar="N", help="of their network cards (default 1500)")
        sub.add_argument("--capture", action="store_true", help="write each VM's frames to eni0.pcap beside its logs")
        sub.add_argument("--link", action="append", default=[], metavar="[VM:]TEXT",
                         help='impair the link of vm1 or that VM, "vm2:both:loss=1%%;to-wire:delay=50ms" (repeatable)')
        sub.add_argument("--faults", action="append", default=[], metavar="[VM:]TEXT",
                         help='let the adapter of vm1 or that VM misbehave, "cmd-drop=0/any" (repeatable; docs/lab.md)')
        sub.add_argument("--cpus", type=int, default=1, metavar="N", help="processors of a guest (default 1)")
        sub.add_argument("--memory", type=int, metavar="MIB", help="memory (default 1024, debug kernel 2048)")
        sub.add_argument("--append", default="", metavar="WORDS", help="further kernel parameters")
        sub.add_argument("--driver", action="append", default=[], metavar="[VM:]NAME",
                         help="of all guests or of that one: ours (default), kernel, the adapter's driver that Linux has "
                         "itself, or siw, SoftiWARP, a peer without an adapter (repeatable; docs/lab.md)")
        sub.add_argument("--params", default="", metavar="WORDS", help='module parameters of erdma, "a=1 b=2"')
        sub.add_argument("--protocol", choices=PROTOCOLS, help="what the adapters speak (default iwarp)")
        sub.add_argument("--device", action="append", default=[], metavar="PROPS",
                         help='properties of the adapters, "a=1,b=2" (repeatable); values may have commas')
        sub.add_argument("--qemu-arg", action="append", default=[], metavar="WORD",
                         help="one further argument for QEMU (repeatable)")
        sub.add_argument("--no-model", action="store_true", help="boot stock QEMU without the adapter")
        sub.add_argument("--no-driver", action="store_true", help="leave loading the driver to you")
        sub.add_argument("--no-build", action="store_true", help="take what is built already")

    sub = add("setup", "install what is missing of the distribution's packages")
    sub.add_argument("uses", nargs="*", metavar="USE",
                     help=f"only for these: {', '.join(packages.uses())} (default: all but what each asks for itself)")
    sub = add("build", "configure and build everything")
    sub.add_argument("--kernel", metavar="KERNEL", help="also build the driver for this kernel")
    sub = add("demo", "from nothing to RDMA traffic in a VM, with a table of results")
    sub.add_argument("--kernel", metavar="KERNEL")
    sub.add_argument("--no-model", action="store_true", help="use rdma_rxe instead of the adapter (checks the lab)")
    sub.add_argument("--protocol", choices=PROTOCOLS, help="what the adapters speak (default iwarp)")
    sub = add("test", "run tests: unit and vm, or the kinds named")
    sub.add_argument("kind", nargs="*", metavar="KIND", help=f"one or more of {', '.join(testing.KINDS)}")
    sub.add_argument("-k", dest="pattern", metavar="PATTERN", help="only tests whose name matches")
    sub.add_argument("--long", action="store_true", help="also the vm tests that take minutes each, and the package tests")
    sub.add_argument("--kernel", metavar="KERNEL", help="guest kernel of the vm tests")
    sub = add("run", "run a command in a VM, in the present directory, with its output and exit code",
              usage="./lab run [options] -- COMMAND [ARGUMENT ...]")
    boot_options(sub)
    sub.add_argument("--on", nargs=2, action="append", default=[], metavar=("VM", "COMMANDLINE"),
                     help="before COMMAND starts in vm1, start this in another VM, by its shell (repeatable)")
    sub.add_argument("--each", action="store_true", help="run COMMAND in every VM at once")
    sub.add_argument("--check", nargs="?", const="error", choices=["error", "warn"], metavar="warn",
                     help="look for RDMA mistakes of the programs and report them at the end, with exit code 124 for "
                     "errors; --check=warn only tells (docs/check.md)")
    sub.add_argument("--check-delay", metavar="TIME[;seed=N]", help="longest time for which work is held back (default 300us)")
    sub.add_argument("--check-json", metavar="FILE", help="write the report as JSON, too")
    sub.add_argument("--suppress", metavar="FILE", help='findings not to report, one a line: ID [PROCESS [QPN]], with wildcards')
    sub.add_argument("--timeout", type=float, default=3600, metavar="S", help="limit for the command (default 3600)")
    sub.add_argument("words", nargs="*", metavar="COMMAND")
    sub = add("shell", "open a shell: in a VM of its own, or in one that is running (as in ./lab shell vm1)")
    boot_options(sub)
    sub.add_argument("vm", nargs="?", metavar="VM", help="name of a running VM, or its directory in build/lab")
    sub = add("scenario", "play scenario files: guests, programs, what goes wrong and when, and checks (docs/scenarios.md)")
    sub.add_argument("files", nargs="+", metavar="FILE.toml")
    sub.add_argument("--check", action="store_true", help="only tell whether the files are in order")
    sub.add_argument("--kernel", metavar="KERNEL", help="guest kernel, in place of what the files say")
    sub.add_argument("--no-build", action="store_true", help="take what is built already")
    sub = add("up", "boot VMs that stay until ./lab stop")
    boot_options(sub)
    add("ps", "show the VMs that stay")
    sub = add("exec", "run a command in a VM that stays, or in any other one that runs, with its output and exit code",
              usage="./lab exec VM -- COMMAND [ARGUMENT ...]")
    sub.add_argument("vm", metavar="VM", help="its name, or its directory in build/lab")
    sub.add_argument("--timeout", type=float, default=3600, metavar="S", help="limit for the command (default 3600)")
    sub.add_argument("words", nargs="*", metavar="COMMAND")
    sub = add("stop", "end the VMs that stay: all, or those that were booted together with one")
    sub.add_argument("vm", nargs="?", metavar="VM")
    sub = add("bench", "compare the adapter with SoftiWARP, rdma_rxe and TCP between two VMs")
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")
    sub.add_argument("--html", metavar="FILE", help="also a page with charts")
    sub.add_argument("--compare", metavar="OLD.json", help="a verdict for each row beside an older --json")
    sub.add_argument("--from", dest="results", metavar="FILE", help="show what --json printed then; measures nothing")
    sub.add_argument("--rounds", type=int, default=1, metavar="N", help="repeat everything (default 1)")
    sub.add_argument("--protocol", choices=PROTOCOLS, help="what the adapter speaks (default iwarp)")
    sub.add_argument("--only", metavar="PATTERN", help="only the measures whose name matches")
    sub.add_argument("--cpus", type=int, default=1, metavar="N")
    sub.add_argument("--kernel", metavar="KERNEL")
    sub = add("fuzz", "look for inputs that break the model, the driver's MPA frames or eadm (docs/fuzzing.md)")
    sub.add_argument("target", nargs="*", metavar="TARGET", help=f"only these: {', '.join(fuzz.names())}")
    sub.add_argument("--minutes", type=float, default=5, metavar="M", help="for each target (default 5)")
    sub.add_argument("--length", type=int, default=fuzz.LONGEST_INPUT, metavar="BYTES",
                     help=f"of the longest input (default {fuzz.LONGEST_INPUT}); short ones are run quicker")
    sub.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                     help="processes side by side (default: processors)")
    sub.add_argument("--merge", action="store_true", help="do not look: make the checked-in inputs anew from all there are")
    sub = add("kernel", "build, once, the debug kernel (KASAN, lockdep, kmemleak; about 10 minutes), or SoftiWARP for a guest's")
    sub.add_argument("which", choices=["debug", "siw"])
    sub.add_argument("--kernel", metavar="KERNEL", help="siw: for this kernel (default: newest installed with headers)")
    sub = add("kernels", "build the driver for every supported kernel, with W=1, and tell what it was built with")
    sub.add_argument("--all", action="store_true", help="for the cloud flavours too")
    sub.add_argument("names", nargs="*", metavar="KERNEL", help=f"only these: {', '.join(roots.KERNELS)}")
    sub = add("clean", "remove the build directory, logs included")
    sub.add_argument("--all", action="store_true", help="the debug kernel and QEMU's source too")
    return top


def command_setup(options):
    unknown = [use for use in options.uses if use not in packages.uses()]
    if unknown:
        raise LabError(f"nothing is set up for '{unknown[0]}'; there are {', '.join(packages.uses())}")
    count = runs.setup(*options.uses)
    qemu_tree.ensure()
    say(f"set up: {count or 'no'} package{'s' if count != 1 else ''} newly installed")
    return 0


def command_build(options):
    runs.setup("build")
    path = runs.build(kernels.find(options.kernel), everything=True)
    say(f"built: {os.path.relpath(path)}, {os.path.relpath(machines.MODEL)}")
    return 0


def command_demo(options):
    return demo.demo(options.kernel, model=not options.no_model, protocol=options.protocol)


def command_test(options):
    for kind in options.kind:
        if kind not in testing.KINDS:
            raise LabError(f"there are no '{kind}' tests; kinds are {', '.join(testing.KINDS)}")
    runs.setup(*testing.chosen(options.kind, options.long))
    return testing.test(options.kind, options.pattern, options.kernel, options.long)


def command_bench(options):
    if not options.results:
        runs.setup("bench")
    return bench.bench(options)


def command_fuzz(options):
    runs.setup("fuzz")
    if options.merge:
        return fuzz.merge(options.target)
    return fuzz.fuzz(options.target, options.minutes, max(1, options.jobs), options.length)


def command_kernel(options):
    if options.which == "siw":
        say(f"{kernel_driver.build(kernels.find(options.kernel), 'siw')} is ready; use it with --driver siw, or vm2:siw")
        return 0
    kernel = kernels.debug_kernel(build=True)
    say(f"{kernel.version} is ready; use it with --kernel debug")
    return 0


def command_kernels(options):
    return matrix.run(options.names, options.all)


def command_clean(options):
    if options.all:
        shutil.rmtree(BUILD, ignore_errors=True)
        return 0
    keep = {"kernel", "qemu-source", "roots"}
    for path in glob.glob(os.path.join(BUILD, "*")) + glob.glob(os.path.join(BUILD, ".[!.]*")):
        if os.path.basename(path) not in keep:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
    return 0


def by_vm(texts):
    """{VM: text} of "vm2:text" and "text", which is for vm1."""
    found = [re.fullmatch(r"(?:(vm\d+):)?(.*)", text, re.DOTALL).groups() for text in texts]
    return {name or "vm1": text for name, text in found}


def adapter_properties(texts):
    """{name: value} of QEMU's "a=1,b=2".  Only a comma in front of a property's name ends a value."""
    names = [] if not any("," in text for text in texts) else machines.adapter_property_names()
    comma = re.compile(rf",(?=(?:{'|'.join(map(re.escape, names))})=)") if names else None
    parts = [part for text in texts for part in (comma.split(text) if comma else [text]) if part]
    return dict(part.partition("=")[::2] for part in parts)


def drivers(options):
    """Name of each guest's driver."""
    chosen = ["ours"] * options.vms
    for text in options.driver:
        machine, _, name = text.rpartition(":")
        if name not in kernel_driver.NAMES:
            raise LabError(f"--driver {text}: {', '.join(kernel_driver.NAMES)} are possible, or vm2:siw for one guest")
        if machine and machine not in [f"vm{number + 1}" for number in range(options.vms)]:
            raise LabError(f"--driver {text}: with --vms {options.vms} there are vm1 to vm{options.vms}")
        for number in range(options.vms):
            if machine in ("", f"vm{number + 1}"):
                chosen[number] = name
    return chosen


def booted(options, name, run=None):
    """VMs as the options describe them, with the driver loaded unless they say otherwise; run: the directory of that run."""
    runs.setup("run", *(["switch"] if options.vms > 2 else []))
    kernel = kernels.find(options.kernel)
    chosen = [kernel_driver.of(kernel, name) for name in drivers(options)]
    model = not options.no_model
    if model and not options.no_build:
        for one in {one.driver: one for one in chosen}.values():
            runs.build(one)
    properties = adapter_properties(options.device)
    if options.protocol:
        properties["protocol"] = options.protocol
    group = network.Group(run or runs.new_run(name), chosen, options.vms, capture=options.capture,
                          nets=[{"mtu": options.mtu, "options": properties}], model=model, driver=model,
                          cpus=options.cpus, memory=options.memory, append=options.append,
                          qemu_args=options.qemu_arg)
    try:
        group.start()
        group.tell()
        for machine in group:
            if model and not options.no_driver:
                machine.load_driver(options.params)
            else:
                machine.load_rdma()
        group.trouble(by_vm(options.link), by_vm(options.faults))
    except BaseException:
        group.stop()
        raise
    return group


def await_service(machine, job, limit=5):
    """Wait until a program in the background listens for RDMA connections, has ended, or had time for it."""
    deadline = time.monotonic() + limit * machine.slow
    while job.code is None and time.monotonic() < deadline:
        if "state LISTEN" in machine.run(["rdma", "resource", "show", "cm_id"], check=False).output:
            return
        time.sleep(0.1)


def command_run(options):
    if not options.words:
        raise LabError("no command; say ./lab run -- COMMAND, as in: ./lab run -- ibv_devinfo")
    for name, _ in options.on:
        if name not in [f"vm{number + 1}" for number in range(options.vms)]:
            raise LabError(f"--on {name}: with --vms {options.vms} there are vm1 to vm{options.vms}")
    suppress = check.Suppressions(options.suppress)
    group = booted(options, "run")
    try:
        checked = [check.Checked(machine, options.check_delay, suppress) for machine in group] if options.check else []
        keywords = {"cwd": os.getcwd(), "env": group.environment()}
        others = []
        for name, line in options.on:
            machine = group[int(name[2:]) - 1]
            others.append((machine, machine.popen(line, on_output=machines.prefixed(name), **keywords)))
        for machine, job in others:
            await_service(machine, job)
        if options.each:
            jobs = [machine.popen(options.words, on_output=machines.prefixed(machine.name), **keywords) for machine in group]
        else:
            jobs = [group[0].popen(options.words, stdin=not sys.stdin.isatty(), on_output=machines.echo, **keywords)]
            if not sys.stdin.isatty():
                feed(jobs[0])
        codes = [finished(job, options.timeout) for job in jobs]
        for machine, job in others:
            try:
                codes.append(finished(job, 5 * machine.slow))
            except LabTimeout:  # a server that never ends by itself
                say(f"'{job.command}' in {machine.name} was still running")
        errors = told(checked, options.check_json) if checked else False
        group.check_logs()
    except LabError:
        group.check_logs()  # a reason that comes first
        raise
    finally:
        group.stop()
    code = next((code for code in codes if code), 0)
    return MISTAKES_FOUND if errors and options.check == "error" else code


def told(checked, path):
    """Print what the adapters of all guests found; returns whether errors are among it."""
    findings = sorted((one for guest in checked for one in guest.findings()),
                      key=lambda one: check.ORDER.index(one["severity"]))
    sys.stdout.flush()
    print(check.text(findings), end="", file=sys.stderr, flush=True)
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "findings": findings}, file, indent=1)
    return any(one["severity"] == "error" for one in findings)


def command_scenario(options):
    scenarios, problems = [], []
    for path in options.files:
        try:
            scenarios.append(scenario_file.load(path))
        except LabError as error:
            problems.append(str(error))
    if problems:
        raise LabError("\n".join(problems))
    if options.check:
        if os.path.exists(machines.MODEL):
            scenario_check.check(scenarios)
        else:
            say("texts of links and faults and names of counters were not looked at: the model is not built")
        say(f"in order: {', '.join(one.path for one in scenarios)}")
        return 0
    codes, complaints = [], []
    for one in scenarios:
        say(f"{one.path}: {one.title}")
        outcome = play_scenario(one, options)
        sys.stderr.flush()
        print(f"{one.path}: {'FAILED' if outcome.failed else 'passed'}\n{outcome.text()}", flush=True)
        codes.append(1 if outcome.failed else 0)
        complaints += [outcome.trouble] if outcome.trouble else []
    if complaints:
        raise GuestTrouble("a guest's kernel complained, see above")
    return max(codes)


def play_scenario(one, options):
    """Boot the guests of a scenario and play it; returns the Outcome."""
    guests = one.guests
    runs.setup("run", *(["switch"] if guests.count > 2 else []))
    named = [options.kernel] if options.kernel else guests.kernel if isinstance(guests.kernel, list) else [guests.kernel]
    chosen = [kernels.find(name) for name in named] * (guests.count if len(named) == 1 else 1)
    if guests.driver == "kernel":
        chosen = [kernel_driver.of(kernel) for kernel in chosen]
    if not options.no_build:
        for kernel in {kernel.version: kernel for kernel in chosen}.values():
            runs.build(kernel)
    scenario_check.check([one])
    with network.Group(runs.new_run("scenario"), chosen, guests.count, **one.settings) as group:
        group.tell()
        for machine in group:
            if guests.load:
                machine.load_driver(guests.params)
            else:
                machine.load_rdma()
        return scenario.play(one, group)


def finished(job, timeout):
    """Wait for a job; returns its exit code as a shell counts."""
    result = job.wait(timeout)
    if job.problem:
        print(job.problem, file=sys.stderr)
    return shell_code(result.code)


def feed(job):
    """Hand this process's input to the job, from a thread of its own."""
    import threading

    def pump():
        try:
            while job.code is None:
                data = os.read(0, 65536)
                if not data:
                    break
                job.send(data)
            job.close_input()
        except (OSError, LabError):
            pass
    threading.Thread(target=pump, daemon=True, name="stdin").start()


def command_up(options):
    run = runs.new_run("up")
    state = staying.up(lambda: booted(options, "up", run), run)
    names = list(state["guests"])
    say(f"{', '.join(names)} {'stay' if len(names) > 1 else 'stays'}: ./lab exec {names[0]} -- COMMAND, ./lab shell {names[0]}, ./lab stop")
    return 0


def command_ps(_options):
    return staying.show()


def command_stop(options):
    return staying.stop(options.vm)


def command_exec(options):
    if not options.words:
        raise LabError("no command; say ./lab exec VM -- COMMAND, as in: ./lab exec vm1 -- ibv_devinfo")
    known = [group for group in staying.groups() if options.vm in group["guests"]]
    directory = known[0]["guests"][options.vm]["directory"] if known else find_running(options.vm)
    machine = staying.Running(directory, os.path.basename(directory))
    try:
        job = machine.popen(options.words, cwd=os.getcwd(), env=known[0]["environment"] if known else None,
                            stdin=not sys.stdin.isatty(), on_output=machines.echo, keep=False)
        if not sys.stdin.isatty():
            feed(job)
        code = finished(job, options.timeout)
        machine.check_log()
        return code
    finally:
        machine.channel.close()


def find_running(name):
    """Directory of a running VM by name or path."""
    if os.path.exists(os.path.join(name, "shell.sock")):
        return os.path.abspath(name)
    found = [path for path in glob.glob(os.path.join(LAB, "*", name, "shell.sock"))
             if path.split(os.sep)[-3] != "latest"]
    if not found:
        running = sorted({path.split(os.sep)[-2] for path in glob.glob(os.path.join(LAB, "*", "*", "shell.sock"))})
        raise LabError(f"no VM '{name}' is running (running: {', '.join(running) or 'none'}); "
                       "./lab shell without a name boots one")
    return os.path.dirname(max(found, key=os.path.getmtime))


def command_shell(options):
    if options.vm:
        channel = Channel(os.path.join(find_running(options.vm), "shell.sock"))
        channel.connect(20)
        try:
            return interact(channel)
        finally:
            channel.close()
    group = booted(options, "shell")
    try:
        for machine in group.machines[1:]:
            say(f"for {machine.name}, say ./lab shell {machine.name} in another terminal")
        code = interact(group[0].channel, group.environment())
        group.check_logs()
        return code
    finally:
        group.stop()


def interact(channel, environment=None):
    """A login shell on a pseudo terminal of the guest, joined to this terminal."""
    on_terminal = sys.stdin.isatty()
    say("shell in the guest; its /share is the VM's share directory; leave with exit or Ctrl-D")
    job = channel.start(["/bin/bash", "-i"], cwd=os.getcwd(), pty=True, on_output=machines.echo,
                        env={"TERM": os.environ.get("TERM", "linux"), **(environment or {})})
    saved = termios.tcgetattr(0) if on_terminal else None

    def resize(*_):
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
        job.resize(rows, columns)

    try:
        if on_terminal:
            tty.setraw(0)
            signal.signal(signal.SIGWINCH, resize)
            resize()
        open_input = True
        while job.code is None:
            ready, _, _ = select.select([0] if open_input else [], [], [], 0.2)
            if ready:
                data = os.read(0, 4096)
                if data:
                    job.send(data)
                else:
                    open_input = False
                    job.send(b"\x04")
    finally:
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
    return shell_code(job.code)


# Commands that end with the code of a program: these are the lab's own, and say when the guest's kernel complained.
OF_A_PROGRAM = ("run", "scenario", "shell", "exec", "stop")
MISTAKES_FOUND, LAB_FAILED, KERNEL_COMPLAINED = 124, 125, 126


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    passes_on = bool(arguments) and arguments[0] in OF_A_PROGRAM
    stop_on_signals()
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:
        if passes_on and end.code:
            return LAB_FAILED
        raise
    if options.no_install:
        os.environ[packages.NO_INSTALL] = "1"
    try:
        return globals()[f"command_{options.command}"](options)
    except (LabError, GuestTrouble) as error:
        sys.stdout.flush()
        print(f"lab: {error}", file=sys.stderr)
        return 1 if not passes_on else KERNEL_COMPLAINED if isinstance(error, GuestTrouble) else LAB_FAILED
    except Exception:
        if not passes_on:
            raise
        sys.stdout.flush()
        traceback.print_exc()
        return LAB_FAILED
    except KeyboardInterrupt:
        print("lab: stopped", file=sys.stderr)
        return 130

# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a scenario only the device model can judge: texts of links and adapters, names of counters.  Boots nothing."""

import os
import subprocess
import tempfile

from . import vm as machines
from .common import LabError, kill_group, tail
from .qmp import Qmp, QmpError

DEVICE = "/machine/peripheral/eri0"
COMMAND = ["-S", "-machine", "q35", "-display", "none", "-nodefaults", "-no-user-config", "-qmp", "unix:qmp.sock,server=on,wait=off",
           "-netdev", "user,id=eni0,restrict=on", "-device", "virtio-net-pci,netdev=eni0", "-device", "erdma,id=eri0,eni=eni0"]


def check(scenarios):
    """Raise LabError, which names every problem of these scenarios by file, table and key."""
    with tempfile.TemporaryDirectory(prefix="erdma-check-") as folder:
        log = os.path.join(folder, "qemu.log")
        with open(log, "wb") as sink:
            process = subprocess.Popen([machines.WRAPPER, *COMMAND], cwd=folder, stdin=subprocess.DEVNULL, stdout=sink,
                                       stderr=sink, start_new_session=True, preexec_fn=machines.die_with_parent)
        try:
            try:
                qmp = Qmp(os.path.join(folder, "qmp.sock"))
            except LabError as error:
                raise LabError(f"the device model does not start: {error}\n{tail(log)}") from None
            try:
                counters = qmp.command("qom-get", path=DEVICE, property="counters")
                found = [problem for one in scenarios for problem in problems(one, qmp, counters)]
            finally:
                qmp.close()
        finally:
            kill_group(process)
    if found:
        raise LabError("\n".join(found))


def problems(scenario, qmp, counters):
    """Sentences about a scenario."""
    texts = [("link", one) for one in scenario.links] + [("faults", one) for one in scenario.faults] + \
            [(one.do, one) for one in scenario.events if one.do in ("link", "faults")]
    for name, one in texts:
        try:
            qmp.command("qom-set", path=DEVICE, property=name, value=one.text)
        except QmpError as error:
            yield f"{scenario.path}: {one.where}, key text: {str(error).partition(': ')[2]}"
    for one in [*(one.when for one in [*scenario.programs, *scenario.events] if one.when), *scenario.checks]:
        if one.get("counter") and one.counter not in counters:
            yield (f"{scenario.path}: {one.where}, key counter: the adapter has no {one.counter}; there are "
                   f"{', '.join(sorted(counters))}")

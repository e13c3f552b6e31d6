# SPDX-License-Identifier: GPL-2.0-or-later
"""A repository outside of this one uses the lab in its tests: examples/other-repository does what its README says."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

from erdmalab import runs, vm
from erdmalab.common import ROOT

EXAMPLE = os.path.join(ROOT, "examples", "other-repository")


@pytest.fixture
def repository():
    """The three files, where nothing but ERDMA_DIR leads to this checkout."""
    # Not below pytest's own folder, in which several runs of it would take turns.
    folder = tempfile.mkdtemp(prefix="erdma-other-")
    os.chmod(folder, 0o755)
    for name in os.listdir(EXAMPLE):
        shutil.copy(os.path.join(EXAMPLE, name), folder)
    assert sorted(os.listdir(folder)) == ["README.md", "greeting.c", "test_greeting.py"]
    yield folder
    shutil.rmtree(folder)


def blocks(folder):
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as text:
        return re.findall(r"(?ms)^```sh\n(.*?)^```", text.read())


def follow(folder, block, lab, **settings):
    """Run a block of the README with what this session tests: no network, no second build, this kernel."""
    kernel = "debug" if lab.kernel.debug else lab.kernel.version
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PYTEST_", "ERDMA_LAB_")) and name != "PYTHONPATH"}
    environment.update(ERDMA_DIR=ROOT, ERDMA_LAB_KERNEL=kernel, PIP_NO_INDEX="1", PIP_ROOT_USER_ACTION="ignore",
                       PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    environment.update(settings)
    block = block.replace('/lab" run', f'/lab" run --no-build --kernel {kernel}')
    result = subprocess.run(["sh", "-e", "-c", block], cwd=folder, env=environment, timeout=500, text=True, check=False,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, f"{block}: {result.returncode}\n{result.stdout[-6000:]}\n{result.stderr[-3000:]}"
    return result.stdout


@pytest.mark.limit(600)
@pytest.mark.long
def test_its_tests(lab, repository):
    before = set(os.listdir(os.path.join(ROOT, "tools", "lab")))
    output = follow(repository, blocks(repository)[0], lab)
    assert re.search(r"(?m)^=+ 4 passed in ", output), output
    # The logs are where that repository's CI finds them, and nothing was written here.
    assert os.path.exists(os.path.join(repository, ".erdma-lab", "latest"))
    assert set(os.listdir(os.path.join(ROOT, "tools", "lab"))) == before


@pytest.mark.limit(400)
def test_a_single_run(lab, repository):
    assert follow(repository, blocks(repository)[1], lab) == "HELLO, OTHER GUEST\n"


TROUBLE = """
import pytest

def test_kernel_complains(vm):
    vm.run("echo '<4>WARNING: made by a test' > /dev/kmsg")

def test_next(vm):
    assert vm.counters()["qps"] == 0

@pytest.mark.guests(faults={"vm2": "dead"})
def test_no_such_guest(vm):
    pass
"""


@pytest.mark.long
@pytest.mark.limit(400)
def test_what_fails_there(lab, repository):
    """A warning of the guest's kernel fails the test that it came during, and only that; a wrong setting is named."""
    os.unlink(os.path.join(repository, "test_greeting.py"))
    with open(os.path.join(repository, "test_trouble.py"), "w", encoding="utf-8") as out:
        out.write(TROUBLE)
    command = blocks(repository)[0].strip()
    assert command.endswith("-m pytest")
    output = follow(repository, command + " -rA || [ $? = 1 ]", lab)
    assert re.search(r"(?m)^FAILED .*::test_kernel_complains", output), output
    assert re.search(r"(?m)^PASSED .*::test_next", output), output
    assert re.search(r"(?m)^ERROR .*::test_no_such_guest", output) and "there is no vm2: with 1 VM" in output, output
    assert "made by a test" in output


@pytest.fixture
def installed(lab, repository):
    """What the packages leave on a machine: commands in the path, and a kernel with the driver among its modules."""
    commands, tree = os.path.join(repository, "bin"), os.path.join(repository, "kernel")
    os.mkdir(commands)
    os.symlink(vm.WRAPPER, os.path.join(commands, "erdma-qemu"))
    os.symlink(vm.eadm_program(), os.path.join(commands, "eadm"))
    modules = os.path.join(tree, "lib", "modules", lab.kernel.version)
    os.makedirs(os.path.join(tree, "boot"))
    os.makedirs(os.path.join(tree, "lib", "modules"))
    shutil.copy(lab.kernel.image, os.path.join(tree, "boot", f"vmlinuz-{lab.kernel.version}"))
    shutil.copytree(lab.kernel.modules, modules, ignore=shutil.ignore_patterns("build", "source", "updates"))
    os.makedirs(os.path.join(modules, "updates", "dkms"))
    shutil.copy(runs.driver_path(lab.kernel), os.path.join(modules, "updates", "dkms", "erdma.ko"))
    subprocess.run(["/sbin/depmod", "-b", tree, lab.kernel.version], check=True, timeout=120)
    return {"PATH": f"{commands}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}", "ERDMA_LAB_KERNEL": tree}


@pytest.mark.long
@pytest.mark.stock_kernel
@pytest.mark.limit(600)
def test_installed_parts(lab, repository, installed):
    """Without a checkout the plugin takes what is installed."""
    block = blocks(repository)[0].replace("$ERDMA_DIR", ROOT) + "-k 'not three'"
    block = block.replace("pytest\n-k", "pytest -k")
    output = follow(repository, f"unset ERDMA_DIR\n{block}", lab, **installed)
    assert re.search(r"(?m)^=+ 3 passed, 1 deselected in ", output), output
    with open(os.path.join(repository, ".erdma-lab", "latest", "pair-1-1", "qemu.log"), encoding="utf-8") as log:
        assert f"lab.modules={repository}/kernel/lib/modules/{lab.kernel.version} " in log.read()

"""launch.sh, run for real over a stand-in Python: verbs, environments, stops and restarts."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.launch.checkouts import GCLOUD, ROOT, one_line

VERBS = ["train", "evaluate", "decode", "export", "compare", "inspect", "bench", "test", "setup", "tpu"]


# ------------------------------------------------------------------ verbs


def test_shellcheck():
    command = [Path(sys.executable).with_name("shellcheck"), ROOT / "launch.sh", ROOT / ".ci/run", GCLOUD]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_verbs_and_installs_nothing(checkout, flag):
    text = checkout.run(flag).stdout
    for verb in VERBS:
        assert re.search(rf"^\./launch\.sh {verb}\b", text, re.M), verb
    assert not checkout.calls()


@pytest.mark.parametrize("arguments", [["trian"], ["--config=configs/quickstart.py"]])
def test_unknown_verb(checkout, arguments):
    message = one_line(checkout.run(*arguments, status=2).stderr)
    assert arguments[0] in message
    assert " ".join(VERBS) in message
    assert not checkout.calls()


@pytest.mark.parametrize("verb", ["evaluate", "decode", "compare", "inspect", "bench"])
def test_verbs_are_modules_with_their_arguments_untouched(checkout, verb, tmp_path):
    arguments = ["--config=configs/quickstart.py:vit", '--note=it\'s  two "words" $HOME *']
    checkout.run(verb, *arguments, cwd=tmp_path, STUB_PROGRAM="import os; print(os.getcwd())")
    assert checkout.runs() == [["-m", f"train.{verb}", *arguments]]


def test_paths_are_relative_to_the_checkout(checkout, tmp_path):
    result = checkout.run("train", cwd=tmp_path, STUB_PROGRAM="import os; print(os.getcwd())")
    assert result.stdout.strip() == str(checkout.root)


@pytest.mark.parametrize("environment, workdir", [({}, "runs/quickstart"), ({"WORKDIR": "/tmp/x y"}, "/tmp/x y")])
def test_no_verb_is_the_quickstart(checkout, environment, workdir):
    checkout.run(**environment)
    expected = ["--config=configs/quickstart.py", "--seeds=3", f"--workdir={workdir}"]
    assert checkout.runs() == [["-m", "train.compare", *expected]]


def test_exit_code_is_the_programs(checkout):
    checkout.run("evaluate", status=3, STUB_PROGRAM="raise SystemExit(3)")


def test_test_is_the_quick_tier(checkout):
    checkout.run("test", "tests/archs", "-k", "lenet or mlp")
    expected = ["-m", "pytest", "-n", "2", "-m", "not slow", "tests/archs", "-k", "lenet or mlp"]
    assert checkout.runs() == [expected]
    assert checkout.installs() == [".[test]"]


def test_test_all_is_everything(checkout):
    program = "import os; print(os.environ['JAX_COMPILATION_CACHE_DIR'])"
    result = checkout.run("test", "-x", "--all", "tests/train", STUB_PROGRAM=program)
    assert checkout.runs() == [["-m", "pytest", "-n", "2", "-m", "", "-x", "tests/train"]]
    assert result.stdout.strip() == str(checkout.root / ".cache/jax")


# ------------------------------------------------------------------ environment


def test_installs_once_and_again_when_requirements_change(checkout):
    checkout.run("inspect")
    checkout.run("inspect")
    assert checkout.installs() == ["."]
    for name in ("pyproject.toml", "constraints.txt"):
        with open(checkout.root / name, "a") as file:
            file.write("# changed\n")
        checkout.run("inspect")
        checkout.run("inspect")
    assert checkout.installs() == [".", ".", "."]
    assert len([call for call in checkout.calls() if call[1] == "venv"]) == 1


def test_an_extra_is_added_once_and_kept(checkout):
    checkout.run("inspect")
    checkout.run("setup", "test")
    checkout.run("test")
    checkout.run("setup", "wandb")
    with open(checkout.root / "constraints.txt", "a") as file:
        file.write("# changed\n")
    checkout.run("inspect")
    assert checkout.installs() == [".", ".[test]", ".[test,wandb]", ".[test,wandb]"]


def test_setup_knows_the_extras_of_pyproject(checkout):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    checkout.run("setup", *extras)
    assert checkout.installs() == [f".[{','.join(sorted(extras))}]"]
    message = one_line(checkout.run("setup", "test", "torhc", status=2).stderr)
    assert "'torhc'" in message
    assert all(extra in message for extra in extras)


def test_a_failed_install_is_done_again(checkout):
    assert "the same command tries again" in checkout.run("inspect", status=1, STUB_PIP_STATUS="1").stderr
    assert not checkout.runs()
    checkout.run("inspect")
    checkout.run("inspect")
    assert checkout.installs() == [".", "."]
    assert len(checkout.runs()) == 2


def test_a_killed_install_is_done_again(checkout):
    process = checkout.start("inspect", STUB_PIP_SECONDS="1")
    wait_for(checkout.installs)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    checkout.run("inspect")
    assert checkout.installs() == [".", "."]


def test_tasks_that_start_together_install_once(checkout):
    processes = [checkout.start("inspect", STUB_PIP_SECONDS="1") for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert checkout.installs() == ["."]
    assert len(checkout.runs()) == 4


def test_a_moved_checkout_is_installed_again(checkout):
    checkout.run("inspect")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    checkout.run("inspect")
    assert checkout.installs() == [".", "."]


def test_python_too_old(checkout):
    message = one_line(checkout.run("inspect", status=2, STUB_VERSION="3.10").stderr)
    assert "python3 is 3.10" in message
    assert "3.11" in message and "PYTHON=" in message
    message = one_line(checkout.run("inspect", status=2, PYTHON="/no/such/python").stderr)
    assert "/no/such/python" in message
    assert not (checkout.root / ".venv").exists()


def test_another_python_remakes_the_environment(checkout):
    checkout.run("inspect")
    checkout.run("inspect", PYTHON="python3")
    assert len(checkout.installs()) == 1
    checkout.run("inspect", PYTHON="python3", STUB_VERSION="3.12")
    checkout.run("inspect", PYTHON="python3", STUB_VERSION="3.12")
    assert len(checkout.installs()) == 2
    assert len([call for call in checkout.calls() if call[1] == "venv"]) == 2


def test_archs_venv_is_used_as_it_is(checkout, tmp_path):
    (tmp_path / "own/bin").mkdir(parents=True)
    shutil.copy(checkout.path / "python3", tmp_path / "own/bin/python")
    checkout.run("test", ARCHS_VENV=str(tmp_path / "own"))
    assert not checkout.installs() and len(checkout.runs()) == 1
    assert "ARCHS_VENV" in one_line(checkout.run("setup", status=2, ARCHS_VENV=str(tmp_path / "own")).stderr)
    message = one_line(checkout.run("test", status=2, ARCHS_VENV="/no/such/environment").stderr)
    assert "/no/such/environment/bin/python" in message


@pytest.mark.parametrize("driver, extra", [("580.65.06", ".[cuda]"), ("550.54.15", ".[cuda12]")])
def test_a_gpu_brings_its_extra(checkout, driver, extra):
    checkout.program("nvidia-smi", f"#!/usr/bin/env bash\necho {driver}\necho {driver}\n")
    checkout.run("inspect")
    checkout.run("inspect")
    assert checkout.installs() == [extra]


def test_the_accelerator_can_be_said(checkout):
    checkout.program("nvidia-smi", "#!/usr/bin/env bash\necho 580.65.06\n")
    checkout.run("inspect", ARCHS_ACCELERATOR="cpu")
    checkout.run("inspect", ARCHS_ACCELERATOR="tpu")
    assert checkout.installs() == [".", ".[tpu]"]
    message = one_line(checkout.run("inspect", status=2, ARCHS_ACCELERATOR="gpu").stderr)
    assert "'gpu'" in message and "cuda12" in message


TUNABLES = "import os; print(os.environ.get('GLIBC_TUNABLES'))"


@pytest.mark.parametrize("verb", ["train", "compare"])
@pytest.mark.parametrize(
    "environment, tunables",
    [
        ({"ARCHS_ACCELERATOR": "cpu"}, r"glibc\.malloc\.\S+"),
        ({"ARCHS_ACCELERATOR": "cpu", "GLIBC_TUNABLES": "mine"}, "mine"),
        ({"ARCHS_ACCELERATOR": "tpu"}, "None"),
    ],
)
def test_memory_is_kept_between_steps_on_a_cpu(checkout, verb, environment, tunables):
    assert re.fullmatch(tunables, checkout.run(verb, STUB_PROGRAM=TUNABLES, **environment).stdout.strip())


# ------------------------------------------------------------------ stops and restarts


def test_stopped_and_saved_runs_again(checkout):
    program = "import os; raise SystemExit(75 if open(os.environ['CALLS']).read().count('-m train') < 3 else 0)"
    result = checkout.run("train", "--workdir=runs/a b", STUB_PROGRAM=program)
    assert checkout.runs() == [["-m", "train", "--workdir=runs/a b"]] * 3
    assert result.stderr.count("running the same command again") == 2


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_any_other_end_is_the_end(checkout, status):
    checkout.run("train", status=status, STUB_PROGRAM=f"raise SystemExit({status})")
    assert len(checkout.runs()) == 1


# As train does: the first signal asks for a stop, a second Ctrl-C ends the program at once.
SAVES = """
import os, signal, sys, time
asked = []
def note(number, frame):
    if asked and number == signal.SIGINT:
        os._exit(130)
    asked.append(number)
signal.signal(signal.SIGTERM, note)
signal.signal(signal.SIGINT, note)
os.write(1, b"ready\\n")
while not asked:
    time.sleep(0.05)
os.write(1, b"saving\\n")
time.sleep(0.5)
os.write(1, b"saved\\n")
sys.exit(75)
"""


@pytest.mark.parametrize("name, times", [("SIGTERM", 1), ("SIGTERM", 3), ("SIGINT", 1), ("SIGINT", 3)])
def test_a_signal_reaches_the_child_and_its_code_comes_back(checkout, name, times):
    process = checkout.start("train", STUB_PROGRAM=SAVES)
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        process.send_signal(getattr(signal, name))
        time.sleep(0.1)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (75, "saving\nsaved\n"), err
    assert len(checkout.runs()) == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_all_of_the_group_is_as_good(checkout, name):
    process = checkout.start("train", STUB_PROGRAM=SAVES)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (75, "saving\nsaved\n"), err


@pytest.mark.parametrize("times, status", [(1, 75), (2, 130)])
def test_ctrl_c_in_a_terminal_is_not_doubled(checkout, times, status):
    checkout.run("setup")
    process, terminal = pty.fork()
    if process == 0:
        command = ["launch.sh", "train"]
        os.execve(checkout.root / "launch.sh", command, checkout.environment | {"STUB_PROGRAM": SAVES})
    screen = b""
    while chunk := read(terminal):
        screen += chunk
        if chunk.endswith(b"ready\r\n") or (times == 2 and chunk.endswith(b"saving\r\n")):
            os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == status, screen
    assert (screen.count(b"saving"), screen.count(b"saved")) == (1, 2 - times), screen


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # EIO: nobody has the terminal open any more
        return b""


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.05)

"""launch.sh, run for real over a stand-in Python (nothing is installed, no network) and a stand-in gcloud."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GCLOUD = Path(__file__).with_name("gcloud")
VERBS = ["train", "evaluate", "decode", "export", "compare", "inspect", "bench", "test", "setup", "tpu"]
TOOLS = ["bash", "cat", "cksum", "cp", "dirname", "env", "git", "gzip", "mkdir", "mktemp"]
TOOLS += ["mv", "rm", "sed", "sleep", "sort", "tar", "touch", "tr", "xargs"]

# It answers as an interpreter, an environment or pip would, and writes each call down.
PYTHON = """#!/usr/bin/env bash
record() { echo "$(printf '%q ' "$@")" >>"$CALLS"; }  # one write: workers record at the same time
case "$1 $2" in
  "-c "*version_info*) echo "${STUB_VERSION:-3.11}" ;;
  "-c "*fcntl* | "-c "*subprocess*) exec REAL_PYTHON "$@" ;;
  "-c "*) ;;
  "-m pip")
    [[ $3 != --version ]] || exit 0
    record "$@"
    sleep "${STUB_PIP_SECONDS:-0}"
    exit "${STUB_PIP_STATUS:-0}"
    ;;
  "-m venv")
    record "$@"
    for last in "$@"; do :; done
    mkdir -p "$last/bin"
    cp "$0" "$last/bin/python"
    ;;
  *)
    record "$@"
    [[ -z ${STUB_PROGRAM:-} ]] || exec REAL_PYTHON -c "$STUB_PROGRAM" "$@"
    ;;
esac
"""


class Checkout:
    """A copy of launch.sh with small requirements, and a PATH that holds nothing but the tools it may use."""

    def __init__(self, directory: Path):
        self.root = directory / "a checkout"
        self.path = directory / "bin"
        self.calls_file = directory / "calls"
        self.root.mkdir()
        self.path.mkdir()
        shutil.copy(ROOT / "launch.sh", self.root)
        shutil.copy(ROOT / "pyproject.toml", self.root)
        (self.root / "constraints.txt").write_text("six==1.17.0\n")
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"needs {tool}"))
        self.program("python3", PYTHON.replace("REAL_PYTHON", shlex.quote(sys.executable)))
        # Nothing else of the caller's: no HOME, no locale.
        self.environment = {"PATH": str(self.path), "CALLS": str(self.calls_file)}

    def program(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [self.root / "launch.sh", *arguments],
            cwd=cwd or self.root,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, status: int = 0, **environment) -> subprocess.CompletedProcess:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, (process.returncode, out, err)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def calls(self) -> list[list[str]]:
        if not self.calls_file.exists():
            return []
        return [shlex.split(line) for line in self.calls_file.read_text().splitlines()]

    def installs(self) -> list[str]:
        """What each call of pip was to install, for example '.[cuda,test]'."""
        return [call[call.index("-e") + 1] for call in self.calls() if "install" in call]

    def runs(self) -> list[list[str]]:
        return [call for call in self.calls() if call[1] not in ("pip", "venv")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


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


# ------------------------------------------------------------------ TPU VMs


@pytest.fixture
def pod(checkout, tmp_path):
    """The checkout in git, and a pod of two workers that the stand-in gcloud leads to."""
    (tmp_path / "pod").mkdir()
    (checkout.path / "gcloud").symlink_to(GCLOUD)
    checkout.environment |= {"FAKE_TPU": str(tmp_path / "pod"), "ARCHS_ACCELERATOR": "cpu"}
    (checkout.root / ".gitignore").write_text(".venv*\nsecret\n")
    git = ["git", "-C", checkout.root, "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "m"], check=True)
    return tmp_path / "pod"


REPORTS = """
import json, os, sys
names = ["JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "ARCHS_GIT_COMMIT"]
print(json.dumps([sys.argv[1:], [os.environ[name] for name in names]]))
"""


def test_tpu_runs_the_same_command_on_every_worker(checkout, pod):
    awkward = [
        '--config.note=it\'s  two "words"',
        "--tokens=$HOME `id` * ; exit 9",
        "--empty=",
        "",
        "\\",
        "é\tx",
    ]
    result = checkout.run("tpu", "demo", "--zone=z", "--", "train", *awkward, STUB_PROGRAM=REPORTS)
    head = subprocess.run(["git", "-C", checkout.root, "rev-parse", "HEAD"], capture_output=True, text=True)
    reports = {}
    for line in result.stdout.splitlines():
        worker, text = re.fullmatch(r"worker (\d): (.*)", line).groups()
        if text.startswith("[["):
            reports[worker] = json.loads(text)
    assert set(reports) == {"0", "1"}
    for worker, (arguments, environment) in reports.items():
        assert arguments == ["-m", "train", *awkward]
        assert environment[1:] == ["2", worker, head.stdout.strip()]
    assert reports["0"][1][0] == reports["1"][1][0]


def test_tpu_pushes_what_git_would_hold_and_removes_what_is_gone(checkout, pod):
    (checkout.root / "old module.py").write_text("")
    (checkout.root / "secret").write_text("")
    checkout.run("tpu", "demo", "--zone", "z", "--project", "p", "--", "setup")
    there = [pod / f"worker-{worker}/architectures" for worker in (0, 1)]
    for directory in there:
        assert (directory / "old module.py").exists() and (directory / ".venv/installed").exists()
        assert not (directory / "secret").exists()
        (directory / "runs").mkdir()
    (checkout.root / "old module.py").unlink()
    (checkout.root / "new.py").write_text("")
    checkout.run("tpu", "demo", "--zone=z", "--", "setup")
    for directory in there:
        assert not (directory / "old module.py").exists()
        assert (directory / "new.py").exists() and (directory / "runs").exists()
    assert checkout.installs() == [".", "."]


def test_tpu_passes_gclouds_options_on(checkout, pod):
    checkout.run("tpu", "--project=p", "demo", "--zone=z", "--", "setup")
    calls = (pod / "calls").read_text().split("\n\n")
    assert len([call for call in calls if "--project=p\n--zone=z" in call and "--worker=all" in call]) == 2
    assert "--internal-ipp" in checkout.run("tpu", "d", "--zone=z", "--internal-ipp", "--", "setup", status=2).stderr


def test_tpu_fails_when_a_worker_does(checkout, pod):
    program = "import os; raise SystemExit(3 if os.environ['JAX_PROCESS_ID'] == '1' else 0)"
    checkout.run("tpu", "demo", "--zone=z", "--", "train", status=3, STUB_PROGRAM=program)


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--zone=z", "--", "train"], "no TPU VM named"),
        (["demo", "--", "train"], "no --zone=ZONE"),
        (["demo", "--zone=", "--", "train"], "no --zone=ZONE"),
        (["demo", "--zone=", "--project=p", "--", "train"], "no --zone=ZONE"),
        (["demo", "--zone"], "no --zone=ZONE"),
        (["demo", "--zone=z"], "nothing to run after '--'"),
        (["demo", "--zone=z", "--"], "nothing to run after '--'"),
        (["demo", "--zone=z", "train"], "missing '--'"),
        (["demo", "--zone=z", "--", "trian"], "unknown verb 'trian'"),
        (["demo", "--zone=z", "--", "tpu"], "unknown verb 'tpu'"),
    ],
)
def test_tpu_mistakes(checkout, pod, arguments, problem):
    assert problem in one_line(checkout.run("tpu", *arguments, status=2).stderr)
    assert not (pod / "calls").exists()


def test_tpu_without_gcloud_or_git(checkout, pod):
    (checkout.path / "gcloud").unlink()
    message = one_line(checkout.run("tpu", "demo", "--zone=z", "--", "train", status=2).stderr)
    assert "gcloud is not on PATH" in message
    (checkout.path / "gcloud").symlink_to(GCLOUD)
    shutil.rmtree(checkout.root / ".git")
    assert "git init" in checkout.run("tpu", "demo", "--zone=z", "--", "train", status=2).stderr
    assert not (pod / "calls").exists()


@pytest.mark.slow
def test_tpu_workers_form_one_job(tmp_path):
    """The real launch.sh and the real train: two workers, one curve."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "pod").mkdir()
    (tmp_path / "gcloud").symlink_to(GCLOUD)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "FAKE_TPU": str(tmp_path / "pod"),
        "FAKE_TPU_PORT": str(port),
        "ARCHS_VENV": sys.prefix,
        "JAX_PLATFORMS": "cpu",
    }
    workdir = tmp_path / "run"
    train = ["train", "--config=configs/quickstart.py:mlp", "--config.steps=4", f"--workdir={workdir}"]
    command = [ROOT / "launch.sh", "tpu", "demo", "--zone=z", "--", *train]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((workdir / "provenance.json").read_text())["process_count"] == 2
    assert len(list(workdir.rglob("metrics.jsonl"))) == 1
    steps = [json.loads(line).get("step") for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps and max(step for step in steps if step is not None) == 4

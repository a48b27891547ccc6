"""launch.sh on the workers of a TPU VM, over a stand-in gcloud that leads to two folders."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.launch.checkouts import GCLOUD, ROOT, one_line


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

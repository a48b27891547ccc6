"""A copy of launch.sh over a stand-in Python: nothing is installed, and there is no network."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GCLOUD = Path(__file__).with_name("gcloud")
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


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text

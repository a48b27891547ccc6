#!/usr/bin/env bash
# The one entry point: makes the environment on first use, then runs a verb. './launch.sh -h' lists them.
set -euo pipefail
unset CDPATH
# Where bytecode may not be written, each start compiles every import anew: 20 s instead of 6.
unset PYTHONDONTWRITEBYTECODE

root=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
venv=${ARCHS_VENV:-$root/.venv}
stamp=$root/.venv/installed
verbs="train evaluate decode export compare inspect bench test setup tpu"
# 'python -m' puts the current directory first on the path: the code that runs is this checkout's.
cd -- "$root"

help() {
  cat <<'HELP'
./launch.sh                  quickstart: four architectures on handwritten digits, 3 seeds, one report
./launch.sh train …          train one config; run it again after a stop and it goes on where it was
./launch.sh evaluate …       measure a finished or stopped run
./launch.sh decode …         write text: translations, or continuations of what a language model is given
./launch.sh export …         write a run's weights as a Hugging Face folder
./launch.sh compare …        train many runs, or judge claims, and write one report
./launch.sh inspect …        parameters, FLOPs and memory, without training
./launch.sh bench …          time the loop
./launch.sh test [--all] …   quick tests; --all adds the slow ones; the rest goes to pytest
./launch.sh setup [EXTRA …]  only make the environment, with optional extras of pyproject.toml
./launch.sh tpu NAME --zone=ZONE [--project=PROJECT] -- VERB …
                             push this code to every worker of a TPU VM and run VERB on all of them

Examples:
  ./launch.sh train --config=configs/quickstart.py:lenet --config.optimizer.learning_rate=1e-3 --workdir=runs/lenet
  ./launch.sh inspect --model=vit --variant=B/16
  ./launch.sh test tests/archs -k lenet
  ./launch.sh tpu my-pod --zone=us-central2-b -- train --config=configs/quickstart.py:vit --workdir=gs://bucket/vit
  srun ./launch.sh train --config=configs/quickstart.py:vit --workdir=/shared/vit      (the tasks form one job)

Every command takes --help. Paths are relative to the directory of launch.sh.

Exit codes: 0 done, 2 a mistake in the command, 3 diverged, 75 stopped and saved: the same command goes on.
After a 75 that nobody asked for here (one machine of a job is preempted), train is run again by itself.

Environment variables:
  PYTHON             interpreter that .venv is made with (3.11 or newer); another version remakes it
  WORKDIR            where the quickstart writes (runs/quickstart)
  ARCHS_ACCELERATOR  cpu, cuda, cuda12 or tpu; found out by itself when not set
  ARCHS_VENV         an environment that exists already: used as it is, nothing is installed
  GLIBC_TUNABLES     how memory is kept between steps; set for networks on a CPU, where you do not set it
HELP
}

say() { echo "launch.sh: $*" >&2; }

# 2: the user's mistake, one clear line.
fail() {
  say "$*"
  exit 2
}

# ---------------------------------------------------------------------- environment

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
  local candidate version found=""
  if [[ -n ${PYTHON:-} ]]; then set -- "$PYTHON"; else set -- python3 python3.12 python3.11 python3.13 python; fi
  for candidate in "$@"; do
    version=$(python_version "$candidate") || continue
    if ((${version%%.*} > 3 || (${version%%.*} == 3 && ${version#*.} >= 11))); then
      echo "$candidate"
      return
    fi
    found+=" $candidate is $version;"
  done
  fail "no Python 3.11 or newer among: $*.${found:+ Found:$found} Install one" \
    "(Debian, Ubuntu: apt-get install python3.11-venv) or name it: PYTHON=/path/to/python3.12 ./launch.sh"
}

# Changes when the requirements do, and when the checkout moves: scripts in an environment hold its path.
fingerprint() { echo "$(cat pyproject.toml constraints.txt | cksum) $venv"; }

stamped() { sed -n "$1p" "$stamp" 2>/dev/null || true; } # 1: fingerprint, 2: Python version, 3: extras

same_python() { [[ -z ${PYTHON:-} || $(python_version "$PYTHON") == "$(stamped 2)" ]]; }

has_extras() {
  local extra installed
  installed=" $(stamped 3) "
  for extra in "$@"; do [[ $installed == *" $extra "* ]] || return 1; done
}

is_ready() {
  [[ -x $venv/bin/python && $(stamped 1) == "$(fingerprint)" ]] && same_python && has_extras "$@"
}

known_extras() {
  sed -n '/^\[project.optional-dependencies\]/,/^\[tool/s/^\([a-z0-9]*\) = .*/\1/p' pyproject.toml | tr '\n' ' '
}

check_extras() {
  local extra known
  known=" $(known_extras)"
  for extra in "$@"; do
    [[ $known == *" $extra "* ]] || fail "unknown extra '$extra'; pyproject.toml has:$known"
  done
}

# Prints the extra that this machine's accelerator needs, or nothing.
accelerator() {
  case ${ARCHS_ACCELERATOR:-} in
    cpu) ;;
    cuda | cuda12 | tpu) echo "$ARCHS_ACCELERATOR" ;;
    "") detect_accelerator ;;
    *) fail "ARCHS_ACCELERATOR is '$ARCHS_ACCELERATOR'; it may be cpu, cuda, cuda12 or tpu, or unset" ;;
  esac
}

detect_accelerator() {
  local driver
  # Asking the driver takes a second on some machines: once it is installed, do not ask again.
  if has_extras cuda || has_extras cuda12 || has_extras tpu; then return; fi
  if [[ -e /dev/accel0 || (-e /dev/vfio/0 && $(cat /sys/class/dmi/id/product_name 2>/dev/null) == Google*) ]]; then
    echo tpu
  elif driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) && [[ -n $driver ]]; then
    # CUDA 13 needs driver 580.
    if ((${driver%%.*} >= 580)); then echo cuda; else echo cuda12; fi
  fi
}

# ensure_environment EXTRA…: .venv is there, made from the present pyproject.toml, and has these extras.
ensure_environment() {
  local extra
  if [[ -n ${ARCHS_VENV:-} ]]; then
    [[ -x $venv/bin/python ]] || fail "ARCHS_VENV is '$ARCHS_VENV', but $venv/bin/python is not there"
    return
  fi
  extra=$(accelerator)
  if [[ -n $extra ]]; then set -- "$extra" "$@"; fi
  if is_ready "$@"; then return; fi
  # Tasks of one job start together, and only one of them may install.
  (
    python=$(find_python)
    # The lock is on the open file, which this subshell keeps: it goes when the subshell ends, however it ends.
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    if ! is_ready "$@"; then install "$python" "$@"; fi
  ) 9>"$venv.lock"
}

# install PYTHON EXTRA…
install() {
  local python=$1 extras pip
  shift
  extras=$({ printf '%s\n' "$@" && stamped 3 | tr ' ' '\n'; } | sed '/./!d' | sort -u | tr '\n' ' ')
  extras=${extras% }
  pip=("$venv/bin/python" -m pip)
  # Without its stamp an interrupted install is not mistaken for a finished one.
  if ! same_python || ! "${pip[@]}" --version >/dev/null 2>&1; then
    say "making .venv with Python $(python_version "$python") (a minute or two, once)"
    rm -rf -- "$venv"
    if "$python" -m pip --version >/dev/null 2>&1; then
      # The interpreter's own pip fills the environment: giving it one first takes 9 s.
      "$python" -m venv --without-pip "$venv"
      pip=("$python" -m pip --python "$venv/bin/python")
    else
      "$python" -m venv "$venv"
    fi
  fi
  rm -f -- "$stamp"
  say "installing the packages of constraints.txt${extras:+, extras: $extras}"
  # pip would compile 8,000 files on one core, 50 s; 'warm' does those that are used, on two.
  "${pip[@]}" install -qq --no-compile --no-input --disable-pip-version-check --root-user-action=ignore \
    -c constraints.txt pip -e ".${extras:+[${extras// /,}]}" || {
    say "pip could not install (its reason is above); the same command tries again"
    exit 1
  }
  warm
  printf '%s\n' "$(fingerprint)" "$(python_version "$venv/bin/python")" "$extras" >"$stamp.new"
  mv -- "$stamp.new" "$stamp"
}

# Writes the bytecode of what every run imports.
warm() {
  local modules
  for modules in "flax.linen, optax, orbax.checkpoint, grain" "matplotlib.pyplot, sklearn.datasets, scipy.stats"; do
    "$venv/bin/python" -c "import $modules" >/dev/null 2>&1 &
  done
  wait
}

# ---------------------------------------------------------------------- verbs

# On a CPU, every step takes its memory from the system and gives it back, and the system clears each page of it again.
# With glibc, a process keeps what it once had, in large pages; elsewhere the variable says nothing.
keep_memory() {
  # Which devices ARCHS_VENV serves is not known.
  if [[ -z ${ARCHS_VENV:-} ]] && ! has_extras cuda && ! has_extras cuda12 && ! has_extras tpu; then
    export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184}
  fi
}

run_module() {
  ensure_environment
  keep_memory
  exec "$venv/bin/python" -m "$@"
}

train() {
  ensure_environment
  keep_memory
  exec "$venv/bin/python" -c "$restart" "$venv/bin/python" -m train "$@"
}

# Exit code 75 says "stopped and saved, run the same command again". We do, unless we were told to stop ourselves.
# In Python: when a child ends just as a signal arrives, bash loses its exit code.
restart='
import signal, subprocess, sys, time

child, stopping = None, False

def stop(number, frame):
    # Never SIGINT: a terminal sends its Ctrl-C to the child too, and a second one means "now, without saving".
    global stopping
    stopping = True
    if number == signal.SIGINT:  # The one of the terminal must come first, or it would be the second.
        time.sleep(0.2)
    if child:
        child.terminate()

signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
status = 75
while status == 75 and not stopping:
    child = subprocess.Popen(sys.argv[1:])
    if stopping:  # between the two lines above
        child.terminate()
    status = child.wait()
    if status == 75 and not stopping:
        print("launch.sh: stopped and saved (exit code 75): running the same command again", file=sys.stderr)
sys.exit(status if status >= 0 else 128 - status)
'

run_tests() {
  local argument tier="not slow"
  for argument in "$@"; do
    shift
    if [[ $argument == --all ]]; then tier=""; else set -- "$@" "$argument"; fi
  done
  ensure_environment test
  # Most of the time goes into compiling the same small models: keep them from one run to the next.
  export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$root/.cache/jax}
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0.2}
  exec "$venv/bin/python" -m pytest -n 2 -m "$tier" "$@"
}

setup() {
  if [[ -n ${ARCHS_VENV:-} ]]; then fail "setup installs into .venv, but ARCHS_VENV names another environment: unset it"; fi
  check_extras "$@"
  ensure_environment "$@"
}

# ---------------------------------------------------------------------- TPU VMs

# tpu NAME --zone=ZONE [gcloud options] -- VERB …
tpu() {
  local usage="usage: ./launch.sh tpu NAME --zone=ZONE [--project=PROJECT] -- VERB …" name="" zone="" options commit
  options=(--worker=all)
  while (($#)) && [[ $1 != -- ]]; do
    case $1 in
      --zone | --project)
        if (($# > 1)); then set -- "$1=$2" "${@:3}"; else set -- "$1="; fi
        continue
        ;;
      --zone=*) zone=${1#*=} ;;
      --*) options+=("$1") ;;
      *)
        [[ -z $name ]] || fail "two names, '$name' and '$1', or a missing '--' before the verb; $usage"
        name=$1
        ;;
    esac
    shift
  done
  [[ -n $name ]] || fail "no TPU VM named; $usage"
  [[ -n $zone ]] || fail "no --zone=ZONE given; $usage"
  (($# > 1)) || fail "nothing to run after '--'; $usage"
  shift
  options+=("--zone=$zone")
  [[ " ${verbs/ tpu/} " == *" $1 "* ]] || fail "unknown verb '$1' after '--'; one of: ${verbs/ tpu/}"
  command -v gcloud >/dev/null || fail "gcloud is not on PATH: install the Google Cloud CLI, then 'gcloud auth login'"

  scratch=$(mktemp -d)
  trap 'rm -rf -- "$scratch"' EXIT
  pack "$scratch"
  commit=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || true)
  say "pushing the code to every worker of $name"
  gcloud compute tpus tpu-vm scp "$scratch/architectures.tgz" "$name:" "${options[@]}"
  say "running on every worker of $name: ./launch.sh $*"
  gcloud compute tpus tpu-vm ssh "$name" "${options[@]}" --command="$(remote_command "$commit" "$@")"
}

# The files that git tracks or would track, and their list, by which the next push removes them.
pack() {
  local file
  git ls-files -z --cached --others --exclude-standard >"$1/listed" ||
    fail "pushing needs a git checkout: $root is none, so run 'git init' there first"
  while IFS= read -r -d '' file; do
    if [[ -e $file || -L $file ]]; then printf '%s\0' "$file"; fi
  done <"$1/listed" >"$1/.pushed"
  COPYFILE_DISABLE=1 tar -czf "$1/architectures.tgz" -C "$1" .pushed -C "$root" --null -T "$1/.pushed"
}

# remote_command COMMIT VERB …: one line for each worker's shell. What runs left there (.venv, runs/) stays.
remote_command() {
  local commit=$1
  shift
  printf '%s && ' \
    "mkdir -p ~/architectures && cd ~/architectures" \
    "{ test ! -f .pushed || xargs -0 rm -f -- < .pushed; }" \
    "tar -xzf ~/architectures.tgz" \
    "{ $install_python; }"
  printf '%s' "ARCHS_ACCELERATOR=\${ARCHS_ACCELERATOR:-tpu} ARCHS_GIT_COMMIT=$commit ./launch.sh"
  printf ' %q' "$@"
}

# The usual TPU VM image is an Ubuntu whose own Python is 3.10. If this fails, launch.sh there says what is missing.
install_python="python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || python3.11 --version >/dev/null 2>&1"
install_python+=" || { sudo apt-get update && sudo apt-get install -y python3.11-venv; } || true"

# ---------------------------------------------------------------------- which verb

if (($# == 0)); then
  run_module train.compare --config=configs/quickstart.py --seeds=3 --workdir="${WORKDIR:-runs/quickstart}"
fi
verb=$1
shift
case $verb in
  -h | --help | help) help ;;
  train | setup | tpu) "$verb" "$@" ;;
  evaluate | decode | compare | inspect | bench) run_module "train.$verb" "$@" ;;
  export) run_module train.pretrained "$@" ;;
  test) run_tests "$@" ;;
  -*) fail "options go after a verb, and '$verb' is none; verbs: $verbs (./launch.sh -h tells what they do)" ;;
  *) fail "unknown verb '$verb'; verbs: $verbs (./launch.sh -h tells what they do)" ;;
esac

"""One run from its start to its end: what it writes, when it goes on, and how it fails."""

import json
import signal
import threading

import pytest
from etils import epath

from tests.train.runs import StopAt, final_state, rows, same, small
from train import evaluate, loop, writers
from train.__main__ import main
from train.errors import DIVERGED, Diverged, Stopped, UserError, run_command
from train.evaluators import accuracy


def test_a_run_writes_what_it_did(tmp_path):
    result = loop.train(small(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json", "batch.json", "provenance.json", "metrics.jsonl", "result.json", "checkpoints",
    }  # fmt: skip
    assert result.step == 20 and result.step_time > 0
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["device_platform"] == "cpu" and provenance["matmul_precision"] == "highest"
    log = rows(tmp_path)
    training = [row["step"] for row in log if "train/loss" in row]
    assert set(training) >= {5, 10, 15, 20}
    assert {"train/loss", "train/accuracy", "train/gradient_norm", "train/learning_rate"} <= log[0].keys()
    measured = [row for row in log if "test/accuracy" in row]
    assert [row["step"] for row in measured] == [10, 20]
    assert result.metrics["test/accuracy"] == measured[-1]["test/accuracy"]


def test_a_run_may_live_in_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loop.train(small(), "runs/here")
    assert (tmp_path / "runs" / "here" / "checkpoints" / "20").exists()
    evaluate.main(["--workdir=runs/here"])


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        loop.train(small(), tmp_path / "file")


def test_the_log_holds_means_over_its_interval(tmp_path):
    loop.train(small("log_every=1"), tmp_path / "each")
    loop.train(small("log_every=10"), tmp_path / "ten")
    each = {row["step"]: row["train/loss"] for row in rows(tmp_path / "each") if "train/loss" in row}
    ten = {row["step"]: row["train/loss"] for row in rows(tmp_path / "ten") if "train/loss" in row}
    assert ten[20] == pytest.approx(sum(each[step] for step in range(11, 21)) / 10, rel=1e-6)


def test_every_update_is_in_the_log_also_after_a_restart(tmp_path):
    with pytest.raises(Stopped):
        loop.train(small("log_every=1"), tmp_path / "stopped", writer=StopAt(6))
    loop.train(small("log_every=1"), tmp_path / "stopped")
    loop.train(small("log_every=1"), tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "whole") if "train/loss" in row] == list(range(1, 21))
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_times_add_up_to_no_more_than_passed(tmp_path):
    result = loop.train(small("steps=200", "evaluators.accuracy.every=100", "log_every=5"), tmp_path)
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    timed = [row["step_time"] for row in log if "step_time" in row]
    assert len(timed) == 40 and all(time > 0 for time in timed)
    assert result.step_time * 199 <= result.wall_time
    assert result.step_time == pytest.approx(sum(timed) / len(timed), rel=0.2)


def test_an_evaluator_may_be_added_to_a_finished_run(tmp_path):
    before = loop.train(small(), tmp_path)
    after = loop.train(small("evaluators.shift_robustness.max_shift=1"), tmp_path)
    assert after.metrics.keys() == before.metrics.keys() | {"test/accuracy_shift_1"}
    assert after.step_time == before.step_time and after.digest != before.digest


def test_what_was_learned_outlives_data_that_cannot_be_evaluated(tmp_path, monkeypatch):
    whole = loop.train(small("evaluators.accuracy.every=None"), tmp_path / "whole")

    def broken(self, evaluation):
        raise UserError("7.png: is no picture")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="7.png"):
        patch.setattr(accuracy.Evaluator, "evaluate", broken)
        loop.train(small("evaluators.accuracy.every=None"), tmp_path / "broken")
    mended = loop.train(small("evaluators.accuracy.every=None"), tmp_path / "broken")
    assert mended.metrics == whole.metrics
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole"), "nothing was trained twice"


def test_a_result_that_is_not_whole_is_made_again(tmp_path):
    before, log = loop.train(small(), tmp_path), rows(tmp_path)
    (tmp_path / "result.json").write_text("{")
    assert loop.train(small(), tmp_path).metrics == before.metrics
    assert rows(tmp_path) == log


def test_a_run_that_goes_on_keeps_its_origin(tmp_path):
    with pytest.raises(Stopped):
        loop.train(small(), tmp_path, writer=StopAt(5))
    first = json.loads((tmp_path / "provenance.json").read_text())
    loop.train(small(), tmp_path)
    after = json.loads((tmp_path / "provenance.json").read_text())
    assert len(after.pop("resumed")) == 1 and after == first


def test_a_finished_run_is_not_run_again(tmp_path):
    first = loop.train(small(), tmp_path)
    changed = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    assert loop.train(small(), tmp_path) == first
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == changed


def test_a_run_is_a_function_of_its_config(tmp_path):
    for name in ("a", "b"):
        loop.train(small(), tmp_path / name)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert same(final_state(tmp_path / "a", small()), final_state(tmp_path / "b", small()))


def test_another_config_is_refused_in_the_same_folder(tmp_path):
    loop.train(small(), tmp_path)
    with pytest.raises(UserError, match="optimizer.learning_rate: 0.003 -> 0.5; seed: 0 -> 1"):
        loop.train(small("seed=1", "optimizer.learning_rate=0.5"), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number):
    with pytest.raises(Stopped, match="resume with the same command"):
        loop.train(small(), tmp_path / "stopped", writer=StopAt(5, number))
    assert not (tmp_path / "stopped" / "result.json").exists()
    stopped = loop.train(small(), tmp_path / "stopped")
    whole = loop.train(small(), tmp_path / "whole")
    assert stopped.metrics == whole.metrics
    assert same(final_state(tmp_path / "stopped", small()), final_state(tmp_path / "whole", small()))
    whole_rows = rows(tmp_path / "whole")
    assert [row for row in rows(tmp_path / "stopped") if row["step"] >= 10] == [
        r for r in whole_rows if r["step"] >= 10
    ]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "handlers are put back"


def test_trains_in_another_thread_without_handling_signals(tmp_path):
    thread = threading.Thread(target=loop.train, args=(small(), tmp_path))
    thread.start()
    thread.join()
    assert (tmp_path / "result.json").exists()


DIVERGING = ("optimizer.name=sgd", "optimizer.learning_rate=1e38", "checkpoint.every=1", "log_every=1")


def test_divergence_names_step_rate_and_checkpoint(tmp_path):
    with pytest.raises(Diverged, match=r"at step \d+ \(learning rate 1e\+38\); last good checkpoint: "):
        loop.train(small(*DIVERGING), tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_a_state_that_went_bad_is_never_saved(tmp_path):
    config = small(*DIVERGING, "model.activation=tanh")
    with pytest.raises(Diverged) as ended:
        loop.train(config, tmp_path)
    bad = int(str(ended.value).split("at step ")[1].split()[0])
    saved = [int(p.name) for p in (tmp_path / "checkpoints").iterdir()]
    assert all(step < bad for step in saved)


def test_divergence_ends_the_process_with_3(tmp_path, capsys):
    flags = [f"--config.{flag}" for flag in (*DIVERGING, "steps=5", "model.hidden_sizes=8", "data.batch_size=16")]
    command = ["--config=configs/quickstart.py:mlp", *flags, f"--workdir={tmp_path / 'run'}"]
    assert run_command(lambda: main(command)) == DIVERGED
    assert "diverged: loss, gradient or update is not finite at step" in capsys.readouterr().err


def test_the_command_prints_progress(tmp_path, capsys):
    command = [
        "--config=configs/quickstart.py:mlp",
        "--config.steps=20",
        "--config.log_every=5",
        "--config.model.hidden_sizes=8",
    ]
    main([*command, f"--workdir={tmp_path}"])
    out = capsys.readouterr().out
    assert "step  5/20" in out and "ETA" in out and "examples/s" in out and "finished: step 20" in out


def test_a_trace_is_written_where_asked(tmp_path):
    loop.train(small(), tmp_path, profile=(3, 5))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_evaluation_repeats_what_training_measured(tmp_path):
    result = loop.train(small(), tmp_path)
    again = evaluate.evaluate(epath.Path(tmp_path), [])
    assert again == result.metrics
    more = evaluate.evaluate(epath.Path(tmp_path), ["evaluators.shift_robustness.max_shift=2"])
    assert more.keys() == result.metrics.keys() | {"test/accuracy_shift_1", "test/accuracy_shift_2"}
    assert json.loads((tmp_path / "evaluation.json").read_text()) == {"step": 20, **more}


def test_a_field_that_is_younger_than_a_run_has_its_default(tmp_path):
    result = loop.train(small(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["optimizer"]["l2_penalty"], config["data"]["length_buckets"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert evaluate.evaluate(epath.Path(tmp_path), []) == result.metrics
    with pytest.raises(UserError, match="must not be changed: optimizer.l2_penalty: 0.0 -> 0.5"):
        evaluate.evaluate(epath.Path(tmp_path), ["optimizer.l2_penalty=0.5"])


def test_evaluation_refuses_what_was_not_trained(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        evaluate.evaluate(epath.Path(tmp_path / "none"), [])
    loop.train(small(), tmp_path)
    with pytest.raises(UserError, match="what was trained must not be changed.*model.activation"):
        evaluate.evaluate(epath.Path(tmp_path), ["model.activation=tanh"])


def test_shift_robustness_refuses_what_it_cannot_shift():
    from train.experiment import build

    with pytest.raises(UserError, match="max_shift: 8 is out of range"):
        build(small("evaluators.shift_robustness.max_shift=8"))


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra 'tensorboard' is not installed")
    loop.train(small("writers=tensorboard"), tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.*"))


def test_a_writer_that_is_not_installed_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb is not installed; pip install -e '\.\[wandb\]'"):
        loop.train(small("writers=wandb"), tmp_path)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("seconds, text", [(5, "0:05"), (65.4, "1:05"), (3661, "1:01:01")])
def test_durations(seconds, text):
    assert writers.duration(seconds) == text

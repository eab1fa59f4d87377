"""The benchmark: what it asks, what it makes of answers that are known, and that a run survives what happens to runs."""

import csv
import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lara_core import benchmark
from lara_core.affect import PRESETS
from lara_core.audio import Audio, load, save
from lara_core.benchmark import report
from lara_core.benchmark.plan import MOVES, Job, Piece, Question, make_plan, make_targets, read_manifest, worded
from lara_core.benchmark.report import distances, rows_of, summarise, units, write
from lara_core.benchmark.run import measure, measure_all
from lara_core.choices import EMOTION_STRENGTH
from lara_core.cli import main

ROOT = Path(__file__).parent.parent
TEXTS = ("a", "b")


def read(path: Path) -> list[dict]:
    return list(csv.DictReader(path.read_text().splitlines()))


# ---- what is asked -------------------------------------------------------------------------------------------------


def test_target_sets():
    grid = make_targets("grid", 3)
    assert [t.curve.points[0][1:] for t in grid] == [(v, a) for v in (-1, 0, 1) for a in (-1, 0, 1)]
    people = make_targets("human")
    points = np.array([t.curve.points[0][1:] for t in people])
    assert len(people) == len({t.name for t in people}) == 89 and np.abs(points).max() <= 1 and points.std(0).min() > 0.15
    assert {t.name: t.curve for t in make_targets("arcs")} == PRESETS
    drawn = make_targets("drawn")
    values = np.stack([t.curve.at(np.linspace(0, 60, 241), 60.0) for t in drawn])
    assert drawn == make_targets("drawn") and len({t.name for t in drawn}) == len({t.curve for t in drawn}) == 48
    assert values.std(1).min() >= MOVES and np.abs(values).max() <= 1 and all(t.point is None for t in drawn)
    assert abs(np.corrcoef(*values.reshape(-1, 2).T)[0, 1]) < 0.2, "one dimension does not tell the other"


def test_words_stand_for_the_emotion():
    calm = make_targets("grid", 3)[6]
    assert worded("solo piano", calm.curve, 10) == "solo piano, relaxed"
    assert worded("solo piano", PRESETS["heartbreak"], 60).count(" then ") >= 2


def test_systems_ask_the_same_targets_with_the_same_seeds(tiny_model):
    systems = benchmark.read_systems(["model", "words", "none", f"ce={tiny_model}"], str(tiny_model))
    pieces = make_plan(Question(make_targets("grid", 2), TEXTS, 2, 1.0), systems)
    by_system = {s.name: [p for p in pieces if p.system == s.name] for s in systems}
    cells = [[(p.target.name, p.text, p.seed, p.job.seed) for p in own] for own in by_system.values()]
    assert len(cells[0]) == 4 * 2 * 2 and all(own == cells[0] for own in cells) and len({seed for *_, seed in cells[0]}) == 16
    assert [p.job.key for p in by_system["model"]] == [p.job.key for p in by_system["ce"]]  # one measurement serves both
    keys = {p.job.key for p in pieces}
    assert len(keys) == 3 * 16 and keys.isdisjoint(p.job.key for p in make_plan(Question(make_targets("grid", 2), TEXTS, 2, 1.5), systems))
    assert all((p.job.curve is None) == (p.system in ("words", "none")) and (p.job.prompt == p.text) == (p.system != "words") for p in pieces)


def test_words_and_takes_are_a_system_with_so_many_candidates(tiny_model):
    systems = benchmark.read_systems([f"led=words+takes:{tiny_model}"], str(tiny_model))
    plans = [make_plan(Question(make_targets("grid", 2), TEXTS, 1, 1.0, candidates=candidates), systems) for candidates in (2, 4)]
    assert systems[0].kind == "words+takes" and benchmark.described(systems[0], None).startswith("words+takes, ")
    for plan, candidates in zip(plans, (2, 4)):
        assert all(p.job.candidates == candidates and p.job.curve == p.target.curve and p.job.prompt == p.text for p in plan)
    assert {p.job.key for p in plans[0]}.isdisjoint(p.job.key for p in plans[1])


@pytest.mark.parametrize("options, words", [
    (["--systems", "modle"], "the system 'modle' is not known"),
    (["--systems", "ours=/no/such/model"], "no model"),
    (["--systems", "other=wavs:/no/such/folder"], "no folder /no/such/folder"),
    (["--systems", "words", "words"], "given twice"),
    (["--targets", "moods"], "choose from"),
    (["--grid", "1"], "--grid is 1"),
    (["--seeds", "0"], "--seeds is 0"),
    (["--candidates", "17"], "--candidates is 17"),
    (["--emotion-strength", "21"], "emotion_strength is 21"),
    (["--seconds", "nan"], "The length is nan"),
    (["--texts", " "], "a text is empty"),
    (["--texts", "x", "x"], "twice"),
    (["--jobs", "0"], "--jobs is 0"),
    (["--fad-reference", "/no/such/folder"], "not a folder"),
    (["--predictor", "/no/such/folder"], "/no/such/folder"),
])
def test_wrong_options(options, words, tmp_path, capsys):
    assert main(["bench-emotion", *options, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text, words", [("file,valence\nx.wav,1\n", "line 2"), ("file,valence,arousal\nx.wav,2,0\n", "line 2"),
                                         ("file,valence,arousal\n", "names no file"), ("file,target\nx.wav,unknown\n", "line 2")])
def test_wrong_manifests(text, words, tmp_path):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_manifest(tmp_path / "manifest.csv", make_targets("grid", 2))


# ---- what it makes of known answers --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(report, "RESAMPLES", 200)


def answers(systems: dict, targets, texts=TEXTS, **extra) -> tuple[list[Piece], dict]:
    """Systems as functions from (requested point, number of the piece) to the measured point -> a plan and its measurements."""
    pieces, measured = [], {}
    for name, answer in systems.items():
        for number, (target, text) in enumerate((target, text) for target in targets for text in texts):
            job = Job((name,), text, None, 30.0, number, name, "", None, None, "cpu", None)
            point = answer(np.array(target.curve.points[0][1:]), number)
            pieces.append(Piece(name, 1, target, text, 1, job))
            measured[job.key] = {"key": job.key, "problem": None, "seconds": 30.0, "music": 1.0, "level_db": -20.0, "bar_seconds": 2.0,
                                 "point": list(point), "times": [1.5], "values": [list(point)], "features": [0.0]} | extra
    return pieces, measured


def summary_of(systems: dict, grid=5, texts=TEXTS) -> dict:
    pieces, measured = answers(systems, make_targets("grid", grid), texts)
    return {(r["system"], r["scope"], r["dimension"], r["measure"]): r for r in summarise(rows_of(pieces, measured), arcs=False)}


def test_known_systems_get_their_figures():
    shuffled = np.random.default_rng(1).permuted(np.tile(np.linspace(-1, 1, 5), 20)).reshape(-1, 2)
    found = summary_of({"perfect": lambda p, i: p, "swapped": lambda p, i: p[::-1], "chance": lambda p, i: shuffled[i],
                        "shy": lambda p, i: p / 2 + 0.1})

    def value(system, dimension, measure, scope="all"):
        return found[system, scope, dimension, measure]["value"]

    for dimension in ("valence", "arousal"):
        assert value("perfect", dimension, "pearson") == pytest.approx(1) and value("perfect", dimension, "rmse") == 0
        assert value("perfect", dimension, "leak") == pytest.approx(0, abs=1e-9)
        assert value("swapped", dimension, "pearson") == pytest.approx(0, abs=1e-9) and value("swapped", dimension, "leak") == pytest.approx(1)
        assert value("shy", dimension, "pearson") == pytest.approx(1) and value("shy", dimension, "concordance") < 0.9
        chance = found["chance", "all", dimension, "pearson"]
        assert chance["low_95"] < 0 < chance["high_95"] and chance["low_95"] <= chance["low_90"] and chance["high_90"] <= chance["high_95"]
        assert value("perfect", dimension, "pearson", "text: a") == pytest.approx(1)
    difference = found["perfect - chance", "paired", "both", "mean_r"]
    assert difference["low_95"] > 0.5 and (difference["pieces"], difference["targets"]) == (50, 25)
    same = found["perfect - shy", "paired", "both", "mean_r"]
    assert same["value"] == pytest.approx(0, abs=1e-9) and same["high_95"] < 1e-6


def test_pieces_of_one_target_do_not_count_as_independent():
    """Asking three times for the same answer must not narrow the interval."""
    noise = np.random.default_rng(2).normal(0, 1, (25, 2))
    widths = []
    for texts in (("a",), ("a", "b", "c")):
        found = summary_of({"system": lambda p, i, n=len(texts): p + noise[i // n]}, texts=texts)["system", "all", "arousal", "pearson"]
        widths.append(found["high_95"] - found["low_95"])
    assert widths[0] > 0.2 and widths[1] == pytest.approx(widths[0], rel=1e-6)
    assert units(["x", "y", "x"]).tolist() == [[0, 2], [1, -1]]


def test_arcs_that_are_followed_late_show_their_lag_in_seconds_and_bars():
    pieces, measured = [], {}
    times = np.arange(1.0, 60)
    for name, late in (("exact", 0.0), ("late", 3.0)):
        for number, target in enumerate(make_targets("arcs")):
            job = Job((name,), "", None, 60.0, number, name, "", None, 1.0, "cpu", None)
            values = target.curve.at(np.clip(times - late, 0, 60), 60.0)
            pieces.append(Piece(name, 1, target, "solo piano", 1, job))
            measured[job.key] = {"key": job.key, "problem": None, "seconds": 60.0, "music": 1.0, "level_db": -20.0, "bar_seconds": 2.0,
                                 "point": [0, 0], "times": times.tolist(), "values": values.tolist(), "features": [0.0]}
    rows = rows_of(pieces, measured)
    records = summarise(rows, arcs=True)
    found = {(r["system"], r["dimension"], r["measure"]): r for r in records if r["scope"] != "moving"}
    moving = {(r["system"], r["dimension"], r["measure"]): r["pieces"] for r in records if r["scope"] == "moving"}
    spread = {row["target"]: (row["valence_moves"], row["arousal_moves"]) for row in rows}
    assert spread["heartbreak"] == pytest.approx(PRESETS["heartbreak"].at(np.linspace(0, 60, 241), 60.0).std(0), abs=1e-3) and min(spread["lullaby"]) < 0.2
    assert [moving["exact", d, "pearson median"] for d in ("valence", "arousal")] == [sum(moves[k] >= 0.2 for moves in spread.values()) for k in (0, 1)]
    both_move = [row for row in rows if min(spread[row["target"]]) >= 0.2]
    assert both_move and all(r["scope"] != "moving" for r in summarise(both_move, arcs=True))  # it would say the same twice
    for dimension in ("valence", "arousal"):
        assert found["exact", dimension, "windowed_r median"]["value"] > 0.99
        assert found["exact", dimension, "lag_seconds median"]["value"] == pytest.approx(0, abs=0.1)
        assert found["late", dimension, "lag_seconds median"]["value"] == pytest.approx(3, abs=0.3)
        assert found["late", dimension, "lag_bars median"]["value"] == pytest.approx(1.5, abs=0.15)
        assert found["exact - late", dimension, "windowed_r median"]["low_95"] > 0


def test_distance_from_a_reference_and_what_could_not_be_measured(tmp_path):
    pieces, measured = answers({"same": lambda p, i: p, "far": lambda p, i: p, "reference": lambda p, i: p}, make_targets("grid", 3), ("a",))
    for number, piece in enumerate(pieces):
        cloud = np.random.default_rng(number % 9).normal(size=4)
        measured[piece.job.key]["features"] = (cloud + (3 if piece.system == "far" else 0)).tolist()
    found = {(r["system"], r["measure"]): r["value"] for r in distances(pieces, measured)}
    assert found["same", "fad"] == pytest.approx(0, abs=1e-9) and found["far", "fad"] == pytest.approx(4 * 9)
    broken = pieces[0].job.key
    measured[broken] = {"key": broken, "problem": "x.wav is not a readable sound file."}
    measured[pieces[1].job.key] |= {"point": None}
    said = write(tmp_path, pieces, measured, {"command": "test"})
    text = (tmp_path / "report.md").read_text()
    assert "16 of 18 pieces; 2 could not be measured" in said and "x.wav is not a readable" in text and "not music" in text
    assert "same (n=7 of 9)" in text and "n 8 against 9, width 4" in text
    assert {p.name for p in tmp_path.iterdir()} == {"report.md", "results.csv", "summary.csv", "scatter.png"}


# ---- a run ---------------------------------------------------------------------------------------------------------


def question(tiny_model, **options) -> list[Piece]:
    systems = benchmark.read_systems(["model"], str(tiny_model))
    return make_plan(Question(make_targets("grid", 2), ("solo piano",), 1, 1.0, **options), systems)


class Watch:
    """A progress context that counts pieces and acts after the first."""

    def __init__(self, act=lambda: None):
        self.act, self.seen = act, 0

    def __call__(self, seconds, name):
        return self

    def __enter__(self):
        return self.show

    def __exit__(self, *error):
        return None

    def show(self, share):
        self.seen += 1
        if self.seen == 1:
            self.act()


def interrupt():
    raise KeyboardInterrupt


def test_a_run_goes_on_where_it_was_stopped(tiny_model, tmp_path):
    pieces = question(tiny_model)
    with pytest.raises(KeyboardInterrupt):
        measure_all(pieces, tmp_path, progress=Watch(interrupt))
    journal = tmp_path / "pieces.jsonl"
    first = journal.read_bytes()
    assert first.count(b"\n") == 1 and list(tmp_path.iterdir()) == [journal]
    journal.write_bytes(first + b'{"key": "torn by a po')
    rest = Watch()
    measured = measure_all(pieces, tmp_path, progress=rest)
    assert rest.seen == 3 and journal.read_bytes().startswith(first) and len(journal.read_bytes().splitlines()) == 4
    assert {piece.job.key for piece in pieces} == measured.keys()
    again = Watch()
    assert measure_all(pieces, tmp_path, progress=again) == measured and again.seen == 0
    journal.write_bytes(b"{}\n" + first)
    with pytest.raises(ValueError, match="damaged"):
        measure_all(pieces, tmp_path)


def kill_a_worker():
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_worker_that_dies_is_told_in_a_sentence_and_what_is_measured_stays(tiny_model, tmp_path):
    pieces = question(tiny_model)
    with pytest.raises(ChildProcessError, match="run the same command to go on"):
        measure_all(pieces, tmp_path, workers=2, progress=Watch(kill_a_worker))
    kept = (tmp_path / "pieces.jsonl").read_bytes().count(b"\n")
    assert kept >= 1 and not multiprocessing.active_children()
    rest = Watch()
    measure_all(pieces, tmp_path, progress=rest)
    assert rest.seen == 4 - kept


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_workers_do_not_outlive_a_run_that_is_killed(tiny_model, tmp_path):
    command = [sys.executable, "-m", "lara_core", "bench-emotion", "--model", str(tiny_model), "--grid", "20", "--seconds", "1", "--jobs", "2",
               "-o", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 300  # three processes import torch, perhaps on a busy machine
        while not (tmp_path / "pieces.jsonl").exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.1)
        assert (tmp_path / "pieces.jsonl").exists()
    finally:
        process.kill()
        process.wait(10)
    try:
        for _ in range(100):  # the signal 0 only asks whether anybody of the group is left
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("a worker outlived its parent")
    except ProcessLookupError:
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"pieces.jsonl"}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """The shipped model and predictor, two processes, sound kept."""
    folder = tmp_path_factory.mktemp("real") / "out"
    assert main([*REAL, "--systems", "model", "--jobs", "2", "--keep-audio", "-o", str(folder)]) == 0
    return folder


REAL = ["bench-emotion", "--grid", "2", "--texts", "solo piano", "--seconds", "4"]


def test_end_to_end(real):
    assert {path.name for path in real.iterdir()} == {"pieces.jsonl", "results.csv", "summary.csv", "report.md", "scatter.png", "audio"}
    rows = read(real / "results.csv")
    assert len(rows) == 4 and all(row["problem"] == "" and abs(float(row["measured_arousal"])) <= 1 and float(row["seconds"]) == 4 for row in rows)
    text = (real / "report.md").read_text()
    assert "--grid 2 --texts 'solo piano'" in text and "model (n=4)" in text and "cores" in text and "torch" in text
    assert len(list((real / "audio").rglob("*.wav"))) == 4


def test_rows_do_not_depend_on_the_number_of_processes(real, tmp_path):
    assert main([*REAL, "--systems", "model", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "results.csv").read_text() == (real / "results.csv").read_text()
    assert sorted((tmp_path / "pieces.jsonl").read_bytes().splitlines()) == sorted((real / "pieces.jsonl").read_bytes().splitlines())


def test_a_manifest_makes_the_round_and_broken_files_do_not_stop_it(real, tmp_path, capsys):
    folder = tmp_path / "other"
    shutil.copytree(real / "audio" / "model-1", folder)
    assert main([*REAL, "--write-manifest", str(folder / "manifest.csv")]) == 0
    assert {row["file"] for row in read(folder / "manifest.csv")} == {path.name for path in folder.glob("*.wav")}
    system = ["--systems", f"other=wavs:{folder}", "-o", str(tmp_path / "out")]
    assert main([*REAL, *system]) == 0
    ours, theirs = read(real / "results.csv"), read(tmp_path / "out" / "results.csv")
    for a, b in zip(ours, theirs, strict=True):
        assert (a["target"], a["text"], a["seed"]) == (b["target"], b["text"], b["seed"])
        assert float(a["measured_arousal"]) == pytest.approx(float(b["measured_arousal"]), abs=0.02)  # 16 bits
    names = sorted(folder.glob("*.wav"))
    names[0].write_text("no sound")
    names[1].unlink()
    music = load(names[2])
    hiss = np.random.default_rng(0).normal(0, 0.1, (len(music.samples), 5 * music.samples.shape[1])).astype(np.float32)
    save(names[2], Audio(np.concatenate([music.samples, hiss], 1), music.sample_rate_hz))  # music, but for the most part none
    capsys.readouterr()
    assert main([*REAL, *system]) == 0
    assert "1 of 4 pieces; 3 could not be measured" in capsys.readouterr().out
    problems = [row["problem"] for row in read(tmp_path / "out" / "results.csv")]
    assert all(sum(said in p for p in problems) == 1 for said in ("not a readable sound file", "There is no file", "not music")), problems
    assert any(entry.get("times") and entry["point"] is None for entry in map(json.loads, (tmp_path / "out" / "pieces.jsonl").read_text().splitlines()))


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_rows(real, tmp_path):
    pytest.importorskip("ray.exceptions", reason="RAY IS NOT INSTALLED, SO --ray IS NOT TESTED HERE: pip install ray")
    assert main([*REAL, "--systems", "model", "--ray", "local", "--jobs", "2", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "results.csv").read_text() == (real / "results.csv").read_text()


def test_a_ray_cluster_that_does_not_answer_is_a_sentence(tmp_path, capsys):
    pytest.importorskip("ray.exceptions", reason="RAY IS NOT INSTALLED, SO --ray IS NOT TESTED HERE: pip install ray")
    assert main([*REAL, "--systems", "model", "--ray", "127.0.0.1:1", "-o", str(tmp_path)]) == 2
    assert "no Ray cluster answers at 127.0.0.1:1" in capsys.readouterr().err


def test_ray_that_is_absent_is_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*REAL, "--systems", "model", "--ray", "local", "-o", str(tmp_path)]) == 2
    assert "pip install 'lara-gen[ray]'" in capsys.readouterr().err


def test_another_strength_is_another_measurement(tiny_model):
    systems = benchmark.read_systems(["model"], str(tiny_model))
    plain, stronger = (make_plan(Question(make_targets("grid", 2), TEXTS, 1, 4.0, strengths=strengths), systems) for strengths in ((), (("emotion_strength", 9.0),)))
    assert {p.job.key for p in plain}.isdisjoint(p.job.key for p in stronger)
    (one, _), (same, _), (other, _) = (measure(dataclasses.replace(plain[0].job, strengths=s)) for s in ((), (("emotion_strength", EMOTION_STRENGTH),), (("emotion_strength", 9.0),)))
    assert one["features"] == same["features"] != other["features"]


def test_the_journal_is_plain_json(real):
    for line in (real / "pieces.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert len(entry["values"]) == len(entry["times"]) and not any(math.isnan(x) for x in entry["features"])

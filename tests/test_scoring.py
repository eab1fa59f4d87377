"""Scoring as people use it: `lara score`, takes that are ranked, the HTML page; by physics, with the shipped predictor."""

import json
import math
import os
import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_predictor import plucks

from lara_core import pipeline, report
from lara_core import score as metrics
from lara_core.affect import PRESETS, Curve
from lara_core.audio import Audio
from lara_core.cli import main
from lara_core.pipeline import Lara
from lara_core.predictor import Track

RATE_HZ = 16_000
ARC = Curve(((0, 0.5, -0.5), (10, -0.2, 0.6)), "seconds")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """music.wav (12 s of plucks that grow denser), other.flac, noise.wav."""
    folder = tmp_path_factory.mktemp("sounds")
    music = np.concatenate([plucks(6, RATE_HZ, 1), plucks(6, RATE_HZ, 8)])
    soundfile.write(folder / "music.wav", music, RATE_HZ, "FLOAT")
    soundfile.write(folder / "other.flac", plucks(9, RATE_HZ, 3, seed=2), RATE_HZ)
    soundfile.write(folder / "noise.wav", 0.1 * np.random.default_rng(0).normal(size=6 * RATE_HZ), RATE_HZ)
    return folder


def told(capsys, *argv, status: int = 0) -> tuple[str, str]:
    """Output and errors of `lara score`."""
    assert main(["score", *map(str, argv)]) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def strict(text: str) -> dict:
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


# ---- what the score means ------------------------------------------------------------------------------------------


def track_pair(asked, got, seconds: float = 60) -> tuple:
    t = np.arange(0, seconds, 0.25)
    return (t, asked(t)), (t, got(t))


def wave(t: np.ndarray, late: float = 0.0) -> np.ndarray:
    return 0.7 * np.stack([np.sin((t - late) / 8), np.cos((t - late) / 8)], -1)


def test_the_score_ranks_what_follows_above_what_does_not():
    """All of them heard with the same error of level, as a predictor has it: takes still fall into their order."""
    heard = {"exact": wave, "late": lambda t: wave(t, 2), "pale": lambda t: 0.5 * wave(t), "still": lambda t: 0 * wave(t),
             "opposite": lambda t: -wave(t)}
    for offset in (0, 0.3):
        scores = [metrics.evaluate_curve(*track_pair(wave, lambda t: f(t) + offset))["adherence"] for f in heard.values()]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5
        assert scores[0] == pytest.approx(1 if offset == 0 else 1 - 0.18 / (0.49 + 2 / 3))
    assert metrics.evaluate_curve(*track_pair(wave, wave, 60))["still"] == pytest.approx(
        1 - np.var(wave(np.arange(0, 60, 0.25)), axis=0).sum() / (0.49 + 2 / 3), abs=1e-3)
    assert metrics.evaluate_curve(*track_pair(lambda t: 0 * wave(t) + 0.3, wave))["still"] == 1


def test_what_the_windows_of_the_predictor_cost_a_piece_that_follows_exactly():
    """It hears 3 s with neighbours within 6 s: a mean over 15 s at most. Arcs of a minute survive that; those of 20 s pale."""
    def ceiling(name: str, seconds: float) -> float:
        t = np.arange(0, seconds, 0.25)
        asked = PRESETS[name].at(t, seconds)
        heard = np.array([asked[np.abs(t - at) <= 7.5].mean(0) for at in t])
        return metrics.evaluate_curve((t, asked), (t, heard))["adherence"]

    assert min(ceiling(name, 60) for name in PRESETS) > 0.9
    assert ceiling("calm-tense-resolve", 20) < 0.8 < 0.95 < ceiling("calm-tense-resolve", 90)


@pytest.mark.parametrize("gain_db", [-12, 6])
def test_loudness_alone_does_not_move_the_score(gain_db, sounds):
    samples, _ = soundfile.read(sounds / "music.wav", dtype="float32", always_2d=True)
    plain = Lara.score(Audio(samples.T, RATE_HZ), ARC)
    changed = Lara.score(Audio(samples.T * np.float32(10 ** (gain_db / 20)), RATE_HZ), ARC)
    assert changed.adherence == pytest.approx(plain.adherence, abs=0.005)
    for name in metrics.DIMENSIONS:
        assert changed.evaluation[name]["mae"] == pytest.approx(plain.evaluation[name]["mae"], abs=0.01)


def test_features_of_the_same_recordings_have_no_frechet_distance(sounds):
    from lara_core.listener import load_listener

    listener = load_listener(hop_seconds=0.5)
    music, other = (listener.features_of_file(sounds / name).values[0].numpy() for name in ("music.wav", "other.flac"))
    same, different = metrics.frechet_audio_distance(music, music), metrics.frechet_audio_distance(music, other)
    assert same.fad == pytest.approx(0, abs=1e-6) and same.fad_infinity == 0 and same.n_measured == len(music)
    assert different.fad > 100 * abs(same.fad) + 1e-3


def made_track(times, values, music=None) -> Track:
    values = np.array(values, float)
    music = np.ones(len(values)) if music is None else np.array(music, float)
    values[music < 0.5] = np.nan
    return Track(np.array(times, float), values, np.where(np.isnan(values), np.nan, 0.2), music, np.nanmean(values, 0))


@pytest.fixture
def hears(monkeypatch):
    """Let the predictor hear a given track."""
    def patch(track: Track):
        monkeypatch.setattr(pipeline, "_predictor", lambda: type("Fixed", (), {"track": lambda self, sound: track})())
        return Audio(np.zeros((1, round(20 * 100)), np.float32), 100)  # 20 s

    return patch


def test_a_score_is_that_of_the_metrics_over_the_whole_piece(hears):
    times = np.arange(1.5, 19, 1.0)
    sound = hears(made_track(times, ARC.at(times) + [0.1, 0]))
    score = Lara.score(sound, Curve(ARC.points, "seconds"))
    assert score.evaluation["seconds"] == pytest.approx(10) and score.evaluation["coverage"] == 1
    assert score.evaluation["arousal"]["mae"] < 0.02 and score.evaluation["valence"]["mae"] == pytest.approx(0.1, abs=0.01)  # the ends hold
    np.testing.assert_allclose(score.uncertainty, 0.2)


def test_stretches_that_are_not_music_are_left_out(hears):
    times, values = np.arange(1.5, 19, 1.0), np.full((18, 2), 0.4)
    values[:6] = -1  # what is heard there does not count
    score = Lara.score(hears(made_track(times, values, music=np.arange(18) >= 6)), Curve.constant(0.4, 0.4))
    assert score.adherence == pytest.approx(1) and score.evaluation["coverage"] == pytest.approx(14 / 20, abs=0.01)
    assert score.to_dict()["music_share"] == pytest.approx(12 / 18, abs=1e-4)


def test_pictures_show_what_is_measured_as_a_share_of_what_the_model_reaches(hears):
    """A model that is heard at half of what is asked has done all of it: its picture says so, its figures what was heard."""
    times = np.arange(1.5, 19, 1.0)
    sound = hears(made_track(times, 0.5 * ARC.at(times) + [0.2, 0]))
    reach = np.array([-0.3, -0.5]), np.array([0.7, 0.5])
    plain, known = (Lara.score(sound, Curve(ARC.points, "seconds"), reach=ends) for ends in (None, reach))
    np.testing.assert_allclose(plain.shown, plain.track.values)
    np.testing.assert_allclose(known.shown, ARC.at(times), atol=1e-6)
    assert known.evaluation == plain.evaluation and "uncertainty" in plain.drawn()
    drawn = known.drawn()
    np.testing.assert_allclose(drawn["measured"][1], ARC.at(times), atol=1e-6)
    assert drawn["measured_as"] == "measured, of its reach" and "uncertainty" not in drawn, "that is the predictor's, in its own measure"
    record = known.to_dict()
    assert record["reach"] == {"valence": [-0.3, 0.7], "arousal": [-0.5, 0.5]} and plain.to_dict()["reach"] is None
    said = report.in_words(report.Scored(Path("cue.wav"), known))
    assert f"of reach   valence {2 * (known.track.point[0] - 0.2):+.2f}" in said and "valence of -0.30 to +0.70" in said


@pytest.mark.parametrize("curve, tempo, end_seconds, remark", [
    (Curve(ARC.points, "seconds"), None, 10, "lasts 10.0 s and the sound 20.0 s: they are compared over the first 10.0 s"),
    (Curve(((0, 0, 0), (45, 1, 1)), "seconds"), None, 20, "lasts 45.0 s and the sound 20.0 s: they are compared over the first 20.0 s"),
    (Curve(((0, 0, 0), (32, 1, 1)), "beats"), 120, 16, "lasts 16.0 s"),
    (Curve(((0, 0, 0), (32, 1, 1)), "beats"), lambda t: 2 * t, 16, "lasts 16.0 s"),
    (Curve(((0, 0, 0), (80, 1, 1)), "beats"), lambda t: 2 * t, 20, "lasts 40.0 s"),
    (Curve(((0, 0, 0), (0.5, 1, 1)), "normalized"), None, 20, None),
    (Curve(((3, 0.2, 0.2),), "seconds"), None, 20, None),
    (Curve(((0, 0, 0), (20.1, 1, 1)), "seconds"), None, 20, None),
])
def test_curves_longer_and_shorter_than_the_sound(curve, tempo, end_seconds, remark, hears):
    score = Lara.score(hears(made_track(np.arange(1.5, 19, 1.0), np.full((18, 2), 0.1))), curve, tempo)
    assert score.evaluation["seconds"] == pytest.approx(end_seconds, abs=0.02)
    assert len(score.remarks) == (remark is not None) and (remark is None or remark in score.remarks[0])


def test_curve_and_music_that_never_meet(hears):
    track = made_track(np.arange(1.5, 19, 1.0), np.full((18, 2), 0.1), music=np.arange(18) > 12)
    score = Lara.score(hears(track), Curve(((0, 0, 0), (5, 1, 1)), "seconds"))
    assert score.evaluation is None and math.isnan(score.adherence) and "too little to compare" in score.remarks[-1]


def test_the_best_comes_first_and_what_has_no_score_last():
    empty = made_track([1.5], [[0.1, 0.1]])
    scores = {name: None if value is None else pipeline.Score(3, empty, None if math.isnan(value) else {"adherence": value})
              for name, value in {"a": 0.1, "b": math.nan, "c": 0.9, "d": None, "e": -0.5}.items()}
    assert report.best_first(list(scores), scores.get) == ["c", "a", "e", "b", "d"]


def test_a_long_track_is_told_in_few_rows():
    rows = report.over_time(pipeline.Score(400, made_track(np.arange(96) * 4 + 1.5, np.tile(np.linspace(-1, 1, 96)[:, None], 2))))
    assert len(rows) == report.ROWS and rows[0][1][0] < rows[-1][1][0]
    assert np.mean([row[1][0] for row in rows]) == pytest.approx(0, abs=1e-9)


# ---- the command ---------------------------------------------------------------------------------------------------


def test_words_for_a_file_with_a_curve(sounds, capsys, tmp_path):
    ARC.save(tmp_path / "asked.json")
    out, err = told(capsys, sounds / "music.wav", "--curve", tmp_path / "asked.json")
    score = Lara.score(sounds / "music.wav", ARC)
    assert err == "" and "music.wav: 12 s, music" in out and f"curve {tmp_path / 'asked.json'}" in out
    assert f"score      {score.adherence:.2f} over 10 s" in out and "compared over the first 10.0 s" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split() and line.split()[0] in metrics.DIMENSIONS}
    assert rows["valence"][2:4] == [f"{score.evaluation['valence'][key]:.2f}" for key in ("mae", "rmse")]
    assert all(len(row) == len(report.METRICS) for row in rows.values())


def test_a_request_that_stays_has_dashes_for_what_needs_change(sounds, capsys):
    out, _ = told(capsys, sounds / "music.wav", "--arousal", "0.5")
    assert "a point, valence +0.00, arousal +0.50" in out and "never moves" not in out
    row = next(line.split() for line in out.splitlines() if line.startswith("  arousal"))
    assert [cell == "-" for cell in row[1:]] == [True, True, False, False, True, True, False]


def test_json_is_json_and_has_everything(sounds, capsys):
    out, _ = told(capsys, sounds / "music.wav", sounds / "noise.wav", "--valence", "0.3", "--json")
    music, noise = strict(out)["files"]
    score = Lara.score(sounds / "music.wav", Curve.constant(0.3, 0))
    assert music["evaluation"]["adherence"] == round(score.adherence, 4)
    assert music["evaluation"]["valence"]["pearson"] is None, "a request that stays correlates with nothing"
    assert music["track"]["valence"] == [round(v, 4) for v in score.track.values[:, 0]]
    assert len(music["track"]["arousal_uncertainty"]) == len(music["track"]["music"]) == len(music["track"]["times_seconds"])
    assert noise["evaluation"] is None and noise["point"] == {"valence": None, "arousal": None} and "no music" in noise["remarks"][0]


def test_a_broken_file_does_not_stop_the_others(sounds, capsys, tmp_path):
    (tmp_path / "text.wav").write_text("not a sound")
    out, err = told(capsys, sounds / "music.wav", tmp_path / "text.wav", tmp_path / "absent.wav", sounds / "other.flac", "--json", status=2)
    made = strict(out)
    assert [Path(file["file"]).name for file in made["files"]] == ["music.wav", "other.flac"]
    assert [Path(file["file"]).name for file in made["failed"]] == ["text.wav", "absent.wav"]
    lines = err.splitlines()
    assert len(lines) == 2 and all(line.startswith("lara: ") and line.endswith(".") for line in lines)
    assert "not a readable sound file" in lines[0] and "no file" in lines[1]


@pytest.mark.parametrize("write, words", [
    (lambda path: soundfile.write(path, np.zeros((0, 1)), RATE_HZ), "0 samples"),
    (lambda path: soundfile.write(path, np.zeros(1), RATE_HZ), "1 samples"),
    (lambda path: soundfile.write(path, np.full(RATE_HZ, np.nan), RATE_HZ, "FLOAT"), "NaN"),
    (lambda path: path.write_bytes(b""), "not a readable"),
    (lambda path: path.mkdir(), "no file"),
])
def test_files_that_cannot_be_heard(write, words, tmp_path, capsys):
    write(tmp_path / "bad.wav")
    out, err = told(capsys, tmp_path / "bad.wav", "--report", tmp_path / "page.html", status=2)
    assert out == "" and words in err and err.count("\n") == 1
    assert words in (tmp_path / "page.html").read_text() and "Emotion of 0 pieces" in (tmp_path / "page.html").read_text()


def test_a_file_that_breaks_off_is_one_sentence(sounds, tmp_path, capsys):
    data = (sounds / "other.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(data[:len(data) // 2])
    status = main(["score", str(tmp_path / "half.flac")])
    err = capsys.readouterr().err
    assert "Traceback" not in err and (status, err.count("\n")) in ((0, 0), (2, 1)), err  # decoders differ in what they forgive


@pytest.mark.parametrize("channels, subtype", [(1, "PCM_U8"), (8, "PCM_16")])
def test_eight_bits_and_eight_channels_are_heard(channels, subtype, tmp_path, capsys):
    soundfile.write(tmp_path / "odd.wav", np.stack([plucks(9, RATE_HZ)] * channels, -1), RATE_HZ, subtype)
    out, _ = told(capsys, tmp_path / "odd.wav", "--preset", "sunrise", "--json")
    made = strict(out)["files"][0]
    plain = Lara.score(Audio(plucks(9, RATE_HZ)[None], RATE_HZ), PRESETS["sunrise"])
    assert made["evaluation"]["adherence"] == pytest.approx(plain.adherence, abs=0.05)


@pytest.mark.parametrize("options, words", [
    (["--preset", "sunset"], ["'sunset'", "sunrise"]),
    (["--preset", "sunrise", "--valence", "0"], ["--preset and --valence"]),
    (["--curve", "absent.json"], ["absent.json"]),
    (["--tempo", "0"], ["--tempo", "above 0"]),
    (["--plot", "out.jpg"], ["'.jpg'", ".png"]),
    (["--report", "absent/out.html"], ["absent", "does not exist"]),
    (["--clap", "/no/such/model"], ["CLAP", "/no/such/model"]),
    (["--curve", "BEATS"], ["in beats", "--tempo BPM"]),
])
def test_wrong_options(options, words, sounds, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Curve(((0, 0, 0), (8, 1, 1)), "beats").save("BEATS")
    out, err = told(capsys, sounds / "music.wav", *options, status=2)
    assert out == "" and err.count("\n") == 1 and all(word in err for word in words), err


def test_plots_are_named_after_their_files(sounds, tmp_path, capsys):
    told(capsys, sounds / "music.wav", "--preset", "sunrise", "--plot", tmp_path / "one.png")
    told(capsys, sounds / "music.wav", sounds / "noise.wav", "--plot", tmp_path / "out.png")
    assert sorted(os.listdir(tmp_path)) == ["one.png", "out-music.png", "out-noise.png"]
    twins = report.plot_paths(Path("out.png"), [Path("a/x.wav"), Path("b/x.wav"), Path("c/y.wav")])
    assert [path.name for path in twins] == ["out-x-1.png", "out-x-2.png", "out-y.png"]


def test_the_uncertainty_is_a_pale_band_as_high_as_it_says(tmp_path):
    from PIL import Image

    from lara_core.plot import plot_piece

    times, values = np.array([0, 30, 60.0]), np.array([[0.5, -0.5]] * 3)
    pictures = []
    for name, uncertainty in (("plain", None), ("band", np.full((3, 2), 0.2))):
        path = plot_piece(tmp_path / f"{name}.png", np.zeros((4, 2)), 60, None, measured=(times, values), uncertainty=uncertainty)
        pictures.append(np.asarray(Image.open(path).convert("RGB")).astype(int))
    middle = pictures[0].shape[1] // 2 + 40
    tinted = np.flatnonzero(np.abs(pictures[1] - pictures[0])[:, middle].sum(-1) > 10)
    ends = np.split(tinted, np.flatnonzero(np.diff(tinted) > 20) + 1)
    (v_top, v_low), (a_top, a_low) = [(part[0], part[-1]) for part in ends]
    per_unit = (a_top + a_low - v_top - v_low) / 2  # pixels from arousal -0.5 to valence 0.5
    assert (v_low - v_top) / per_unit == pytest.approx(0.4, abs=0.02) and (a_low - a_top) / per_unit == pytest.approx(0.4, abs=0.02)


class Page(HTMLParser):
    """Collects tags with attributes, and checks that they nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.words = [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_report_is_one_page_that_needs_nothing_else(sounds, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("not a sound")
    told(capsys, sounds / "noise.wav", sounds / "other.flac", sounds / "music.wav", tmp_path / "text.wav", "--preset", "sunrise",
         "--prompt", "<b>plucks</b> & more", "--report", tmp_path / "page.html", status=2)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"(src|href|srcset)=['\"](?!data:|#)", text) and "http" not in text and "<script" not in text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3 and all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 40 for image in images)
    assert "prefers-color-scheme: dark" in text and ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "<b>plucks</b> & more" in page.words and "<b>" not in text
    assert "not a readable sound file" in page.words and "no music" in page.words
    order = sorted(("other.flac", "music.wav"), key=lambda name: -Lara.score(sounds / name, PRESETS["sunrise"]).adherence)
    places = [text.index(f">{name}</h2>") for name in (*order, "noise.wav")]
    assert places == sorted(places)


def test_an_envelope_of_a_long_file_takes_no_more_memory(tmp_path):
    peaks = {}
    for minutes in (4, 16):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1) as file:
            for _ in range(minutes):
                file.write(np.zeros(8000 * 60, np.float32))
        tracemalloc.start()
        assert len(report.envelope(tmp_path / "long.wav")) > 2000
        peaks[minutes] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[16] < 1.1 * peaks[4] < 16 * 60 * 8000 * 4


def test_scoring_needs_no_model_and_no_transformers(sounds, tmp_path):
    code = "import sys\nfrom lara_core.cli import main\nmain(['score', sys.argv[1]])\nprint(sorted({'transformers', 'matplotlib.pyplot'} & sys.modules.keys()))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    result = subprocess.run([sys.executable, "-c", code, str(sounds / "music.wav")], cwd=tmp_path, env=environment, capture_output=True, text=True,
                            timeout=120)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


# ---- takes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tiny_models, monkeypatch):
    monkeypatch.setattr(pipeline, "SHIPPED_MODELS", tiny_models)
    monkeypatch.delenv("LARA_SOUNDFONT", raising=False)


def generate(folder: Path, *options: str, seconds: str = "6") -> int:
    return main(["generate", "--model", "tiny", "--prompt", "piano", "--seconds", seconds, "--seed", "3", *options, "-o", str(folder / "piece.wav")])


def test_takes_are_scored_ranked_and_kept(tiny, tmp_path, capsys):
    assert generate(tmp_path, "--preset", "sunrise", "--takes", "3") == 0
    out = capsys.readouterr().out.splitlines()
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == [f"piece-{n}.wav" for n in (1, 2, 3)]
    scores = {f"piece-{n}.wav": Lara.score(tmp_path / f"piece-{n}.wav", PRESETS["sunrise"]) for n in (1, 2, 3)}
    for name, score in scores.items():
        record = strict((tmp_path / name).with_suffix(".json").read_text())["score"]
        assert record == json.loads(json.dumps(score.to_dict())) and len(record["predictor"]) == 16
    names = [line.split()[0] for line in out[out.index(next(line for line in out if line.startswith("best first"))) + 1:]]
    assert names == report.best_first(list(scores), scores.get) and sorted(names) == sorted(scores)


def test_the_sidecar_gives_the_curve_and_the_same_score(tiny, tmp_path, capsys):
    Curve(((0, -0.4, -0.4), (7, 0.6, 0.6)), "beats").save(tmp_path / "asked.json")
    assert generate(tmp_path, "--curve", str(tmp_path / "asked.json")) == 0  # no tempo: the music chooses, the record keeps its bars
    capsys.readouterr()
    out, _ = told(capsys, tmp_path / "piece.wav", "--json")
    made, record = strict(out)["files"][0], strict((tmp_path / "piece.json").read_text())
    assert made["asked"] == "the curve in piece.json" and made["prompt"] == "piano"
    assert made["evaluation"] == record["score"]["evaluation"]
    assert record["score"]["reach"] is None  # no score predictor lies beside this model
    record["score"]["reach"] = {"valence": [-0.3, 0.7], "arousal": [-0.5, 0.5]}
    (tmp_path / "piece.json").write_text(json.dumps(record))
    assert "valence of -0.30 to +0.70 and arousal of -0.50 to +0.50 are -1 to 1" in told(capsys, tmp_path / "piece.wav")[0]
    for damaged in ({"valence": [-0.3, 0.7]}, {"valence": [0.7, -0.3], "arousal": [-0.5, 0.5]}, {"valence": 1, "arousal": [-0.5, 0.5]}, [0]):
        (tmp_path / "piece.json").write_text(json.dumps(record | {"score": {"reach": damaged}}))
        assert "piece.json is damaged" in told(capsys, tmp_path / "piece.wav")[0]
    del record["bar_lines"]
    (tmp_path / "piece.json").write_text(json.dumps(record))
    out, _ = told(capsys, tmp_path / "piece.wav")
    assert "is in beats" in out and "--tempo BPM" in out
    (tmp_path / "piece.json").write_text("{}")
    out, _ = told(capsys, tmp_path / "piece.wav", "--json")
    made = strict(out)["files"][0]
    assert made["evaluation"] is None and "not the record of a piece" in made["remarks"][0]


def test_without_scores_the_record_has_none_and_the_picture_no_track(tiny, tmp_path, capsys):
    for folder, options in (("scored", []), ("plain", ["--no-score"])):
        (tmp_path / folder).mkdir()
        assert generate(tmp_path / folder, "--preset", "sunrise", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r", score (-?\d\.\d\d)$", line) is not None for line in lines] == [True, False]
    scored, plain = (strict((tmp_path / folder / "piece.json").read_text()) for folder in ("scored", "plain"))
    assert "score" not in plain and {**plain, "score": scored["score"]} == scored
    assert (tmp_path / "scored/piece.wav").read_bytes() == (tmp_path / "plain/piece.wav").read_bytes()
    music = Lara.score(tmp_path / "scored/piece.wav").track.is_music
    assert ((tmp_path / "scored/piece.png").read_bytes() != (tmp_path / "plain/piece.png").read_bytes()) == music


def test_pieces_that_cannot_be_scored_are_still_pieces(tiny, tmp_path, capsys, monkeypatch):
    assert generate(tmp_path, "--preset", "sunrise", "--takes", "2", seconds="0.03") == 0
    assert "give 0.05 s or more" in strict((tmp_path / "piece-1.json").read_text())["score"]["remarks"][0]
    assert "not heard" in capsys.readouterr().out
    silence = Track(np.array([1.5]), np.full((1, 2), np.nan), np.full((1, 2), np.nan), np.zeros(1), np.full(2, np.nan))
    monkeypatch.setattr(pipeline, "_predictor", lambda: type("Deaf", (), {"track": lambda self, sound: silence})())
    assert generate(tmp_path, "--preset", "sunrise", "--takes", "2", seconds="3") == 0
    assert "no music" in capsys.readouterr().out
    assert "no music" in strict((tmp_path / "piece-2.json").read_text())["score"]["remarks"][0]


# ---- text agreement ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory) -> Path:
    """A CLAP model of ten thousand random weights with a tokenizer of a few words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("clap")
    text = dict(vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=40)
    audio = dict(window_size=8, patch_embeds_hidden_size=8, hidden_size=16, depths=[1, 1], num_attention_heads=[2, 2], num_hidden_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.ClapConfig(text_config=text | {"projection_dim": 8}, audio_config=audio | {"projection_dim": 8}, projection_dim=8)
        transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate("<s> <pad> </s> <unk> piano slow sad drums".split())}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=30).save_pretrained(folder)
    return folder


def test_text_agreement_is_the_models_own_logit(clap_folder, tmp_path):
    import torch
    import transformers

    from lara_core.clap import TextAudio

    sound = plucks(8, 48_000)
    soundfile.write(tmp_path / "short.wav", sound, 48_000, "FLOAT")
    model = transformers.ClapModel.from_pretrained(clap_folder).eval()
    heard = transformers.ClapFeatureExtractor.from_pretrained(clap_folder)([sound], sampling_rate=48_000, return_tensors="pt")
    words = transformers.AutoTokenizer.from_pretrained(clap_folder)(["slow piano"], return_tensors="pt")
    with torch.no_grad():
        expected = float(model(**words, **heard).logits_per_audio / model.logit_scale_a.exp())
    clap = TextAudio(clap_folder)
    assert clap.agreement(tmp_path / "short.wav", "slow piano") == pytest.approx(expected, abs=1e-5)
    assert clap.agreement(tmp_path / "short.wav", "drums") != pytest.approx(expected, abs=1e-3)
    soundfile.write(tmp_path / "twice.wav", np.tile(plucks(10, 48_000), 2), 48_000, "FLOAT")
    soundfile.write(tmp_path / "once.wav", plucks(10, 48_000), 48_000, "FLOAT")
    once, twice = (clap.agreement(tmp_path / f"{name}.wav", "slow piano") for name in ("once", "twice"))
    assert once == pytest.approx(twice, abs=1e-5)


def test_text_agreement_in_the_command(clap_folder, sounds, capsys):
    out, _ = told(capsys, sounds / "music.wav", "--clap", clap_folder, "--prompt", "slow piano", "--json")
    assert -1 <= strict(out)["files"][0]["text_agreement"] <= 1
    out, _ = told(capsys, sounds / "music.wav", "--clap", clap_folder)
    assert "give --prompt TEXT" in out

"""The Emotion Predictor: deterministic, deaf to level and sample rate, hears energy, and knows what is not music."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from lara_core.audio import Audio
from lara_core.predictor import EMBEDDED_FOLDER, RATE_HZ, EmotionPredictor, combined, describe


@pytest.fixture(scope="module")
def predictor():
    return EmotionPredictor.load()


def plucks(seconds: float, rate_hz: int, per_second: float = 4, seed: int = 0) -> np.ndarray:
    """Plucked notes of C major, three partials each, [T]; the same sound at any rate."""
    random = np.random.RandomState(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.zeros_like(t)
    for onset in np.arange(0, seconds, 1 / per_second):
        after = np.maximum(t - onset, 0)
        pitch_hz = 440 * 2 ** (random.choice([-21, -17, -14, -9, -5, -2, 3, 7]) / 12)
        for partial in (1, 2, 3):
            sound += np.sin(2 * np.pi * partial * pitch_hz * after) * np.exp(-4 * after) * (t >= onset) / partial
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="module")
def music():
    return plucks(11, RATE_HZ)


@pytest.fixture(scope="module")
def track(predictor, music):
    return predictor.track(music, RATE_HZ)


def test_a_track_has_windows_in_order_values_on_the_scale_and_their_average(track):
    assert list(track.times_seconds[:2]) == [1.5, 5.5] and (np.diff(track.times_seconds) > 0).all()
    count = len(track.times_seconds)
    assert track.values.shape == track.uncertainty.shape == (count, 2) and track.music.shape == (count,)
    assert track.is_music
    heard = track.music >= 0.5
    assert (np.abs(track.values[heard]) <= 1).all() and (track.uncertainty[heard] > 0).all()
    assert np.isnan(track.values[~heard]).all()
    np.testing.assert_allclose(track.point, track.values[heard].mean(0))


def test_the_same_sound_gives_the_same_track(predictor, music, track):
    again = predictor.track(Audio(music[None], RATE_HZ))
    np.testing.assert_array_equal(again.values, track.values)
    np.testing.assert_array_equal(again.music, track.music)


@pytest.mark.parametrize("gain", [0.1, 3.0])
def test_level_says_nothing(predictor, music, track, gain):
    other = predictor.track(music * np.float32(gain), RATE_HZ)
    np.testing.assert_allclose(other.point, track.point, atol=0.02)
    np.testing.assert_allclose(other.music, track.music, atol=0.02)


def test_sample_rate_channels_and_files_say_nothing(predictor, track, tmp_path):
    stereo = np.stack([plucks(11, 44_100)] * 2, axis=1)
    soundfile.write(tmp_path / "music.flac", stereo, 44_100)
    soundfile.write(tmp_path / "music.ogg", stereo, 44_100)
    for name, bound in (("music.flac", 0.05), ("music.ogg", 0.1)):
        np.testing.assert_allclose(predictor.track(tmp_path / name).point, track.point, atol=bound)


def test_sound_longer_than_a_piece_is_heard_as_its_windows_are(predictor):
    sound = plucks(50, RATE_HZ, per_second=1)
    long = predictor.track(sound, RATE_HZ)
    np.testing.assert_allclose(long.times_seconds[:12], 1.5 + 4 * np.arange(12))
    assert len(long.times_seconds) in (12, 13)


def test_silence_and_noise_are_not_music(predictor):
    noise = 0.1 * np.random.default_rng(3).normal(size=9 * RATE_HZ).astype(np.float32)
    for sound in (np.zeros(9 * RATE_HZ, np.float32), noise):
        heard = predictor.track(sound, RATE_HZ)
        assert not heard.is_music and np.isnan(heard.values).all() and np.isnan(heard.point).all()


def test_speech_is_not_music(predictor, tmp_path):
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is NOT installed: that speech is not music remains untested here")
    text = "Nobody knew what the captain had written, because the letter never arrived at the harbour."
    subprocess.run(["espeak-ng", "-v", "sv", "-w", tmp_path / "speech.wav", text], check=True)  # a voice not trained on
    assert (predictor.track(tmp_path / "speech.wav").music < 0.5).mean() > 0.5


def test_composed_pieces_of_high_arousal_measure_higher(predictor):
    codec_module = pytest.importorskip("lara_core.codec.score_codec")
    from training.composer import Composer
    from training.styles import STYLES

    codec, points = codec_module.ScoreCodec(), {}
    for arousal in (-0.8, 0.8):
        points[arousal] = []
        for seed, style in enumerate((STYLES[0], STYLES[1], STYLES[4])):
            piece = Composer(style, np.random.default_rng(seed)).compose(np.full(4, 0.2), np.full(4, arousal))
            samples = codec.decode(codec.encode(piece))[:, : 12 * codec.sample_rate_hz]
            track = predictor.track(samples, codec.sample_rate_hz)
            assert track.is_music
            points[arousal].append(track.point[1])
    gain = np.array(points[0.8]) - np.array(points[-0.8])
    assert gain.mean() > 0.1 and (gain > 0).all()


def test_descriptors_tell_major_from_minor():
    def chord(steps):
        t = np.arange(3 * RATE_HZ) / RATE_HZ
        sound = sum(np.sin(2 * np.pi * 261.63 * 2 ** (s / 12) * t) for s in steps)
        return combined(np.zeros((1, 0)), describe((0.05 * sound).astype(np.float32))[None])[0]

    major, minor = chord((0, 4, 7, 12)), chord((0, 3, 7, 12))
    mode = -6 - 7 + 2  # of the columns from the end: intervals (6), then key (7), of which the third
    assert major[mode] > 0.05 > -0.05 > minor[mode]


@pytest.mark.parametrize("samples, rate_hz, message", [
    (np.zeros(0, np.float32), RATE_HZ, "0 samples"),
    (np.zeros(1, np.float32), RATE_HZ, "1 samples"),
    (np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, "NaN"),
    (np.zeros(RATE_HZ, np.int16), RATE_HZ, "int16"),
    (np.zeros(RATE_HZ, np.float32), None, "sample_rate_hz is None"),
])
def test_bad_sound_gets_one_sentence(predictor, samples, rate_hz, message):
    with pytest.raises(ValueError, match=message):
        predictor.track(samples, rate_hz)


def test_bad_files_get_one_sentence(predictor, tmp_path):
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(ValueError, match="not a readable sound file"):
        predictor.track(tmp_path / "text.wav")
    with pytest.raises(ValueError, match="no file"):
        predictor.track(tmp_path / "absent.wav")
    (tmp_path / "config.json").write_text('{"kind": "musicnn"}')
    shutil.copy(EMBEDDED_FOLDER / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match="expected 'emotion-predictor'"):
        EmotionPredictor.load(tmp_path)

"""Sound files: exact round trips, readers other than ours, failures that leave nothing behind, a tone through resampling."""

import ctypes
import struct
import tracemalloc
import wave

import numpy as np
import pytest
import soundfile

from lara_core.audio import Audio, Cue, WavWriter, check_output_path, load, resample, save, to_mono

RATE = 44100
CUES = [Cue(1000, "chorus"), Cue(0, "intro"), Cue(2205, "Früh")]


def noise(channels=2, count=2205, bits=16):
    """Samples that lie exactly on the grid of an integer format, extremes included."""
    full = 2 ** (bits - 1)
    numbers = np.random.RandomState(0).randint(-full, full, (channels, count))
    numbers[:, :2] = -full, full - 1
    return Audio((numbers / full).astype(np.float32), RATE)


def chunks(data, start=12):
    """A reader of RIFF chunks independent of the writer: {name: [body]}; checks the container's sizes."""
    found = {}
    at = start
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8:at + 8 + size]
        assert len(body) == size
        found.setdefault(name, []).append(body)
        at += 8 + size + size % 2
    assert at == len(data)
    return found


@pytest.mark.parametrize("channels, count", [(1, 2205), (2, 2205)])
@pytest.mark.parametrize("subtype, bits", [("PCM_16", 16), ("PCM_24", 24), ("FLOAT", 24)])
def test_round_trip_is_exact(tmp_path, channels, count, subtype, bits):
    audio = noise(channels, count, bits)
    save(tmp_path / "a.wav", audio, subtype, CUES, time_reference_samples=5)
    back = load(tmp_path / "a.wav")
    assert back.sample_rate_hz == RATE and back.seconds == count / RATE
    assert back.samples.dtype == np.float32 and np.array_equal(back.samples, audio.samples)
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    data = (tmp_path / "a.wav").read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert len(chunks(data)[b"data"][0]) == count * channels * {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[subtype]


def test_python_wave_module_reads_it(tmp_path):
    audio = noise()
    save(tmp_path / "a.wav", audio, cues=CUES, time_reference_samples=0)
    with wave.open(str(tmp_path / "a.wav")) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(frames.T, audio.samples * 32768)


def test_markers_and_time_reference_by_hand(tmp_path):
    save(tmp_path / "a.wav", noise(1, 2205, 24), "PCM_24", CUES, time_reference_samples=2 ** 33 + 7)
    found = chunks((tmp_path / "a.wav").read_bytes())
    count, = struct.unpack_from("<I", found[b"cue "][0])
    points = [struct.unpack_from("<II4sIII", found[b"cue "][0], 4 + 24 * i) for i in range(count)]
    assert found[b"LIST"][0][:4] == b"adtl"
    labels = {struct.unpack_from("<I", body)[0]: body[4:].rstrip(b"\0").decode() for body in chunks(found[b"LIST"][0], 4)[b"labl"]}
    assert [(point[5], labels[point[0]]) for point in points] == [(0, "intro"), (1000, "chorus"), (2205, "Früh")]
    bext, = found[b"bext"]
    assert len(bext) == 602 and struct.unpack_from("<Q", bext, 338)[0] == 2 ** 33 + 7


def test_libsndfile_reads_the_markers_and_the_time_reference(tmp_path):
    save(tmp_path / "a.wav", noise(), cues=CUES, time_reference_samples=2 ** 33 + 7)
    get_cue_count, get_cue, get_broadcast_info = 0x10CD, 0x10CE, 0x10F0  # sndfile.h

    class CuePoint(ctypes.Structure):
        _fields_ = [("index", ctypes.c_int32), ("position", ctypes.c_uint32), ("chunk", ctypes.c_int32),
                    ("chunk_start", ctypes.c_int32), ("block_start", ctypes.c_int32), ("sample_offset", ctypes.c_uint32),
                    ("name", ctypes.c_char * 256)]

    class Points(ctypes.Structure):
        _fields_ = [("count", ctypes.c_uint32), ("points", CuePoint * 100)]

    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        def ask(command, size):
            buffer = soundfile._ffi.new("char[]", size)
            soundfile._snd.sf_command(file._file, command, buffer, size)
            return bytes(soundfile._ffi.buffer(buffer))

        assert struct.unpack("<I", ask(get_cue_count, 4)) == (3,)
        read = Points.from_buffer_copy(ask(get_cue, ctypes.sizeof(Points)))
        low, high = struct.unpack_from("<II", ask(get_broadcast_info, 1024), 340)  # its C struct aligns to 4
    assert [(p.sample_offset, p.name.decode()) for p in read.points[:3]] == [(0, "intro"), (1000, "chorus"), (2205, "Früh")]
    assert low + (high << 32) == 2 ** 33 + 7


def test_streaming_equals_saving_at_constant_memory(tmp_path):
    audio = noise(count=RATE)
    save(tmp_path / "whole.wav", Audio(np.tile(audio.samples, 40), RATE), cues=[Cue(RATE, "two")])
    tracemalloc.start()
    with WavWriter(tmp_path / "stream.wav", RATE, 2) as writer:
        for second in range(40):
            if second == 1:
                writer.add_cue(Cue(writer.frames, "two"))
            writer.write(audio.samples)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "stream.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    assert peak_bytes < 7 * audio.samples.nbytes  # one chunk in float64 on its way; the file holds 20 times a chunk


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.wav"
    save(path, noise())
    before = path.read_bytes()
    with pytest.raises(error):
        with WavWriter(path, RATE, 2) as writer:
            writer.write(noise().samples / 2)
            raise error
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.wav"
    save(path, noise(count=1000))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, limits[1]))
    try:
        with pytest.raises(OSError):
            save(path, noise(count=2501))  # ends in the middle of the data
        with pytest.raises(OSError):
            save(path, noise(count=2489), cues=[Cue(0, "x")])  # the samples fit, the markers do not
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_cue_behind_the_end_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="behind the end at 10"):
        save(tmp_path / "a.wav", noise(count=10), cues=[Cue(11, "late")])
    assert not list(tmp_path.iterdir())


def test_loud_samples_are_clipped_with_a_warning(tmp_path, caplog):
    save(tmp_path / "a.wav", Audio(np.array([[1.5, -1.5, 0.5]], np.float32), RATE))
    assert load(tmp_path / "a.wav").samples.tolist() == [[32767 / 32768, -1, 0.5]]
    assert "2 samples" in caplog.text


def test_other_peoples_files(tmp_path):
    ramp = np.linspace(-0.9, 0.9, 600).reshape(100, 6)
    soundfile.write(tmp_path / "six.wav", ramp, 48000, "PCM_24")
    soundfile.write(tmp_path / "eight.wav", ramp[:, :1], 8000, "PCM_U8")
    soundfile.write(tmp_path / "mono.flac", ramp[:, 0], 22050)
    six, eight, flac = (load(tmp_path / name) for name in ("six.wav", "eight.wav", "mono.flac"))
    assert six.samples.shape == (6, 100) and np.allclose(six.samples.T, ramp, atol=2 ** -23)
    assert eight.samples.shape == (1, 100) and np.allclose(eight.samples[0], ramp[:, 0], atol=2 ** -7)
    assert flac.sample_rate_hz == 22050 and flac.samples.shape == (1, 100)


def test_unusable_files_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("this is not sound\n" * 20)
    (tmp_path / "nothing.wav").write_bytes(b"")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), RATE)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), RATE, "FLOAT")
    soundfile.write(tmp_path / "inf.wav", np.array([0.0, np.inf]), RATE, "FLOAT")
    for name, reason in (("text.wav", "not a readable sound file"), ("nothing.wav", "not a readable sound file"),
                         ("empty.wav", "no samples"), ("nan.wav", "NaN"), ("inf.wav", "NaN or infinite"),
                         ("missing.wav", "no file"), ("", "no file")):
        with pytest.raises(ValueError, match=reason):
            load(tmp_path / name)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="float32"):
        Audio(np.zeros(10, np.float32), RATE)
    with pytest.raises(ValueError, match="positive"):
        resample(noise(), 0)
    for arguments, reason in (((0, 2), "positive rate"), ((RATE, 3), "1 or 2"), ((RATE, 2, "PCM_U8"), "PCM_16, PCM_24, FLOAT"),
                              ((RATE, 2, "PCM_16", -1), "time_reference_samples is -1")):
        with pytest.raises(ValueError, match=reason):
            WavWriter(tmp_path / "a.wav", *arguments)
    for bad, reason in ((np.zeros((1, 5)), r"\[2, T\]"), (np.full((2, 5), np.nan), "finite")):
        with pytest.raises(ValueError, match=reason), WavWriter(tmp_path / "a.wav", RATE, 2) as writer:
            writer.write(bad)
    assert not list(tmp_path.iterdir())


def test_the_four_gigabyte_limit_is_said_before_it_is_hit(tmp_path):
    with pytest.raises(ValueError, match="4 GB"), WavWriter(tmp_path / "a.wav", RATE, 2, "FLOAT") as writer:
        writer.write(np.broadcast_to(np.float32(0), (2, 1)))
        writer.frames = 2 ** 29
        writer.write(np.zeros((2, 1)))


def test_output_path(tmp_path):
    assert check_output_path(str(tmp_path / "A.WAV")) == tmp_path / "A.WAV"
    assert check_output_path(tmp_path / "a.mid", (".wav", ".mid")).suffix == ".mid"
    (tmp_path / "folder.wav").mkdir()
    for path, reason in ((tmp_path / "a.mp3", r"use \.wav"), (tmp_path / "a", r"use \.wav"), (tmp_path / "folder.wav", "is a folder"),
                         (tmp_path / "no" / "a.wav", "does not exist")):
        with pytest.raises(ValueError, match=reason):
            check_output_path(path)
    assert [item.name for item in tmp_path.iterdir()] == ["folder.wav"]


def test_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # permission bits do not stop a test that runs as root
    with pytest.raises(ValueError, match="cannot be written to .Permission denied"):
        check_output_path(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [48000, 32000, 22050])
def test_resampling_keeps_a_tone_and_its_place(rate):
    def tone(at_rate):
        time = np.arange(at_rate) / at_rate
        return (0.5 * np.sin(2 * np.pi * 1000 * time) * np.sin(np.pi * time) ** 2).astype(np.float32)

    out = resample(Audio(np.stack([tone(RATE), -tone(RATE)]), RATE), rate)
    assert out.sample_rate_hz == rate and out.samples.shape == (2, rate)
    assert np.abs(out.samples - [tone(rate), -tone(rate)]).max() < 1e-4  # amplitude, pitch and time alignment in one


def test_resampling_removes_what_the_new_rate_cannot_hold():
    time = np.arange(RATE) / RATE
    out = resample(Audio(np.sin(2 * np.pi * 15000 * time).astype(np.float32)[None], RATE), 22050)
    assert np.sqrt((out.samples[:, 2000:-2000] ** 2).mean()) < 1e-4


def test_mono_is_the_mean():
    audio = Audio(np.array([[1, 0.5], [0, 0.5]], np.float32), RATE)
    assert to_mono(audio).samples.tolist() == [[0.5, 0.5]]

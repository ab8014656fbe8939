"""The stand-in for EnCodec, from training to MERT's teacher. Run: pytest tests/mulan/training/test_codec.py"""

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError

from data.manifest import Track
from mulan.checkpoint import read_weights
from mulan.distributed import Share
from mulan.targets import MertTargetsConfig, build_targets
from mulan.training.codec import CodecStage, CodecTrainConfig, spectral_distance
from mulan.training.loop import fit

SETTINGS = dict(
    name="tiny", licence="CC0-1.0", seed=1, steps=3, batch_size=2, filters=2, dim=8, clip_seconds=0.5,
    learning_rate=1e-3, warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, precision="float32", loader_workers=0,
    log_every=1, save_every=3, validate_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Six seconds of noise in twelve files, each louder than the one before."""
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", 0.02 * (i + 1) * rng.standard_normal(12_000), 24_000, subtype="FLOAT")
    return [
        Track(id=str(i), path=folder / f"{i}.wav", seconds=0.5, split="train" if i < 8 else "valid") for i in range(12)
    ]


@pytest.fixture(scope="module")
def run(tracks, tmp_path_factory):
    """A run of three steps: its folder and what it logged."""
    out, logged = tmp_path_factory.mktemp("codec"), []
    fit(CodecStage(CodecTrainConfig(**SETTINGS), tracks), out, on_step=logged.append)
    return out, logged


def test_what_it_saves_is_a_teacher_for_mert(run):
    waveforms = 0.1 * torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0))

    teacher = build_targets(MertTargetsConfig(name=f"local:{run[0] / 'model'}"))
    frames = teacher(waveforms)

    assert (teacher.rate, teacher.codebooks, teacher.codebook_size) == (75, 8, 1024)
    assert frames.codes.shape == (2, 75, 8)
    assert frames.values.shape == (2, 75, 336)
    assert len(frames.codes[..., 0].unique()) > 10  # the codebook fits what is heard


def test_codes_are_the_nearest_by_a_plain_search(run):
    waveforms = 0.1 * torch.randn(1, 24_000, generator=torch.Generator().manual_seed(1))
    teacher = build_targets(MertTargetsConfig(name=f"local:{run[0] / 'model'}"))
    weights = read_weights(run[0] / "model")

    codes = teacher(waveforms).codes[0].numpy()

    with torch.no_grad():
        residual = teacher.encoder(waveforms[:, None])[0].T.double().numpy()
    for k in range(8):
        codebook = weights[f"quantizer.layers.{k}.codebook.embed"].double().numpy()
        distances = np.linalg.norm(residual[:, None] - codebook, axis=-1)
        chosen = distances[np.arange(75), codes[:, k]]
        # Not the same number: codes that k-means could not part are equally near, to within float32's rounding.
        assert np.allclose(chosen, distances.min(axis=1), rtol=1e-3, atol=1e-6)
        residual = residual - codebook[codes[:, k]]


def test_codebooks_take_apart_what_is_heard_and_the_decoder_hears_it_as_before(tracks):
    codec = CodecStage(CodecTrainConfig(**SETTINGS), tracks).module
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(8, 12_000, generator=generator)
    with torch.no_grad():
        before, none = codec(waveforms)
        codec.fit(codec.latents(waveforms).flatten(0, 1), generator)
        frames = codec.latents(waveforms).flatten(0, 1)
        after, codes = codec(waveforms)

    assert none == []
    assert len(codes) == 8
    # 304 frames have 1024 codes of eight stages to themselves, so little is lost but to k-means.
    torch.testing.assert_close(after, before, atol=0.02 * float(before.std()), rtol=0)
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(8), atol=1e-2, rtol=0)
    assert float(frames.std(dim=0).square().mean()) == pytest.approx(1, abs=1e-2)


def test_it_is_judged_when_it_has_codes(run):
    logged = [record for record in run[1] if "valid_snr_db" in record]

    assert [record["step"] for record in logged] == [3]
    assert all(0 < record["used_1"] <= 1 and 1 <= record["perplexity_8"] <= 1024 for record in logged)


def test_silence_and_what_cannot_be_read_end_no_run_when_it_is_judged(tracks, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(12_000), 24_000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_text("not music")
    for name, judged in (("silent", True), ("broken", False)):
        odd = Track(id=name, path=tmp_path / f"{name}.wav", seconds=0.5, split="valid")
        logged = []
        fit(CodecStage(CodecTrainConfig(**SETTINGS), [*tracks[:8], odd]), tmp_path / name, on_step=logged.append)
        assert any("valid_log_mel_db" in record for record in logged) == judged
        assert not any("valid_snr_db" in record for record in logged)


def test_training_brings_the_decoded_nearer(tracks):
    stage = CodecStage(CodecTrainConfig(**SETTINGS), tracks)
    waveforms = next(stage.batches(first_step=0, share=Share(rank=0, world=1)))[1].waveforms
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=1e-2)
    distances = []
    for _ in range(20):
        distances.append(spectral_distance(stage.module(waveforms)[0], waveforms))
        optimizer.zero_grad()
        distances[-1].backward()
        optimizer.step()

    assert distances[-1] < 0.7 * distances[0]


def test_the_spectral_distance_of_a_waveform_to_itself_is_zero_and_sees_loudness():
    waveform = torch.randn(1, 6000, generator=torch.Generator().manual_seed(0))

    assert float(spectral_distance(waveform, waveform)) == 0
    # Twice as loud: log 2 from the logarithms, and the mean magnitude (about 0.54 with a normalised Hann window).
    assert float(spectral_distance(2 * waveform, waveform)) == pytest.approx(np.log(2) + 0.54, abs=0.05)


def test_a_batch_is_never_cut():
    with pytest.raises(ValidationError, match="micro_batch = 1: a codec takes its batch whole"):
        CodecTrainConfig(**SETTINGS | {"micro_batch": 1})

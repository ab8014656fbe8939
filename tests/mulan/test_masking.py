"""Masked blocks and noise mixtures: positions, statistics, seeds. Run: pytest tests/mulan/test_masking.py"""

import pytest
import torch

from mulan.masking import mask_waveforms, mix_noise

BLOCK = 9600  # 0.4 s


def _clips(count: int, samples: int) -> torch.Tensor:
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(0))


def test_masked_samples_are_those_of_the_masked_tokens_and_nothing_else_changes():
    clean = _clips(8, 10 * BLOCK)

    masked = mask_waveforms(clean, seeds=range(8), token_rate=25)

    assert masked.tokens.shape == (8, 100)
    by_sample = masked.tokens.repeat_interleave(960, dim=1)
    assert torch.equal(masked.waveforms != clean, by_sample)  # no noise sample equals the clean one by chance


def test_blocks_are_masked_whole_on_a_grid_of_ten_tokens():
    tokens = mask_waveforms(_clips(8, 10 * BLOCK), seeds=range(8), token_rate=25).tokens

    blocks = tokens.unflatten(1, (10, 10))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))


def test_a_token_of_75_hz_belongs_to_the_same_block():
    clean = _clips(4, 5 * BLOCK)

    coarse = mask_waveforms(clean, seeds=range(4), token_rate=25)
    fine = mask_waveforms(clean, seeds=range(4), token_rate=75)

    assert torch.equal(fine.waveforms, coarse.waveforms)
    assert torch.equal(fine.tokens, coarse.tokens.repeat_interleave(3, dim=1))


def test_six_blocks_in_ten_are_masked_by_noise_of_a_tenth():
    clean = _clips(100, 50 * BLOCK)[:, :: BLOCK // 96]  # 50 blocks of 96 samples: as many draws, a hundredth the work
    masked = mask_waveforms(clean, seeds=range(100), token_rate=250, block_seconds=0.004)

    blocks = masked.tokens.float()
    noise = masked.waveforms[masked.waveforms != clean]
    # 5000 draws: standard error 0.007. 290 000 samples: standard errors 2e-4 and 1.3e-4.
    assert blocks.mean() == pytest.approx(0.6, abs=0.021)
    assert float(noise.mean()) == pytest.approx(0.0, abs=6e-4)
    assert float(noise.std()) == pytest.approx(0.1, abs=4e-4)
    together = (blocks[:, 1:] * blocks[:, :-1]).mean()
    assert float(together) == pytest.approx(0.36, abs=0.03)  # neighbours know nothing of each other


def test_the_callers_waveforms_stay_as_they_are():
    clean = _clips(2, 3 * BLOCK)
    before = clean.clone()

    mask_waveforms(clean, seeds=[0, 1], token_rate=25)
    mix_noise(clean, seeds=[0, 1])

    assert torch.equal(clean, before)


def test_a_row_depends_on_its_seed_alone():
    clean = _clips(4, 5 * BLOCK)

    whole = mask_waveforms(clean, seeds=[7, 8, 9, 10], token_rate=25)
    part = mask_waveforms(clean[2:], seeds=[9, 10], token_rate=25)

    assert torch.equal(part.waveforms, whole.waveforms[2:])
    assert torch.equal(part.tokens, whole.tokens[2:])
    assert not torch.equal(whole.tokens[0], whole.tokens[1])


def test_a_short_last_block_is_masked_like_the_others():
    clean = _clips(200, 2 * BLOCK + 3000)  # the last block: three tokens and 120 samples

    masked = mask_waveforms(clean, seeds=range(200), token_rate=25)

    assert masked.tokens.shape == (200, 23)
    last = masked.tokens[:, 20]
    assert torch.equal(masked.tokens[:, 22], last)
    assert torch.equal((masked.waveforms != clean)[:, -1], last)
    assert 0.5 < last.float().mean() < 0.75  # 0.6 and a little for rows that chance left alone; standard error 0.035


def test_every_row_has_something_to_predict():
    masked = mask_waveforms(_clips(50, 2 * BLOCK), seeds=range(50), token_rate=25, probability=0.01)

    assert (masked.tokens.sum(dim=1) == 10).sum() >= 48  # one block of two, where chance would have masked none
    assert masked.tokens.any(dim=1).all()


def test_a_last_block_too_short_for_a_token_is_never_the_only_one():
    masked = mask_waveforms(_clips(50, BLOCK + 500), seeds=range(50), token_rate=25, probability=0.01)

    assert masked.tokens.shape == (50, 10)
    assert masked.tokens.all()


def test_half_precision_stays_what_it_was():
    clean = _clips(1, BLOCK).bfloat16()

    assert mask_waveforms(clean, seeds=[0], token_rate=25).waveforms.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1]}, "1 seeds for 2 waveforms"),
        ({"probability": 0.0}, r"probability is 0\.0; must be above 0"),
        ({"block_seconds": 0.03}, r"block_seconds is 0\.03; must be a whole number of tokens"),
        ({"token_rate": 7}, "must be a whole number of tokens of 1/7 s"),
    ],
)
def test_impossible_masks_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        mask_waveforms(_clips(2, BLOCK), **{"seeds": [0, 1], "token_rate": 25, **change})


def test_a_waveform_without_a_token_is_refused():
    with pytest.raises(ValueError, match="959 samples; need at least one token, 960"):
        mask_waveforms(_clips(1, 959), seeds=[0], token_rate=25)


def test_half_the_clips_get_one_to_three_pieces_of_others():
    # Clip i is the constant 4**i, so that what was added says of whom it is, and how often.
    clips = (4.0 ** torch.arange(4))[:, None].expand(4, 48_000)
    touched, lengths, most = 0, [], 0
    for trial in range(50):
        added = mix_noise(clips, seeds=range(4 * trial, 4 * trial + 4)) - clips
        for row in range(4):
            pieces = [(added[row] // 4**other % 4).int() for other in range(4)]
            assert not pieces[row].any()  # nothing of itself
            total = int(sum(piece.sum() for piece in pieces))
            touched += total > 0
            lengths += [total] if total else []
            most = max(most, *(int(piece.max()) for piece in pieces))
    # 200 draws of probability 0.5: standard error 7.
    assert 79 <= touched <= 121
    assert min(lengths) >= 12_000
    assert max(lengths) <= 3 * 24_000
    assert max(lengths) > 2 * 24_000  # three pieces do occur
    assert most <= 3
    # Mean of 1 to 3 pieces of 0.75 s on average: 36 000 samples; standard error of 100: 1700.
    assert sum(lengths) / len(lengths) == pytest.approx(36_000, abs=5_000)


def test_a_piece_is_an_unbroken_excerpt_of_the_other_clip(monkeypatch):
    monkeypatch.setattr("mulan.masking.MOST_SEGMENTS", 1)
    ramp = torch.arange(1.0, 30_001.0)
    clips = torch.stack([torch.zeros(30_000), ramp])

    excerpts = [mix_noise(clips, seeds=[seed])[0] for seed in range(20)]

    starts = {}
    for excerpt in excerpts:
        (places,) = excerpt.nonzero(as_tuple=True)
        if len(places):
            first, last = int(places[0]), int(places[-1])
            assert 12_000 <= len(places) <= 24_000
            assert torch.equal(excerpt[first : last + 1], excerpt[first] + torch.arange(len(places)))
            starts[first] = float(excerpt[first])
    assert len(starts) >= 4  # of 20 halves
    assert len(set(starts.values())) == len(starts)  # from here and there, to here and there


def test_a_process_mixes_its_clips_as_the_whole_batch_would():
    clips = _clips(6, 30_000)

    whole = mix_noise(clips, seeds=range(6))
    part = mix_noise(clips, seeds=range(2, 5), first=2)

    assert torch.equal(part, whole[2:5])
    assert not torch.equal(whole, clips)


def test_a_clip_that_is_alone_is_left_as_it_is():
    clips = _clips(1, 30_000)

    mixed = mix_noise(clips, seeds=[0])

    assert torch.equal(mixed, clips)
    assert mixed.data_ptr() != clips.data_ptr()


def test_impossible_mixtures_are_refused():
    with pytest.raises(ValueError, match="3 seeds from clip 0 on; the batch has 2 clips"):
        mix_noise(_clips(2, 30_000), seeds=[0, 1, 2])
    with pytest.raises(ValueError, match="must rise and fit the clips, 20000 samples long"):
        mix_noise(_clips(2, 20_000), seeds=[0, 1])

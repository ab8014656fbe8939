"""The comparison of the plain training loop with ours, at tiny size. Run: pytest tests/mulan/test_bench.py"""

import pytest

from mulan.bench import MUQ_9M, TrainingComparison, TrainingSpeed, compare_training
from mulan.muq import MuQ, MuQConfig


def test_both_ways_of_training_are_measured_in_one_run():
    config = MuQConfig(conv_dim=4, dim=16, depth=1, heads=2, ffn_dim=32)

    found = compare_training(config, clips=2, seconds=0.5, rounds=2, threads=1)

    assert found.naive.clips_per_second > 0
    assert found.ours.clips_per_second > 0
    assert found.ours.peak_bytes > 2**20
    assert found.parameters == sum(weight.numel() for weight in MuQ(config).parameters())


def test_the_ratio_says_how_many_times_faster_ours_is():
    slow, fast = (TrainingSpeed(clips_per_second=rate, page_faults_per_clip=0.0, peak_bytes=1) for rate in (2.0, 5.0))

    assert TrainingComparison(naive=slow, ours=fast, parameters=1, precision="float32").ratio == 2.5


def test_the_model_measured_has_as_many_parameters_as_its_documentation_says():
    parameters = sum(weight.numel() for weight in MuQ(MUQ_9M).parameters())

    assert parameters / 1e6 == pytest.approx(9.8, abs=0.05)

"""Device and precision are chosen once and never silently replaced. Run: pytest tests/mulan/test_runtime.py."""

import ctypes
import platform
import subprocess
import sys

import pytest
import torch

from mulan import ConfigError
from mulan.runtime import choose_runtime, decoding_threads, keep_memory, mulan_home, prepare_for_bulk


def test_an_explicit_choice_is_kept_and_said():
    runtime = choose_runtime("cpu", "bfloat16")
    assert (runtime.device.type, runtime.precision) == ("cpu", "bfloat16")
    assert runtime.reason == "cpu as asked; bfloat16 as asked"


@pytest.mark.parametrize(
    ("amx", "avx512", "precision", "reason"),
    [
        (True, True, "bfloat16", "the CPU has AMX"),
        (False, True, "bfloat16", "the CPU has AVX512-BF16"),
        (False, False, "float32", "no fast bfloat16"),
    ],
)
def test_auto_precision_on_a_cpu_follows_its_instructions(monkeypatch, amx, avx512, precision, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    runtime = choose_runtime()
    assert runtime.precision == precision
    assert reason in runtime.reason


def test_auto_takes_an_apple_gpu_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    runtime = choose_runtime()

    assert (runtime.device.type, runtime.precision) == ("mps", "float32")
    assert runtime.reason == "auto-detected Apple GPU; float32 because mps here has no fast bfloat16"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_gpu_is_an_error_not_a_fallback():
    with pytest.raises(ConfigError, match=r"device 'cuda' cannot be used here \(.*\); use 'auto' or 'cpu'"):
        choose_runtime("cuda")


def test_unknown_names_are_refused():
    for device in ("gpu", "meta", "xpu:0", ""):
        with pytest.raises(ConfigError, match=f"^device '{device}' is unknown; use 'auto', 'cpu', 'cuda' or 'mps'$"):
            choose_runtime(device)
    with pytest.raises(ConfigError, match="precision 'half' is unknown"):
        choose_runtime("cpu", "half")


def test_everything_generated_lives_under_mulan_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MULAN_HOME", str(tmp_path))
    assert mulan_home() == tmp_path


@pytest.mark.parametrize(
    ("cores", "torch_has", "computing", "decoding"), [(1, 1, 1, 1), (2, 2, 1, 1), (16, 8, 8, 8), (16, 2, 2, 8)]
)
def test_bulk_work_leaves_half_of_the_cores_to_the_decoders(monkeypatch, cores, torch_has, computing, decoding):
    chosen = []
    monkeypatch.setattr("mulan.runtime.keep_memory", lambda: True)
    monkeypatch.setattr("mulan.runtime._cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_has)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)

    prepare_for_bulk()

    assert (chosen, decoding_threads()) == ([computing], decoding)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_is_kept_costs_no_page_faults_the_second_time():
    program = """
import resource, torch
from mulan.runtime import keep_memory

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(megabytes << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(64)
given_back = faults(40)
assert keep_memory()
faults(64)
print(given_back, faults(40))
"""
    # In a process of its own: it cannot be undone.
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    given_back, kept = map(int, run.stdout.split())
    assert kept < 10  # of 10 240 pages of 4 KiB
    assert given_back > kept


def test_where_there_is_no_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_memory()

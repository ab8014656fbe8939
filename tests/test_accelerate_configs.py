"""The configurations in configs/accelerate: read by Accelerate, and each kind stepped on two CPU processes.

Run: pytest tests/test_accelerate_configs.py. DeepSpeed is not among our dependencies; its step is tested where it is
installed.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator
from accelerate.commands.config import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch import Tensor, nn

from data.manifest import Track
from mulan.checkpoint import load_backbone
from mulan.muq import MuQ, MuQConfig
from mulan.targets import RandomProjectionTargetsConfig
from mulan.training import loop
from mulan.training.muq import MuqStage, MuqTrainConfig

FOLDER = Path(__file__).parent.parent / "configs" / "accelerate"
KINDS = {"ddp": DistributedType.MULTI_GPU, "fsdp2": DistributedType.FSDP, "zero2": DistributedType.DEEPSPEED}
ROWS = 4
TINY = MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.0)


class Tiny(nn.Module):
    """A backbone and a scale, which has a dimension because FSDP2 and DeepSpeed cannot hold a parameter without one."""

    _no_split_modules = ("ConformerLayer",)

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.backbone = MuQ(TINY)
        self.log_scale = nn.Parameter(torch.ones(1))

    def forward(self, waveforms: Tensor) -> Tensor:
        return (self.backbone(waveforms) * self.log_scale.exp()).square().mean()


def waveforms() -> Tensor:
    return 0.1 * torch.randn(ROWS, 12_000, generator=torch.Generator().manual_seed(1))


def step_as_one_process() -> dict[str, Tensor]:
    model = Tiny().eval()  # BatchNorms over processes are tested elsewhere
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(waveforms()).backward()
    optimizer.step()
    return model.state_dict()


def step_as_one_of_two(kind: str, out: Path) -> None:
    """What a process does that `accelerate launch` starts, but on a CPU, which Accelerate must take for a GPU."""
    torch.set_num_threads(1)
    state = PartialState(cpu=True)  # starts gloo
    state.distributed_type = DistributedType.DEEPSPEED if kind == "zero2" else DistributedType.MULTI_GPU
    if kind == "ddp":
        state.distributed_type = DistributedType.MULTI_CPU
    accelerator = Accelerator()
    if kind == "zero2":
        # Without a limit of ours, Accelerate lets DeepSpeed clip gradients to 1.
        mine = {"train_micro_batch_size_per_gpu": ROWS // 2, "gradient_clipping": 1e9}
        accelerator.state.deepspeed_plugin.deepspeed_config.update(mine)
    model = Tiny().eval()
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    share = ROWS // 2 * accelerator.process_index
    accelerator.backward(model(waveforms()[share : share + ROWS // 2]))
    optimizer.step()
    weights = accelerator.get_state_dict(model)
    accelerator.save_state(str(out / "state"))
    if accelerator.is_main_process:
        facts = {"type": str(accelerator.distributed_type), "sharded": is_sharded(model)}
        torch.save({"weights": weights, "facts": facts}, out / "result.pt")
    accelerator.end_training()


def fit_as_one_of_two(kind: str, out: Path) -> None:
    """The whole of `mulan train muq`, validation and saving included, as one of two processes."""
    torch.set_num_threads(1)
    state = PartialState(cpu=True)
    state.distributed_type = DistributedType.MULTI_CPU if kind == "ddp" else DistributedType.MULTI_GPU
    if kind == "fsdp2":
        loop.Accelerator = lambda cpu, **options: Accelerator(**options)  # which would else take it for DDP
    rng = np.random.default_rng(0)
    tracks = []
    for number in range(6):
        path = out / f"{state.process_index}-{number}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(24_000).astype(np.float32), 24_000)
        split = "train" if number < ROWS else "valid"
        tracks.append(Track(id=str(number), path=path, seconds=1.0, split=split))
    config = MuqTrainConfig(
        name="tiny", licence="none", seed=1, steps=3, batch_size=ROWS, micro_batch=1, batch_norm="frozen",
        learning_rate=0.01, warmup_steps=1, weight_decay=0.01, max_grad_norm=1.0, precision="float32",
        loader_workers=0, log_every=1, save_every=2, validate_every=3, checkpoint_activations=True, clip_seconds=0.8,
        backbone=TINY, targets=RandomProjectionTargetsConfig(codebook_size=16),
    )  # fmt: skip
    loop.fit(MuqStage(config, tracks), out / "run", on_step=lambda record: None)
    PartialState().destroy_process_group()


def is_sharded(model: nn.Module) -> bool:
    return any(hasattr(parameter, "full_tensor") for parameter in model.parameters())


def launched_environment(path: Path) -> dict[str, str]:
    """What `accelerate launch` would set for a configuration."""
    options = ["--config_file", str(path), "--machine_rank", "0", "--main_process_ip", "localhost"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([*options, "train.py"]))
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ""  # set by the launcher, for a check of its own
        _, environment = prepare_deepspeed_cmd_env(arguments)
    else:
        environment = prepare_multi_gpu_env(arguments)
    return {name: value for name, value in environment.items() if os.environ.get(name) != value}


def launch_two(kind: str, out: Path, *, what: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **launched_environment(FOLDER / f"{kind}-8.yaml"), **shared}
    environment["PYTHONPATH"] = os.pathsep.join([str(FOLDER.parent.parent), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, what, kind, str(out)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_every_configuration(path):
    kind, _, processes = path.stem.partition("-")
    config = load_config_from_file(str(path))  # refuses unknown keys
    assert config.distributed_type == (DistributedType.NO if path.stem == "ddp-1" else KINDS[kind])
    assert config.num_processes == int(processes)
    assert config.num_machines == max(1, int(processes) // 8)
    assert f"configs/accelerate/{path.name}" in path.read_text()  # the command in its head


def test_every_kind_comes_for_1_8_and_32_gpus():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {f"{kind}-{n}" for kind in KINDS for n in (1, 8, 32)}


@pytest.mark.parametrize("processes", [1, 8, 32])
def test_what_accelerate_launch_hands_on_is_what_the_files_say(processes):
    fsdp = launched_environment(FOLDER / f"fsdp2-{processes}.yaml")
    assert (fsdp["ACCELERATE_USE_FSDP"], fsdp["FSDP_VERSION"]) == ("true", "2")
    assert fsdp["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert "FSDP_TRANSFORMER_CLS_TO_WRAP" not in fsdp  # so that Accelerate asks the model
    assert fsdp["ACCELERATE_MIXED_PRECISION"] == "no"


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_step_on_two_processes_is_that_of_one_process_with_the_whole_batch(kind, tmp_path):
    if kind == "zero2" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed here")
    launch_two(kind, tmp_path, what="step")
    result = torch.load(tmp_path / "result.pt")
    assert result["facts"] == {
        "type": f"DistributedType.{'MULTI_CPU' if kind == 'ddp' else KINDS[kind].value}",
        "sharded": kind == "fsdp2",
    }
    for name, expected in step_as_one_process().items():
        # float32 sums in another order
        torch.testing.assert_close(result["weights"][name], expected, rtol=1e-4, atol=1e-6)


def test_a_whole_run_under_fsdp2_is_that_under_ddp(tmp_path):
    curves = []
    for kind in ("ddp", "fsdp2"):
        (tmp_path / kind).mkdir()
        launch_two(kind, tmp_path / kind, what="fit")
        lines = (tmp_path / kind / "run" / "metrics.jsonl").read_text().splitlines()
        curves.append([json.loads(line) for line in lines])
        assert load_backbone(tmp_path / kind / "run" / "model").config == TINY
    for ddp, fsdp in zip(*curves, strict=True):
        for key in {"loss", "gradient_norm", "valid_loss"}.intersection(ddp):
            assert fsdp[key] == pytest.approx(ddp[key], rel=1e-4)  # float32 sums in another order


if __name__ == "__main__":
    {"step": step_as_one_of_two, "fit": fit_as_one_of_two}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))

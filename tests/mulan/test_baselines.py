"""Other people's models behind our protocol, on tiny random weights. Run: pytest tests/mulan/test_baselines.py"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import normalize
from transformers import BertConfig, BertModel, ClapConfig, ClapFeatureExtractor, ClapModel
from transformers.utils import logging

from data.errors import CheckpointError, ConfigError, MulanError
from data.manifest import Track
from mulan import load_encoder
from mulan.baselines import text_only as text_only_module
from mulan.baselines.clap import load_clap
from mulan.baselines.text_only import TextOnlyEncoder, describe
from mulan.encoding import EmbeddedFile, FailedFile
from mulan.runtime import choose_runtime
from mulan.tokenizer import TruncatedTextWarning

RATE = 48_000
SAME = 0.99999  # cosine; float32 sums in another order
WORDS = ["piano", "slow", "fast", "drums", "techno", "solo", "erik", "satie", "album"]


@pytest.fixture(scope="module", autouse=True)
def _no_bars():
    logging.disable_progress_bar()  # of the models written here
    yield
    logging.enable_progress_bar()


def write_tokenizer(folder: Path, first: dict[str, int], start: str, end: str) -> None:
    vocabulary = first | {word: len(first) + position for position, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, first[start]), (end, first[end])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def spread(model: torch.nn.Module, seed: int) -> None:
    """Weights wide enough that unlike inputs have unlike vectors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.5 * weight[0].numel() ** -0.5, generator=generator)


def write_clap(folder: Path, *, is_fused: bool) -> ClapModel:
    audio = {"spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "hidden_size": 16, "window_size": 4}
    layers = {"depths": [1, 1], "num_attention_heads": [1, 2], "enable_fusion": is_fused, "aff_block_r": 2}
    text = {"vocab_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "max_position_embeddings": 20, "pad_token_id": 1}
    fusion = {"fusion_type": "aff_2d"} if is_fused else {}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio | layers | fusion, projection_dim=8)).eval()
    spread(model, seed=1)
    normaliser = model.audio_model.audio_encoder.batch_norm
    normaliser.running_mean.fill_(-40)  # dB, as in trained ones
    normaliser.running_var.fill_(100)
    model.save_pretrained(folder)
    truncation = "fusion" if is_fused else "rand_trunc"
    ClapFeatureExtractor(feature_size=16, hop_length=2000, truncation=truncation).save_pretrained(folder)
    write_tokenizer(folder, {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<s>", "</s>")
    return model


@pytest.fixture(scope="module")
def claps(tmp_path_factory):
    """Folder and model without and with feature fusion."""
    folders = {is_fused: tmp_path_factory.mktemp("clap") for is_fused in (False, True)}
    return {is_fused: (folder, write_clap(folder, is_fused=is_fused)) for is_fused, folder in folders.items()}


@pytest.fixture(scope="module")
def clap(claps):
    return load_encoder(f"clap:{claps[False][0]}", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def sentence_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentences")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=16, max_position_embeddings=24, **sizes))
    spread(model, seed=2)
    model.save_pretrained(folder)
    write_tokenizer(folder, {"[PAD]": 0, "<unk>": 1, "[CLS]": 2, "[SEP]": 3}, "[CLS]", "[SEP]")
    special = {"pad_token": "[PAD]", "unk_token": "<unk>", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 24, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "README.md").write_text("---\ntags:\n- music\nlicense: apache-2.0\n---\n# A model\nlicense: no\n")
    return folder


@pytest.fixture(scope="module")
def open_clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open-clip")
    vision = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CLIP(**json.loads(json.dumps(config)))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder


def sounds() -> np.ndarray:
    """Three unlike windows, float32 [3, 480000]."""
    time = np.arange(10 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    plucked = np.sin(2 * np.pi * 440 * time) * np.exp(-(time % 0.5))
    return np.stack([0.1 * noise, 0.3 * plucked, 0.3 * np.sin(2 * np.pi * 1500 * time) + 0.001 * noise]).astype("f4")


@pytest.mark.parametrize("is_fused", [False, True])
def test_a_window_has_the_vector_that_transformers_gives_it_alone(claps, is_fused):
    folder, model = claps[is_fused]
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    encoder = load_encoder(f"clap:{folder}", device="cpu", precision="float32")
    with torch.inference_mode():
        expected = [
            model.get_audio_features(**extractor([window], sampling_rate=RATE, return_tensors="pt")).pooler_output
            for window in sounds()
        ]
    found = encoder.encode_audio(list(sounds()), RATE)
    assert (found * torch.cat(expected).numpy()).sum(axis=1).min() >= SAME
    assert (found[0] @ found[1]) < 0.95  # these weights do tell sounds apart


@pytest.mark.parametrize("is_fused", [False, True])
def test_the_mel_is_that_of_transformers(claps, is_fused):
    folder, _ = claps[is_fused]
    noise = sounds()[:1]
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    expected = extractor([*noise], sampling_rate=RATE, return_tensors="pt").input_features
    found = load_clap(str(folder), choose_runtime("cpu", "float32")).log_mel(torch.from_numpy(noise))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-3  # dB; float32 in place of float64


@pytest.mark.parametrize("is_fused", [False, True])
def test_bfloat16_stays_near_float32_and_leaves_texts_alone(claps, is_fused):
    folder, _ = claps[is_fused]
    exact, quick = (load_encoder(f"clap:{folder}", device="cpu", precision=wish) for wish in ("float32", "bfloat16"))
    audio = quick.encode_audio(list(sounds()), RATE)
    assert audio.dtype == np.float32
    assert (exact.encode_audio(list(sounds()), RATE) * audio).sum(axis=1).min() >= 0.999
    assert np.array_equal(exact.encode_text(["slow piano"]), quick.encode_text(["slow piano"]))


def test_texts_have_the_vectors_that_transformers_gives_and_the_same_in_every_batch(claps, clap):
    texts = ["piano", "slow piano solo drums techno fast", "fast drums"]
    together = clap.encode_text(texts)
    alone = np.concatenate([clap.encode_text([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    ids = torch.tensor([[0, 4, 2]])  # <s> piano </s>
    with torch.inference_mode():
        expected = claps[False][1].get_text_features(ids, torch.ones_like(ids)).pooler_output.numpy()
    assert (together[:1] * expected).sum() >= SAME


def test_long_audio_is_cut_into_windows_of_ten_seconds_and_never_at_random(clap, tmp_path):
    waveform = np.tile(sounds()[1], 3)[: 25 * RATE]
    soundfile.write(tmp_path / "long.wav", waveform, RATE, subtype="FLOAT")
    path = tmp_path / "long.wav"
    whole, part, again = clap.embed_tracks(
        [
            Track(id="whole", path=path),
            Track(id="part", path=path, start=3.0, end=8.0),
            Track(id="again", path=path),
        ]
    )
    assert (clap.sample_rate, clap.clip_seconds, clap.dim) == (RATE, 10.0, 8)
    assert whole.spans.tolist() == [[0, 10], [10, 20], [20, 25]]
    assert part.spans.tolist() == [[0, 5]]
    assert np.abs(part.vector - clap.encode_audio([waveform[3 * RATE : 8 * RATE]], RATE)[0]).max() < 1e-5
    # The batch of the second ends elsewhere, so a kernel may sum in another order.
    assert np.abs(whole.vector - again.vector).max() < 1e-5


def test_the_fingerprint_follows_the_weights_and_not_the_folder_or_the_card(claps, clap, tmp_path):
    folder, _ = claps[False]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    copy = load_encoder(f"clap:{tmp_path}", device="cpu", precision="float32")
    assert copy.fingerprint == clap.fingerprint
    assert (clap.licence, copy.licence) == ("not stated", "cc-by-4.0")
    assert load_encoder(f"clap:{claps[True][0]}", device="cpu").fingerprint != clap.fingerprint


def test_a_relative_folder_gets_a_name_that_holds_everywhere(claps, monkeypatch):
    folder, _ = claps[False]
    monkeypatch.chdir(folder.parent)
    assert load_encoder(f"clap:{folder.name}", device="cpu").name == f"clap:{folder}"


def test_what_is_no_clap_is_refused_on_one_line(claps, sentence_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder, _ = claps[False]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = {"logit_scale_a": torch.tensor(1.0)}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    faults = {
        "clap:/no/such/folder": "no such folder; give the folder",
        f"clap:{sentence_folder}": r"has no preprocessor_config\.json or processor_config\.json",
        "clap:someone/elsewhere": "hub cannot be reached; connect, or fetch the folder elsewhere and use clap:DIR",
        f"clap:{tmp_path}": "missing weights: ",
    }
    for name, message in faults.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            load_encoder(name, device="cpu")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("clap", "model.safetensors"),
        ("clap", "config.json"),
        ("clap", "preprocessor_config.json"),
        ("clap", "tokenizer.json"),
        ("sentence-transformers", "model.safetensors"),
        ("sentence-transformers", "modules.json"),
        ("sentence-transformers", "1_Pooling/config.json"),
        ("sentence-transformers", "tokenizer.json"),
        ("open-clip", "open_clip_model.safetensors"),
        ("open-clip", "open_clip_config.json"),
    ],
)
def test_a_damaged_file_is_refused_on_one_line(claps, sentence_folder, open_clip_folder, tmp_path, kind, file):
    folders = {"clap": claps[False][0], "sentence-transformers": sentence_folder, "open-clip": open_clip_folder}
    copy = tmp_path / "copy"
    shutil.copytree(folders[kind], copy)
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=str(copy)) as caught:
        load_encoder(f"{kind}:{copy}", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.fixture(params=["sentence-transformers", "open-clip"])
def text_only(request, sentence_folder, open_clip_folder):
    folder = sentence_folder if request.param == "sentence-transformers" else open_clip_folder
    return load_encoder(f"{request.param}:{folder}", device="cpu")


def test_a_text_model_hears_nothing_and_says_so_in_its_name(text_only):
    assert isinstance(text_only, TextOnlyEncoder)
    assert text_only.name.startswith("file-names+")
    for call in (
        lambda: text_only.encode_audio([sounds()[0]], RATE),
        lambda: text_only.encode_windows(sounds()[0], RATE),
    ):
        with pytest.raises(MulanError, match="hears nothing; give files, whose names it reads"):
            call()


def test_the_name_of_a_text_model_loads_it_again(text_only):
    again = load_encoder(text_only.name, device="cpu")
    assert (again.name, again.fingerprint) == (text_only.name, text_only.fingerprint)


def test_a_text_has_the_same_vector_of_unit_length_in_every_batch(text_only):
    texts = ["piano", "slow piano solo drums techno fast", "fast drums"]
    together = text_only.encode_text(texts)
    alone = np.concatenate([text_only.encode_text([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5
    assert together.dtype == np.float32
    assert text_only.encode_text([]).shape == (0, text_only.dim)
    with pytest.raises(ValueError, match="text 1: blank"):
        text_only.encode_text(["piano", " "])


def test_the_vector_of_a_file_is_that_of_what_is_written_about_it(text_only, tmp_path):
    path = tmp_path / "Erik Satie" / "Album" / "01 slow piano.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.zeros(2000), 1000)
    good, gone = text_only.embed_files([path, path.with_name("gone.wav")])
    assert isinstance(good, EmbeddedFile)
    assert good.spans.tolist() == [[0, 2]]
    assert np.abs(good.vector - text_only.encode_text(["slow piano, Album, Erik Satie"])[0]).max() < 1e-5
    assert isinstance(gone, FailedFile)
    assert "no such file" in gone.reason


@pytest.mark.filterwarnings("default::mulan.tokenizer.TruncatedTextWarning")
def test_a_text_or_file_name_over_the_limit_is_cut_with_a_warning(text_only, tmp_path):
    limit = {"sentence-transformers": 24, "open-clip": 12}[text_only.name.removeprefix("file-names+").split(":")[0]]
    longest, longer = ("piano " * (limit - excess) for excess in (2, 1))  # one token a word, one before, one after
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_only.encode_text([longest])
    message = f"{limit + 1} tokens; the model reads {limit}, its end is left out"
    with pytest.warns(TruncatedTextWarning, match=f"text 1: {message}") as caught:
        text_only.encode_text([longest, longer])
    assert caught[0].filename == __file__
    path = tmp_path / f"{' '.join('abcdefghijklmnopqrstuvwxyz')}.wav"
    soundfile.write(path, np.zeros(2000), 1000)
    with pytest.warns(TruncatedTextWarning, match=rf"{path}: \d+ tokens; the model reads {limit}, "):
        assert isinstance(next(text_only.embed_files([path])), EmbeddedFile)


def test_the_fingerprint_of_a_text_model_follows_the_rule_by_which_it_reads_names(text_only, monkeypatch):
    monkeypatch.setattr(text_only_module, "DESCRIPTION_RULE", text_only_module.DESCRIPTION_RULE + 1)
    assert load_encoder(text_only.name, device="cpu").fingerprint != text_only.fingerprint


def test_a_file_is_described_alike_however_its_path_is_spelt(tmp_path, monkeypatch):
    (tmp_path / "Erik Satie" / "Album").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "Erik Satie" / "Album")
    spellings = [
        "slow.wav",
        "./slow.wav",
        "../Album/slow.wav",
        "../../Erik Satie/Album/slow.wav",
        os.path.abspath("slow.wav"),
    ]
    found = [describe(Track(id="1", path=Path(spelling))) for spelling in spellings]
    assert found == ["slow, Album, Erik Satie"] * len(spellings)


def test_tags_come_first_then_words_of_the_path_each_said_once_and_no_numbers():
    track = Track(id="1", path=Path("music/classical-1888/Erik Satie/03_gymnopedie-satie (live).flac"))
    assert describe(track) == "gymnopedie satie live, Erik, classical"
    inside = Track(id="2", path=Path("shard-00.tar"), member="f/don't stop-29.mp3")
    assert describe(inside) == "don't stop, f"
    assert describe(Track(id="3", path=Path("/0123.wav"))) == "untitled"


def test_the_clip_text_tower_gives_the_vectors_of_open_clip(open_clip_folder):
    encoder = load_encoder(f"open-clip:{open_clip_folder}", device="cpu")
    model = open_clip.create_model(f"local-dir:{open_clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{open_clip_folder}")(["slow piano"])
    with torch.inference_mode():
        expected = normalize(model.eval().encode_text(tokens), dim=-1).numpy()
    assert np.abs(encoder.encode_text(["slow piano"]) - expected).max() < 1e-5


def test_the_licence_of_a_sentence_model_is_that_of_its_card(sentence_folder):
    assert load_encoder(f"sentence-transformers:{sentence_folder}", device="cpu").licence == "apache-2.0"


def test_text_models_that_are_not_there_are_refused_on_one_line(sentence_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    faults = {
        f"sentence-transformers:{tmp_path}": r"has no modules\.json",
        "sentence-transformers:nothing": "hub cannot be reached",
        f"open-clip:{sentence_folder}": r"has no open_clip_config\.json",
        "open-clip:ViT-B-32": "names no weights; allowed: ViT-B-32/ and one of openai, ",
        "open-clip:nothing/at-all": "no such folder and no such model",
    }
    for name, message in faults.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            load_encoder(name, device="cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="a text model is always float32"):
        load_encoder(f"sentence-transformers:{sentence_folder}", device="cpu", precision="bfloat16")


def test_a_misspelt_kind_is_told_which_kinds_there_are():
    with pytest.raises(CheckpointError, match=r"to compare with clap:…, .*; did you mean clap:a/b\?"):
        load_encoder("clapp:a/b", device="cpu")


def test_the_libraries_of_others_are_imported_on_use():
    report = "import sys, mulan.encoder; print('open_clip' in sys.modules, 'sentence_transformers' in sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["False", "False"]

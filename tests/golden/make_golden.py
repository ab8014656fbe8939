"""Official answers on tiny weights that a rule makes from their names, so that no weights need to be stored.

Run in an environment of its own, which is not ours: pip install muq==0.1.0 "transformers<5", then
    python tests/golden/make_golden.py
It writes muq_mulan.npz, and tokenizer.json if it is not there, beside itself. The tests import the rule and the
formulas from here; the official package is needed by `main` alone, and none of its code is in this repository.
"""

import json
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
LENGTHS = (10.0, 25.0, 30.0, 7.0, 5.5, 29.12)
TEXTS = (
    "piano",
    "calm solo piano with slow tempo",
    "fast heavy metal guitar and drums",
    "一首适合海边风景的小提琴曲，节奏欢快",
    "female vocal singing opera, classical genres, hopeful mood",
)
HIDDEN_STEP = 10  # every tenth token of the hidden states is kept

CONFORMER = {
    **dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=2),
    **dict(activation_dropout=0.1, attention_dropout=0.1, conformer_conv_dropout=0.1, hidden_dropout=0.1),
    **dict(hidden_dropout_prob=0.1, layerdrop=0.0, layer_norm_eps=1e-5, hidden_act="swish"),
    **dict(feat_extract_activation="gelu", conv_depthwise_kernel_size=31, max_source_positions=5000),
    **dict(num_conv_pos_embedding_groups=16, num_conv_pos_embeddings=128, model_type="wav2vec2-conformer"),
    **dict(position_embeddings_type="rotary", rotary_embedding_base=10000),
}
MUQ = {
    **dict(label_rate=25, num_codebooks=1, codebook_dim=16, codebook_size=8192, features=["melspec_2048"]),
    **dict(hop_length=240, n_mels=128, conv_dim=8, encoder_dim=32, encoder_depth=2, mask_hop=0.4, mask_prob=0.6),
    **dict(is_flash=False, use_rvq_target=True, use_vq_target=False, use_encodec_target=False),
    **dict(rvq_ckpt_path=None, recon_loss_ratio=None, resume_checkpoint=None, rvq_n_codebooks=1),
    **dict(rvq_multi_layer_num=1, w2v2_config=CONFORMER),
    "stat": dict(
        melspec_2048_cnt=14282760192, melspec_2048_mean=6.768444971712967, melspec_2048_std=18.417922652295623
    ),
}
XLM_ROBERTA = {
    **dict(model_type="xlm-roberta", hidden_size=24, num_hidden_layers=1, num_attention_heads=4),
    **dict(intermediate_size=48, max_position_embeddings=66, type_vocab_size=1, vocab_size=87),
    **dict(pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5, hidden_act="gelu"),
}


def mulan_config(muq: str, text: str) -> dict:
    """config.json of the whole model, which names the folders of its two backbones."""
    dropouts = dict(attn_dropout=0, ff_dropout=0)
    return {
        "mulan": {
            **dict(sr=24000, clip_secs=10, dim_latent=16, decoupled_contrastive_learning=True, rank_contrast=True),
            **dict(hierarchical_contrastive_loss=False, hierarchical_contrastive_loss_layers=None),
            **dict(sigmoid_contrastive_loss=False),
        },
        "audio_model": dict(name=muq, model_dim=32, use_layer_idx=-1),
        "text_model": dict(name=text, model_dim=24, use_layer_idx=-1),
        "audio_transformer": dict(dim=36, tf_depth=0, heads=8, dim_head=64, ff_mult=4, **dropouts),
        "text_transformer": dict(dim=36, tf_depth=2, max_seq_len=1024, dim_head=8, heads=4, ff_mult=4, **dropouts),
    }


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 weight of a published name: random, but always the same for that name and shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var") or "gamma" in name or name.endswith("_scale"):
        values = rng.uniform(0.7, 1.3, shape)
    elif len(shape) < 2:  # biases, and the scales of norms
        is_norm = name.endswith("weight")
        values = rng.uniform(0.8, 1.2, shape) if is_norm else rng.normal(0, 0.1, shape)
    else:
        values = rng.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)
    return values.astype(np.float32)


def waveform(seconds: float) -> np.ndarray:
    """Chords, a beat and noise at 24 kHz, float32 [s]; another tune for every length."""
    rng = np.random.default_rng(round(seconds * 100))
    t = np.arange(round(seconds * 24000)) / 24000
    tones = [
        np.sin(2 * np.pi * rng.uniform(80, 900) * t) * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 3) * t))
        for _ in range(4)
    ]
    beat = (np.sin(2 * np.pi * rng.uniform(1, 3) * t) > 0.95) * rng.standard_normal(t.size)
    return (sum(tones) / 5 + 0.15 * beat + rng.uniform(0, 0.05) * rng.standard_normal(t.size)).astype(np.float32)


def main() -> None:
    """Ask the official package."""
    import torch
    from muq import MuQ, MuQMuLan
    from muq.muq.muq import MuQConfig
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

    def follow_rule(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
        weights = {
            name: tensor if name.endswith(("num_batches_tracked", "inv_freq")) else weight(name, tuple(tensor.shape))
            for name, tensor in module.state_dict().items()
        }
        module.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
        return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}

    if not (HERE / "tokenizer.json").exists():  # its training is not the same twice, so that one is kept
        _train_tokenizer().save(str(HERE / "tokenizer.json"))
    ssl = MuQ(MuQConfig(**MUQ))
    MuQ.from_pretrained = classmethod(lambda cls, *args, **kwargs: ssl)
    with tempfile.TemporaryDirectory(prefix="xlm-roberta-") as folder:  # it looks for the kind in the name
        XLMRobertaTokenizerFast(tokenizer_file=str(HERE / "tokenizer.json")).save_pretrained(folder)
        XLMRobertaModel(XLMRobertaConfig(**XLM_ROBERTA)).save_pretrained(folder)
        model = MuQMuLan(mulan_config("muq", folder)).eval()
        shapes = follow_rule(model)
        answers = {"shapes": np.array(json.dumps(shapes))}
        with torch.inference_mode():
            hidden = ssl(torch.from_numpy(waveform(10.0))[None]).hidden_states
            answers["hidden"] = torch.stack(list(hidden))[:, 0, ::HIDDEN_STEP].numpy()
            for seconds in LENGTHS:
                answers[f"audio {seconds}"] = model(wavs=torch.from_numpy(waveform(seconds))[None])[0].numpy()
            for position, text in enumerate(TEXTS):
                answers[f"text {position}"] = model(texts=[text])[0].numpy()
            answers["padded texts"] = model(texts=TEXTS).numpy()  # each depends on the longest of them
    np.savez_compressed(HERE / "muq_mulan.npz", **answers)


def _train_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=XLM_ROBERTA["vocab_size"], special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*TEXTS, "techno electronic beat synth dance"] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    assert tokenizer.get_vocab_size() <= XLM_ROBERTA["vocab_size"]
    return tokenizer


if __name__ == "__main__":
    main()

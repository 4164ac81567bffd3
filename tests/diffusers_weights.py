"""Random weights for networks, the same for whoever asks by diffusers' names: what that and ours are both given.

Kernels are He normal, so that activations keep their size; scales and biases are such that every one of them matters.
"""

import hashlib
import re

import numpy as np

SHAPES = {"ddpm": (32, 32, 3), "adm": (16, 16, 3), "ncsnpp": (16, 16, 3), "dit": (8, 8, 4)}  # of images

PARTS = [  # a pattern in our names, and what diffusers has instead
    (r"^net\.", ""),
    (r"^feeds\.(\d+)\.conv", r"down_blocks.\1.skip_conv"),
    (r"^head\.levels\.1\.norm", "conv_norm_out"),  # of two levels the last
    (r"^head\.levels\.1\.conv", "conv_out"),
    (r"^head\.levels\.(\d+)\.norm", r"up_blocks.\1.skip_norm"),
    (r"^head\.levels\.(\d+)\.conv", r"up_blocks.\1.skip_conv"),
    (r"^condition\.features\.frequency", "time_proj.weight"),
    (r"^condition\.table", "class_embedding.weight"),
    (r"^(condition|embedding)\.first", "time_embedding.linear_1"),
    (r"^(condition|embedding)\.second", "time_embedding.linear_2"),
    (r"descent\.stages\.(\d+)\.(\d+)\.block", r"down_blocks.\1.resnets.\2"),
    (r"descent\.stages\.(\d+)\.(\d+)\.attention", r"down_blocks.\1.attentions.\2"),
    (r"descent\.shrink\.(\d+)", r"down_blocks.\1.{down}"),
    (r"descent\.middle\.(\d+)\.block", r"mid_block.resnets.\1"),
    (r"descent\.middle\.(\d+)\.attention", r"mid_block.attentions.\1"),
    (r"ascent\.stages\.(\d+)\.(\d+)\.block", r"up_blocks.\1.resnets.\2"),
    (r"ascent\.stages\.(\d+)\.(\d+)\.attention", r"up_blocks.\1.attentions.\2"),
    (r"ascent\.grow\.(\d+)", r"up_blocks.\1.{up}"),
    (r"^stem", "conv_in"),
    (r"^norm", "conv_norm_out"),
    (r"^output", "conv_out"),
    (r"\.norm_in\.", ".norm1."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.shift\.", ".time_emb_proj."),
    (r"\.norm_out\.style\.", ".time_emb_proj."),
    (r"\.norm_out\.(norm\.)?", ".norm2."),
    (r"\.conv_out\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.output\.", r"\1.to_out.0."),
    (r"(kernel|scale)$", "weight"),
]


def diffusers_name(path, *, skips):
    """Of the parameter at ``path`` in ours, such as ``descent.stages.0.1.block.conv_in.kernel``.

    diffusers has other names between levels where these meet the image again (``skips``).
    """
    for ours, theirs in PARTS:
        path = re.sub(ours, theirs, path)
    if not skips:
        return path.format(down="downsamplers.0", up="upsamplers.0")
    path = re.sub(r"(up_blocks\.\d+\.attentions)\.\d+", r"\1.0", path)  # the only one of its level
    return path.format(down="resnet_down", up="resnet_up")


DIT_PARTS = [  # as above
    (r"^stem", "pos_embed.proj"),
    (r"^first", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1"),
    (r"^second", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2"),
    (r"^table", "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.modulation\.linear", ".norm1.linear"),
    (r"\.(query|key|value)\.", lambda found: f".attn1.to_{found[1][0]}."),
    (r"\.mix\.", ".attn1.to_out.0."),
    (r"\.up\.", ".ff.net.0.proj."),
    (r"\.down\.", ".ff.net.2."),
    (r"^last\.linear", "proj_out_1"),
    (r"^output", "proj_out_2"),
    (r"kernel$", "weight"),
]


def diffusers_dit_name(path):
    """As :func:`diffusers_name`; the embedding of which it has a copy in every block is that of the first."""
    for ours, theirs in DIT_PARTS:
        path = re.sub(ours, theirs, path)
    return path


def shared(name):
    """The name whose values the one of that name has."""
    return re.sub(r"blocks\.\d+\.norm1\.emb\.", "blocks.0.norm1.emb.", name)


def generator(name):
    """Random numbers that depend on nothing but the name."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def values(name, shape):
    """The parameter of that name, in PyTorch's layout, float32."""
    draw = generator(name)
    if len(shape) > 1:
        return draw.standard_normal(shape, np.float32) * np.float32(np.sqrt(1 / np.prod(shape[1:])))
    if "norm" in name and name.endswith("weight"):
        return draw.uniform(0.5, 1.5, shape).astype(np.float32)
    return (0.2 * draw.standard_normal(shape)).astype(np.float32)


def inputs(case):
    """Noise float32 ``[2, *SHAPES[case]]`` and times ``[2]``."""
    return generator("inputs").standard_normal((2, *SHAPES[case]), np.float32), np.array([3.0, 710.0], np.float32)

"""Random weights for Ho's U-Net, the same for whoever asks by diffusers' names: what that and ours are both given.

Kernels are He normal, so that activations keep their size; scales and biases are such that every one of them matters.
"""

import hashlib
import re

import numpy as np

PARTS = [
    (r"descent\.stages\.(\d+)\.(\d+)\.block", r"down_blocks.\1.resnets.\2"),
    (r"descent\.stages\.(\d+)\.(\d+)\.attention", r"down_blocks.\1.attentions.\2"),
    (r"descent\.shrink\.(\d+)", r"down_blocks.\1.downsamplers.0"),
    (r"descent\.middle\.(\d+)\.block", r"mid_block.resnets.\1"),
    (r"descent\.middle\.(\d+)\.attention", r"mid_block.attentions.\1"),
    (r"ascent\.stages\.(\d+)\.(\d+)\.block", r"up_blocks.\1.resnets.\2"),
    (r"ascent\.stages\.(\d+)\.(\d+)\.attention", r"up_blocks.\1.attentions.\2"),
    (r"ascent\.grow\.(\d+)", r"up_blocks.\1.upsamplers.0"),
    (r"embedding\.first", "time_embedding.linear_1"),
    (r"embedding\.second", "time_embedding.linear_2"),
    (r"^stem", "conv_in"),
    (r"^norm", "conv_norm_out"),
    (r"^output", "conv_out"),
    (r"\.norm_in\.", ".norm1."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.shift\.", ".time_emb_proj."),
    (r"\.norm_out\.", ".norm2."),
    (r"\.conv_out\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(attentions\.\d+)\.output\.", r"\1.to_out.0."),
    (r"(kernel|scale)$", "weight"),
]


def diffusers_name(path):
    """Of the parameter at ``path`` in ours, such as ``descent.stages.0.1.block.conv_in.kernel``."""
    for ours, theirs in PARTS:
        path = re.sub(ours, theirs, path)
    return path


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


def inputs():
    """Noise float32 ``[2, 32, 32, 3]`` and times ``[2]``."""
    return generator("inputs").standard_normal((2, 32, 32, 3), np.float32), np.array([3.0, 710.0], np.float32)

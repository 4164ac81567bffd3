"""Writes tests/golden/diffusers.npz: what diffusers' networks make of ``tests.diffusers_weights``.

``python -m tests.parity.make_diffusers``, in an environment with diffusers (0.42) and PyTorch. The
configurations are that of google/ddpm-cifar10-32, and small ones of the kinds of openai/diffusers-cd_imagenet64_l2
(ADM), of google/ncsnpp-celebahq-256 and of facebook/DiT-XL-2-256. The last is at time 0, since diffusers has other
frequencies than the authors.
"""

import pathlib

import numpy as np
import torch
from diffusers import DiTTransformer2DModel, UNet2DModel

from tests.diffusers_weights import SHAPES, inputs, shared, values

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "diffusers.npz"
CASES = {
    "ddpm": {
        "layers_per_block": 2,
        "block_out_channels": (128, 256, 256, 256),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    },
    "adm": {
        "layers_per_block": 1,
        "block_out_channels": (128, 256),
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "attention_head_dim": 64,
        "attn_norm_num_groups": 32,
        "num_class_embeds": 10,
        "norm_eps": 1e-5,
    },
    "ncsnpp": {
        "layers_per_block": 1,
        "block_out_channels": (64, 128),
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        "time_embedding_type": "fourier",
        "mid_block_scale_factor": 2**0.5,
        "norm_num_groups": None,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
    },
}


DIT = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "sample_size": 8,
    "patch_size": 2,
    "num_embeds_ada_norm": 10,
    "norm_eps": 1e-6,
}


def run(net, case, t, label):
    """Names of the parameters, and the output."""
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    net.load_state_dict({name: torch.from_numpy(values(shared(name), shape)) for name, shape in shapes.items()})
    net.eval()
    x = torch.from_numpy(inputs(case)[0].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        output = net(x, timestep=torch.from_numpy(t), class_labels=label).sample
    names = sorted({shared(name) for name in shapes})
    return {f"{case}/names": names, f"{case}/output": output.numpy().transpose(0, 2, 3, 1)}


def main():
    found = {}
    label = torch.tensor([7, 2])
    for case, options in CASES.items():
        net = UNet2DModel(sample_size=SHAPES[case][0], in_channels=3, out_channels=3, act_fn="silu", **options)
        found |= run(net, case, inputs(case)[1], label if "num_class_embeds" in options else None)
    found |= run(DiTTransformer2DModel(**DIT), "dit", np.zeros(2, np.float32), label)
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()

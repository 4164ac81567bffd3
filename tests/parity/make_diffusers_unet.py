"""Writes tests/golden/diffusers_unet.npz: what diffusers' U-Net makes of ``tests.unet_weights``.

``python -m tests.parity.make_diffusers_unet``, in an environment with diffusers. The configuration is that of
google/ddpm-cifar10-32.
"""

import pathlib

import numpy as np
import torch
from diffusers import UNet2DModel

from tests.unet_weights import inputs, values

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "diffusers_unet.npz"


def main():
    net = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        norm_num_groups=32,
        attention_head_dim=None,
        act_fn="silu",
    )
    state = {name: torch.from_numpy(values(name, tuple(value.shape))) for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    net.eval()
    x, t = inputs()
    with torch.no_grad():
        output = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(t)).sample
    np.savez(GOLDEN, names=sorted(state), output=output.numpy().transpose(0, 2, 3, 1))
    print(output.std().item())


if __name__ == "__main__":
    main()

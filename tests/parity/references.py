"""Inception as torch-fidelity and as pytorch-fid compute it, with the weights that they are given."""

import pathlib
import tempfile

import numpy as np
import torch

TAPS = ("64", "192", "768", "2048", "logits_unbiased", "logits")


def as_torch(state):
    """A state dictionary of tensors, with the counters that PyTorch's normalisations carry."""
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    for name in state:
        if name.endswith("running_var"):
            tensors[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return tensors


def torch_fidelity_network(state, dtype=torch.float32):
    """torch-fidelity's feature extractor, which reads its weights from a file.

    Its own option for the type is passed over: in version 0.4.0 "float64" means float32.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "inception.pth"
        torch.save(as_torch(state), path)
        net = FeatureExtractorInceptionV3("inception-v3-compat", list(TAPS), feature_extractor_weights_path=str(path))
    net.feature_extractor_internal_dtype = dtype
    return net.to(dtype)


def torch_fidelity_features(network, images):
    """Every tap of uint8 images ``[N, H, W, C]``, as numpy arrays by name."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    with torch.no_grad():
        return {tap: values.numpy() for tap, values in zip(TAPS, network(x), strict=True)}


def pytorch_fid_network(state):
    """pytorch-fid's own network; its last layer is not used."""
    from unittest import mock

    from pytorch_fid import inception

    with mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: as_torch(state)):
        return inception.InceptionV3([3], resize_input=True, normalize_input=True).eval()


def pytorch_fid_features(network, images):
    """Pooled features of uint8 images ``[N, H, W, C]``."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float() / 255
    with torch.no_grad():
        return network(x)[0][:, :, 0, 0].numpy()

"""Who may import whom, what every public name owes its reader, and what must never be in the code."""

import ast
import functools
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gen_jax

ROOT = Path(gen_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ALLOWED = {
    "protocol": set(),
    "distributions": {"protocol"},
    "interpolate": set(),
    "nn": {"protocol"},
    "networks": {"protocol", "nn"},
    "losses": {"protocol", "distributions"},
    "diffusion": {"protocol", "distributions"},
    "models": {"protocol", "distributions", "interpolate", "nn", "networks", "losses", "diffusion"},
    "train": {"protocol"},
    "data": set(),
    "evaluate": {"protocol", "nn", "networks", "data"},
}
LAYERS = set(ALLOWED)
OWNERS = {
    "flax": ("nn", "networks"),
    "optax": ("train", "run", "diffusion/coupling"),  # which takes its solver of assignments, not its optimizers
    "orbax": ("train/checkpoint",),
    "tensorflow_datasets": ("data",),
    "grain": ("data",),
    "diffrax": ("diffusion",),
    "torch": (),
    "tensorflow": (),
    "experiments": (),
}


FORBIDDEN = (
    "import pickle",
    "pickle.load",
    "allow_pickle=True",
    "torch.load",
    "eval(",
    "exec(",
    "yaml.load",
    "extractall",
)


@functools.cache
def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_downwards(file):
    layer = file.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer not in ALLOWED:
        return  # the few modules on top put everything together
    own = {name.split(".")[1] for name in imports(file) if name.startswith("gen_jax.")} & LAYERS
    assert own <= ALLOWED[layer] | {layer}


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_is_imported_by_its_owner_only(package):
    for file in FILES:
        if any(name.split(".")[0] == package for name in imports(file)):
            place = str(file.relative_to(ROOT).with_suffix(""))
            assert place.startswith(OWNERS[package] or ("nowhere",)), f"{file} imports {package}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_deserialises_code(file):
    text = file.read_text()
    for forbidden in (
        "import pickle",
        "pickle.load",
        "allow_pickle=True",
        "torch.load",
        "eval(",
        "exec(",
        "yaml.load",
        "extractall",
    ):
        assert forbidden not in text.replace("eval_shape(", ""), forbidden


def _public():
    for info in pkgutil.walk_packages([str(ROOT)], "gen_jax."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        yield info.name, module
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{info.name}.{name}", value


def test_every_public_name_has_a_docstring_and_typed_arguments():
    for name, value in _public():
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"
        if inspect.isfunction(value):
            untyped = [p.name for p in inspect.signature(value).parameters.values() if p.annotation is p.empty]
            assert not untyped, f"{name}: {untyped} without types"


def test_importing_everything_touches_no_device():
    """Several processes must be able to connect after the imports, and a device must be free until it is used."""
    program = (
        "import pkgutil, importlib, gen_jax, experiments, jax._src.xla_bridge as bridge\n"
        "for package in (gen_jax, experiments):\n"
        "    for info in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        '__main__' in info.name or importlib.import_module(info.name)\n"
        "assert not bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT.parent)

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
from gen_jax import models
from tests.zoo import ZOO

ROOT = Path(gen_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
ALLOWED: dict[str, set[str]] = {
    "checks": set(),
    "fields": set(),
    "chains": set(),
    "interpolate": set(),
    "programs": set(),
    "reading": set(),
    "protocol": {"fields"},
    "distributions": {"protocol"},
    "nn": {"protocol"},
    "networks": {"protocol", "checks", "nn"},
    "losses": {"protocol", "distributions"},
    "diffusion": {"protocol", "distributions"},
    "models": {
        "protocol", "checks", "fields", "chains", "distributions", "interpolate", "nn", "networks", "losses",
        "diffusion",
    },
    "train": {"protocol", "checks", "programs", "reading"},
    "data": {"fields", "reading"},
    "pictures": {"fields"},
    "evaluate": {"protocol", "checks", "programs", "fields", "reading", "nn", "networks", "data"},
    "settings": {"protocol", "checks", "fields", "reading", "data", "models", "train"},
    "run": {"settings", "protocol", "programs", "fields", "reading", "data", "train", "pictures"},
    "begin": {"run", "settings", "protocol", "train"},
    "fitting": {"begin", "run", "settings", "protocol", "fields", "reading", "data", "train"},
    "stages": {"fitting", "begin", "run", "settings", "protocol", "train"},
    "ruler": {"run", "settings", "checks", "fields", "reading", "data", "evaluate", "train"},
}  # fmt: skip
TOP = ("cli", "__init__", "names", "__main__", "evaluate/__main__")  # put everything together
LAYERS = set(ALLOWED)
OWNERS = {
    "flax": ("nn", "networks"),
    "optax": ("train", "fitting", "diffusion/coupling"),  # which takes its solver of assignments, not its optimizers
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
OPENERS = {  # of files that come from anywhere, each in the one place that knows what may be in them
    "Image.open(": "data/picture.py",
    "open_memmap(": "data/files.py",
    "read_array(": "data/files.py",
    "safe_open(": "evaluate/tensors.py",
    "zipfile.ZipFile(": "reading.py",
    "gzip.": "reading.py",
    "np.load(": "",
    "np.fromfile(": "",
    "safetensors.numpy.load": "",
    "tarfile": "",
}


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
    place = str(file.relative_to(ROOT).with_suffix(""))
    if place in TOP:
        return
    layer = place.split("/")[0]
    own = {name.split(".")[1] for name in imports(file) if name.startswith("gen_jax.")} & (LAYERS | {"cli"})
    assert own <= ALLOWED[layer] | {layer}


def test_there_is_no_circle():
    done: set[str] = set()
    while len(done) < len(ALLOWED):
        ready = {layer for layer, below in ALLOWED.items() if layer not in done and below <= done}
        assert ready, sorted(LAYERS - done)
        done |= ready


def test_training_and_its_call_name_no_metric():
    names = {"fid", "kid", "prdc", "memorisation", "fid_infinity"}
    for file in [*(ROOT / "train").glob("*.py"), ROOT / "fitting.py", ROOT / "run.py"]:
        words = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not words & names, file
    tree = ast.parse((ROOT / "fitting.py").read_text())
    fit = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "fit")
    assert fit.end_lineno is not None and fit.end_lineno - fit.lineno < 70


def test_only_models_of_images_ask_for_an_image():
    """What is general says which field it makes; a model of images says so in its configuration."""
    for file in (ROOT / "models").glob("*.py"):
        text = file.read_text()
        if 'batch["image"]' in text:
            assert 'makes: ClassVar[str] = "image"' in text, file
    for folder in ("train", "data", "evaluate", "nn", "networks", "losses", "diffusion"):
        for file in (ROOT / folder).rglob("*.py"):
            assert 'batch["image"]' not in file.read_text(), file


def test_the_index_names_every_model_and_only_what_is_there():
    rows = {row.configuration: row for row in models.index()}
    assert len(rows) == len(models.index()) and set(rows) == {c.__name__ for c in models.CONFIGURATIONS}
    tried = {type(entry.configuration).__name__ for entry in ZOO.values()}
    assert tried == set(rows)
    for name, row in rows.items():
        configuration = getattr(models, name)
        assert configuration.__module__ == f"gen_jax.models.{row.file}"
        entry = next(entry for entry in ZOO.values() if type(entry.configuration).__name__ == name)
        assert type(entry.configuration.build(entry.fields)).__name__ == row.game
        if row.command:
            experiment = ROOT.parent / "experiments" / f"{row.command.split('.')[-1]}.py"
            assert experiment.is_file(), experiment
    commands = {row.command.removeprefix("python -m experiments.") for row in rows.values()}
    others = {"launch", "__init__", "comparison", "comparison_pages", "comparison_table", "trilemma", "processes"}
    others |= {"samplers", "feature_network", "compare_gans", "compare_modes", "critic_features"}
    others |= {"latent_priors", "latent_maps"}
    assert {file.stem for file in (ROOT.parent / "experiments").glob("*.py")} - others <= commands


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_is_imported_by_its_owner_only(package):
    for file in FILES:
        if any(name.split(".")[0] == package for name in imports(file)):
            place = str(file.relative_to(ROOT).with_suffix(""))
            assert place.startswith(OWNERS[package] or ("nowhere",)), f"{file} imports {package}"


def test_what_is_compiled_is_a_program():
    """One place decides how the compiler is told of a platform."""
    for file in [*FILES, *(ROOT.parent / "experiments").glob("*.py")]:
        if file != ROOT / "programs.py":
            names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
            compiles = {"jit", "pmap", "pjit"} & (names | {name.split(".")[-1] for name in imports(file)})
            assert not compiles, f"{file} takes {compiles}; use gen_jax.programs.Program"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_nothing_deserialises_code(file):
    text = file.read_text()
    for forbidden in FORBIDDEN:
        assert forbidden not in text.replace("eval_shape(", ""), forbidden


@pytest.mark.parametrize("opener", OPENERS)
def test_a_kind_of_file_is_opened_in_one_place(opener):
    found = {str(file.relative_to(ROOT)) for file in FILES if opener in file.read_text()}
    assert found == {OPENERS[opener]} - {""}


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


def test_a_command_line_is_judged_before_jax_is_imported():
    program = (
        "import sys, gen_jax.__main__ as command\n"
        "from gen_jax import cli, data\n"
        "for line in (['sample', 'x', '--numbr', '3'], ['sample', 'x', '--number', '0'], ['info'], ['infos']):\n"
        "    assert cli.execute(lambda: command.main(line), data_error=data.DataError) == 2, line\n"
        "assert cli.execute(lambda: command.main(['--help']), data_error=data.DataError) == 0\n"
        "assert not {'jax', 'flax', 'scipy', 'orbax'} & set(sys.modules)\n"
        "import gen_jax\n"
        "assert all(hasattr(gen_jax, name) for name in gen_jax.__all__) and not hasattr(gen_jax, 'fitt')\n"
        "assert {*gen_jax.__all__, '__version__'} <= set(dir(gen_jax)) and 'jax' in sys.modules\n"
        "assert not {'diffrax', 'scipy.linalg'} & set(sys.modules)  # half a second, and few need them\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT.parent)


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

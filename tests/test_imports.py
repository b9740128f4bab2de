"""The direction of imports, and that importing does nothing: read from the source, checked in a process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import percepta
from percepta.systems import TABLE

ROOT = Path(percepta.__file__).parent
LAYERS = (
    ("config", "files", "formats", "errors", "scale"),
    ("contract", "nn", "geometry", "media", "metrics", "optim"),
    ("report",),
    ("datasets", "worlds"),
    ("systems",),
    ("checkpoint", "pretrained", "weights", "runs", "train", "export", "card", "predictions"),
    ("flows",),
    ("shell", "web", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# The files of a system, in the order in which they may import each other. A further part stands beside model.py.
ORDER = (
    "__init__", "model", "predict", "grow", "writers", "guess", "phone", "live", "world", "bank", "data", "losses",
    "evaluate", "check", "demo", "exports", "keys", "task", "commands",
)  # fmt: skip
# Files that may import percepta's own modules inside functions, so that help comes at once.
LATE = ("percepta", "percepta.__main__", "percepta.shell")
# What has to be opened to understand one answer: files, and lines of code (no docstrings, comments, blank lines).
MOST_FILES, MOST_LINES = 15, 2500
# {system: (files, lines, the reason)} of those that need more. Reading a stranger's files safely (files, formats,
# nn.archive) is 480 of the lines in each.
CEILINGS: dict[str, tuple[int, int, str]] = {
    "actions": (
        22,
        2850,
        "videos are read and seen by EfficientNet; features of others; network, suppression",
    ),
    "aesthetics": (26, 3060, "an album reads ratings and profiles, keeps a cache of features and gives reasons"),
    "avatar": (16, 2260, "the nodes lie on our own body: skeleton, mesh and skin (348 lines); cameras and poses"),
    "driver": (19, 2400, "videos are read and seen by EfficientNet; views are aligned and joined; decoder, session"),
    "hashing": (21, 3110, "pictures, videos and sentences in three image-text spaces: align, CLIP, synthetic"),
    "online3d": (25, 3760, "the incremental network (834 lines), the session with its map (336), poses, cameras, PLY"),
    "planes": (20, 3240, "a scene from a walk needs poses, cameras, fusion and meshes beside the network"),
    "vos": (25, 4200, "three networks: ours, XMem and Cutie as published; memory, scene cuts, masks in any form"),
    "weather": (
        20,
        2250,
        "two families of networks: ours on Lite0, SegFormer and DAFormer as published; sets of labels",
    ),
    "replay": (23, 3100, "as spotting; its inputs are cut out of features of halves"),
    "spotting": (21, 3010, "videos with grass and sound, SoccerNet's files, its metric's moments"),
    "slam": (37, 5810, "tracking, map, adjustment, loops, inertial samples, lenses: geometry, each part in a file"),
    "refer": (20, 3400, "two networks: ours on EfficientNet and MiniLM, and the paper's on CLIP"),
}
HEAVY = (
    "torch",
    "torchvision",
    "scipy",
    "av",
    "onnx",
    "onnxruntime",
    "PIL",
    "numpy",
    "safetensors",
    "tokenizers",
)


def module_name(path: Path) -> str:
    parts = ["percepta", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, is_package: bool, top_only: bool = False) -> set[str]:
    """Full names of what a module imports, `from a import b` as "a.b"; TYPE_CHECKING blocks count too."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in _outside_functions(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def _outside_functions(tree: ast.AST):
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _outside_functions(child)


def violations(module: str, imports: set[str]) -> list[str]:
    """Which of `imports` the module must not have, each with the reason."""
    parts = module.split(".")
    if len(parts) == 1:  # the package itself only points, lazily, to the rest
        return []
    rank = RANK.get(parts[1])
    if parts[1] == "systems" and parts[-1] == "commands":  # a face of the command line; nothing imports it
        rank = RANK["__main__"]
    if rank is None:
        return [f"{module} is in no layer: add {parts[1]} to the layers, in the design and here"]
    out = []
    for name in sorted(imports):
        target = name.split(".")
        if target[0] != "percepta" or name == "percepta.__version__":
            continue
        if len(target) == 1:
            if rank < RANK["web"]:
                out.append(f"{module} imports the package itself, which stands above it")
        elif "commands" in target[2:]:
            out.append(f"{module} imports {name}, which only the command line may")
        elif target[1] in RANK and RANK[target[1]] > rank:
            out.append(f"{module} imports {name}, a later layer")
        elif target[1] not in RANK and rank < RANK["web"]:
            out.append(f"{module} imports {name} from the package itself, which stands above it")
        elif parts[1] == target[1] == "systems" and set(parts[2:3]) != {*target[2:3]} & {*TABLE} != set():
            out.append(f"{module} imports the system {target[2]}: what two need moves down")
        elif parts[1] == target[1] == "systems" and len(parts) > 3 and len(target) > 3:
            if place(parts[3]) < place(target[3]):
                out.append(f"{module} imports {name}, which stands below it in the order of a system's files")
        elif (
            parts[1] == "systems"
            and parts[3:4] == ["predict"]
            and (target[1] == "worlds" or target[1:3] == ["media", "source"])
        ):
            out.append(f"{module} imports {name}: a prediction needs neither worlds nor sources")
    return out


def place(file: str) -> int:
    """Where a file stands in the order of a system's files; a name that is not in it stands with model.py."""
    return ORDER.index(file) if file in ORDER else ORDER.index("model")


def late(source: str, module: str, is_package: bool) -> set[str]:
    """What a module imports from percepta inside functions."""
    own = {name for name in imported(source, module, is_package) if name.split(".")[0] == "percepta"}
    top = imported(source, module, is_package, top_only=True)
    types = {name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If)
             and "TYPE_CHECKING" in ast.dump(node.test)
             for name in imported("\n".join(map(ast.unparse, node.body)), module, is_package)}  # fmt: skip
    return own - top - types


def closure(module: str) -> dict[str, int]:
    """{module: lines of code} of what has to be opened to understand a module: itself and all that it imports."""
    files = {module_name(path): path for path in modules()}
    found: dict[str, int] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        while name not in files and "." in name:  # a name in a module
            name = name.rpartition(".")[0]
        if name in found or name == "percepta" or name not in files:
            continue
        path = files[name]
        found[name] = code_lines(path.read_text())
        names = imported(path.read_text(), name, path.name == "__init__.py")
        todo += [target for target in names if target.split(".")[0] == "percepta"]
        todo.append(name.rpartition(".")[0])
    return {name: lines for name, lines in found.items() if lines}


def code_lines(source: str) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("body", "orelse", "finalbody"):
            for child in getattr(node, field, None) or () if not isinstance(node, ast.Lambda | ast.IfExp) else ():
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    skipped |= set(range(child.lineno, (child.end_lineno or child.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if line.strip() and line.strip()[0] != "#" and number not in skipped)


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_point_back(path: Path) -> None:
    module = module_name(path)
    imports = imported(path.read_text(), module, path.name == "__init__.py")
    assert violations(module, imports) == []


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_only_other_packages_are_imported_late(path: Path) -> None:
    module = module_name(path)
    if module in LATE or module.startswith("percepta.web") or module.endswith(".commands"):
        return
    assert late(path.read_text(), module, path.name == "__init__.py") == set()


@pytest.mark.parametrize("system", TABLE)
def test_one_answer_can_be_understood(system: str) -> None:
    files, lines, reason = CEILINGS.get(system, (MOST_FILES, MOST_LINES, "as every system"))
    found = closure(f"percepta.systems.{system}.predict")
    assert reason and f"percepta.systems.{system}.predict" in found
    rows = "\n".join(f"{count:>6} {name}" for name, count in sorted(found.items()))
    assert len(found) <= files and sum(found.values()) <= lines, f"{len(found)} files, {sum(found.values())}\n{rows}"


def test_lines_of_code_are_those_with_code() -> None:
    source = '"""Text\n\nmore."""\n\nimport a  # note\n# note\n\ndef f():\n    """One."""\n    return """a\nb"""\n'
    assert code_lines(source) == 4


def test_the_rule_catches_what_it_must() -> None:
    for module, source in {
        "percepta.nn.clip": "def f():\n    from percepta.systems import refer",
        "percepta.systems.refer.task": "import percepta.train",
        "percepta.systems.refer.keys": "from ...checkpoint import save",
        "percepta.datasets.coco": "from percepta import load",
        "percepta.config": "from percepta.nn import clip",
        "percepta.oddments": "",
        "percepta.systems.refer.model": "from percepta.systems.refer import commands",
        "percepta.systems.refer.predict": "from percepta.systems.refer.data import Pictures",
        "percepta.systems.refer.decoder": "from percepta.systems.refer import losses",
        "percepta.systems.planes.predict": "from percepta.worlds.rooms import render",
    }.items():
        assert violations(module, imported(source, module, is_package=False)), module
    fine = "import av\nfrom percepta.nn.clip import CLIP\nfrom percepta import __version__\nfrom . import a"
    task = "percepta.systems.refer.task"
    assert violations(task, imported(fine, task, is_package=False)) == []
    assert late("import a\ndef f():\n    import av\n    from percepta.nn import clip", task, False) == {
        "percepta.nn.clip"
    }


@pytest.mark.parametrize("name", ["config.py", "__init__.py", *[f"systems/{s}/__init__.py" for s in ("", *TABLE)]])
def test_light_modules_import_nothing_heavy(name: str) -> None:
    path = ROOT / name.replace("//", "/")
    imports = imported(path.read_text(), module_name(path), path.name == "__init__.py", top_only=True)
    assert sorted(i for i in imports if i.split(".")[0] in HEAVY) == []


def fresh(code: str) -> list[str]:
    """Names of the modules that are loaded after `code` ran in a new interpreter."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_importing_percepta_loads_nothing_heavy() -> None:
    assert set(fresh("import percepta; percepta.systems(); percepta.__version__")).isdisjoint(HEAVY)


@pytest.mark.parametrize("system", TABLE)
def test_importing_a_system_loads_no_torch(system: str) -> None:
    loaded = fresh(f"import percepta.config, percepta.systems.{system}")
    assert "torch" not in loaded and "PIL" not in loaded


def test_help_loads_no_torch() -> None:
    first = next(iter(TABLE))
    for line in ["--help", f"train {first} --help", f"predict {first} --help"]:
        code = (
            "from percepta.__main__ import main\n"
            "import contextlib, io\n"
            "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
            f"    main({line.split()})"
        )
        assert "torch" not in fresh(code), line


def test_the_picture_of_the_layers_is_todays() -> None:
    docs = ROOT.parents[1] / "docs"
    if not docs.is_dir():
        pytest.skip("installed without its repository")
    code = "import layers; print(layers.svg(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=docs, capture_output=True, text=True, check=True)
    assert done.stdout == (docs / "pictures" / "layers.svg").read_text(), "run: python docs/layers.py"


def test_every_system_has_its_files() -> None:
    for system in TABLE:
        for file in (
            "__init__.py",
            "model.py",
            "predict.py",
            "data.py",
            "losses.py",
            "evaluate.py",
            "task.py",
            "CARD.md",
        ):
            assert (ROOT / "systems" / system / file).is_file(), f"{system} has no {file}"
        assert len((ROOT / "systems" / system / "task.py").read_text().splitlines()) <= 60


def test_extras_that_messages_name_can_be_installed() -> None:
    repository = ROOT.parents[1]
    project = repository / "pyproject.toml"
    if not project.is_file():
        pytest.skip("installed without its repository")
    there = set(tomllib.loads(project.read_text())["project"]["optional-dependencies"])
    named: dict[str, str] = {}
    for path in [*ROOT.rglob("*.py"), *(repository / "benchmarks").rglob("*.py"), *ROOT.rglob("*.md")]:
        for extras in re.findall(r"percepta\[([a-z, ]+)\]", path.read_text()):
            named |= {extra.strip(): path.name for extra in extras.split(",")}
    assert named and {extra: file for extra, file in named.items() if extra not in there} == {}


def test_the_list_of_systems_loads_no_torch() -> None:
    code = "from percepta import __main__\nassert __main__.main(['list']) == 0"
    assert "torch" not in fresh(code)

"""Small faults put into the source, one at a time: does a test of the module itself notice each?

    python tests/mutants.py [--seed N] [--each N] [--again] [--record]

cosmic-ray's operators make the faults: another arithmetic operator, comparison or `and`/`or`, a number one off, a
missing or added `not`, a loop that never runs, `break` for `continue`, an exception that is not caught. A random sample
of them is drawn, as many from each folder of GROUPS, every place of the source as likely as every other; annotations,
decorators and texts are left out. Each fault is put into a copy of the checkout, and only test files that import the
module run there, until a test fails: at most FILES of them, those named after it first, and of their tests those first
that name the faulty function, for --seconds of processor time. A test that takes four times as long counts as failed,
and every test that failed has to pass without a fault. Results go to out/mutants.json at once, so that a run that was
stopped goes on; --again runs those that survived once more, after tests were written. `make mutants` calls it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import inspect
import json
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # percepta itself is imported when all faults are judged: a fork imports it from the copy
    from percepta.metrics import Metric
    from percepta.report import Table

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
BUILD = ROOT / "build" / "mutants"
TREE = BUILD / "tree"  # the copy that the faults are put into
TOOLS = BUILD / "tools"  # where `make mutants` installs cosmic-ray
OUT = ROOT / "out" / "mutants.json"
DOCUMENT = ROOT / "docs" / "architecture.md"

GROUPS = {
    "metrics": "metrics/*.py",
    "geometry": "geometry/*.py",
    "datasets": "datasets/*.py",
    "nn": "nn/*.py",
    "systems": "systems/*/*.py",
}
# Files of a system that are no part of its model.
AROUND = {
    *("__init__", "task", "commands", "demo", "check", "page", "live", "world", "data", "exports", "keys"),
    *("evaluate", "predict", "writers", "drawing"),
}
# An operator is replaced by one of its own family: what only raises TypeError says little about a test.
FAMILIES = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"RShift", "LShift", "BitOr", "BitAnd", "BitXor"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"In", "NotIn"},
    {"UAdd", "USub", "Invert", "Not", "Nothing"},
)
PLAIN = {
    *("AddNot", "NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr"),
    *("ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer",),
}
FILES = 5  # test files of a module that are run, the closest

# Faults that change nothing that a user could see, looked at one by one: {(file, the changed line): the reason}.
HARMLESS: dict[tuple[str, str], str] = {
    ("metrics/masks.py", "if xy.ndim != 1 or xy.size < 5 or xy.size % 2 or not np.isfinite(xy).all():"): (
        "five numbers are odd, which is refused as well"
    ),
    ("datasets/untrimmed.py", "fps: float = -1.0"): "nobody left it out: the default was taken away since",
    (
        "geometry/lens.py",
        "factor = np.where(radius > 1e-12, bent / np.where(radius > 1e-12, radius, 1), 2 / np.where(z > 0, z, 1))",
    ): "at the axis it is multiplied by 0",
    ("slam/places.py", "best[pair[0].trainIdx] = (pair[0].distance, pair[ -1].queryIdx)"): (
        "both matches of a pair are of the same query"
    ),
    (
        "metrics/trajectory.py",
        "if np.linalg.det(u) // np.linalg.det(v) < 0:",
    ): "both are 1 or -1, and only the sign counts",
    ("metrics/spotting.py", "start = i * ( 5 * last + 100_000)"): "halves only have to lie far enough apart",
    ("metrics/scenes.py", "THRESHOLDS = (*(round(0.5 + 0.05 * i, 3) for i in range(9 + 1)),)"): (
        "the same ten numbers"
    ),
    ("datasets/soccer_video.py", 'smooth = np.convolve(padded, np.full(width, 1 ** width), mode="valid")'): (
        "only compared with its own median, which grows with it"
    ),
    ("geometry/meshes.py", "number = places[:, _TETRAHEDRA].reshape(- 2, 4)"): (
        "NumPy takes any negative length for the one that is left open"
    ),
}


# --- the sample


def skipped(tree: ast.AST) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans of the source, (line, column) to (line, column), whose faults would not be seen when it runs."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [*node.decorator_list, *([node.returns] if node.returns else [])]
        if isinstance(node, ast.ClassDef):
            found += node.decorator_list
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            found.append(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            found.append(node)
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in found]  # type: ignore[attr-defined]


def operators() -> dict[str, Any]:
    """cosmic-ray's operators that are used, by name."""
    from cosmic_ray.plugins import get_operator, operator_names  # type: ignore[import-not-found]

    found = {}
    for name in operator_names():
        short = name.split("/")[-1]
        words = short.split("_")
        pair = len(words) == 3 and any({words[1], words[2]} <= family for family in FAMILIES)
        if pair or short in PLAIN:
            found[short] = get_operator(name)()
    return found


def places(text: str) -> dict[tuple[Any, Any], list[tuple[str, int]]]:
    """Where a fault can be put into a source: {(start, end): [(operator, occurrence), ...]}."""
    from cosmic_ray.ast import ast_nodes, get_ast  # type: ignore[import-not-found]

    spans = skipped(ast.parse(text))
    counts: dict[str, int] = {}
    found: dict[tuple[Any, Any], list[tuple[str, int]]] = {}
    used = operators()
    for node in ast_nodes(get_ast(text)):
        for name, operator in used.items():
            for start, end in operator.mutation_positions(node):
                number = counts.get(name, 0)
                counts[name] = number + 1
                if not any(first <= start < last for first, last in spans):
                    found.setdefault((start, end), []).append((name, number))
    return found


def cut(old: str, new: str) -> tuple[str, str, int]:
    """The lines that differ, with as many around them as make the old ones unique, and the first one's number."""
    a, b = old.splitlines(keepends=True), new.splitlines(keepends=True)
    head = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    tail = next((i for i, (x, y) in enumerate(zip(a[::-1], b[::-1], strict=False)) if x != y), 0)
    tail = min(tail, len(a) - head - 1, len(b) - head - 1)
    line = head + 1
    while True:
        before, after = "".join(a[head : len(a) - tail]), "".join(b[head : len(b) - tail])
        if old.count(before) == 1:
            return before, after, line
        head, tail = max(0, head - 1), max(0, tail - 1)


def draw(seed: int, each: int) -> list[dict[str, Any]]:
    """The sample: as many faults from every group."""
    sys.path.insert(0, str(TOOLS))
    from cosmic_ray.mutating import mutate_code  # type: ignore[import-not-found]

    used = operators()
    sample = []
    for group, pattern in GROUPS.items():
        rng = random.Random(f"{seed} {group}")
        files = sorted((SOURCE / "percepta").glob(pattern))
        if group == "systems":
            files = [file for file in files if file.stem not in AROUND]
        texts = {file: file.read_text(encoding="utf-8") for file in files}
        where = {file: places(text) for file, text in texts.items()}
        every = [(file, place) for file in files for place in sorted(where[file])]
        rng.shuffle(every)
        drawn = 0
        for file, place in every:
            if drawn == each:
                break
            name, occurrence = rng.choice(where[file][place])
            code = mutate_code(texts[file], used[name], occurrence)
            try:
                same = ast.dump(ast.parse(code)) == ast.dump(ast.parse(texts[file]))
                compile(code, str(file), "exec")
            except SyntaxError:
                continue
            if same:
                continue
            old, new, line = cut(texts[file], code)
            row = {"group": group, "path": file.relative_to(ROOT).as_posix(), "line": line, "operator": name}
            sample.append({**row, "old": old, "new": new})
            drawn += 1
    return [one for place in range(each) for one in sample[place::each]]  # by turns, should the run be stopped


# --- the tests of a module


@cache
def imported(file: Path) -> set[str]:
    """Modules of percepta that a file imports, anywhere in it."""
    found: set[str] = set()
    package = file.relative_to(SOURCE).with_suffix("").parts[:-1] if SOURCE in file.parents else ()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            stem = ".".join(filter(None, [base, node.module or ""]))
            found.add(stem)
            found.update(f"{stem}.{name.name}" for name in node.names)
    return {name for name in found if name.startswith("percepta.")}


@cache
def test_files() -> dict[Path, set[str]]:
    """What every test file imports."""
    files = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("tests/systems/test_*.py")]
    return {file: imported(file) for file in sorted(files)}


@cache
def users(module: str) -> set[str]:
    """Modules that import this one."""
    files = (file for file in (SOURCE / "percepta").rglob("*.py") if module in imported(file))
    names = {".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for file in files}
    return names - {"percepta.datasets.layouts"}  # which imports every data set


def own_tests(path: str) -> list[str]:
    """Test files of a module: those that import it, or else those that import what imports it; the closest first."""
    parts = Path(path).relative_to("src").with_suffix("").parts
    module, stem = ".".join(parts).removesuffix(".__init__"), parts[-1]
    tests = test_files()
    direct = [file for file, names in tests.items() if module in names]
    near = direct
    if parts[1] == "systems":
        near = [*direct, *(f for f in tests if f.parent.name == "systems" and f.stem.split("_")[1] == parts[2])]
    elif not direct:
        near = [file for file, names in tests.items() if names & users(module)]

    def closeness(file: Path) -> tuple[Any, ...]:
        words = set(file.stem.split("_"))
        away = parts[1] != "systems" and file.parent.name == "systems"
        text = file.read_text(encoding="utf-8")
        said = len(re.findall(rf"\b{stem}\b", text))
        folder = parts[-2] not in words
        return (not set(stem.split("_")) <= words, away, file not in direct, folder, -said / len(text), file.name)

    return [file.relative_to(ROOT).as_posix() for file in sorted(set(near), key=closeness)]


# --- running


def copy_tree() -> None:
    """Makes the copy the same as the checkout's files, those that git does not know yet included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    for file in TREE.rglob("*"):
        name = file.relative_to(TREE).as_posix()
        if file.is_file() and name not in wanted and file.suffix != ".pyc":
            file.unlink()
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


class Closest:
    """A plugin of pytest: the tests that name the faulty function first, then those that name its module.

    Attributes:
        names: of the function, and of what the module defines.
        seconds: of processor time, after which no further test is begun.
    """

    def __init__(self, names: tuple[set[str], set[str]], seconds: float) -> None:
        self.names, self.seconds = names, seconds
        self.ran = 0
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sorts, and leaves the order of those that say equally much."""

        def closeness(item: Any) -> tuple[int, int]:
            words = {word.strip("_") for word in re.findall(r"\w+", inspect.getsource(item.function))}
            return (-len(words & self.names[0]), -len(words & self.names[1]))

        items.sort(key=closeness)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Says what runs, should it never end."""
        print(f"\nnow {nodeid}", flush=True)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remembers what failed."""
        self.ran += report.when == "call" and not report.skipped
        self.failed += [report.nodeid] if report.failed else []

    def pytest_collectreport(self, report: Any) -> None:
        """The same of a file that cannot be imported."""
        self.failed += [report.nodeid] if report.failed else []

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: Any) -> None:
        """Ends the run where the time is over."""
        spent = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        if sum(one.ru_utime + one.ru_stime for one in spent) > self.seconds:
            item.session.shouldstop = "the time is over"


def tested(files: Sequence[str], names: tuple[set[str], set[str]], seconds: float, *, every: bool) -> dict[str, Any]:
    """Runs tests in the copy, in a fork of this process, which has the slow imports behind it.

    Args:
        files: test files, or single tests of them.
        names: what `Closest` sorts by.
        seconds: of processor time, after which no further test is begun; four times as long, and it is ended.
        every: without a fault: does not stop at the first that fails, and keeps the compiled files for other runs.
    """
    log = BUILD / "log.txt"
    child = os.fork()
    if not child:
        os.setsid()
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.chdir(TREE)
        sys.path[:0] = [str(TREE / "src"), str(TREE)]
        os.environ["PYTHONPATH"] = str(TREE / "src")
        sys.dont_write_bytecode = not every
        resource.setrlimit(resource.RLIMIT_CPU, (int(4 * seconds), int(4 * seconds) + 5))
        import hypothesis

        hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True, database=None)
        hypothesis.settings.load_profile("mutants")
        closest = Closest(names, seconds)
        words = [
            *([] if every else ["-x"]),
            "-q",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            "--tb=line",
            "--jaxtyping-packages=percepta,beartype.beartype",
        ]
        code = 99
        try:
            code = int(pytest.main([*words, *files], plugins=[closest]))
        except BaseException:
            traceback.print_exc()
        finally:
            print(f"\nended {json.dumps([closest.ran, closest.failed])}", flush=True)
            os._exit(code)
    start, ended, code, used = time.monotonic(), False, 0, 0.0
    while not ended and time.monotonic() - start < 40 * seconds:
        time.sleep(0.05)
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            ended, code, used = True, os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        code = -1
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line[6:] for line in reversed(lines) if line.startswith("ended ")), "[0, []]")
    running = next((line[4:] for line in reversed(lines) if line.startswith("now ")), "")
    ran, failed = json.loads(last)
    tail = [line for line in lines if line.strip() and not line.startswith(("now ", "ended "))][-6:]
    return {"code": code, "seconds": round(used, 1), "ran": ran, "by": failed or [running] * (code < 0), "tail": tail}


def names_of(text: str, line: int, stem: str) -> tuple[set[str], set[str]]:
    """Names of the functions and classes around a line, and all names that a module defines, its own among them."""
    tree = ast.parse(text)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    named = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    around = {node.name.strip("_") for node in named if node.lineno <= line <= (node.end_lineno or 0)}
    return around - {"forward"}, {stem, *(node.name for node in tree.body if isinstance(node, kinds))}


def judged(mutant: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Puts one fault into the copy, runs the module's tests, takes it out again."""
    target = TREE / mutant["path"]
    text = target.read_text(encoding="utf-8")
    if text.count(mutant["old"]) != 1:
        return {"state": "gone"}
    tests = own_tests(mutant["path"])[:FILES]
    if not tests:
        return {"state": "survived", "by": [], "ran": 0, "seconds": 0.0, "tail": []}
    names = names_of(text, mutant["line"], target.stem)
    stat = target.stat()
    try:
        target.write_text(text.replace(mutant["old"], mutant["new"]), encoding="utf-8")
        done = tested(tests, names, seconds, every=False)
    finally:
        target.write_text(text, encoding="utf-8")
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    code = done.pop("code")
    state = "slow" if code < 0 else "survived" if code in (0, 2, 5) and not done["by"] else "noticed"  # 2: no time left
    return {"state": state, "code": code, **done}


def difference(mutant: dict[str, Any]) -> str:
    """The fault as a diff."""
    old, new = mutant["old"].splitlines(), mutant["new"].splitlines()
    lines = [line for line in difflib.unified_diff(old, new, lineterm="", n=0) if line[:2] not in ("--", "++", "@@")]
    return "\n".join([f"{mutant['path']}:{mutant['line']} {mutant['operator']}", *lines])


def reason(mutant: dict[str, Any]) -> str:
    """Why a fault does no harm; "" where nobody has said so."""
    changed = [line[1:].strip() for line in difference(mutant).splitlines() if line.startswith("+")]
    found = (why for (path, line), why in HARMLESS.items() if mutant["path"].endswith(path) and line in changed)
    return next(found, "")


def confirm(state: dict[str, Any], sample: list[dict[str, Any]], late: float) -> None:
    """Runs the tests that noticed a fault without it, a file's together; ends the program where one fails.

    Args:
        state: gets those that passed, which are not run again.
        sample: the faults.
        late: the time when no further file is begun.
    """
    found = {name for one in sample if noticed(one) for name in one["result"]["by"] if "::" in name}
    left = sorted(found - set(state["passed"]))
    for file in sorted({name.partition("::")[0] for name in left}):
        if time.monotonic() > late:
            sys.exit(f"the minutes are over: {len(left)} tests have yet to pass without a fault")
        own = [name for name in left if name.partition("::")[0] == file]
        failed = tested(own, (set(), set()), 600, every=True)["by"]
        if failed:
            sys.exit("\n".join(["these noticed a fault, but fail without it too:", *failed]))
        state["passed"] += own
        save(state)


def save(state: dict[str, Any]) -> None:
    """Writes the results so far."""
    spare = OUT.with_suffix(".part")
    spare.write_text(json.dumps(state, indent=1), encoding="utf-8")
    spare.replace(OUT)


def noticed(mutant: dict[str, Any], key: str = "result") -> bool:
    """Whether a test failed, or took far too long."""
    return mutant.get(key, mutant["result"])["state"] in ("noticed", "slow")


def share(good: int, n: int) -> Metric:
    """A share with Wilson's 95 % interval."""
    from percepta.metrics import Metric

    if not n:
        return Metric(float("nan"))
    z, p = 1.959964, good / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Metric(p, max(0.0, middle - half), min(1.0, middle + half), n)


def summary(samples: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, Metric], list[Table]]:
    """Values and tables of all samples: what was noticed at first, and after tests were written for what was not."""
    from percepta import card
    from percepta.report import Table

    values: dict[str, Metric] = {}
    tables = []
    for name, sample in samples.items():
        done = [one for one in sample if one.get("result", {}).get("state") not in (None, "gone")]
        rows = []
        for group in [*GROUPS, "all"]:
            own = [one for one in done if group in (one["group"], "all")]
            counted = [one for one in own if noticed(one) or not reason(one)]
            first, now = (share(sum(noticed(one, key) for one in counted), len(counted)) for key in ("first", "result"))
            values |= {f"seed {name} {group} first": first, f"seed {name} {group} now": now}
            cells = [card.cell(f"seed {name} {group} {key}", "100*.0f") for key in ("first", "now")]
            rows.append([group, str(len(counted)), *cells, str(len(own) - len(counted))])
        columns = ["folder", "faults", "noticed at first, %", "noticed now, %", "harmless, not counted"]
        tables.append(Table(columns, rows, caption=f"Seed {name}"))
    return values, tables


def main() -> None:
    """Reads the command line, runs what has no result yet, prints, and with --record writes result and document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=20, help="faults from each folder")
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--seconds", type=float, default=20, help="of processor time for the tests of one fault")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long; the next run goes on")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/package-mutants.json")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    late = time.monotonic() + 60 * options.minutes
    BUILD.mkdir(parents=True, exist_ok=True)
    OUT.parent.mkdir(exist_ok=True)
    state = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {"samples": {}, "passed": []}
    samples, name = state["samples"], str(options.seed)
    if name not in samples:
        with multiprocessing.get_context("fork").Pool(1) as pool:  # cosmic-ray's packages stay out of the tests
            samples[name] = pool.apply(draw, (options.seed, options.each))
    sample = samples[name]
    copy_tree()
    for slow in ("torch", "scipy.spatial", "scipy.optimize", "hypothesis", "PIL.Image", "av"):
        importlib.import_module(slow)
    for number, mutant in enumerate(sample):
        found = mutant.get("result", {}).get("state")
        again = options.again and found in ("survived", "gone") and not reason(mutant)
        if found and not again:
            continue
        if time.monotonic() > late:
            sys.exit("the minutes are over: the same command goes on")
        if found == "survived":
            mutant.setdefault("first", mutant["result"])
        mutant["result"] = judged(mutant, options.seconds)
        save(state)
        print(f"{number + 1}/{len(sample)} {mutant['result']['state']}: {difference(mutant)}", flush=True)
    confirm(state, sample, late)
    for one in sample:
        if not noticed(one):
            print(f"\n{one['result']['state']} {difference(one)}\n{reason(one) or 'not looked at'}")
    values, tables = summary(samples)
    for key, metric in values.items():
        print(f"{key}: {100 * metric.value:.0f} % ({metric.low or 0:.2f} to {metric.high or 0:.2f}), n = {metric.n}")
    if options.record:
        from percepta import card

        words = ["python", "tests/mutants.py", *sys.argv[1:]]
        found = card.measured("package", "mutants", values, command=card.shown_command(words), tables=tables)
        print(card.write(found))
        card.fill_file(DOCUMENT, card.results())


if __name__ == "__main__":
    main()

"""The shape of the package: who may import whom, and what a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dprkit"
FILES = sorted(PACKAGE.rglob("*.py"))

# A module may import from the rows above its own, and from its own group.
LAYERS = [
    {
        "errors",
        "records",
        "rank_metrics",
        "answer_scores",
        "score_spread",
        "progress",
        "interrupts",
        "version",
        "cpu_cores",
    },
    {"ahead", "hub", "settings", "memory", "svg", "yaml_file"},
    {"store"},
    {"rounds"},
    {"recipes"},
    {"data"},
    {"download", "imports", "exports"},
    {"models"},
    {"interop"},
    {"embeddings"},
    {"training", "indexes"},
    {"search"},
    {"mining", "teaching"},
    {"evaluation", "audit"},
    {"report"},
    {"pipeline", "new_recipe", "imported_recipe"},
    {"cli"},
    {"__main__"},
]
LAYER = {group: number for number, groups in enumerate(LAYERS) for group in groups}
SINGLE = {
    "ahead",
    "hub",
    "errors",
    "records",
    "rank_metrics",
    "answer_scores",
    "score_spread",
    "progress",
    "interrupts",
    "cpu_cores",
    "memory",
    "svg",
    "recipes",
    "rounds",
    "new_recipe",
    "imported_recipe",
    "version",
    "yaml_file",
}


def name_of(path):
    """`dprkit.data.passages`; a package's own file carries the package's name."""
    parts = [*path.relative_to(PACKAGE.parent).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports_of(name):
    """The modules of dprkit that a module imports anywhere in it, also for types alone.

    dprkit/__init__.py exposes names for outsiders; from inside it is only the version.
    """
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: a relative import"
            base = node.module or ""
            found |= {
                full if (full := f"{base}.{alias.name}") in MODULES else base
                for alias in node.names
            }
    return {target for target in found if target.partition(".")[0] == "dprkit"}


def group_of(name):
    return name.split(".")[1] if "." in name else "version"


IMPORTS = [(name, target) for name in MODULES if name != "dprkit" for target in imports_of(name)]


def test_the_walk_sees_imports_of_every_sort():
    assert (
        "dprkit.embeddings.encode",
        "dprkit.embeddings.shard_contents",
    ) in IMPORTS  # in a function
    assert ("dprkit.models.tokens", "dprkit.records") in IMPORTS
    assert ("dprkit.store.drafts", "dprkit") in IMPORTS  # the version
    assert len(IMPORTS) > 100


def test_every_module_has_a_layer():
    assert {group_of(name) for name in MODULES} <= set(LAYER)


def test_modules_import_downwards_only():
    wrong = [
        f"{name} imports {target}"
        for name, target in IMPORTS
        if group_of(name) != group_of(target) and LAYER[group_of(target)] >= LAYER[group_of(name)]
    ]
    assert wrong == []


def test_single_modules_are_single():
    assert {
        group_of(n) for n in MODULES if n.count(".") == 1 and n != "dprkit.__main__"
    } >= SINGLE - {"version"}
    for name in SINGLE - {"version"}:
        assert (PACKAGE / f"{name}.py").is_file()


def test_rooms_of_one_row_do_not_know_each_other():
    between = [
        f"{name} imports {target}"
        for name, target in IMPORTS
        if group_of(name) != group_of(target) and LAYER[group_of(name)] == LAYER[group_of(target)]
    ]
    assert between == []


def test_rooms_lie_side_by_side():
    assert {name for name in MODULES if name.count(".") > 2} == set()


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: {t for n, t in IMPORTS if n == name} for name in MODULES}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for target in graph[name]:
            visit(target)
        done.add(path.pop())

    for name in graph:
        visit(name)


def test_what_the_package_exposes_is_where_it_says():
    import dprkit

    for name, home in dprkit._HOMES.items():
        defined = {
            node.name
            for node in ast.parse(MODULES[home].read_text()).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert name in defined, f"{name} is not defined in {home}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_is_named_for_what_it_does_and_fits_in_500_lines(path):
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_never_prints_exits_or_unpickles(path):
    """Streams and exit codes are the CLI's; nothing that is read may run."""
    tree = ast.parse(path.read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"print", "eval", "exec", "pickle.load", "pickle.loads", "torch.load"}
    if "cli" not in path.parts and path.stem != "__main__":
        if path.stem == "processes":
            return  # the whole of a process of its own, which ends here
        assert not calls & {"sys.exit", "exit", "quit", "os._exit"}
        raised = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert "SystemExit" not in raised


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"dprkit.__main__"}))
def test_top_level_imports_of_light_modules_are_light(name):
    """What a short command needs may import neither torch, transformers, faiss nor numpy."""
    heavy = {"torch", "transformers", "faiss", "numpy", "scipy", "tokenizers", "safetensors"}
    found = set()
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    light = group_of(name) in {
        *SINGLE,
        "cli",
        "pipeline",
        "data",
        "download",
        "exports",
        "imports",
        "store",
    } or name in {
        "dprkit.interop.convert",
        "dprkit.training.train",
        "dprkit.embeddings.encode",
        "dprkit.embeddings.exporting",
        "dprkit.embeddings.importing",
        "dprkit.indexes.faiss_types",
        "dprkit.indexes.build",
        "dprkit.indexes.find_inputs",
        "dprkit.indexes.index_folder",
        "dprkit.indexes.kinds",
        "dprkit.indexes.tune",
        "dprkit.mining.mine",
        "dprkit.teaching.fold_teachers",
        "dprkit.search.search",
        "dprkit.teaching.teach",
        "dprkit.teaching.figures",
        "dprkit.evaluation.compare",
        "dprkit.evaluation.evaluate",
        "dprkit.report.report",
        "dprkit.audit.answer_search",
        "dprkit.audit.audit",
        "dprkit.audit.figures",
        "dprkit.audit.question_findings",
        "dprkit.audit.question_overlap",
    }
    assert not (light and found & heavy)


def test_every_module_can_be_imported_first():
    """In a new process each, and without a warning: no module leans on another's side effects."""
    program = """
import importlib, os, sys
import msgspec, numpy, typer, yaml  # once for all: quicker
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        importlib.import_module(name)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{name} cannot be imported alone")
"""
    heavy = (
        "dprkit.models",
        "dprkit.interop",
        "dprkit.training",
        "dprkit.embeddings",
        "dprkit.indexes",
    )
    names = [n for n in MODULES if not n.startswith(heavy) and n != "dprkit.__main__"]
    command = [sys.executable, "-W", "error", "-c", program, *names]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")

"""The function app's package: what is shipped imports alone, fast, and with nothing that does not belong there."""

import fnmatch
import importlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("functions", "infra", "models", "stream", "training", "video")
HEAVY = (
    "av",
    "torch",
    "pyspark",
    "faust",
    "sklearn",
    "skl2onnx",
    "onnx",
    "pandas",
    "numpy",
    "pyarrow",
    "onnxruntime",
)
UNWANTED = {"torch", "pyspark", "scikit-learn", "sklearn", "onnx", "skl2onnx", "grpcio", "protobuf", "pandas"}
FUNCTIONS = {
    "score_batch", "sweep_telemetry", "request_models", "alerts", "devices", "health",
    "recommend_user", "forget_user", "similar_items", "popular_items", "variant_counts",
    "recommend_ratings", "rate_item", "predict_likes",
    "receive_ratings", "receive_users", "recommend_shard", "sweep_runs", "retrain", "runs", "run",
    "receive_film", "sweep_videos", "create_video", "cancel_video", "videos", "video",
}  # fmt: skip

LIST_FUNCTIONS = """
import json, sys
import function_app
names = [each.get_function_name() for each in function_app.app.get_functions()]
print(json.dumps({"functions": names, "modules": sorted(sys.modules), "file": function_app.__file__}))
"""
# What a missing or broken wheel looks like: every import of it fails.
BLOCK = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r} or name.startswith("azure.storage"):
            raise ImportError(name + " is broken")
sys.meta_path.insert(0, Broken())
"""


def run_fresh(code: str, folder: Path) -> dict:
    """The JSON that `code` prints in a fresh interpreter which sees `folder` and installed packages, not us."""
    isolated = f"import sys; sys.path.append({str(folder)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", isolated], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_app_finds_every_function_and_loads_nothing_heavy() -> None:
    found = run_fresh(LIST_FUNCTIONS, ROOT)
    assert set(found["functions"]) == FUNCTIONS
    assert set(HEAVY) & set(found["modules"]) == set()


def test_a_broken_dependency_leaves_every_function_in_place() -> None:
    blocked = {"numpy", "pyarrow", "onnxruntime", "pydantic", "pydantic_settings", "msgspec"}
    found = run_fresh(BLOCK.format(blocked=blocked) + LIST_FUNCTIONS, ROOT)
    assert set(found["functions"]) == FUNCTIONS


def ignored_by_func() -> list[str]:
    lines = (ROOT / ".funcignore").read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether a file is left out, by the rules of .gitignore that the patterns use: `a/b/`, `name/`, globs, `**`."""
    parts = path.split("/")
    for pattern in patterns:
        plain = pattern.rstrip("/")
        if "/" in plain:
            regex = re.escape(plain).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{regex}(?:/.*)?", path):
                return True
        elif any(fnmatch.fnmatchcase(part, plain) for part in (parts[:-1] if pattern.endswith("/") else parts)):
            return True
    return False


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with the files that would be deployed."""
    folder = tmp_path_factory.mktemp("package")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    patterns = ignored_by_func()
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not is_ignored(name, patterns):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def test_the_package_holds_the_app_and_nothing_it_does_not_import(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == {
        "function_app.py", "host.json", "requirements.txt", "functions", "infra", "models",
    }  # fmt: skip
    assert {path.relative_to(package / "infra").as_posix() for path in (package / "infra").rglob("*.py")} >= {
        "settings.py", "wiring/functions.py", "azure/blobs.py", "state/sqlite.py",
    }  # fmt: skip
    assert not (package / "infra" / "local").exists()
    assert not (package / "infra" / "wiring" / "stream.py").exists()


def test_the_package_imports_alone_and_can_build_its_services(package: Path) -> None:
    code = """
import json, sys
# The editable installation of this repository must not lend what the package lacks.
sys.meta_path = [each for each in sys.meta_path if "editable" not in repr(each).lower()]
sys.path = [each for each in sys.path if each != {root!r}]
import infra.wiring.functions as wiring
services = wiring.build()
wiring.build_recommend()
wiring.build_runs()
wiring.build_videos()
import functions.learning, functions.queries, functions.videos.queries, functions.videos.uploads
ours = [m for name, m in sys.modules.items() if name.split(".")[0] in {packages!r} and getattr(m, "__file__", None)]
print(json.dumps({{"files": [m.__file__ for m in ours], "modules": sorted(sys.modules)}}))
"""
    found = run_fresh(code.format(root=str(ROOT), packages=PACKAGES), package)
    assert all(file.startswith(str(package)) for file in found["files"])
    assert {"torch", "pyspark", "faust", "sklearn", "skl2onnx", "onnx", "pandas", "av"} & set(
        found["modules"]
    ) == set()
    shipped = {str(path) for path in (package / "infra").rglob("*.py") if path.name != "__init__.py"}
    assert shipped - set(found["files"]) == set(), "name what the app does not import in .funcignore"


def requirement_names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in lines}


def test_requirements_are_the_base_the_functions_and_the_cpu_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert sorted(required) == sorted(project["dependencies"] + extras["functions"] + extras["cpu"])
    assert requirement_names(required) & UNWANTED == set()


def test_no_installed_distribution_claims_the_name_of_one_of_our_packages() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in (*PACKAGES, "function_app", "tests", "benchmarks"):
        assert set(owners.get(name, [])) <= {"penstock"}, name


@pytest.mark.parametrize("name", PACKAGES)
def test_our_packages_are_those_of_this_repository(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).is_relative_to(ROOT)


def test_host_json_polls_often_enough_for_alerts_and_sets_bad_messages_aside() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    queues = host["extensions"]["queues"]
    assert queues["maxPollingInterval"] <= "00:00:00.500"
    assert (queues["maxDequeueCount"], queues["messageEncoding"]) == (5, "base64")
    assert host["extensions"]["http"]["routePrefix"] == "api"


def test_the_settings_template_names_the_connections_that_the_triggers_use() -> None:
    values = json.loads((ROOT / "local.settings.template.json").read_text())["Values"]
    assert {"AzureWebJobsStorage", "DataStorage", "FUNCTIONS_WORKER_RUNTIME"} <= set(values)

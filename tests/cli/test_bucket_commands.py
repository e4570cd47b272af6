"""Commands on a store in a bucket of a real S3 server, and copies between buckets and disks."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.settings import STORE_VARIABLE, Settings
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.data_folders import claim
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import MANIFEST
from phyagi_assets.store.places import open_store
from phyagi_assets.store.scratch import SCRATCH_VARIABLE
from tests.bucket_stores import store_in_bucket
from tests.command import command
from tests.project import declare_plays
from tests.s3 import SECRET, S3Server
from tests.support import build, copy_data, copy_store, declare

PLACE = "s3://raw/lab/store"


@pytest.fixture(autouse=True)
def folders_and_credentials(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return s3


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """The plays and their mixture, built on a disk with the engines that the command chooses."""
    data = tmp_path_factory.mktemp("built") / "data"
    declare_plays(data)
    workspace = Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")))
    catalog = load_catalog(data)
    partitions = list(build(catalog.corpora["plays"], workspace))
    build_mixture(catalog.mixtures["mix"], catalog.corpora, {"plays": partitions}, workspace)
    return data


@pytest.fixture
def built(built_once: Path, data: Path) -> Workspace:
    """A copy of that folder and its store."""
    return Workspace(data=copy_data(built_once, data), store=LocalStore(data / "store"))


def run(words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, shlex.split(words), env={"COLUMNS": "200", **environment})


def artifacts(store: Path) -> dict[str, str | bytes]:
    """Return the targets of the links and the contents of the files of all versions."""
    paths = [path for path in sorted(store.rglob("*")) if path.is_symlink() or path.is_file()]
    kept = [path for path in paths if path.is_symlink() or ".versions" in path.parts]
    return {str(path.relative_to(store)): str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in kept}


def test_copy_to_a_bucket_and_back_is_the_same_store(built: Workspace, s3: S3Server, tmp_path: Path) -> None:
    disk = built.data / "store"
    done = run(f"copy {disk} {PLACE}")
    assert (done.exit_code, done.stdout) == (0, done.stdout), done.output
    assert "12 versions copied" in done.stdout
    s3.faults.requests.clear()
    assert "0 versions copied (0B), 12 there already" in run(f"copy {disk} {PLACE}").stdout
    assert s3.faults.requests.total() < 15  # one for each version that is published
    assert run(f"copy {PLACE} {tmp_path / 'back'}").exit_code == 0
    assert artifacts(tmp_path / "back") == artifacts(disk)
    assert "0 versions copied" in run(f"copy {PLACE} {tmp_path / 'back'}").stdout
    assert run(f"check --data {built.data} --store {tmp_path / 'back'}").exit_code == 0
    assert len([key for key in s3.listed() if key.startswith("lab/store/.shared/")]) < 5


def test_copied_caches_have_links_to_one_tokenizer(built: Workspace, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "other")
    caches = [artifact for artifact in built.store.versions() if artifact.address.startswith("plays/numpy_cache/")]
    copies = [target.put(cache) for cache in caches]
    assert [copy.damage(checksums=True) for copy in copies] == [[], [], []]
    assert len({(copy.path / "tokenizer" / "tokenizer.json").stat().st_ino for copy in copies}) == 1


def test_copy_warns_of_a_name_that_another_data_folder_has_built_if_it_is_replaced(built: Workspace, tmp_path: Path) -> None:
    disk, other = built.data / "store", tmp_path / "other"
    assert run(f"copy {disk} {other}").exit_code == 0
    claim(built.store, built.data, ["mix"])
    claim(LocalStore(other), tmp_path / "another", ["mix"])
    assert "was built in" not in run(f"copy {disk} {other}").stderr
    declare(built.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "plays"}])
    catalog = load_catalog(built.data)
    build_mixture(catalog.mixtures["mix"], catalog.corpora, {"plays": list(built.sources.partitions(catalog.corpora["plays"]))}, built)
    assert f"mix: was built in {other} from the data folder {tmp_path / 'another'}; what is" in run(f"copy {disk} {other}").stderr


def test_packed_mixture_is_built_in_a_bucket_and_copied_with_its_index(built: Workspace, tmp_path: Path) -> None:
    declare(built.data, "mixtures", name="mix", seq_len=16, packing="best_fit", datasets=[{"corpus": "plays"}])
    disk = built.data / "store"
    assert run(f"copy {disk} {PLACE}").exit_code == 0
    catalog = load_catalog(built.data)
    there = Workspace(data=built.data, store=open_store(Settings.resolve(store=PLACE).store))
    partitions = list(there.sources.partitions(catalog.corpora["plays"]))
    for workspace in (built, there):
        made = build_mixture(catalog.mixtures["mix"], catalog.corpora, {"plays": partitions}, workspace)
        assert made.failures == []
    assert run(f"copy {PLACE} {tmp_path / 'other'} mix").exit_code == 0
    mixtures = [load_mixture("mix", store=place) for place in (disk, PLACE, tmp_path / "other")]
    here, *others = [[mixture.train[i]["input_ids"].tolist() for i in range(8)] for mixture in mixtures]
    assert others == [here, here]
    assert sorted(path.name for path in (tmp_path / "other" / "plays").iterdir()) == ["numpy_cache", "packed_index"]
    assert run(f"check --data {built.data} --store {PLACE}").exit_code == 0


def test_copied_mixture_is_read_from_the_bucket_and_from_another_disk(built: Workspace, tmp_path: Path) -> None:
    disk = built.data / "store"
    assert run(f"copy {disk} {PLACE} mix").exit_code == 0
    assert run(f"copy {PLACE} {tmp_path / 'other'} mix").exit_code == 0
    mixtures = [load_mixture("mix", store=place) for place in (disk, PLACE, tmp_path / "other")]
    here, *others = [[mixture.train[i]["input_ids"].tolist() for i in range(8)] for mixture in mixtures]
    assert others == [here, here]
    assert [list(mixture.explain(3, 5).rows()) for mixture in mixtures[:2]] == 2 * [list(mixtures[2].explain(3, 5).rows())]
    assert (mixtures[1].tokenizer / "tokenizer.json").is_file()
    assert not list(mixtures[1].tokenizer.parents[2].glob("**/train.npy"))  # only what is needed has been fetched
    assert sorted(path.name for path in (tmp_path / "other" / "plays").iterdir()) == ["numpy_cache"]
    unknown = run(f"copy {PLACE} {tmp_path / 'other'} none")
    assert (unknown.exit_code, "'none' is not a mixture materialized in s3://raw/lab/store (there: mix)" in unknown.stderr) == (1, True)


def test_interrupted_copy_is_resumed(built: Workspace, s3: S3Server, tmp_path: Path) -> None:
    disk = built.data / "store"
    s3.faults.refused_after = 30
    failed = run(f"copy {disk} {PLACE}")
    assert failed.exit_code == 1
    assert "error: s3://raw/lab/store: cannot be written: access is denied" in failed.stderr
    s3.faults.refused_after, s3.faults.is_read_only = None, False
    before = set(s3.listed())
    assert run(f"copy {disk} {PLACE}").exit_code == 0
    assert {key for key in before if "/.leases/" not in key} < set(s3.listed())
    assert run(f"copy {PLACE} {tmp_path / 'back'}").exit_code == 0
    assert artifacts(tmp_path / "back") == artifacts(disk)


def test_damaged_version_is_reported_and_independent_versions_are_copied(built: Workspace, s3: S3Server, tmp_path: Path) -> None:
    disk = built.data / "store"
    damaged = next(disk.glob("plays/numpy_cache/one/train.npy"))
    content = damaged.read_bytes()
    assert run(f"copy {disk} s3://raw/lab/damaged").exit_code == 0
    damaged.unlink()  # it is linked to the store that it was copied from
    damaged.write_bytes(content[:-1] + b"x")
    (key,) = (key for key in s3.listed() if key.startswith("lab/damaged/plays/numpy_cache/.artifacts/one@") and key.endswith("/train.npy"))
    s3.put(key, content[:-1] + b"x")
    for source, target in ((disk, PLACE), (disk, tmp_path / "other"), ("s3://raw/lab/damaged", tmp_path / "third")):
        done = run(f"copy {source} {target}")
        assert done.exit_code == 1
        assert "train.npy: its content is not what was written (checksum differs)" in done.stderr
        assert "mixed_dataset" in done.stderr
        assert "is not copied, because it names plays/numpy_cache/" in done.stderr
        assert "10 versions copied" in done.stdout
        assert "2 versions not copied" in done.stdout
        store = open_store(Settings.resolve(store=target).store)
        assert store.open("plays/numpy_cache/one") is None
        assert store.open("mix/mixed_dataset") is None
        assert store.open("plays/numpy_cache/two")
    damaged.write_bytes(content)
    assert "2 versions copied" in run(f"copy {disk} {PLACE}").stdout
    manifest = damaged.with_name("manifest.json")
    manifest.unlink()
    manifest.write_text("{")
    for names in ("", "mix"):
        done = run(f"copy {disk} {tmp_path / 'fourth'} {names}")
        assert done.exit_code == 1
        assert "manifest.json: is not a manifest of the store" in done.stderr
        assert "is not copied, because it names plays/numpy_cache/" in done.stderr
        assert "2 versions not copied" in done.stdout
        done = run(f"copy --layout reference {disk} {tmp_path / 'fifth'} {names}")
        assert done.exit_code == 1
        assert "manifest.json: is not a manifest of the store" in done.stderr
        assert "1 version not copied" in done.stdout


def test_commands_build_check_and_show_a_store_in_a_bucket(
    built: Workspace, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, data = built.data / "store", built.data
    assert run(f"copy {data / 'prepared'} {PLACE}").exit_code == 2
    prepared = tmp_path / "prepared"
    copy_store(disk / ".tokenizers", prepared / ".tokenizers")
    assert run(f"copy {prepared} {PLACE}").exit_code == 0
    monkeypatch.setenv(STORE_VARIABLE, PLACE)
    done = command("materialize", "--data", data, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "4 built, 0 up to date, 0 failed" in done.stdout
    assert run(f"copy {PLACE} {tmp_path / 'back'}").exit_code == 0
    assert artifacts(tmp_path / "back") == artifacts(disk)

    s3.faults.requests.clear()
    assert "0 built, 4 up to date" in run(f"materialize --data {data}").stdout
    assert s3.faults.requests.total() < 12
    s3.faults.requests.clear()
    (plays,) = json.loads(run(f"status --json --data {data}").stdout)["corpora"]
    assert (plays["partitions"], plays["current"], plays["tokens"] > 0) == (3, 3, True)
    assert s3.faults.requests.total() < 12
    before = s3.listed()
    assert "0 to build, 4 up to date" in run(f"materialize --dry-run --data {data}").stdout
    assert s3.listed() == before
    assert "2 declarations and 10 artifacts checked, 0 problems" in run(f"check --data {data}").stdout
    assert "Everything is built" in run(f"plan mix --data {data}").stdout
    assert "s3://raw/lab/store/mix/.artifacts/mixed_dataset@" in run(f"inspect mix --data {data}").stdout.replace("\n", "")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path / "another machine"))
    assert "ALL THE WORLD" in run(f"inspect plays/numpy_cache/one --data {data}").stdout
    explained = [run(f"explain mix 1 --store {place}").output.splitlines()[2:] for place in (PLACE, disk)]
    assert explained[0] == explained[1] != []
    for below in ("plays/numpy_cache/one", "plays/numpy_cache/one/train.npy"):
        assert "ALL THE WORLD" in run(f"inspect {PLACE}/{below} --store {disk}").stdout
    version = run(f"inspect mix --json --data {data}")
    place = json.loads(version.stdout)["artifact"]["place"]
    for below in (place, f"{PLACE}/mix/mixed_dataset", f"{PLACE}/mix/mixed_dataset/mixture.json"):
        assert json.loads(run(f"inspect {below} --json --store {disk}").stdout)["artifact"]["place"] == place
    assert run(f"explain {PLACE}/mix/mixed_dataset 1 --store {disk}").output.splitlines()[2:] == explained[0]
    missing = run(f"inspect {PLACE}/plays/numpy_cache/none")
    assert (missing.exit_code, f"{PLACE} has nothing named 'plays/numpy_cache/none'" in missing.stderr) == (1, True)
    assert f"; that is a folder in the store {PLACE}" in run(f"inspect plays --store {PLACE}/plays").stderr.replace("\n", "")
    assert "would be removed" in run(f"remove plays --match WORLD --dry-run --reason x --data {data}").stdout

    version = next(key for key in s3.listed() if "numpy_cache/.artifacts/one@" in key and key.endswith("/train.npy"))
    s3.put(version, b"damage")
    checked = run(f"check --data {data} --discard")
    assert checked.exit_code == 1
    assert "train.npy: has 6 bytes where" in checked.stderr
    assert "plays/numpy_cache/one: discarded" in checked.stdout
    done = command("materialize", "--data", data, "--jobs", "1")
    assert "1 built, 3 up to date, 0 failed" in done.stdout, done.stderr
    assert "0 problems" in run(f"check --data {data}").stdout


def test_clean_removes_superseded_versions_in_a_bucket(built: Workspace, s3: S3Server) -> None:
    data, workspace = built.data, built
    assert run(f"copy {data / 'store'} {PLACE}").exit_code == 0
    store = store_in_bucket(PLACE)
    old = store.open("plays/raw_dataset/one")
    assert old
    (data / "raw" / "one.txt").write_text("Another text.")
    corpus = load_catalog(data).corpora["plays"]
    build(corpus, Workspace(data=data, store=store, engines=workspace.engines))
    kept = run(f"clean --yes --data {data} --store {PLACE}")
    assert "too young" in kept.stdout or "There is nothing to remove" in kept.stdout, kept.output
    done = run(f"clean --yes --grace 0 --data {data} --store {PLACE}")
    assert done.exit_code == 0, done.output
    assert not [key for key in s3.listed() if old.fingerprint in key]
    assert [key for key in s3.listed() if "numpy_cache/.artifacts/one@" in key and key.endswith(MANIFEST)], "the plan names it"


@pytest.mark.parametrize(
    ("environment", "place", "message"),
    [
        ({}, "s3://none/store", "s3://none/store: cannot be listed: there is no such bucket"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong/secret"}, PLACE, "the secret key is not right (AWS_PROFILE, AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_bucket_that_cannot_be_used_is_named(data: Path, environment: dict[str, str], place: str, message: str) -> None:
    done = run(f"check --data {data} --store {place}", **environment)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr
    assert "wrong/secret" not in done.stderr

"""Installing with uv as pip is configured."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from install import pip_settings, uv_environment
from tests.support import REPOSITORY


@pytest.fixture
def pip_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configuration file of pip, used instead of those of the machine."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name in ("SSL_CERT_FILE", "ALL_PROXY")]:
        monkeypatch.delenv(name)
    path = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    return path


def test_pip_settings_prefer_the_environment_to_the_install_section_to_the_global_section(
    pip_configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_configuration.write_text(
        "[global]\ntimeout = 1\ncert = a.pem\nproxy = http://a\n[install]\ntimeout = 2\ncert = b.pem\n[list]\ntimeout = 9\n"
    )
    monkeypatch.setenv("PIP_TIMEOUT", "3")
    found = pip_settings()
    assert (found["timeout"], found["cert"], found["proxy"]) == ("3", "b.pem", "http://a")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"index-url": "https://a/simple"}, {"UV_DEFAULT_INDEX": "https://a/simple"}),
        ({"extra-index-url": "https://a\nfile:///b"}, {"UV_INDEX": "https://a file:///b"}),
        ({"find-links": "/a\n/b"}, {"UV_FIND_LINKS": "/a,/b"}),
        ({"no-index": "1"}, {"UV_NO_INDEX": "true"}),
        ({"no-index": "False"}, {"UV_NO_INDEX": "false"}),
        ({"trusted-host": "a b:80"}, {"UV_INSECURE_HOST": "a b:80"}),
        ({"cert": "/a.pem", "quiet": "1"}, {"SSL_CERT_FILE": "/a.pem"}),
    ],
)
@pytest.mark.usefixtures("pip_configuration")
def test_uv_environment_translates_settings_of_pip(settings: dict[str, str], expected: dict[str, str]) -> None:
    before = dict(os.environ)
    assert uv_environment(settings) == {"UV_INDEX_STRATEGY": "unsafe-best-match"} | before | expected


@pytest.mark.usefixtures("pip_configuration")
def test_uv_environment_keeps_variables_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine")
    assert uv_environment({"index-url": "https://a"})["UV_DEFAULT_INDEX"] == "https://mine"


@pytest.mark.usefixtures("pip_configuration")
def test_uv_environment_rejects_settings_that_uv_does_not_support() -> None:
    with pytest.raises(ValueError, match="pip's setting only-binary, user has no counterpart in uv"):
        uv_environment({"user": "1", "only-binary": ":all:"})


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    of_all = [project["dependencies"], *project["optional-dependencies"].values()]
    pins = set(
        re.findall(r"^([\w-]+)==", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-"), re.MULTILINE)
    )
    needed = {found[0] for named in of_all for asked in named if (found := re.match(r"[\w-]+", asked.lower()))}
    assert needed - {"phyagi-assets"} <= pins


def test_description_of_the_package_links_to_no_file_of_the_repository() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["metadata"]["hooks"]
    described = settings["fancy-pypi-readme"]
    readme, closing = described["fragments"]
    text = (REPOSITORY / readme["path"]).read_text(encoding="utf-8").partition(readme["end-before"])[0] + closing["text"]
    assert "](docs/" in text
    assert "\n\n## Documentation\n" in text
    for of in described["substitutions"]:
        text = re.sub(of["pattern"], of["replacement"], text)
    assert re.findall(r"\]\((?!https?://|#).*?\)", text) == []
    assert "mixed_dataset → batches\n```\n" in text
    assert "follow Your own data in five minutes" in " ".join(text.split())

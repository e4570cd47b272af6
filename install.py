"""Install packages into this environment with uv, which is faster than pip: ``python install.py`` and the arguments of ``pip install``.

uv does not read pip's configuration, so pip's settings are translated for it. pip installs the packages where that is not possible or uv
fails. uv itself is installed with pip if the machine does not have it.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
UV: dict[str, tuple[str, Callable[[str], str]]] = {
    "index-url": ("UV_DEFAULT_INDEX", str),
    "extra-index-url": ("UV_INDEX", str),
    "find-links": ("UV_FIND_LINKS", lambda value: ",".join(value.split())),
    "no-index": ("UV_NO_INDEX", lambda value: "false" if value.lower() in ("0", "false", "no", "off") else "true"),
    "trusted-host": ("UV_INSECURE_HOST", str),
    "cert": ("SSL_CERT_FILE", str),
    "proxy": ("ALL_PROXY", str),
    "timeout": ("UV_HTTP_TIMEOUT", str),
    "default-timeout": ("UV_HTTP_TIMEOUT", str),
}
"""Environment variable of uv for a setting of pip, and how to write the value."""
IRRELEVANT = {"cache-dir", "disable-pip-version-check", "no-cache-dir", "no-color", "no-input", "no-warn-script-location", "progress-bar"}
IRRELEVANT |= {"quiet", "require-virtualenv", "retries", "root-user-action", "verbose"}
"""Settings of pip that do not change what is installed."""


def pip_settings() -> dict[str, str]:
    """Return the settings of ``pip install``: those of all commands, then those of this command, then those of the environment."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    found = [line.split("=", 1) for line in listed.splitlines()]
    return {
        key.rpartition(".")[2]: ast.literal_eval(value)
        for section in ("global.", "install.", ":env:.")
        for key, value in found
        if key.startswith(section)
    }


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment in which uv installs what pip would; variables of uv that are already set are kept."""
    if unknown := sorted(settings.keys() - UV.keys() - IRRELEVANT - {"constraint"}):
        raise ValueError(f"pip's setting {', '.join(unknown)} has no counterpart in uv")
    translated = {UV[name][0]: UV[name][1](" ".join(value.split())) for name, value in settings.items() if name in UV}
    # pip takes the best version of all indexes; uv by default takes the first index that has the package at all.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match"} | translated | dict(os.environ)


def install_with_uv(arguments: list[str]) -> None:
    settings = pip_settings()
    environment = uv_environment(settings)
    arguments += [f"--constraint={path}" for path in settings.get("constraint", "").split()]  # UV_CONSTRAINT would yield to the option
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(uv).exists():
        subprocess.run([*PIP, "install", "--quiet", "uv"], capture_output=True, text=True, check=True)
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, *arguments]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def main() -> None:
    try:
        install_with_uv([*sys.argv[1:]])
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        sys.stderr.write(f"install.py: installing with pip instead of uv: {' '.join(reason.split())[:300]}\n")
        sys.exit(subprocess.run([*PIP, "install", "--quiet", *sys.argv[1:]], check=False).returncode)


if __name__ == "__main__":
    main()

"""The choice of an executor, as a user writes it: ``local``, ``ray`` or ``ray:ADDRESS``."""

import os
import re
from dataclasses import dataclass

from phyagi_assets.errors import PhyagiAssetsError

LOCAL, RAY = "local", "ray"
ADDRESS_VARIABLE = "RAY_ADDRESS"
CLIENT_PORT = 10001
"""Port of Ray Client, unless another one is chosen."""
_ADDRESS = re.compile(r"(?P<scheme>ray://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_RIGHT = "auto, HOST:PORT as in 10.0.0.1:6379, or ray://HOST:PORT as in ray://10.0.0.1:10001"
_WITHOUT = "; to build on this machine, choose the executor local"


@dataclass(frozen=True, kw_only=True, slots=True)
class RayAddress:
    """Address of a Ray cluster."""

    address: str
    """``auto`` for the cluster that runs on this machine, ``host:port``, or ``ray://host:port`` for Ray Client."""
    setting: str
    """Setting that names it, for messages."""

    @property
    def server(self) -> tuple[str, int] | None:
        """Host and port of the server; None if Ray finds them."""
        found = _ADDRESS.fullmatch(self.address)
        return (found["host"].strip("[]"), int(found["port"])) if found else None

    @property
    def is_client(self) -> bool:
        """Whether the address is that of Ray Client, whose server is the driver for the cluster."""
        return self.address.startswith("ray://")

    @property
    def remedy(self) -> str:
        """End of a message about this cluster: how to build without it, if the environment names it; otherwise an empty string."""
        return _WITHOUT if self.setting == f"${ADDRESS_VARIABLE}" else ""


def default_executor() -> str:
    """Return the default executor: ``ray`` if ``$RAY_ADDRESS`` names a cluster, otherwise ``local``.

    An ``http`` address there is the server of Ray jobs, and with ``local``, Ray starts a cluster of its own; neither of them counts.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "")
    return RAY if address and address != LOCAL and not address.startswith("http") else LOCAL


def chosen_executor(choice: str, setting: str = "--executor") -> RayAddress | None:
    """Return the address of the Ray cluster that a choice of an executor names; None for ``local``.

    Parameters
    ----------
    choice
        ``local``, ``ray``, or ``ray:ADDRESS``. Without an address, ``$RAY_ADDRESS`` names the cluster; without that, it is the one that
        runs on this machine.
    setting
        Setting that the choice comes from, for messages.

    Raises
    ------
    PhyagiAssetsError
        The choice is not one of these, or the address is not valid.

    Examples
    --------
    >>> chosen_executor("local")
    >>> chosen_executor("ray:ray://head:10001").server
    ('head', 10001)
    """
    kind, separator, address = choice.partition(":")
    if choice == LOCAL:
        return None
    if kind != RAY:
        raise PhyagiAssetsError(f"{setting}: {choice!r} is not an executor; use local, ray, or ray:ADDRESS, where ADDRESS is {_RIGHT}")
    if not separator:
        address = os.environ.get(ADDRESS_VARIABLE, "")
        setting = f"${ADDRESS_VARIABLE}" if address else setting
    found = RayAddress(address=address or "auto", setting=setting)
    server = found.server
    if (separator and not address) or (found.address != "auto" and (server is None or not 0 < server[1] < 1 << 16)):
        raise PhyagiAssetsError(f"{setting}: {address!r} is not the address of a Ray cluster; use {_RIGHT}{found.remedy}")
    return found

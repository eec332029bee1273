# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that are to be there: what dpkg says, and one transaction for what is missing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..._core.errors import BadInput
from ..._core.host import Host
from ..._core.plan import NOTHING, Forecast, Plan
from ..._core.resource import Resource
from . import apt
from . import lock as apt_lock


@dataclass(frozen=True)
class PackagesState:
    """``versions`` of what is installed, ``offered`` by the archive of what is not, ``indexed``: apt has an index."""

    versions: t.Mapping[str, str]
    offered: t.Mapping[str, str]
    indexed: bool = True


@dataclass(frozen=True)
class Packages(Resource[PackagesState]):
    """The resource: ``names`` must be installed, ``optional`` ones when the archive of this release has them."""

    names: tuple[str, ...]
    optional: tuple[str, ...] = ()
    max_age: float = apt.DAY
    recommends: bool = False
    lock_timeout: float = apt_lock.TIMEOUT

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Packages:
        """From the module's parameters; raises BadInput."""
        for option in ("cache_valid_time", "lock_timeout"):
            if not 0 <= params[option] < 1 << 32:
                raise BadInput(option, params[option], "is out of range", "give seconds, 0 to 4294967295")
        return cls(
            apt.checked_names("name", params["name"]),
            apt.checked_names("optional", params["optional"]),
            float(params["cache_valid_time"]),
            params["recommends"],
            float(params["lock_timeout"]),
        )

    def observe(self, host: Host) -> PackagesState:
        """Ask dpkg, and apt for the optional ones that are not there."""
        versions = apt.installed(host.runner, [*self.names, *self.optional])
        asked = [name for name in self.optional if name not in versions]
        return PackagesState(versions, apt.candidates(host.runner, asked), apt.index_age() is not None)

    def plan(self, now: PackagesState, coming: Forecast = NOTHING) -> Plan:
        """One transaction. Without an index nobody knows which optional ones there are: they are tried."""
        missing = tuple(name for name in self.names if name not in now.versions)
        wished = tuple(
            name for name in self.optional if name not in now.versions and (name in now.offered or not now.indexed)
        )
        step = apt.InstallPackages(missing, wished, self.max_age, self.recommends, self.lock_timeout)
        steps = (step,) if missing or (wished and now.indexed) else ()
        return Plan(
            before={name: now.versions.get(name, "absent") for name in (*self.names, *wished)},
            after={name: now.versions.get(name, "installed") for name in (*self.names, *wished)},
            steps=steps,
        )

    def result(self, now: PackagesState) -> dict[str, t.Any]:
        """What is installed, and what cannot be."""
        skipped = [name for name in self.optional if name not in now.versions and name not in now.offered]
        return {"versions": dict(now.versions), "not_offered": skipped}

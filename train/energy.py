"""What a run draws, in joules, where the machine has a meter: RAPL of processors, NVML of NVIDIA cards.

Meters count for the whole machine, whatever else runs on it. Linux lets only root read RAPL unless told otherwise;
where nothing can be read, nothing is said.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Energy:
    """Joules since it was made, by kind of device; kinds without a meter are left out.

    A RAPL counter begins again after some 260 kJ, an hour of a busy processor: ask more often than that.
    """

    def __init__(self, powercap: Path = POWERCAP):
        self._powercap = powercap
        self._cards = _cards()
        self._last = self._read()
        self._joules = dict.fromkeys(self._last, 0.0)

    def joules(self) -> Mapping[str, float]:
        """By `cpu` and `gpu`."""
        now = self._read()
        for name, (count, wraps_at) in now.items():
            before = self._last.get(name, (count, wraps_at))[0]
            self._joules[name] = self._joules.get(name, 0.0) + (
                count - before if count >= before else count - before + wraps_at
            )
        self._last = now
        kinds = dict.fromkeys(name.partition(" ")[0] for name in self._joules)
        return {kind: sum(j for name, j in self._joules.items() if name.startswith(f"{kind} ")) for kind in kinds}

    def _read(self) -> dict[str, tuple[float, float]]:
        """Each meter's count, and where it begins again, in joules."""
        return _packages(self._powercap) | {
            f"gpu {number}": (joules, 0.0)
            for number, card in enumerate(self._cards)
            if (joules := _drawn(card)) is not None
        }


def _packages(powercap: Path) -> dict[str, tuple[float, float]]:
    """Of every processor package; the zones within one (`intel-rapl:0:0`) are parts of it."""
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                count, most = (int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
                found[f"cpu {zone.name}"] = (1e-6 * count, 1e-6 * most)
        except (OSError, ValueError):  # Not for us to read.
            continue
    return found


def _cards() -> list[ctypes.c_void_p]:
    """Handles of the NVIDIA cards; none without their driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    handles = [ctypes.c_void_p() for _ in range(count.value)]
    return [h for i, h in enumerate(handles) if not library.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(h))]


def _drawn(card: ctypes.c_void_p) -> float | None:
    """Joules since the driver was loaded; None on cards older than Volta."""
    millijoules = ctypes.c_ulonglong()
    failed = ctypes.CDLL("libnvidia-ml.so.1").nvmlDeviceGetTotalEnergyConsumption(card, ctypes.byref(millijoules))
    return None if failed else millijoules.value / 1000

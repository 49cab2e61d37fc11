"""Small numbers for names: the devices and (device, sensor) series that a partition has seen."""

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
UNKNOWN = -1


class Series:
    """Numbers devices and series from 0 in order of appearance, up to `max_devices` devices."""

    def __init__(self, max_devices: int) -> None:
        self.max_devices = max_devices
        self.devices: list[str] = []
        self.sensors: list[str] = []
        """Sensor name of each series."""
        self._device_ids: dict[str, int] = {}
        # One dict per sensor name: sensor names are few, and no tuple is built per reading.
        self._series_ids: dict[str, dict[int, int]] = {}
        self._device_of: list[int] = []
        self._device_of_array = np.empty(0, dtype=np.int32)

    @classmethod
    def restored(
        cls, max_devices: int, devices: Sequence[str], sensors: Sequence[str], device_of: Iterable[int]
    ) -> "Series":
        """The numbering that gave these lists."""
        series = cls(max_devices)
        series.devices = list(devices)
        series._device_ids = {name: i for i, name in enumerate(series.devices)}
        for sensor, device in zip(sensors, device_of, strict=True):
            series._new_series(device, sensor)
        return series

    def device_ids(self, names: Sequence[str]) -> Int32:
        """Number of each device; UNKNOWN for a new one beyond `max_devices`."""
        get = self._device_ids.get
        ids = np.fromiter(map(get, names, repeat(UNKNOWN)), dtype=np.int32, count=len(names))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._device_id(names[i])
        return ids

    def series_ids(self, device: Int32, sensors: Sequence[str]) -> Int32:
        """Number of each (device number, sensor) pair."""
        ids = np.empty(len(sensors), dtype=np.int32)
        tables = self._series_ids
        for i, (number, sensor) in enumerate(zip(device.tolist(), sensors, strict=True)):
            try:
                ids[i] = tables[sensor][number]
            except KeyError:
                ids[i] = self._new_series(number, sensor)
        return ids

    @property
    def device_of(self) -> Int32:
        """Device number of each series."""
        if len(self._device_of_array) != len(self._device_of):
            self._device_of_array = np.array(self._device_of, dtype=np.int32)
        return self._device_of_array

    def series_id(self, device: str, sensor: str) -> int:
        """Number of a series, made if it is new, whatever the limit: for windows of a stored batch."""
        number = self._device_ids.get(device)
        if number is None:
            number = self._new_device(device)
        known = self._series_ids.get(sensor, {}).get(number)
        return self._new_series(number, sensor) if known is None else known

    def _device_id(self, name: str) -> int:
        known = self._device_ids.get(name)
        if known is not None:
            return known
        return UNKNOWN if len(self.devices) >= self.max_devices else self._new_device(name)

    def _new_device(self, name: str) -> int:
        self._device_ids[name] = number = len(self.devices)
        self.devices.append(name)
        return number

    def _new_series(self, device: int, sensor: str) -> int:
        number = len(self.sensors)
        self._series_ids.setdefault(sensor, {})[device] = number
        self.sensors.append(sensor)
        self._device_of.append(device)
        return number
